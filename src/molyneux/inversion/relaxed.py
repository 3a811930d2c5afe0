"""Text to hidden states: the upper blocks of the vision tower alone are inverted (Eq. 5)."""

import math
import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from molyneux.arguments import check_finite
from molyneux.backends.abilities import Explainable
from molyneux.backends.base import frozen
from molyneux.backends.division import Hidden
from molyneux.backends.folding import LayerStatistics
from molyneux.backends.gradients import with_gradients
from molyneux.concepts import Concept
from molyneux.errors import ConfigError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import OnStep, image_seed
from molyneux.inversion.priors import Moments, statistics_distance
from molyneux.records import TracePoint
from molyneux.runs.progress import counting
from molyneux.shapes import Images
from molyneux.synthetic import SyntheticImages

_EPS = 1e-4
"""Added to each variance, as a share of it: a lone token has none."""


@with_gradients
def relax(
    model: Explainable,
    concept: Concept,
    natural: Images,
    config: InversionConfig | None = None,
    *,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> SyntheticImages:
    """Optimise hidden states until what the upper blocks make of them is near the concept's descriptions.

    Maximises cos(Psi(Z), t) - `config.statistics` * R(Z): Psi are the blocks above hidden state `config.block` with the
    projection, t is the descriptions' mean direction, and R is `statistics_distance` to the hidden states of `natural`,
    of all Z together. Z starts as noise with their mean and deviation. Adam moves it in units of that deviation, with
    a step size that falls to zero along a cosine.

    Args:
        model: whose vision tower is known block by block; stays as it is.
        concept: its name is not shown to the model.
        natural: two or more images that hidden states should resemble: photos, or replay images where there are none.
        config: `images`, `steps`, `learning_rate`, `block`, `statistics` and `trace_every` are used.
        seed: each hidden state has its own stream of random numbers, as in `invert`.
        on_step: called after each step with (steps done, steps in all).

    Returns:
        `hidden` and `block` instead of pixels. The trace has the cosine, twice: there are no random views.

    Raises:
        ConfigError: if the tower has no such block, or there are fewer than two natural images.
        ModelError: if a description does not fit, or the similarity is not a number.

    Source: supplement B.2.1 of the paper, which leaves R open; here it is that of batch-norm priors (DeepInversion),
    the means and deviations of style transfer.
    """
    config, started = config or InversionConfig(), time.perf_counter()
    block = config.block or model.middle_block
    if len(natural) < 2:
        raise ConfigError(f"{len(natural)} natural images have no statistics: give two or more, better twenty")
    target = model.embed_texts(concept.descriptions).mean(dim=0)
    target = target / target.norm()
    prefix = model.chain().prefix
    with torch.no_grad():
        seen = torch.cat([model.lower(part.to(model.device), block) for part in natural.split(32)])
        expected = [_expected(moments) for moments in place_moments(seen, prefix)]
        mean, deviation = (_laid_out([getattr(e, name) for e in expected], seen) for name in ("mean", "deviation"))
    generators = [Generator().manual_seed(image_seed(seed, concept, index)) for index in range(config.images)]
    noise = torch.stack([torch.randn(seen.shape[1:], generator=generator) for generator in generators])
    free = noise.to(seen).requires_grad_()
    optimiser = torch.optim.Adam([free], lr=config.learning_rate)
    trace: list[TracePoint] = []
    with frozen(model.native), counting(f"relaxed inversion of {concept.name!r}", on_step) as told:
        for step in range(config.steps):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * step / config.steps))
            hidden = mean + deviation * free
            similarity = (model.upper(hidden, block) @ target).mean()
            loss = config.statistics * statistics_distance(place_moments(hidden, prefix), expected) - similarity
            check_finite(loss, "similarity", step)
            (free.grad,) = torch.autograd.grad(loss, [free])
            optimiser.step()
            if (step + 1) % config.trace_every == 0 or step + 1 in (1, config.steps):
                with torch.no_grad():
                    found = float((model.upper(mean + deviation * free, block) @ target).mean())
                trace.append(TracePoint(step=step + 1, plain=found, augmented=found))
            if told is not None:
                told(step + 1, config.steps)
    return SyntheticImages(
        concept=concept,
        pixels=torch.zeros(0, 3, 1, 1),
        hidden=(mean + deviation * free).detach().cpu().float(),
        block=block,
        seed=seed,
        source="hidden",
        depicted=concept.name,
        source_descriptions=concept.descriptions,
        trace=tuple(trace),
        seconds=time.perf_counter() - started,
    )


def place_moments(hidden: Hidden, prefix: int) -> list[Moments]:
    """Mean and variance of each channel over the places of all hidden states; prefix tokens are groups of their own.

    Args:
        hidden: tokens (n, t, d), or maps (n, c, h, w).
        prefix: tokens before those of patches.

    >>> mean, variance = place_moments(torch.tensor([[[[1.0, 3.0]]]]), 0)[0]
    >>> mean, variance
    (tensor([2.]), tensor([1.]))
    """
    if hidden.ndim == 4:
        groups = [hidden.permute(0, 2, 3, 1).flatten(0, 2)]
    else:
        groups = [*hidden[:, :prefix].unbind(dim=1), hidden[:, prefix:].flatten(0, 1)]
    return [(rows.mean(dim=0), rows.var(dim=0, correction=0)) for rows in groups]


def _expected(moments: Moments) -> LayerStatistics:
    mean, variance = moments
    eps = _EPS * variance.clamp_min(1e-8)
    return LayerStatistics(mean, (variance + eps).sqrt(), eps)


def _laid_out(groups: Sequence[Tensor], like: Hidden) -> Float[Tensor, "..."]:
    """Each group's numbers at the places of a hidden state in the shape of `like`."""
    *first, rest = groups
    if like.ndim == 4:
        return rest[:, None, None]
    return torch.stack([*first, *[rest] * (like.shape[1] - len(first))])
