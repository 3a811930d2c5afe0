"""The settings of inversion; importing this needs no torch."""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

from molyneux.arguments import check_fields
from molyneux.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class InversionConfig:
    """How a description becomes images. The defaults are Molyneux's own; see `paper` and `authors_code`."""

    images: int = 10
    """Images per concept."""
    steps: int = 100
    """Optimiser steps."""
    size: int = 0
    """Side of the finished image in pixels; 0 takes the model's inversion size."""
    view: int = 0
    """Side of the views that the tower sees while inverting; 0 takes the model's inversion size."""
    canvas: Literal["pixels", "pyramid"] = "pyramid"
    """What is optimised: the pixels, or a sum of images of every resolution."""
    start: Literal["uniform", "normal"] = "uniform"
    """Pixel canvas only: noise that the pixels start from. 'normal' is 0.5 + 0.5 z with z from N(0, 1), cut to [0, 1]:
    N(0, 1) where a model normalises with mean 0.5 and deviation 0.5, as ViLT does, cut to that model's range."""
    falloff: float = 0.25
    """Pyramid only: how the reach of a step falls with the side s, as (4 / s) to this power above 4 pixels."""
    color: Literal["rgb", "squashed", "decorrelated"] = "decorrelated"
    """How canvas values become RGB: as they are, through a sigmoid, or through a natural colour basis and a sigmoid."""
    learning_rate: float = 0.06
    """Adam's step size."""
    schedule: Literal["cosine", "constant", "restarts"] = "cosine"
    """Cosine to zero over the run, constant, or the authors' cosine that restarts whenever the canvas grows and falls
    to zero in a third of the last stage's steps."""
    growth: tuple[tuple[float, int], ...] = ()
    """Pixel canvas only: (fraction of the run, side) from which the canvas has that side; empty keeps full size."""
    descriptions: Literal["mean", "each", "turns"] = "mean"
    """What an image is compared with where a concept has several descriptions: their mean direction; each of them,
    averaged, as Eq. 3 reads; or one of them, the images taking turns, as in the authors' files."""
    similarity: Literal["cosine", "distance"] = "cosine"
    """For models with separate embeddings: the cosine, or minus the L2 distance of embeddings that are not normalised,
    as in the authors' code. What is reported as similarity is what was chosen here."""
    joint: float = 2.0
    """Weight of the similarity of the images' mean embedding: they learn to cancel each other's accidents."""
    affine_probability: float = 1.0
    """Share of views that are turned, moved and scaled."""
    rotation: float = 30.0
    """Largest rotation in degrees, either way."""
    translation: float = 0.1
    """Largest shift as a share of the side, either way."""
    shift: Literal["image", "view"] = "image"
    """What that side is. 'image': of the image, and a view that is zoomed in may lie anywhere in it. 'view': of the
    view, whatever the zoom, as in the authors' code."""
    scale: tuple[float, float] = (0.7, 1.2)
    """Range of the zoom; below 1 the image shrinks and its border is repeated."""
    color_shift: float = 0.1
    """Largest random shift of each channel, and of the logarithm of its gain."""
    noise: float = 0.05
    """Standard deviation of the noise added to each view, falling linearly to zero over the run."""
    total_variation: float = 0.0
    """Weight of the total variation of the images."""
    variation_norm: Literal["mean", "frobenius"] = "mean"
    """Mean absolute difference of neighbours, or the authors' four Frobenius norms that grow with the resolution."""
    batch_norm: float = 0.2
    """Weight of the distance to the vision tower's own batch-norm statistics; no effect where it has none."""
    block: int = 0
    """With --images-from hidden: the hidden state that is optimised instead of images (Eq. 5), after so many blocks of
    the vision tower; 0 takes two thirds of a transformer's, all but one of a convolutional network's."""
    statistics: float = 1.0
    """With --images-from hidden: weight of the distance to the statistics of known classes' hidden states."""
    gradient_clip: float = 0.0
    """Largest norm of the gradient of all images together; 0 leaves it."""
    trace_every: int = 25
    """Steps between two measurements of the similarity."""

    def __post_init__(self) -> None:
        check_fields(self, "inversion")
        for name in ("images", "steps", "trace_every"):
            _check(self, name, getattr(self, name) >= 1, "a whole number of at least 1")
        _check(self, "block", self.block >= 0, "0, or a block's number")
        for name in ("size", "view"):
            _check(self, name, getattr(self, name) == 0 or getattr(self, name) >= 16, "0 or at least 16")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float):
                _check(self, field.name, math.isfinite(value) and value >= 0, "a finite number of at least 0")
        _check(self, "affine_probability", self.affine_probability <= 1, "a share between 0 and 1")
        low, high = self.scale
        _check(self, "scale", 0 < low <= high < math.inf, "two positive numbers, the smaller first")
        starts = [start for start, _ in self.growth]
        rising = starts == sorted(set(starts)) and all(0 <= start < 1 and side >= 4 for start, side in self.growth)
        _check(self, "growth", not starts or (starts[0] == 0 and rising), "rising fractions from 0, sides of 4 or more")

    @classmethod
    def paper(cls, steps: int = 5000) -> "InversionConfig":
        """The paper's setting (C.1): pixels from noise, Adam 0.1, random affine of half the views, total variation.

        The canvas grows 64 -> 128 -> 224 at the authors' 900 and 1,800 of 5,000 steps, here fractions of the run.
        Several descriptions are compared with each, as Eq. 3 is written; the paper itself has one for a concept.
        """
        return cls(
            steps=steps,
            size=224,
            view=224,
            canvas="pixels",
            color="rgb",
            learning_rate=0.1,
            schedule="cosine",
            joint=0.0,
            color_shift=0.0,
            noise=0.0,
            batch_norm=0.0,
            growth=((0.0, 64), (0.18, 128), (0.36, 224)),
            descriptions="each",
            affine_probability=0.5,
            shift="view",
            scale=(0.7, 1.0),
            total_variation=0.005,
            variation_norm="frobenius",
            gradient_clip=1.0,
            trace_every=max(1, steps // 20),
        )

    @classmethod
    def authors_code(cls, steps: int = 3000) -> "InversionConfig":
        """What the authors' released script does, with its cosine annealing on; docs/paper.md says where this differs.

        Distances of embeddings that are not normalised, zoom up to 1.2, a cosine of 400 steps that restarts at each
        growth. The script grows at its steps 900 and 1,800 however many there are; here these are shares of the run.
        """
        return replace(
            cls.paper(steps),
            schedule="restarts",
            descriptions="turns",
            similarity="distance",
            growth=((0.0, 64), (899 / 3000, 128), (1799 / 3000, 224)),
            scale=(0.7, 1.2),
        )

    @classmethod
    def paper_vilt(cls, steps: int = 5000) -> "InversionConfig":
        """The paper's setting for ViLT (C.3.1): as `paper`, but from normal noise and without affine views.

        What is climbed is the model's log-probability of a match, whose negative is the paper's cross-entropy.
        """
        return replace(cls.paper(steps), start="normal", affine_probability=0.0)


def _check(config: InversionConfig, name: str, fine: bool, expected: str) -> None:
    if not fine:
        raise ConfigError(f"inversion.{name} is {getattr(config, name)!r}: expected {expected}")
