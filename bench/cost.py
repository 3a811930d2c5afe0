"""What teaching costs on a model of real size, with random weights: seconds and peak memory.

    python bench/cost.py                                               # mini and ViT-B/32
    python bench/cost.py --model open_clip:ViT-L-14 --quick            # a part of the replay images, scaled
    python bench/cost.py --updates --model open_clip:ViT-L-14 --images 4

Prints one row for each stage, on one thread: reading the known texts and making the replay images, once for each
model; a first and a second concept, each from text to taught model; and 300 concepts at once. Seconds are the
processor's, so that others on the machine count little. Each model has a process of its own, so that its peak memory is
its own. The time of a concept's own images is told from inversions of two lengths. NAME of 'open_clip:NAME'
is one of open_clip's; its weights are drawn at random, and 'mini' keeps its own.

With --quick, the time of the replay images is told in the same way, from 2 of the 20 classes; the lessons then read 20
images of noise, which costs the same. 300 concepts at once are left out.

With --updates, one row for each way in which weights can move, in a process of its own, with the loss 'anchors' and
100 known names: seconds of a step, of the bare forward and backward pass of the moving tower by open_clip alone in the
same process, taken in turns, and their ratio; the seconds of the 20 steps of a lesson on one concept; and peak memory.
A step has --images images, a quarter of them the concept's and the rest replay; the lesson's seconds are scaled to the
16 and 48 of the defaults.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

MODELS = ("mini", "open_clip:ViT-B-32-quickgelu")
UPDATES = ("tower", "blocks", "projection", "text", "LoRA")
MANY = 300
PART = 2
"""Classes whose replay images are made with --quick."""
STEPS = 3
"""Of an update, the first of which is not timed."""
FEW, MORE = 1, 3
"""Steps of an inversion: what two more of them take tells what all take."""


def timed(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def measure(name: str, quick: bool) -> None:
    """Print the rows of one model."""
    from speed import peak_mib

    from molyneux import invert, load, teach
    from molyneux.backends.base import dual_encoder
    from molyneux.concepts import Concept
    from molyneux.datasets.imagenet import imagenet_names
    from molyneux.images.config import ReplayConfig
    from molyneux.images.replay import make_replay
    from molyneux.inversion.config import InversionConfig
    from molyneux.pipeline.known_texts import load_known_texts
    from molyneux.synthetic import SyntheticImages
    from molyneux.teaching.config import TeachingConfig

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        source = name
        if name.startswith("open_clip:"):
            source = str(Path(scratch) / "model")
            random_weights(name.partition(":")[2], Path(source))
        model = dual_encoder(load(source), "a lesson")
        print(f"| {name} | the model alone | | {peak_mib():,.0f} |", flush=True)

        def row(what: str, function: Callable[[], object]) -> None:
            print(f"| {name} | {what} | {timed(function):.1f} | {peak_mib():,.0f} |", flush=True)

        def told(what: str, seconds: Callable[[int], float], steps: int) -> None:
            few, more = seconds(FEW), seconds(MORE)
            whole = few + (steps - FEW) * (more - few) / (MORE - FEW)
            print(f"| {name} | {what} | {whole:.1f} | {peak_mib():,.0f} |", flush=True)

        names = imagenet_names()
        replay: list[SyntheticImages] = []
        made: list[SyntheticImages] = []
        row("once: known texts", lambda: load_known_texts(model, names, TeachingConfig()))
        config = ReplayConfig()

        def replayed(steps: int) -> float:
            part = replace(config, count=PART, together=PART, inversion=replace(config.inversion, steps=steps))
            return timed(lambda: make_replay(model, part, Path(scratch) / f"groups-{steps}"))

        if quick:
            steps = config.inversion.steps * config.count // PART
            told(f"once: replay images, told from {PART} of {config.count}", replayed, steps)
            replay = noise(names[: config.count], model.image_size)
        else:
            row("once: replay images", lambda: replay.extend(make_replay(model, config, Path(scratch) / "groups")))
        okapi = Concept("okapi", "A hoofed animal with a dark brown velvety body and striped legs.")
        moongate = Concept("moongate", "A perfectly circular archway built from uniformly cut stones.")
        row("a first concept", lambda: teach(model, okapi, known=names, replay=replay))
        row("a second concept", lambda: teach(model, moongate, known=names, replay=replay))

        def inverted(steps: int) -> float:
            return timed(lambda: made.append(invert(model, okapi, replace(InversionConfig(), steps=steps))))

        told(f"images of a concept, told from {FEW} and {MORE} steps", inverted, InversionConfig().steps)
        row("a concept with these images", lambda: teach(model, made[-1], known=names, replay=replay))
        many = [Concept(f"thing {number}", f"A thing with {number} legs.") for number in range(MANY)]
        if not quick:
            row(f"{MANY} concepts at once", lambda: teach(model, many, known=names, replay=replay))


def noise(names: Any, side: int, each: int = 1) -> list[Any]:
    """Images of noise for each of the names."""
    from molyneux.concepts import Concept
    from molyneux.synthetic import SyntheticImages

    generator = torch.Generator().manual_seed(0)
    return [
        SyntheticImages(
            concept=Concept(name, f"A {name}."), pixels=torch.rand(each, 3, side, side, generator=generator), seed=0
        )
        for name in names
    ]


def measure_update(name: str, part: str, images: int) -> None:
    """Print the row of one update."""
    from speed import peak_mib

    from molyneux import load
    from molyneux.backends.base import dual_encoder
    from molyneux.datasets.imagenet import imagenet_names
    from molyneux.teaching.config import Full, LoRA, TeachingConfig
    from molyneux.teaching.fine_tune import fine_tune
    from molyneux.teaching.memory import step_memory

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        random_weights(name.partition(":")[2], Path(scratch) / "model")
        model = dual_encoder(load(Path(scratch) / "model"), "a lesson")
    update = LoRA() if part == "LoRA" else Full(part=part)
    usual = TeachingConfig(loss="anchors", update=update)
    own = images // 4
    config = replace(usual, steps=STEPS, batch=own, replay_batch=images - own)
    side, known = model.image_size, list(imagenet_names())[:100]
    steps: list[float] = []
    passes: list[float] = []
    peak, since = 0.0, 0.0

    def on_step(done: int, total: int) -> None:
        nonlocal peak, since
        if done > 1:  # the first has the preparation in it
            steps.append(time.process_time() - since)
            # before the bare pass, after a step that found the optimiser's moments in memory
            peak = peak or peak_mib()
            passes.append(timed(bare))
        since = time.process_time()

    bare = bare_pass(model, update, images, config.bank_batch + own)
    fine_tune(model, noise(["okapi"], side, own), config, known=known, replay=noise(known[:20], side), on_step=on_step)
    step, limit = min(steps), min(passes)
    # otherwise images are read once, and a step hardly depends on their number
    scale = 1 if update.kind.shares_trunk else (usual.batch + usual.replay_batch) / images
    announced = step_memory(model, usual) / 2**20
    # what lies below a projection is read once, so a step has no pass of the tower
    beside = "| | |" if update.kind.reads == "features" else f"| {limit:.2f} | {step / limit:.2f} |"
    print(
        f"| {name} | {part} | {images} | {step:.3g} {beside} "
        f"{usual.steps * step * scale:,.0f} | {peak:,.0f} | {announced:,.0f} |",
        flush=True,
    )


def bare_pass(model: Any, update: Any, images: int, texts: int) -> Callable[[], object]:
    """Forward and backward of the tower that moves, as open_clip computes it, with gradients of the same weights."""
    import open_clip

    native = model.copy(whole=True)
    tokens = open_clip.tokenize(["a photo of an okapi."] * texts)
    pixels = torch.rand(images, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0))
    kind = update.kind
    modules = [native.vision_module()] if kind.modules is None else kind.modules(native, update)

    def once() -> None:
        for module in modules:
            module.requires_grad_()
        found = native.native.encode_text(tokens) if kind.moves_texts else native.native.encode_image(pixels)
        found.sum().backward()
        native.native.zero_grad(set_to_none=True)

    return once


def random_weights(name: str, folder: Path) -> None:
    """A folder as open_clip saves one, with random weights."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    native = open_clip.create_model(name, pretrained=None)
    folder.mkdir()
    config = {
        "model_cfg": open_clip.get_model_config(name),
        "preprocess_cfg": open_clip.get_model_preprocess_cfg(native),
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = {key: value.contiguous() for key, value in native.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="mini or open_clip:NAME; may be given several times")
    parser.add_argument("--quick", action="store_true", help="a part of the replay images, scaled")
    parser.add_argument("--updates", action="store_true", help="what a step of each update costs")
    parser.add_argument("--images", type=int, default=64, help="in a step of an update (default: 64)")
    parser.add_argument("--part", action="append", choices=UPDATES, help="one update; may be given several times")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.images < 4:
        parser.error(f"--images is {given.images}: expected 4 or more")
    if given.only:
        if given.updates:
            measure_update(given.only, given.part[0], given.images)
        else:
            measure(given.only, given.quick)
        return
    if given.updates:
        print(
            "| model | moves | images in a step | a step, s | bare pass, s | ratio | a lesson, s | peak memory, MiB | "
            f"told before a step of 64, MiB |\n|{'---|' * 9}",
            flush=True,
        )
        for name in given.model or MODELS[1:]:
            for part in given.part or UPDATES:
                start(name, "--updates", "--part", part, "--images", str(given.images))
        return
    print("| model | stage | seconds | peak memory, MiB |\n|---|---|---|---|", flush=True)
    for name in given.model or MODELS:
        start(name, *(["--quick"] if given.quick else []))


def start(name: str, *arguments: str) -> None:
    """In a process with a cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"MOLYNEUX_CACHE": cache, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, __file__, "--only", name, *arguments], check=True, env=environment)


if __name__ == "__main__":
    main()
