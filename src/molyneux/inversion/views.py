"""Random views of images: every image its own draw, from its own generator, in one resampling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

from molyneux.inversion.config import InversionConfig
from molyneux.shapes import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The random numbers behind one batch of views, so that a view can be repeated exactly."""

    matrices: Float[Tensor, "n 2 3"]
    shift: Float[Tensor, "n 3 1 1"]
    gain: Float[Tensor, "n 3 1 1"]
    noise: Float[Tensor, "n 3 s s"] | None


def draw_views(config: InversionConfig, size: int, noise: float, generators: Sequence[Generator]) -> Draw:
    """Draw one view per generator; `noise` is the present deviation of the noise."""
    matrices, shifts, gains, noises = [], [], [], []
    for generator in generators:
        u = torch.rand(5, generator=generator).tolist()
        matrices.append(_matrix(config, u) if u[0] < config.affine_probability else _IDENTITY)
        if config.color_shift:
            color = config.color_shift * (2 * torch.rand(2, 3, 1, 1, generator=generator) - 1)
            shifts.append(color[0])
            gains.append(color[1].exp())
        if noise:
            noises.append(noise * torch.randn(3, size, size, generator=generator))
    count = len(matrices)
    return Draw(
        matrices=torch.tensor(matrices),
        shift=torch.stack(shifts) if shifts else torch.zeros(count, 3, 1, 1),
        gain=torch.stack(gains) if gains else torch.ones(count, 3, 1, 1),
        noise=torch.stack(noises) if noises else None,
    )


def view(images: Images, draw: Draw, size: int) -> Tensor:
    """The views (n, 3, size, size): affine map, resize and repeated borders in one bilinear resampling.

    Colour shift and noise may leave [0, 1] slightly.
    """
    matrices = draw.matrices.to(images)[..., None, None]
    centres = (2 * torch.arange(size, device=images.device, dtype=images.dtype) + 1) / size - 1
    grid = matrices[:, :, 0] * centres + matrices[:, :, 1] * centres[:, None] + matrices[:, :, 2]
    # clamped to the border pixels' centres, zero padding equals border padding, which not every device has
    limit = images.new_tensor([1 - 1 / images.shape[-1], 1 - 1 / images.shape[-2]]).view(2, 1, 1)
    places = grid.clamp(-limit, limit).permute(0, 2, 3, 1)
    warped = grid_sample(images, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    colored = (warped - 0.5 - draw.shift.to(images)) * draw.gain.to(images) + 0.5
    seen = colored if draw.noise is None else colored + draw.noise.to(images)
    # convolutions are a fifth faster on this layout, forward and back
    return seen.contiguous(memory_format=torch.channels_last)


_IDENTITY = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def _matrix(config: InversionConfig, u: list[float]) -> list[list[float]]:
    angle = math.radians(config.rotation) * (2 * u[1] - 1)
    low, high = config.scale
    zoom = low + (high - low) * u[4]
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    if config.shift == "view":
        # the view moves after it was turned and scaled: x -> x + t there is A x - A t here
        x, y = (2 * config.translation * (2 * v - 1) for v in u[2:4])
        return [[cos, sin, -cos * x - sin * y], [-sin, cos, sin * x - cos * y]]
    # the side is 2 in grid units; a view that is zoomed in may lie anywhere in the image
    reach = 2 * config.translation + max(0.0, 1 - 1 / zoom)
    across, down = (reach * (2 * v - 1) for v in u[2:4])
    return [[cos, sin, across], [-sin, cos, down]]
