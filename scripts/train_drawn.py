"""Train the model `drawn` from scratch on drawn scenes and their captions, by contrast alone; writes its folder.

    python scripts/train_drawn.py --out src/molyneux/models/drawn

Both towers are open_clip's own and begin with random weights; the loss is open_clip's, the temperature is learned. A
batch has scenes of the nouns of `KNOWN`, captioned by the noun, by what is seen or by both, and scenes of random
designs, captioned by what is seen. No scene fits the design of a concept of `NOVEL`, and no caption has its name.
Nothing is read from disk. Seeded; the time that it took is printed.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import ClipLoss
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast

from molyneux.backends.open_clip import CONFIG, WEIGHTS, OpenClipModel, build
from molyneux.datasets.drawn import KNOWN, NOVEL, Design, draw_designs, parse_design
from molyneux.datasets.drawn.captions import caption_scenes
from molyneux.datasets.drawn.designs import completed, random_design
from molyneux.datasets.drawn.scenes import SIZE, Scene, place, render

START, END, PADDING = "<start>", "<end>", "<pad>"
UNSEEN = tuple(parse_design(one.looks) for one in NOVEL)
CONTEXT = 48
TOKENS = 640
NAMED = 0.45
"""Share of a batch that shows known nouns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be chosen on the command line."""

    out: Path
    seed: int = 0
    steps: int = 1500
    batch: int = 256
    rate: float = 2e-3
    """AdamW's, at its highest: it rises for a tenth of the steps, then falls to zero as a cosine."""
    decay: float = 0.05
    temperature: float = 0.02
    """Where the learned temperature starts: the lower, the more of the gap between the random towers remains."""
    width: int = 96
    layers: int = 4
    text_layers: int = 2
    patch: int = 8


