"""The published inversion as anybody would first write it: what speed is compared with.

One image at a time, thirteen augmented copies of it in every step, an affine map and then a resizing, each an
interpolation of its own, and weights that still ask for gradients. The algorithm is that of Kazemi et al. (2024) as
their script runs: Adam 0.1 at a constant rate for 3,400 steps, sides 64, 128 and 224 from steps 0, 900 and 1,800, the
distance of unit embeddings plus 0.005 times four norms of neighbour differences, gradient norm at most 1.
Their script also leaves autograd's search for anomalies on, which is left out here.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from molyneux.backends.base import DualEncoder

STAGES = ((64, 900), (128, 900), (224, 1600))
"""Sides and how many steps they last."""
COPIES = 13


class PlainInversion:
    """One image between two steps."""

    def __init__(self, model: DualEncoder, target: Tensor, side: int, generator: Generator) -> None:
        model.native.requires_grad_(True)
        self.model, self.target, self.generator = model, target, generator
        self.pixels = torch.rand(1, 3, side, side, generator=generator).requires_grad_()
        self.optimiser = torch.optim.Adam([self.pixels], lr=0.1)

    def step(self) -> float:
        """One step; the loss before it."""
        copies = self.pixels.repeat(COPIES, 1, 1, 1)
        grid = affine_grid(self.matrices(), list(copies.shape), align_corners=False)
        turned = grid_sample(copies, grid, padding_mode="border", align_corners=False)
        size = self.model.image_size
        seen = interpolate(turned, size=(size, size), mode="bicubic", align_corners=False)
        embedded = self.model.project(self.model.features(seen))
        loss = (embedded - self.target).norm(dim=1).mean() + 0.005 * variation(self.pixels)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([self.pixels], 1.0)
        with torch.no_grad():
            self.pixels.clamp_(0, 1)
        self.optimiser.step()
        return float(loss.detach())

    def matrices(self) -> Tensor:
        """For each copy, with probability one half, up to 30 degrees, a tenth of the side, zoom 0.7 to 1.2."""
        found = torch.eye(2, 3).repeat(COPIES, 1, 1)
        for matrix in found:
            chance, angle, across, down, zoom = torch.rand(5, generator=self.generator).tolist()
            if chance < 0.5:
                turn, scale = math.radians(60 * angle - 30), 0.7 + 0.5 * zoom
                cos, sin = math.cos(turn) / scale, math.sin(turn) / scale
                matrix.copy_(torch.tensor([[cos, sin, 0.4 * across - 0.2], [-sin, cos, 0.4 * down - 0.2]]))
        return found


def variation(pixels: Tensor) -> Tensor:
    """Four norms of neighbour differences, averaged over channels."""
    differences = (
        pixels[..., :, 1:] - pixels[..., :, :-1],
        pixels[..., 1:, :] - pixels[..., :-1, :],
        pixels[..., 1:, 1:] - pixels[..., :-1, :-1],
        pixels[..., 1:, :-1] - pixels[..., :-1, 1:],
    )
    return torch.stack([(d.square().sum(dim=(-2, -1)) + 1e-12).sqrt().mean() for d in differences]).sum()
