"""A new concept as a rank-one edit of the shared space, in closed form.

    v' = v + sum_c value_c * (key_c . v)

`v` is an image's embedding before it is normalised. The edit of a concept is computed from embeddings alone:
no optimiser, and no images of the concept unless asked for. `concept_edits` computes it; the functions above it are its
parts, and `strength` says how strong it is. Edits add up, so the order of teaching does not matter, and an edit can be
removed again.

Nothing here depends on where a model keeps its cones: every quantity is built from differences to the mean of its own
kind, from unit vectors and from ratios of scales, so rotating the space, moving or scaling the texts or the images and
changing the temperature change no answer.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from molyneux.teaching.config import Edit
from molyneux.teaching.strength import Known, common_answer, covariance, scale, typical_variance, unit_strengths

WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.6, 1.0, 1.5, 2.0, 4.0)
"""Of a description's own direction, among which each model's known classes choose."""
UNTOLD = 0.15
"""The description's weight where a model's known classes cannot choose one."""


class New(NamedTuple):
    """The concepts to teach, as unit embeddings."""

    names: Float[Tensor, "m d"]
    """In the prompt that names are scored in."""
    descriptions: Float[Tensor, "m d"] | None
    """Of several descriptions of a concept, their mean; None teaches from images alone."""
    images: Float[Tensor, "m d"] | None = None
    """Mean embedding of each concept's images, if there are any."""


class Edits(NamedTuple):
    """Row c is the edit of concept c: v' = v + values.T @ (keys @ v)."""

    keys: Float[Tensor, "m d"]
    values: Float[Tensor, "m d"]


def centred(rows: Float[Tensor, "m d"], mean: Float[Tensor, " d"]) -> Float[Tensor, "m d"]:
    """Unit rows of the differences to a mean: what a text or an image says beyond all of its kind."""
    return normalize(rows.double() - mean.double(), dim=1)


def shrunk(covariance: Float[Tensor, "d d"], share: float) -> Float[Tensor, "d d"]:
    """The covariance plus `share` times its typical variance in every direction.

    Source: Ledoit & Wolf (2004), with another measure of variance.
    """
    return covariance + share * typical_variance(covariance) * torch.eye(len(covariance)).to(covariance)


def views(
    descriptions: Float[Tensor, "m d"], names: Float[Tensor, "m d"], known: Known, share: float
) -> Float[Tensor, "m e"]:
    """A class's texts as one unit vector: the description and, with this share of the whole, the name."""
    described = centred(descriptions, known.descriptions.double().mean(dim=0))
    named = centred(names, known.names.double().mean(dim=0))
    return torch.cat([math.sqrt(1 - share) * described, math.sqrt(share) * named], dim=1)


def gaussian_kernel(a: Float[Tensor, "m d"], b: Float[Tensor, "n d"], width: float) -> Float[Tensor, "m n"]:
    """exp(-|a - b|^2 / 2 width^2)."""
    kernel: Tensor = torch.exp(-torch.cdist(a, b).square() / (2 * width**2))
    return kernel


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
    answer: Tensor = gaussian_kernel(texts, known_texts, width) @ weights
    return answer


def held_out_regression(
    texts: Float[Tensor, "n e"], targets: Float[Tensor, "n d"], width: float, ridge: float
) -> Float[Tensor, "n d"]:
    """Row i: what `regressed` answers at text i when pair i is not among the pairs it learns from.

    y_i - [G^-1 y]_i / [G^-1]_ii with G = K + ridge I: leaving one out costs no further solution.

    Source: Wahba (1990), Spline models for observational data.
    """
    gram = gaussian_kernel(texts, texts, width)
    inverse = torch.linalg.inv(gram + ridge * torch.eye(len(gram)).to(gram))
    found: Tensor = targets - inverse @ targets / inverse.diagonal()[:, None]
    return found


def description_weight(known: Known, config: Edit) -> float:
    """The description's weight: the one that is set, else of `WEIGHTS` the best for known classes.

    The best is the one with which known classes' descriptions lie nearest to their names.

    Each class is treated as new: its pair is left out of the regression, and its name is not looked at. The mean cosine
    over classes decides, so a model that reads descriptions well trusts them more. Where the known descriptions are the
    names themselves, they say nothing about descriptions, and the weight is `UNTOLD`.
    """
    if config.description is not None:
        return config.description
    if torch.equal(known.descriptions, known.names):
        return UNTOLD
    where = centred(known.names, known.names.double().mean(dim=0))
    described = centred(known.descriptions, known.descriptions.double().mean(dim=0))
    answer = normalize(held_out_regression(described, where, config.width, config.ridge), dim=1)
    mixed = [normalize(answer + weight * described, dim=1) for weight in WEIGHTS]
    return WEIGHTS[int(torch.stack([(one * where).sum(dim=1).mean() for one in mixed]).argmax())]


