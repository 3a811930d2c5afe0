"""From an image to the tokens of a caption, over any captioner; what a caption cannot hold is never chosen.

Every function returns the start token, the caption and its end token, then padding up to the longest of the batch.
An image's caption does not depend on the images beside it.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from molyneux.backends.abilities import Captioner
from molyneux.errors import ConfigError, ModelError
from molyneux.shapes import Images
from molyneux.tasks.captioning.config import CaptioningConfig

Tokens = Int[Tensor, "n l"]
Choose = Callable[[Float[Tensor, "n v"], Tensor], Int[Tensor, " n"]]

_AT_ONCE = 32


def write_captions(
    model: Captioner, images: Images, config: CaptioningConfig | None = None, *, seed: int = 0, first: int = 0
) -> list[str]:
    """A caption for each image.

    Args:
        model: stays as it is.
        images: in [0, 1], of a size that the model takes.
        config: beam search with Molyneux's defaults if None.
        seed: for the method 'top_p'; each image has a stream of its own, made from this and its index.
        first: index of the first image, where many are captioned a part at a time.

    Raises:
        ConfigError: if captions would be longer than the model reads.
        ModelError: if the model's logits are no numbers.
    """
    config = config or CaptioningConfig()
    written: list[str] = []
    for part in images.split(_AT_ONCE):
        if config.method == "beam":
            tokens = beam_search(model, part, config)
        elif config.method == "greedy":
            tokens = greedy(model, part, config)
        else:
            start = first + len(written)
            tokens = sample(model, part, [_stream(seed, start + index) for index in range(len(part))], config)
        written += [model.caption_text(row) for row in tokens]
    return written


def greedy(model: Captioner, images: Images, config: CaptioningConfig) -> Tokens:
    """The likeliest token each time, given those before it."""
    return _token_by_token(model, images, config, lambda logits, unfinished: logits.argmax(dim=-1))


def sample(model: Captioner, images: Images, generators: Sequence[Generator], config: CaptioningConfig) -> Tokens:
    """Each token drawn from the nucleus of what may follow those before it (Holtzman et al., 2020).

    Args:
        generators: one per image, on the CPU; each is asked for one number per token of its caption.
    """

    def draw(logits: Float[Tensor, "n v"], unfinished: Tensor) -> Int[Tensor, " n"]:
        shares = nucleus((logits / config.temperature).softmax(dim=-1), config.top_p).cpu().double().cumsum(dim=-1)
        heights = torch.zeros(len(logits), 1, dtype=torch.float64)
        for row, generator in enumerate(generators):
            if unfinished[row]:
                heights[row] = torch.rand((), generator=generator, dtype=torch.float64)
        return (shares <= heights * shares[:, -1:]).sum(dim=-1).to(logits.device)

    return _token_by_token(model, images, config, draw)


def nucleus(shares: Float[Tensor, "n v"], top_p: float) -> Float[Tensor, "n v"]:
    """The smallest set of likeliest choices that together have `top_p`, scaled to sum to 1; zero elsewhere.

    >>> nucleus(torch.tensor([[0.5, 0.3, 0.2]]), 0.6)
    tensor([[0.6250, 0.3750, 0.0000]])
    """
    ordered, order = shares.sort(dim=-1, descending=True, stable=True)
    kept = ordered.where(ordered.cumsum(dim=-1) - ordered < top_p, 0.0)
    kept[:, 0] = ordered[:, 0]
    return torch.zeros_like(shares).scatter(-1, order, kept / kept.sum(dim=-1, keepdim=True))


@torch.no_grad()
def beam_search(model: Captioner, images: Images, config: CaptioningConfig) -> Tokens:
    """The best caption that is found when only the `beams` likeliest beginnings are kept.

    A caption that ends leaves the beam and its place stays empty, so one beam is the greedy method, and a beam wider
    than the number of all beginnings finds the best caption there is (Sutskever et al., 2014).
    """
    _check_length(model, config)
    start, end, padding = model.caption_specials
    count, width = len(images), config.beams
    memory = model.look(images)[1].repeat_interleave(width, dim=0)
    tokens = torch.full((count, width, 1), start, device=memory.device)
    scores = torch.full((count, width), -torch.inf, device=memory.device)
    scores[:, 0] = 0.0
    best = torch.full((count,), -torch.inf, device=memory.device)
    captions = torch.full((count, config.longest), padding, device=memory.device)
    for place in range(1, config.longest):
        logits = _may_follow(model, model.next_logits(memory, tokens.flatten(0, 1))[:, -1], place, config)
        steps = logits.log_softmax(dim=-1).unflatten(0, (count, width))
        scores, picked = (scores[..., None] + steps).flatten(1).topk(width, dim=1)
        before, token = picked // steps.shape[-1], picked % steps.shape[-1]
        kept = tokens.gather(1, before[..., None].expand(-1, -1, place))
        tokens = torch.cat([kept, token[..., None]], dim=2)
        done = scores.isfinite() & ((token == end) | (place == config.longest - 1))
        value, index = (scores / place**config.length_power).masked_fill(~done, -torch.inf).max(dim=1)
        better = value > best
        captions[better, : place + 1] = tokens[better, index[better]]
        best = best.maximum(value)
        scores = scores.masked_fill(done, -torch.inf)
        # sums only fall, so no beginning can end better than its sum over the kindest divisor
        hope = scores.max(dim=1).values / (config.longest - 1) ** config.length_power
        if (hope <= best).all():
            break
    return captions[:, : place + 1]


@torch.no_grad()
def _token_by_token(model: Captioner, images: Images, config: CaptioningConfig, choose: Choose) -> Tokens:
    _check_length(model, config)
    start, end, padding = model.caption_specials
    memory = model.look(images)[1]
    tokens = torch.full((len(images), 1), start, device=memory.device)
    unfinished = torch.ones(len(images), dtype=torch.bool, device=memory.device)
    for place in range(1, config.longest):
        logits = _may_follow(model, model.next_logits(memory, tokens)[:, -1], place, config)
        chosen = choose(logits, unfinished).where(unfinished, padding)
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        unfinished = unfinished & (chosen != end)
        if not unfinished.any():
            break
    return tokens


def _may_follow(
    model: Captioner, logits: Float[Tensor, "n v"], place: int, config: CaptioningConfig
) -> Float[Tensor, "n v"]:
    """The logits without what no caption holds at this place: start, padding, and an end that comes too early."""
    if not logits.isfinite().all():
        raise ModelError(
            f"{model.name!r} continues a caption with values that are no numbers: if it was taught, "
            "teach it with a lower learning rate; else get its weights anew"
        )
    start, end, padding = model.caption_specials
    barred = [start, padding, *([end] if place + 1 < config.shortest else [])]
    return logits.float().index_fill(-1, torch.tensor(barred, device=logits.device), -torch.inf)


def _check_length(model: Captioner, config: CaptioningConfig) -> None:
    if config.longest > model.caption_length:
        raise ConfigError(
            f"captioning.longest is {config.longest}: expected at most the {model.caption_length} tokens that "
            f"{model.name!r} reads"
        )


def _stream(seed: int, index: int) -> Generator:
    digest = hashlib.sha256(repr((seed, index)).encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
