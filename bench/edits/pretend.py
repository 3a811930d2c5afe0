"""Pretend that known classes are new: what recall and price to expect of the default lesson, without one photo.

    python bench/edits/pretend.py --model mini

Every known class in turn is left out: its texts from the regression, its name from the known names and from the
covariances. All classes are left out in closed form at once, so a thousand take seconds. Recall is scored on synthetic
images of the classes from which what the model learned by their names has been taken (`unlearned`), the price on
stand-ins made of images and names (`edit.stand_ins`).
"""

import argparse
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from molyneux import load
from molyneux.backends.base import dual_encoder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.images.replay import replay_images
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.teaching.config import Edit, TeachingConfig
from molyneux.teaching.descriptions import known_texts
from molyneux.teaching.edit import (
    centred,
    constant_reader,
    description_weight,
    held_out_regression,
    key_covariance,
    mixed_direction,
    values,
    views,
)
from molyneux.teaching.objectives.edit import known_embeddings
from molyneux.teaching.strength import (
    Known,
    common_answer,
    covariance,
    critical_strengths,
    rivals,
    stand_ins,
    typical_variance,
)

STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)


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


def held_out_directions(known: Known, config: Edit) -> Float[Tensor, "n d"]:
    """As `directions`, for every known class without its own pair. The means keep it: a share of 1 in n."""
    texts = views(known.descriptions, known.names, known, config.name_view)
    where = centred(known.names, known.names.double().mean(dim=0))
    answer = held_out_regression(texts, where, config.width, config.ridge)
    described = centred(known.descriptions, known.descriptions.double().mean(dim=0))
    weight = description_weight(known, config)
    return mixed_direction(answer, described, where, None, weight, config)


def held_out_detectors(directions: Float[Tensor, "n d"], known: Known, config: Edit) -> Float[Tensor, "n d"]:
    """As `detectors`, each with a covariance of names that lacks the class's own (Sherman & Morrison, 1950).

    What all images share is read with all names: it has nothing of one class.
    """
    names = known.names.double()
    off = names - names.mean(dim=0)
    share = (1 - config.key_images) / typical_variance(covariance(names)) / len(names)
    inverse = torch.linalg.inv(key_covariance(known, config))
    own = off @ inverse
    factor = share / (1 - share * (own * off).sum(dim=1))

    rows = directions @ inverse
    rows = rows + own * (factor * (rows * off).sum(dim=1))[:, None]
    rows = rows - common_answer(rows, known.images)[:, None] * constant_reader(known, config.value_shrinkage)
    found: Tensor = rows / (rows * directions).sum(dim=1, keepdim=True)
    return found


def unlearned(
    images: Float[Tensor, "r d"], classes: Int[Tensor, " r"], known: Known, left: float, shrinkage: float = 0.02
) -> Float[Tensor, "r d"]:
    """Images of known classes, less their mean, as of a model that never learned their names: an edit undone.

    From each image its class's own direction is taken, as much as leaves the class's whitened coefficient at `left`
    standard deviations (over images) on average. Photos of classes that a model never learned have about 1, of
    learned ones 5.
    """
    names, mean = known.names.double(), known.images.double().mean(dim=0)
    off = (names - names.mean(dim=0))[classes]
    readers = values(names[classes], known.names, shrinkage)
    centred_images = images.double() - mean
    own = (centred_images * readers).sum(dim=1, keepdim=True)
    usual = ((known.images.double() - mean) @ readers.T).std(dim=0).mean()
    share = (1 - left * usual / own.mean()).clamp(0, 1)
    return centred_images - share * own * off


def forecast(known: Known, image_classes: Int[Tensor, " r"], config: Edit, *, left: float = 1.0) -> Forecast:
    """Teach every class that has an image as if it were new and score it on its unlearned images and on stand-ins.

    `image_classes` says which known name each of `known.images` was made for. The value is that of all names: leaving
    one out only rescales it.
    """
    names, classes = known.names.double(), torch.tensor(sorted(set(image_classes.tolist())))
    where = held_out_directions(known, config)
    detectors = held_out_detectors(where, known, config)
    raised = values(known.names, known.names, config.value_shrinkage)
    others = rivals(stand_ins(known), known)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    model = dual_encoder(load(given.model), "pretending")
    load_known_texts(model, imagenet_names(), TeachingConfig())
    replay = replay_images(model)
    names = list(known_texts(model, imagenet_names()))
    classes = torch.tensor([names.index(one.concept.name) for one in replay for _ in range(len(one))])
    with torch.no_grad():
        known = known_embeddings(model, imagenet_names(), (), replay)
        for strength in STRENGTHS:
            found = forecast(known, classes, replace(Edit(), strength=strength))
            recall, price = found.recall.mean(), found.price.mean()
            print(f"strength {strength:g}: recall {recall:.3f}, price {price:.4f}, {len(found.classes)} classes")


if __name__ == "__main__":
    main()
