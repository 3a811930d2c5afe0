# ruff: noqa: E501
"""A new concept as a rank-one edit of the shared space, in closed form.

    v' = v + sum_c value_c * (key_c . v)

`v` is an image's embedding before its normalisation. The edit of a concept is computed from embeddings alone, without an
optimiser and without images of the concept: `concept_edits` is the whole lesson, the functions above it are its parts.
Sums of edits are edits, so the order of teaching does not matter and an edit can be taken out again.

Nothing here depends on where a model keeps its cones: every quantity is built from differences to the mean of its own
kind, from unit vectors and from ratios of scales, so rotating the space, moving or scaling the texts or the images and
changing the temperature change no answer.
"""

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

_TIMES, _USUAL = 4, 2.0
_LEAST = 1e-3
"""Of the share of a score's rise that sets the new name apart; where a known name rises as much, no strength helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditConfig:
    """How an edit is computed. Chosen by pretending that known classes are new, not on the concepts reported."""

    width: float = 0.5
    """Of the Gaussian kernel, over unit vectors; the distance of two unrelated texts is 1.4."""
    ridge: float = 0.3
    """Of the regression, in units of the kernel at distance 0."""
    name_view: float = 0.1
    """Share of the name in the text that is compared with known texts; the rest is the description."""
    description: float = 0.15
    """Weight of the description's own direction beside the regression's, which has 1."""
    name: float = 0.1
    """Weight of the name's own direction beside the regression's."""
    images: float = 0.0
    """Weight of the direction of synthetic images beside the regression's."""
    key_images: float = 0.0
    """Share of the images' covariance in the key's whitening; the rest is that of the known names."""
    key_shrinkage: float = 0.25
    """Multiple of the mean variance that is added to the key's covariance."""
    value_shrinkage: float = 0.02
    """Multiple of the mean variance that is added to the value's covariance."""
    constant_shrinkage: float = 0.02
    """Multiple of the mean variance that is added where the images' common part is read."""
    forget_name: float = 0.9
    """Share of what the name's own score tells that an edit of strength 1 takes away, so that the detector decides."""
    price: float = 0.01
    """Share of stand-ins for known photos that a concept of strength 1 would capture."""
    stand_in_name: float = 0.4
    """How far a stand-in is moved towards a known name, in units of that name's distance from the mean of names."""
    strength: float = 0.55
    """Of the edit: 1 is where the stand-ins' `price` would be reached. It scales the whole edit, as interpolation does."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{item.name} is {value}: expected a finite number of at least 0")
        for name in ("name_view", "key_images", "forget_name", "price"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a share between 0 and 1")
        for name in ("width", "ridge", "value_shrinkage", "key_shrinkage", "constant_shrinkage"):
            if not getattr(self, name):
                raise ValueError(f"{name} is 0: expected a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What the model knows, as unit embeddings. The i-th description is of the i-th name; names are distinct."""

    names: Float[Tensor, "n d"]
    """Known names in the prompt that names are scored in."""
    descriptions: Float[Tensor, "n d"]
    """How each known class looks, without its name."""
    images: Float[Tensor, "r d"]
    """Any images that stand for what the model will see, such as the replay set."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class New:
    """The concepts to teach, as unit embeddings."""

    names: Float[Tensor, "m d"]
    """In the prompt that names are scored in."""
    descriptions: Float[Tensor, "m d"]
    """Of several descriptions of a concept, their mean."""
    images: Float[Tensor, "m d"] | None = None
    """Mean embedding of each concept's synthetic images, if there are any."""


class Edits(NamedTuple):
    """Row c is the edit of concept c: v' = v + values.T @ (keys @ v)."""

    keys: Float[Tensor, "m d"]
    values: Float[Tensor, "m d"]


def centred(rows: Float[Tensor, "m d"], mean: Float[Tensor, " d"]) -> Float[Tensor, "m d"]:
    """Unit rows of the differences to a mean: what a text or an image says beyond all of its kind."""
    return normalize(rows.double() - mean.double(), dim=1)


