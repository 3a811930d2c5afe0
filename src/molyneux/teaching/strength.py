"""How strong an edit must be for a new name to win: over stand-ins for photos of known classes, without any photo."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from molyneux.teaching.config import Edit

_TIMES = 4
"""Stand-ins for each known class."""
_USUAL = 2.0
_LEAST = 1e-3
"""Of the share of a score's rise that sets the new name apart; where a known name rises as much, no strength helps."""
_RIVALS = 64
"""Best known names of an embedding that a new name is compared with; the others lie too far behind to matter."""


class Known(NamedTuple):
    """What the model knows, as unit embeddings. The i-th description is of the i-th name; names are distinct."""

    names: Float[Tensor, "n d"]
    """Known names in the prompt that names are scored in."""
    descriptions: Float[Tensor, "n d"]
    """How each known class looks, without its name."""
    images: Float[Tensor, "r d"]
    """Images that stand for what the model will see, such as the replay images; twenty are enough."""


class Rivals(NamedTuple):
    """For each embedding the known names that score best, which a new name has to beat."""

    seen: Float[Tensor, "s d"]
    """The embeddings, less the images' mean."""
    scores: Float[Tensor, "s r"]
    """Less the mean name's."""
    places: Int[Tensor, "s r"]


def covariance(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Of the rows, with the mean removed, in double precision."""
    off = rows.double() - rows.double().mean(dim=0)
    return off.T @ off / len(off)


def typical_variance(covariance: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """The variance of the rows along themselves: tr(S^2) / tr(S). Dimensions without variance do not change it."""
    return covariance.square().sum() / covariance.trace()


def scale(images: Float[Tensor, "r d"], texts: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """How far images lie from their mean, in units of how far texts lie from theirs (root mean square)."""
    return (covariance(images).trace() / covariance(texts).trace()).sqrt()


def common_answer(rows: Float[Tensor, "m d"], images: Float[Tensor, "r d"]) -> Float[Tensor, " m"]:
    """How much of each row's mean answer to images is due to what all images share.

    A mean far beyond the answers' standard deviation (a cone) counts in full, one within it hardly: it is then due to
    the choice of images, and other images need not share it.
    """
    answers = images.double() @ rows.T
    mean, varies = answers.mean(dim=0), answers.std(dim=0)
    return mean / (1 + (_USUAL * varies / mean.abs().clamp_min(1e-30)) ** 4)


def stand_ins(known: Known) -> Float[Tensor, "s d"]:
    """Stand-ins for photos of known classes, less the images' mean; four rounds over all classes, double precision.

    Half of a stand-in's variance is that of the classes' descriptions, which err about their names as photos do; half
    is that of images, as the difference of two. Together they lie as far from their mean as images. On `mini` the
    strength that wins 1 % of the stand-ins wins 1 % of real photos of known classes (bench/edits/README.md). No chance
    is involved, so the same model in other coordinates has the same stand-ins in them.
    """
    images = known.images.double() - known.images.double().mean(dim=0)
    looks = known.descriptions.double() - known.descriptions.double().mean(dim=0)
    looks = math.sqrt(0.5) * scale(known.images, known.descriptions) * looks
    at = torch.arange(len(looks), device=looks.device)
    seen = [images[(at + 17 * k) % len(images)] - images[(3 * at + 29 * k + 5) % len(images)] for k in range(_TIMES)]
    return torch.cat([looks + part / 2 for part in seen])


def rivals(seen: Float[Tensor, "s d"], known: Known) -> Rivals:
    """The best known names of each embedding, which is given less the images' mean; double precision."""
    off = known.names.double() - known.names.double().mean(dim=0)
    scores = seen.double() @ off.T + common_answer(off, known.images)
    best, places = scores.topk(min(_RIVALS, len(off)), dim=1)
    return Rivals(seen.double(), best, places)


def critical_strengths(
    against: Rivals,
    known: Known,
    name: Float[Tensor, " d"],
    detector: Float[Tensor, " d"],
    value: Float[Tensor, " d"],
    forget: float,
    left_out: int | None = None,
) -> Float[Tensor, " s"]:
    """For each embedding, the factor of the detector above which the new name scores best; infinite where none does.

    With v' = v + value (b detector - forget (name - mean)) . v the new name's score is linear in b, and so is each
    known name's; the last crossing is the answer. Embeddings that the new name has already are at most 0. The known
    name at `left_out` does not compete.
    """
    mean = known.names.double().mean(dim=0)
    off = name.double() - mean
    own = against.seen @ off + common_answer(off[None], known.images)
    cross = ((known.names.double() - mean) @ value)[against.places]
    margin = against.scores - forget * own[:, None] * cross - (1 - forget) * own[:, None]
    needed = margin / (1 - cross).clamp_min(_LEAST)
    if left_out is not None:
        needed = needed.masked_fill(against.places == left_out, -math.inf)
    answer = against.seen @ detector
    return torch.where(answer > 0, needed.amax(dim=1) / answer, math.inf)


def unit_strengths(
    known: Known,
    names: Float[Tensor, "m d"],
    detectors: Float[Tensor, "m d"],
    values: Float[Tensor, "m d"],
    config: Edit,
) -> Float[Tensor, " m"]:
    """The factor of each detector at which its concept wins the share `price` of the stand-ins, or all it can."""
    against = rivals(stand_ins(known), known)
    place, forget = max(1, round(config.price * len(against.seen))), config.strength * config.forget_name
    found = []
    for name, detector, value in zip(names, detectors, values, strict=True):
        needed = critical_strengths(against, known, name, detector, value, forget)
        within = needed[needed.isfinite()].sort().values
        found.append(within[min(place, len(within)) - 1] if len(within) else needed.new_zeros(()))
    return torch.stack(found).clamp_min(0)