def mixed_direction(
    regression: Float[Tensor, "m d"],
    description: Float[Tensor, "m d"],
    name: Float[Tensor, "m d"],
    images: Float[Tensor, "m d"] | None,
    weight: float,
    config: Edit,
) -> Float[Tensor, "m d"]:
    """Unit directions in which photos of a concept are expected: the weighted sum of the sources' unit directions.

    `weight` is the description's.
    """
    total = normalize(regression, dim=1) + weight * description + config.name * name
    if images is not None and config.images:
        total = total + config.images * images
    return normalize(total, dim=1)


def directions(known: Known, new: New, config: Edit) -> Float[Tensor, "m d"]:
    """Where photos of each new concept lie, from the mean of all images: unit rows.

    Photos of a known class lie towards its name, so the regression learns from known texts (description and name) where
    names lie; at a new concept's texts it answers where photos of the concept would.
    """
    seen = None if new.images is None else centred(new.images, known.images.double().mean(dim=0))
    if new.descriptions is None:
        assert seen is not None
        return seen
    mean = known.names.double().mean(dim=0)
    known_texts = views(known.descriptions, known.names, known, config.name_view)
    texts = views(new.descriptions, new.names, known, config.name_view)
    answer = regressed(texts, known_texts, centred(known.names, mean), config.width, config.ridge)
    described = centred(new.descriptions, known.descriptions.double().mean(dim=0))
    weight = description_weight(known, config)
    return mixed_direction(answer, described, centred(new.names, mean), seen, weight, config)


def key_covariance(known: Known, config: Edit) -> Float[Tensor, "d d"]:
    """What the key is whitened by: covariances of names and images, each of typical variance 1, mixed and shrunk."""
    total = torch.zeros(known.names.shape[1], known.names.shape[1]).to(known.names.double())
    for rows, share in ((known.names, 1 - config.key_images), (known.images, config.key_images)):
        if share:
            own = covariance(rows)
            total = total + share * own / typical_variance(own)
    return shrunk(total, config.key_shrinkage)


def constant_reader(known: Known, shrinkage: float) -> Float[Tensor, " d"]:
    """The vector u with u . mean = 1 whose answer varies least over images, and over names scaled as images.

    Where all images share a part (the cone of a contrastively trained model) it answers 1 to every image.
    """
    mean = known.images.double().mean(dim=0)
    total = covariance(known.images) + scale(known.images, known.names) ** 2 * covariance(known.names)
    answer = torch.linalg.solve(shrunk(total, shrinkage), mean)
    reader: Tensor = answer / (answer @ mean)
    return reader


def detectors(
    directions: Float[Tensor, "m d"],
    covariance: Float[Tensor, "d d"],
    images: Float[Tensor, "r d"],
    constant: Float[Tensor, " d"],
) -> Float[Tensor, "m d"]:
    """Whitened detectors: k . x = 1 at its direction x, and no answer to what all images share.

    `constant` answers 1 to that shared part (`constant_reader`). It stands in for the bias that a last layer may lack.

    Source: Fisher (1936); as a key of a zero-shot classifier Romera-Paredes & Torr (2015), ESZSL.
    """
    rows = torch.linalg.solve(covariance, directions.T).T
    rows = rows - common_answer(rows, images)[:, None] * constant
    scaled: Tensor = rows / (rows * directions).sum(dim=1, keepdim=True)
    return scaled


def values(names: Float[Tensor, "m d"], known_names: Float[Tensor, "n d"], shrinkage: float) -> Float[Tensor, "m d"]:
    """Directions that raise a new name's score by 1 more than the mean name's, and the other names' hardly.

    S^-1 (t - mean), scaled, with the shrunk covariance S of known names.

    Source: Meng et al. (2022), ROME; the sums of edits Meng et al. (2023), MEMIT.
    """
    off = names.double() - known_names.double().mean(dim=0)
    rows = torch.linalg.solve(shrunk(covariance(known_names), shrinkage), off.T).T
    scaled: Tensor = rows / (rows * off).sum(dim=1, keepdim=True)
    return scaled


def concept_edits(known: Known, new: New, config: Edit | None = None) -> Edits:
    """Teach all concepts, each by an edit of its own that does not depend on the others, in double precision."""
    config = config or Edit()
    where = directions(known, new, config)
    constant = constant_reader(known, config.value_shrinkage)
    found = detectors(where, key_covariance(known, config), known.images, constant)
    raised = values(new.names, known.names, config.value_shrinkage)
    units = unit_strengths(known, new.names, found, raised, config)
    name = new.names.double() - known.names.double().mean(dim=0)
    return Edits(config.strength * (units[:, None] * found - config.forget_name * name), raised)


def change(edits: Edits) -> Float[Tensor, "d d"]:
    """The matrix U of the map v' = v + U v: what `DualEncoder.merge` takes."""
    return edits.values.T @ edits.keys


def edited(embeddings: Float[Tensor, "n d"], edits: Edits) -> Float[Tensor, "n d"]:
    """Unit embeddings of images after the edits."""
    moved = embeddings.double() + embeddings.double() @ edits.keys.T @ edits.values
    return normalize(moved, dim=1).to(embeddings)