def covariance(rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Of the rows, with the mean removed, in double precision."""
    off = rows.double() - rows.double().mean(dim=0)
    return off.T @ off / len(off)


def shrunk(matrix: Float[Tensor, "d d"], share: float) -> Float[Tensor, "d d"]:
    """The covariance plus `share` times its mean variance in every direction (Ledoit & Wolf, 2004)."""
    return matrix + share * matrix.diagonal().mean() * torch.eye(len(matrix)).to(matrix)


def views(
    descriptions: Float[Tensor, "m d"], names: Float[Tensor, "m d"], known: Known, share: float
) -> Float[Tensor, "m 2d"]:
    """A class's texts as one unit vector: the description and, with this share of the whole, the name."""
    described = centred(descriptions, known.descriptions.double().mean(dim=0))
    named = centred(names, known.names.double().mean(dim=0))
    return torch.cat([math.sqrt(1 - share) * described, math.sqrt(share) * named], dim=1)


def gaussian_kernel(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"], width: float) -> Float[Tensor, "m n"]:
    """exp(-|a - b|^2 / 2 width^2)."""
    return torch.exp(-(torch.cdist(a, b) ** 2) / (2 * width**2))


def regressed(
    texts: Float[Tensor, "m e"],
    known_texts: Float[Tensor, "n e"],
    targets: Float[Tensor, "n d"],
    width: float,
    ridge: float,
) -> Float[Tensor, "m d"]:
    """Kernel ridge regression from known texts to targets, at new texts: K(new, known) (K + ridge I)^-1 targets.

    Source: Saunders, Gammerman & Vovk (1998), Ridge regression learning algorithm in dual variables.
    """
    gram = gaussian_kernel(known_texts, known_texts, width)
    weights = torch.linalg.solve(gram + ridge * torch.eye(len(gram)).to(gram), targets)
    found: Tensor = gaussian_kernel(texts, known_texts, width) @ weights
    return found


def mixed_direction(
    regression: Float[Tensor, "m d"],
    description: Float[Tensor, "m d"],
    name: Float[Tensor, "m d"],
    images: Float[Tensor, "m d"] | None,
    config: EditConfig,
) -> Float[Tensor, "m d"]:
    """Unit directions in which a concept's photos are expected: the sources, each of unit length, with their weights."""
    total = normalize(regression, dim=1) + config.description * description + config.name * name
    if images is not None and config.images:
        total = total + config.images * images
    return normalize(total, dim=1)


def directions(known: Known, new: New, config: EditConfig) -> Float[Tensor, "m d"]:
    """Where photos of each new concept lie, from the mean of all images: unit rows.

    Photos of a known class lie towards its name, so the regression learns from known texts (description and name) where
    names lie; at a new concept's texts it answers where photos of the concept would.
    """
    mean = known.names.double().mean(dim=0)
    known_texts = views(known.descriptions, known.names, known, config.name_view)
    texts = views(new.descriptions, new.names, known, config.name_view)
    answer = regressed(texts, known_texts, centred(known.names, mean), config.width, config.ridge)
    described = centred(new.descriptions, known.descriptions.double().mean(dim=0))
    seen = None if new.images is None else centred(new.images, known.images.double().mean(dim=0))
    return mixed_direction(answer, described, centred(new.names, mean), seen, config)


def key_covariance(known: Known, config: EditConfig) -> Float[Tensor, "d d"]:
    """What the key is whitened by: covariances of names and images, each of mean variance 1, mixed and shrunk."""
    total = torch.zeros(known.names.shape[1], known.names.shape[1]).to(known.names.double())
    for rows, share in ((known.names, 1 - config.key_images), (known.images, config.key_images)):
        if share:
            own = covariance(rows)
            total = total + share * own / own.diagonal().mean()
    return shrunk(total, config.key_shrinkage)


def constant_reader(known: Known, shrinkage: float) -> Float[Tensor, " d"]:
    """The vector u with u . mean = 1 whose answer varies least over images and names seen as images: what all images share.

    Where images have a part in common (the cone of a contrastively trained model) it answers 1 to every image.
    """
    mean = known.images.double().mean(dim=0)
    total = covariance(known.images) + scale(known.images, known.names) ** 2 * covariance(known.names)
    found = torch.linalg.solve(shrunk(total, shrinkage), mean)
    reader: Tensor = found / (found @ mean)
    return reader


def common_answer(rows: Float[Tensor, "m d"], images: Float[Tensor, "r d"]) -> Float[Tensor, " m"]:
    """How much of each row's mean answer to images is due to what all images share, and not to which images they are.

    Means far beyond the answers' standard deviation (a cone) count in full, means within it hardly: a set of images has a
    mean of its own, and other images need not share it.
    """
    answers = images.double() @ rows.T
    mean, varies = answers.mean(dim=0), answers.std(dim=0)
    return mean / (1 + (_USUAL * varies / mean.abs().clamp_min(1e-30)) ** 4)


def detectors(
    directions: Float[Tensor, "m d"],
    covariance: Float[Tensor, "d d"],
    images: Float[Tensor, "r d"],
    constant: Float[Tensor, " d"],
) -> Float[Tensor, "m d"]:
    """Whitened detectors k with k . x = 1: linear discriminants that the common part of all images leaves cold.

    `constant` answers 1 to that common part (`constant_reader`); it stands in for the bias that a last layer may lack.

    Source: Fisher (1936); as a key of a zero-shot classifier Romera-Paredes & Torr (2015), ESZSL.
    """
    rows = torch.linalg.solve(covariance, directions.T).T
    rows = rows - common_answer(rows, images)[:, None] * constant
    found: Tensor = rows / (rows * directions).sum(dim=1, keepdim=True)
    return found


def values(names: Float[Tensor, "m d"], known_names: Float[Tensor, "n d"], shrinkage: float) -> Float[Tensor, "m d"]:
    """Directions that raise a new name's score by 1 more than the mean name's, and the other names' hardly.

    S^-1 (t - mean) with the shrunk covariance S of known names, scaled: the value of a rank-one edit of a linear memory.

    Source: Meng et al. (2022), ROME; the sums of edits Meng et al. (2023), MEMIT.
    """
    off = names.double() - known_names.double().mean(dim=0)
    rows = torch.linalg.solve(shrunk(covariance(known_names), shrinkage), off.T).T
    found: Tensor = rows / (rows * off).sum(dim=1, keepdim=True)
    return found


def scale(images: Float[Tensor, "r d"], names: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """How far images lie from their mean, in units of how far names lie from theirs (root mean square)."""
    return (covariance(images).trace() / covariance(names).trace()).sqrt()


def stand_ins(known: Known, towards: float) -> Float[Tensor, "s d"]:
    """Stand-ins for photos of known classes, less the images' mean; each name `_TIMES` times in turn, double precision.

    Each is moved towards its name, and varies by what sets two images and two other names apart: half of the variance is the
    images', half the names', as photos vary in ways of their own and by what else they show. No chance is
    involved, so the same model in other coordinates has the same stand-ins in them.
    """
    images = known.images.double() - known.images.double().mean(dim=0)
    names = scale(known.images, known.names) * (known.names.double() - known.names.double().mean(dim=0))
    at = torch.arange(len(names), device=names.device)
    found = []
    for k in range(_TIMES):
        seen = images[(at + 17 * k) % len(images)] - images[(3 * at + 29 * k + 5) % len(images)]
        shown = names[(3 * at + 101 * k + 7) % len(names)] - names[(7 * at + 307 * k + 1) % len(names)]
        found.append(towards * names + (seen + shown) / 2)
    return torch.cat(found)


class Rivals(NamedTuple):
    """For each embedding the known names that score best, which a new name has to beat."""

    seen: Float[Tensor, "s d"]
    scores: Float[Tensor, "s r"]
    """Less the mean name's."""
    places: Int[Tensor, "s r"]


def rivals(seen: Float[Tensor, "s d"], known: Known, most: int = 64) -> Rivals:
    """The `most` best known names of each embedding (less the images' mean), in double precision; the others lie too far
    behind to matter."""
    off = known.names.double() - known.names.double().mean(dim=0)
    scores = seen.double() @ off.T + common_answer(off, known.images)
    best, places = scores.topk(min(most, len(off)), dim=1)
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

    With v' = v + value (b detector - forget (name - mean)) . v the new name's score is linear in b, and so is each known
    name's; the last crossing is the answer. Embeddings that the new name has already are at most 0. The known name at
    `left_out` does not compete.
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
    config: EditConfig,
) -> Float[Tensor, " m"]:
    """The factor of each detector at which its concept captures the share `price` of the stand-ins."""
    against = rivals(stand_ins(known, config.stand_in_name), known)
    place, forget = max(1, round(config.price * len(against.seen))), config.strength * config.forget_name
    found = [
        critical_strengths(against, known, name, detector, value, forget).kthvalue(place).values
        for name, detector, value in zip(names, detectors, values, strict=True)
    ]
    return torch.stack(found).clamp_min(0)


def concept_edits(known: Known, new: New, config: EditConfig | None = None) -> Edits:
    """Teach all concepts, each by an edit of its own that does not depend on the others, in double precision."""
    config = config or EditConfig()
    where = directions(known, new, config)
    constant = constant_reader(known, config.constant_shrinkage)
    found = detectors(where, key_covariance(known, config), known.images, constant)
    raised = values(new.names, known.names, config.value_shrinkage)
    units = unit_strengths(known, new.names, found, raised, config)
    name = new.names.double() - known.names.double().mean(dim=0)
    return Edits(config.strength * (units[:, None] * found - config.forget_name * name), raised)


def change(edits: Edits) -> Float[Tensor, "d d"]:
    """The matrix U of the map v' = v + U v: what `DualEncoder.remap` takes."""
    return edits.values.T @ edits.keys


def edited(embeddings: Float[Tensor, "n d"], edits: Edits) -> Float[Tensor, "n d"]:
    """Unit embeddings of images after the edits."""
    moved = embeddings.double() + embeddings.double() @ edits.keys.T @ edits.values
    return normalize(moved, dim=1).to(embeddings)
