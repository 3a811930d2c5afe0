"""What images should look like before any text is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molyneux.backends.folding import LayerStatistics
from molyneux.shapes import Images, Scores

Moments = tuple[Float[Tensor, " _"], Float[Tensor, " _"]]
"""Mean and variance of each channel."""


def total_variation(images: Images) -> Scores:
    """Mean absolute difference between neighbouring pixels, per image.

    A mean, not a sum, so one weight serves every resolution. Zero for a flat image; at most 2 for
    pixels in [0, 1].

    Source: Rudin, Osher & Fatemi (1992), anisotropic form.

    >>> total_variation(torch.ones(2, 3, 8, 8))
    tensor([0., 0.])
    """
    rows = (images[..., 1:, :] - images[..., :-1, :]).abs()
    columns = (images[..., :, 1:] - images[..., :, :-1]).abs()
    return rows.mean(dim=(1, 2, 3)) + columns.mean(dim=(1, 2, 3))


def frobenius_variation(images: Images) -> Scores:
    """Four Frobenius norms of neighbour differences (rows, columns, both diagonals), per image.

    For each channel the norm over all pixels, not squared and not divided by their number, so its pull
    grows with the resolution; channels are averaged and the four directions added. Zero for a flat image.

    Source: the form used by Kazemi et al. (2024) and by the paper's authors.
    """
    differences = (
        images[..., :, 1:] - images[..., :, :-1],
        images[..., 1:, :] - images[..., :-1, :],
        images[..., 1:, 1:] - images[..., :-1, :-1],
        images[..., 1:, :-1] - images[..., :-1, 1:],
    )
    # the constant keeps the gradient of a flat image finite
    norms = [(d.square().sum(dim=(-2, -1)) + 1e-12).sqrt().mean(dim=-1) for d in differences]
    return torch.stack(norms).sum(dim=0)


@contextmanager
def batch_norm_moments(layers: Sequence[nn.BatchNorm2d]) -> Iterator[list[Moments]]:
    """While open, collect the moments of what each layer receives, in order of the calls.

    A tower that computes in half precision is heard in single precision.
    """
    seen: list[Moments] = []

    def remember(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        del module
        received = arguments[0]
        seen.append(_Moments.apply(received.float() if received.dtype.itemsize < 4 else received))

    handles = [layer.register_forward_pre_hook(remember) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def statistics_distance(seen: Sequence[Moments], expected: Sequence[LayerStatistics]) -> Float[Tensor, ""]:
    """How far the images' statistics are from what each batch-norm layer met in training.

    Per layer and channel: squared difference of the means in units of the trained deviation, plus the
    squared relative difference of the deviations; averaged over channels, then over layers. Zero when all
    statistics agree. Taken over all images given, so they must be the images of one job.

    Source: after Yin et al. (2020), DeepInversion, made free of scale.
    """
    mean, variance = (torch.cat(values) for values in zip(*seen, strict=True))
    wanted, deviation, eps = (
        torch.cat([getattr(layer, name) for layer in expected]) for name in ("mean", "deviation", "eps")
    )
    off_mean = ((mean - wanted) / deviation).square()
    off_deviation = ((variance + eps).sqrt() / deviation - 1).square()
    parts = (off_mean + off_deviation).split([len(layer.mean) for layer in expected])
    return torch.stack([part.mean() for part in parts]).mean()


class _Moments(torch.autograd.Function):
    """Mean and (biased) variance of each channel, in one call forward and one backward.

    `torch.var_mean` and its gradient cost as much as the whole tower on the CPU.
    """

    @staticmethod
    def forward(ctx: Any, layer_input: Tensor) -> Moments:
        if layer_input.device.type == "cpu":
            mean, variance = torch.batch_norm_update_stats(layer_input, None, None, 0.0)
        else:
            variance, mean = torch.var_mean(layer_input, dim=(0, 2, 3), correction=0)
        ctx.save_for_backward(layer_input, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        layer_input, mean = ctx.saved_tensors
        share = len(mean) / layer_input.numel()
        of_mean, of_variance = (gradient * share for gradient in gradients)
        slope = 2 * of_variance
        constant = of_mean - slope * mean
        return torch.addcmul(constant.view(1, -1, 1, 1).expand_as(layer_input), layer_input, slope.view(1, -1, 1, 1))
