"""What pictures should look like before any text is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molyneux.shapes import Images, Scores


def total_variation(images: Images) -> Scores:
    """Mean absolute difference between neighbouring pixels, per picture.

    A mean, not a sum, so one weight serves every resolution. Zero for a flat picture; at most 2 for
    pixels in [0, 1].

    Source: Rudin, Osher & Fatemi (1992), anisotropic form.

    >>> total_variation(torch.ones(2, 3, 8, 8))
    tensor([0., 0.])
    """
    rows = (images[..., 1:, :] - images[..., :-1, :]).abs()
    columns = (images[..., :, 1:] - images[..., :, :-1]).abs()
    return rows.mean(dim=(1, 2, 3)) + columns.mean(dim=(1, 2, 3))


def frobenius_variation(images: Images) -> Scores:
    """Four Frobenius norms of neighbour differences (rows, columns, both diagonals), per picture.

    For each channel the norm over all pixels, not squared and not divided by their number, so its pull
    grows with the resolution; channels are averaged and the four directions added. Zero for a flat picture.

    Source: the form used by Kazemi et al. (2024) and by the paper's authors.
    """
    differences = (
        images[..., :, 1:] - images[..., :, :-1],
        images[..., 1:, :] - images[..., :-1, :],
        images[..., 1:, 1:] - images[..., :-1, :-1],
        images[..., 1:, :-1] - images[..., :-1, 1:],
    )
    # the constant keeps the gradient of a flat picture finite
    norms = [(d.square().sum(dim=(-2, -1)) + 1e-12).sqrt().mean(dim=-1) for d in differences]
    return torch.stack(norms).sum(dim=0)


@contextmanager
def batch_norm_inputs(layers: Sequence[nn.BatchNorm2d]) -> Iterator[list[Tensor]]:
    """While open, collect what each layer receives, in order of the calls; the list is the caller's to clear.

    A tower that computes in half precision is heard in single precision.
    """
    seen: list[Tensor] = []

    def remember(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        del module
        seen.append(arguments[0].float())

    handles = [layer.register_forward_pre_hook(remember) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def statistics_distance(
    inputs: Sequence[Float[Tensor, "n _ _ _"]], layers: Sequence[nn.BatchNorm2d]
) -> Float[Tensor, ""]:
    """How far the pictures' statistics are from what each batch-norm layer met in training.

    Per layer and channel: squared difference of the means in units of the trained deviation, plus the
    squared relative difference of the deviations; averaged over channels, then over layers. Zero when all
    statistics agree. Taken over all pictures given, so they must be the pictures of one job.

    Source: after Yin et al. (2020), DeepInversion, made free of scale.
    """
    distances = []
    for layer_input, layer in zip(inputs, layers, strict=True):
        running_mean, running_var = layer.running_mean, layer.running_var
        assert running_mean is not None
        assert running_var is not None
        deviation = (running_var + layer.eps).sqrt()
        mean, square = _Moments.apply(layer_input)
        off_mean = ((mean - running_mean) / deviation).square()
        own_deviation = (square - mean.square() + layer.eps).clamp(min=layer.eps).sqrt()
        distances.append((off_mean + (own_deviation / deviation - 1).square()).mean())
    return torch.stack(distances).mean()


class _Moments(torch.autograd.Function):
    """Mean and mean square of each channel, in two passes forward and one backward.

    `torch.var_mean` and its gradient cost as much as the whole tower here.
    """

    @staticmethod
    def forward(ctx: Any, layer_input: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(layer_input)
        count = layer_input.numel() // layer_input.shape[1]
        mean = layer_input.sum(dim=(0, 2, 3)) / count
        square = torch.linalg.vector_norm(layer_input, dim=(0, 2, 3)).square() / count
        return mean, square

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (layer_input,) = ctx.saved_tensors
        count = layer_input.numel() // layer_input.shape[1]
        of_mean, of_square = ((g / count).view(1, -1, 1, 1) for g in gradients)
        return torch.addcmul(of_mean.expand_as(layer_input), layer_input, 2 * of_square)
