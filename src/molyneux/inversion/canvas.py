"""What is optimised, and how it becomes an image: canvas values and colour are chosen separately."""

import abc
from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from molyneux.inversion.config import InversionConfig
from molyneux.shapes import Images

Values = Float[Tensor, "n 3 h w"]

# Principal axes of natural colours (luminance, blue-yellow, green-magenta), orthonormal rows, with the
# deviations 1, 0.35 and 0.15 that photographs roughly have along them.
_AXES = torch.tensor([[0.577, 0.577, 0.577], [0.707, 0.0, -0.707], [-0.408, 0.816, -0.408]])
_DEVIATIONS = torch.tensor([1.0, 0.35, 0.15])


class Canvas(abc.ABC):
    """Free values that Adam moves, for all images of one job."""

    @abc.abstractmethod
    def leaves(self) -> list[Tensor]:
        """The tensors to optimise; a new list of new tensors after `advance` returned True."""

    @abc.abstractmethod
    def values(self) -> Values:
        """The canvas at its present resolution, before colour."""

    @abc.abstractmethod
    def advance(self, step: int, steps: int) -> bool:
        """Called before each step; True if the canvas changed its shape, so that the optimiser starts afresh."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Called after each step: bring the values back into their range."""


@final
class Pixels(Canvas):
    """The pixels themselves, from uniform or normal noise, clamped to [0, 1]; grows by bicubic steps (C.1)."""

    def __init__(self, config: InversionConfig, size: int, generators: Sequence[Generator], device: torch.device):
        self._growth = config.growth or ((0.0, size),)
        side = min(self._growth[0][1], size)
        self._size = size
        noise = torch.stack([STARTS[config.start](side, g) for g in generators])
        self._pixels = noise.to(device).requires_grad_()

    def leaves(self) -> list[Tensor]:
        return [self._pixels]

    def values(self) -> Values:
        return self._pixels

    def advance(self, step: int, steps: int) -> bool:
        side = min([side for start, side in self._growth if step >= round(start * steps)][-1], self._size)
        if side == self._pixels.shape[-1]:
            return False
        larger = interpolate(self._pixels.detach(), size=(side, side), mode="bicubic", align_corners=False)
        self._pixels = larger.clamp(0, 1).requires_grad_()
        return True

    def settle(self) -> None:
        with torch.no_grad():
            self._pixels.clamp_(0, 1)


@final
class Pyramid(Canvas):
    """A sum of images of sides 1, 2, 4, ... up to the full side, each free (after Fort & Whitaker, 2025, 2502.07753).

    Coarse images move many pixels with one step, so that shapes come before texture.
    """

    def __init__(self, config: InversionConfig, size: int, generators: Sequence[Generator], device: torch.device):
        sides = [2**power for power in range(size.bit_length()) if 2**power < size] + [size]
        self._gains = [min(1.0, (4 / side) ** config.falloff) for side in sides]
        self._levels = [
            torch.stack([0.3 * torch.randn(3, side, side, generator=g) for g in generators]).to(device).requires_grad_()
            for side in sides
        ]

    def leaves(self) -> list[Tensor]:
        return self._levels

    def values(self) -> Values:
        total: Tensor = self._levels[0] * self._gains[0]
        for level, gain in zip(self._levels[1:], self._gains[1:], strict=True):
            total = interpolate(total, size=level.shape[-2:], mode="bilinear", align_corners=False) + gain * level
        return total

    def advance(self, step: int, steps: int) -> bool:
        del step, steps
        return False

    def settle(self) -> None:
        return


def rgb(values: Values) -> Images:
    """Canvas values as they are."""
    return values


def squashed(values: Values) -> Images:
    """Each channel through a sigmoid."""
    return values.sigmoid()


def decorrelated(values: Values) -> Images:
    """Values along the axes of natural colours, scaled as photographs vary along them, through a sigmoid.

    Source: the idea of Olah, Mordvintsev & Schubert (2017); axes and scales are our own.
    """
    basis = (_AXES * _DEVIATIONS[:, None]).to(values)
    return (basis.T @ values.flatten(2)).view_as(values).mul(2.0).sigmoid()


def uniform(side: int, generator: Generator) -> Float[Tensor, "3 s s"]:
    """Every value in [0, 1] equally likely."""
    return torch.rand(3, side, side, generator=generator)


def normal(side: int, generator: Generator) -> Float[Tensor, "3 s s"]:
    """Mean 0.5 and deviation 0.5, cut to [0, 1], which holds 68 % of the values."""
    return (0.5 + 0.5 * torch.randn(3, side, side, generator=generator)).clamp(0, 1)


STARTS: dict[str, Callable[[int, Generator], Tensor]] = {"uniform": uniform, "normal": normal}
CANVASES: dict[str, type[Pixels] | type[Pyramid]] = {"pixels": Pixels, "pyramid": Pyramid}
COLORS: dict[str, Callable[[Values], Images]] = {"rgb": rgb, "squashed": squashed, "decorrelated": decorrelated}
