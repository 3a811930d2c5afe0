"""The vision tower with its frozen batch norm inside its convolutions: the same answers for half the work."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from molyneux.backends.base import DualEncoder, VisionLanguageModel

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]

_TOLERANCE = 1e-5
"""Largest difference of an embedding's entries by which a folded tower still counts as the same."""

_SMALLEST_GAIN = 1e-4
"""A layer with a channel whose gain is a smaller share of its values is not folded: rounding would hide what it
received."""


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """What a batch-norm layer received in training, channel by channel, in the units of what it receives now."""

    mean: Float[Tensor, " c"]
    deviation: Float[Tensor, " c"]
    eps: Float[Tensor, " c"]
    """What was added to the variance."""

    @classmethod
    def of(cls, layer: nn.BatchNorm2d) -> "LayerStatistics":
        """The layer's own, as it stands."""
        mean, variance = layer.running_mean, layer.running_var
        assert mean is not None
        assert variance is not None
        return cls(mean, (variance + layer.eps).sqrt(), torch.full_like(variance, layer.eps))

    def scaled(self, layer: nn.BatchNorm2d) -> "LayerStatistics":
        """The same where the layer receives what it would have given."""
        gain = layer.weight.detach().abs()
        return LayerStatistics(layer.bias.detach(), gain, self.eps * (gain / self.deviation).square())


@contextmanager
def folded(model: VisionLanguageModel) -> Iterator[list[LayerStatistics]]:
    """Within the block each convolution of a frozen vision tower does what the batch norm behind it does, which rests.

    Yields what to expect at each of `vision_batch_norms`. The weights are put back at the end. A tower without batch
    norm, one that computes in half precision, and one whose answers would change, stay as they are.
    """
    layers = model.vision_batch_norms()
    plain = [LayerStatistics.of(layer) for layer in layers]
    with ExitStack() as stack:
        expected = plain
        if isinstance(model, DualEncoder) and layers and model.precision == "fp32":
            images = torch.rand(2, 3, *[model.inversion_size] * 2, generator=torch.Generator().manual_seed(0))
            images = images.to(next(model.vision_module().parameters())).contiguous(memory_format=torch.channels_last)
            pairs = _pairs(model, layers, images)
            if pairs and _same(model, pairs, images):
                stack.enter_context(_in_place(pairs))
                inside = {layer for _, layer in pairs}
                expected = [
                    own.scaled(layer) if layer in inside else own for layer, own in zip(layers, plain, strict=True)
                ]
        yield expected


@torch.no_grad()
def _pairs(model: DualEncoder, layers: Sequence[nn.BatchNorm2d], images: Tensor) -> list[Pair]:
    """Layers in evaluation mode that receive a convolution's output as it is, both called once in a pass."""
    made: list[tuple[nn.Conv2d, Tensor]] = []
    calls: list[tuple[nn.Module, nn.Conv2d | None]] = []

    def remember(module: nn.Module, arguments: Any, output: Tensor) -> None:
        del arguments
        assert isinstance(module, nn.Conv2d)
        made.append((module, output))
        calls.append((module, None))

    def meet(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        source = next((convolution for convolution, output in made if output is arguments[0]), None)
        calls.append((module, source))

    convolutions = [module for module in model.vision_module().modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_hook(remember) for module in convolutions]
    handles += [layer.register_forward_pre_hook(meet) for layer in layers]
    try:
        model.embed_images(images)
    finally:
        for handle in handles:
            handle.remove()
    met = [module for module, _ in calls]
    return [
        (source, layer)
        for layer, source in calls
        if isinstance(layer, nn.BatchNorm2d) and source is not None and met.count(layer) == met.count(source) == 1
        if not layer.training and layer.affine and layer.running_var is not None and _audible(layer)
    ]


def _audible(layer: nn.BatchNorm2d) -> bool:
    gain, shift = layer.weight.detach().abs(), layer.bias.detach().abs()
    return bool((gain > _SMALLEST_GAIN * (gain + shift)).all())


@torch.no_grad()
def _same(model: DualEncoder, pairs: Sequence[Pair], images: Tensor) -> bool:
    before = model.embed_images(images)
    with _in_place(pairs):
        after = model.embed_images(images)
    return bool((after - before).abs().max() <= _TOLERANCE)


@contextmanager
def _in_place(pairs: Sequence[Pair]) -> Iterator[None]:
    parts: Sequence[tuple[Any, Any]] = pairs
    kept = [(convolution, convolution.weight, convolution.bias) for convolution, _ in parts]
    activations: list[Any] = [part for _, layer in pairs for part in layer.modules() if getattr(part, "inplace", False)]
    try:
        for part in activations:
            part.inplace = False
        for convolution, layer in parts:
            statistics = (layer.running_mean, layer.running_var, layer.eps, layer.weight, layer.bias)
            found = fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics)
            convolution.weight, convolution.bias = (
                nn.Parameter(value.detach(), requires_grad=False) for value in found
            )
            layer.forward = _rest(layer)
            if _pointwise(convolution):
                convolution.forward = _product(convolution)
        yield
    finally:
        for part in activations:
            part.inplace = True
        for convolution, weight, bias in kept:
            convolution.weight, convolution.bias = weight, bias
        for module in (module for pair in pairs for module in pair):
            vars(module).pop("forward", None)


def _rest(layer: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """What a layer does after it has normalised: timm's have an activation of their own."""
    parts = nn.Sequential(*layer.children())

    def forward(received: Tensor) -> Tensor:
        made: Tensor = parts(received)
        # what follows may write into it, and what was received is still to be looked at
        return made.clone() if made is received else made

    return forward


def _pointwise(convolution: nn.Conv2d) -> bool:
    plain = (convolution.kernel_size, convolution.stride, convolution.groups) == ((1, 1), (1, 1), 1)
    return plain and convolution.padding in ((0, 0), "same", "valid") and convolution.weight.device.type == "cpu"


def _product(convolution: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    weight, bias = convolution.weight.flatten(1), convolution.bias
    return lambda images: _Product.apply(images, weight, bias)


class _Product(torch.autograd.Function):
    """A 1 x 1 convolution as one product of matrices over all places, whose weights stay.

    On one core this is a third faster than the convolution, which goes image by image.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.weight = weight
        return _images(torch.addmm(bias, _places(images), weight.T), images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _images(_places(gradient) @ ctx.weight, gradient), None, None


def _places(images: Tensor) -> Tensor:
    """A row for each place of each image: a view, in the layout with channels last."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _images(places: Tensor, like: Tensor) -> Tensor:
    return places.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)