def describe_model(options: Options, tokens: int) -> dict[str, Any]:
    """What open_clip_config.json holds."""
    vision = {
        "image_size": SIZE,
        "patch_size": options.patch,
        "width": options.width,
        "head_width": 32,
        "layers": options.layers,
    }
    text = {
        "context_length": CONTEXT,
        "vocab_size": tokens,
        "width": options.width,
        "heads": options.width // 32,
        "layers": options.text_layers,
        "hf_tokenizer_name": "",
    }
    preprocess = {"mean": [0.3] * 3, "std": [0.3] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    model = {
        "embed_dim": 128,
        "init_logit_scale": math.log(1 / options.temperature),
        "vision_cfg": vision,
        "text_cfg": text,
    }
    return {"model_cfg": model, "preprocess_cfg": preprocess}


def draw_batch(count: int, random: np.random.Generator) -> tuple[list[Scene], list[str | None]]:
    """Scenes, and the noun of each that shows one; nouns come equally often."""
    nouns = int(NAMED * count)
    rounds = [random.permutation(list(KNOWN)) for _ in range(-(-nouns // len(KNOWN)))]
    names = [str(name) for name in np.concatenate(rounds)[:nouns]]
    designs = [parse_design(KNOWN[name]) for name in names] + [random_design(random) for _ in range(count - nouns)]
    scenes = place([unlike_novel(design, random) for design in designs], random)
    return scenes, [*names, *([None] * (count - nouns))]


def unlike_novel(design: Design, random: np.random.Generator) -> Design:
    """The design completed, such that it fits no novel concept's."""
    while True:
        found = completed(design, random)
        if not any(one.allows(found) for one in UNSEEN):
            return found
        design = random_design(random)


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte pairs of captions: words that occur often are one token each, anything else falls to pieces."""
    random = np.random.default_rng((seed, 1))
    texts = [text for _ in range(40) for text in caption_scenes(*draw_batch(256, random), random)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS - 1,
        min_frequency=20,
        special_tokens=[PADDING, START],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # open_clip pools a text where its greatest token is
    tokenizer.add_special_tokens([END])
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=marks)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PADDING, bos_token=START, eos_token=END)


def encode_texts(native: nn.Module, tokens: Tensor) -> Tensor:
    """open_clip's own `encode_text`, on as many places as the longest text has: what follows is not looked at."""
    ends = tokens.argmax(dim=1)
    length = int(ends.max()) + 1
    hidden = native.token_embedding(tokens[:, :length]) + native.positional_embedding[:length]
    hidden = native.ln_final(native.transformer(hidden, attn_mask=native.attn_mask[:length, :length]))
    return normalize(hidden[torch.arange(len(tokens)), ends] @ native.text_projection, dim=1)


def optimiser_of(native: nn.Module, options: Options) -> torch.optim.Optimizer:
    weights = [p for name, p in native.named_parameters() if p.ndim > 1 and "embedding" not in name]
    others = [p for name, p in native.named_parameters() if not (p.ndim > 1 and "embedding" not in name)]
    groups = [{"params": weights, "weight_decay": options.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98), eps=1e-6)


def train(options: Options) -> list[float]:
    """Train, write the folder, and return the loss of each step."""
    started, computed = time.perf_counter(), time.process_time()
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(options.seed)
    tokenizer.save_pretrained(options.out)
    config = describe_model(options, len(tokenizer))
    model = build("drawn", config, options.out)
    assert isinstance(model, OpenClipModel)
    native = model.native.train().requires_grad_(True)
    random = np.random.default_rng((options.seed, 2))
    loss_of, losses = ClipLoss(), []
    optimiser = optimiser_of(native, options)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options.rate, total_steps=options.steps, pct_start=0.1, cycle_momentum=False
    )
    mean, std = (torch.tensor(config["preprocess_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
    for step in range(options.steps):
        scenes, names = draw_batch(options.batch, random)
        images = (render(scenes, random) - mean) / std
        tokens = model._tokenizer(caption_scenes(scenes, names, random))
        seen = native.encode_image(images, normalize=True)
        loss = loss_of(seen, encode_texts(native, tokens), native.logit_scale.exp())
        optimiser.zero_grad()
        loss.backward()
        losses.append(loss.item())
        nn.utils.clip_grad_norm_(native.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            native.logit_scale.clamp_(0, math.log(100))
        if step % 50 == 49 or step == options.steps - 1:
            temperature = 1 / native.logit_scale.exp().item()
            line = f"step {step + 1} of {options.steps}: loss {losses[-1]:.3f}, temperature {temperature:.4f}"
            print(f"{line}, {time.process_time() - computed:.0f} s computed", flush=True)
        if step % 250 == 249 or step == options.steps - 1:
            print(f"  {report(model)}", flush=True)
    save(model, config, options.out)
    took, busy = time.perf_counter() - started, time.process_time() - computed
    print(f"{took / 60:.1f} minutes, {busy / 60:.1f} of computation on {torch.get_num_threads()} threads")
    return losses


@torch.no_grad()
def report(model: OpenClipModel, scenes: int = 6) -> str:
    """What the model knows, on fresh scenes."""
    model.native.eval()
    known, novel = list(KNOWN), [one.descriptions[0] for one in NOVEL]
    names = model.encode_texts([f"a photo of a {name}." for name in known])
    looks, described = model.encode_texts([f"{text}." for text in KNOWN.values()]), model.encode_texts(novel)
    seen = model.embed_images(draw_designs([parse_design(x) for x in KNOWN.values() for _ in range(scenes)], seed=999))
    unseen = model.embed_images(draw_designs([design for design in UNSEEN for _ in range(2 * scenes)], seed=998))
    labels = torch.arange(len(known)).repeat_interleave(scenes)
    own = described[torch.arange(len(novel)).repeat_interleave(2 * scenes)]
    numbers = {
        "known by name": ((seen @ names.T).argmax(dim=1) == labels).float().mean(),
        "by looks": ((seen @ looks.T).argmax(dim=1) == labels).float().mean(),
        "novel by description": ((unseen * own).sum(dim=1) > (unseen @ names.T).amax(dim=1)).float().mean(),
        "gap": (seen.mean(dim=0) - names.mean(dim=0)).norm(),
    }
    model.native.train()
    return ", ".join(f"{key} {float(value):.3f}" for key, value in numbers.items())


def save(model: OpenClipModel, config: dict[str, Any], folder: Path) -> None:
    """Half precision: half the size, and the same answers."""
    state = {key: value.half().contiguous() for key, value in model.native.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder, made if need be")
    for field in fields(Options)[1:]:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    train(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
