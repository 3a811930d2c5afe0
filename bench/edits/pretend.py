# ruff: noqa: E501
"""Pretend that known classes are new: what recall and price to expect of `concept_edits`, without one photo.

Every known class in turn is left out: its texts from the regression, its name from the known names and from the
covariances. All classes are left out in closed form at once, so a thousand take seconds. Recall is scored on synthetic
images of the classes from which what the model learned by their names has been taken (`unlearned`), the price on
stand-ins made of images and names (`edit.stand_ins`).
"""

from dataclasses import dataclass

import torch
from edit import (
    EditConfig,
    Known,
    centred,
    common_answer,
    constant_reader,
    covariance,
    critical_strengths,
    gaussian_kernel,
    key_covariance,
    mixed_direction,
    rivals,
    stand_ins,
    values,
    views,
)
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Of each pretended class, at the configured strength; a class is a row of the known names."""

    classes: Int[Tensor, " m"]
    recall: Float[Tensor, " m"]
    """Share of the class's own images, as if it had not been learned, that its name wins after teaching."""
    price: Float[Tensor, " m"]
    """Share of the other classes' stand-ins that it wins."""
    alignment: Float[Tensor, " m"]
    """Cosine of the direction that was found from texts to where the class's name lies."""


def held_out_regression(
    texts: Float[Tensor, "n e"], targets: Float[Tensor, "n d"], width: float, ridge: float
) -> Float[Tensor, "n d"]:
    """Row i: what `regressed` answers at text i when pair i was not among the pairs it learned from.

    y_i - [G^-1 y]_i / [G^-1]_ii with G = K + ridge I: leaving one out costs no further solution (Wahba, 1990).
    """
    gram = gaussian_kernel(texts, texts, width)
    inverse = torch.linalg.inv(gram + ridge * torch.eye(len(gram)).to(gram))
    found: Tensor = targets - inverse @ targets / inverse.diagonal()[:, None]
    return found


def held_out_directions(known: Known, config: EditConfig) -> Float[Tensor, "n d"]:
    """As `directions`, for every known class without its own pair. The means keep it: a share of 1 in n."""
    texts = views(known.descriptions, known.names, known, config.name_view)
    where = centred(known.names, known.names.double().mean(dim=0))
    answer = held_out_regression(texts, where, config.width, config.ridge)
    described = centred(known.descriptions, known.descriptions.double().mean(dim=0))
    return mixed_direction(answer, described, where, None, config)


def held_out_detectors(directions: Float[Tensor, "n d"], known: Known, config: EditConfig) -> Float[Tensor, "n d"]:
    """As `detectors`, each with a covariance of names that lacks the class's own (Sherman & Morrison, 1950).

    What all images share is read with all names: it has nothing of one class.
    """
    names = known.names.double()
    off = names - names.mean(dim=0)
    share = (1 - config.key_images) / covariance(names).diagonal().mean() / len(names)
    inverse = torch.linalg.inv(key_covariance(known, config))
    own = off @ inverse
    factor = share / (1 - share * (own * off).sum(dim=1))

    rows = directions @ inverse
    rows = rows + own * (factor * (rows * off).sum(dim=1))[:, None]
    rows = rows - common_answer(rows, known.images)[:, None] * constant_reader(known, config.constant_shrinkage)
    found: Tensor = rows / (rows * directions).sum(dim=1, keepdim=True)
    return found


def unlearned(
    images: Float[Tensor, "r d"], classes: Int[Tensor, " r"], known: Known, left: float, shrinkage: float = 0.1
) -> Float[Tensor, "r d"]:
    """Images of known classes, less their mean, as a model would embed them that never learned their names: an edit undone.

    From each image its class's own direction is taken, as much as leaves the class's whitened coefficient at `left` standard
    deviations (over images) on average. Photos of classes that a model never learned have about 1; of learned ones 5.
    """
    names, mean = known.names.double(), known.images.double().mean(dim=0)
    off = (names - names.mean(dim=0))[classes]
    readers = values(names[classes], known.names, shrinkage)
    centred_images = images.double() - mean
    own = (centred_images * readers).sum(dim=1, keepdim=True)
    usual = ((known.images.double() - mean) @ readers.T).std(dim=0).mean()
    share = (1 - left * usual / own.mean()).clamp(0, 1)
    return centred_images - share * own * off


def forecast(known: Known, image_classes: Int[Tensor, " r"], config: EditConfig, *, left: float = 1.0) -> Forecast:
    """Teach every class that has an image as if it were new and score it on its unlearned images and on stand-ins.

    `image_classes` says which known name each of `known.images` was made for. The value is that of all names: leaving
    one out only rescales it.
    """
    names, classes = known.names.double(), torch.tensor(sorted(set(image_classes.tolist())))
    where = held_out_directions(known, config)
    detectors = held_out_detectors(where, known, config)
    raised = values(known.names, known.names, config.value_shrinkage)
    others = rivals(stand_ins(known, config.stand_in_name), known)
    owner = torch.arange(len(names)).repeat(len(others.seen) // len(names))
    images = unlearned(known.images, image_classes, known, left)
    forget, recall, price = config.strength * config.forget_name, [], []
    for c in classes.tolist():
        needed = critical_strengths(others, known, names[c], detectors[c], raised[c], forget, c)
        needed = needed[owner != c]
        place = max(1, round(config.price * len(needed)))
        strength = config.strength * needed.kthvalue(place).values.clamp_min(0)
        own = rivals(images[image_classes == c], known)
        mine = critical_strengths(own, known, names[c], detectors[c], raised[c], forget, c)
        price.append((needed < strength).double().mean())
        recall.append((mine < strength).double().mean())
    towards = centred(known.names, names.mean(dim=0))[classes]
    return Forecast(
        classes=classes,
        recall=torch.stack(recall),
        price=torch.stack(price),
        alignment=(where[classes] * towards).sum(dim=1),
    )
