"""Vision towers of transformers' dual encoders, each cut in two at the last place where an image is one vector."""

import abc
import inspect
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molyneux.backends.division import Chain, Step, timm_chain, undivided
from molyneux.errors import ModelError
from molyneux.shapes import Features


class VisionTower(abc.ABC):
    """`head(trunk(pixels))` is what the vendor's `get_image_features` gives, before it is made unit length."""

    @abc.abstractmethod
    def trunk(self, pixels: Tensor) -> Features:
        """Normalised images (n, 3, h, w) to one vector each."""

    @abc.abstractmethod
    def chain(self) -> Chain:
        """`trunk`, block by block.

        Raises:
            ModelError: if the tower is not known so.
        """

    @abc.abstractmethod
    def head(self, features: Features) -> Float[Tensor, "n d"]:
        """Vectors to the shared space."""

    @abc.abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The trunk's weights, in order: what comes before the first layer, the layers, the rest with the last."""

    @abc.abstractmethod
    def head_module(self) -> nn.Module:
        """The weights that `head` uses."""

    @abc.abstractmethod
    def module(self) -> nn.Module:
        """All weights of the tower."""

    @abc.abstractmethod
    def last_layer(self) -> nn.Linear | None:
        """The linear map whose output is `head`'s, None where something is added to it."""


@final
class ProjectedTower(VisionTower):
    """A tower with one pooled vector and a linear map behind it: CLIP, and any VisionTextDualEncoder."""

    def __init__(self, native: Any) -> None:
        self._vision: nn.Module = native.vision_model
        self._native: Any = native
        self._resizes = "interpolate_pos_encoding" in inspect.signature(self._vision.forward).parameters

    def trunk(self, pixels: Tensor) -> Features:
        options = {"interpolate_pos_encoding": True} if self._resizes else {}
        pooled = self._vision(pixel_values=pixels, **options).pooler_output
        width = self._native.visual_projection.in_features
        if pooled is None or pooled.shape != (len(pixels), width):
            shape = None if pooled is None else tuple(pooled.shape)
            raise ModelError(
                f"the vision tower {type(self._vision).__name__} gives {shape} for {len(pixels)} images: "
                f"expected ({len(pixels)}, {width}), as its projection reads"
            )
        return pooled  # type: ignore[no-any-return]

    def chain(self) -> Chain:
        vision: Any = getattr(self._vision, "vision_model", self._vision)
        if hasattr(vision, "timm_model"):
            return timm_chain(vision.timm_model, vision.timm_model.forward_head)
        kind = vision.config.model_type
        if kind == "swin":
            return swin_chain(vision)
        if kind in ("clip_vision_model", "vit", "deit"):
            return _vit_chain(vision)
        raise undivided(vision)

    def head(self, features: Features) -> Float[Tensor, "n d"]:
        return self._native.visual_projection(features)  # type: ignore[no-any-return]

    def blocks(self) -> list[nn.Module]:
        return blocks_of(self._vision)

    def head_module(self) -> nn.Module:
        return self._native.visual_projection  # type: ignore[no-any-return]

    def module(self) -> nn.Module:
        return nn.ModuleList([self._vision, self._native.visual_projection])

    def last_layer(self) -> nn.Linear | None:
        return self._native.visual_projection  # type: ignore[no-any-return]


@final
class PooledTower(VisionTower):
    """SigLIP and SigLIP 2: attention pools the patches to r, and the embedding is r + MLP(LayerNorm(r)).

    SigLIP 2 in its NaFlex form (`patches`) reads a list of patches instead of an image.
    """

    def __init__(self, native: Any, patches: bool) -> None:
        self._native: Any = native
        self._vision: Any = native.vision_model
        head = getattr(self._vision, "head", None)
        if head is None:
            raise ModelError("the checkpoint has no pooling head (vision_use_head is false): it embeds no images")
        self._head: Any = head
        self._patch = int(native.config.vision_config.patch_size) if patches else 0

    def trunk(self, pixels: Tensor) -> Features:
        pooled: list[Tensor] = []
        # the vendor's own forward, listened to where the head has pooled: masks and positions stay its business
        handle = self._head.layernorm.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
        try:
            if self._patch:
                self._native.get_image_features(**patch_inputs(pixels, self._patch))
            else:
                self._native.get_image_features(pixel_values=pixels, interpolate_pos_encoding=True)
        finally:
            handle.remove()
        return pooled[0][:, 0]

    def chain(self) -> Chain:
        def stem(pixels: Tensor) -> Tensor:
            embeddings = self._vision.embeddings
            if not self._patch:
                return embeddings(pixels, interpolate_pos_encoding=True)  # type: ignore[no-any-return]
            inputs = patch_inputs(pixels, self._patch)
            return embeddings(inputs["pixel_values"], inputs["spatial_shapes"])  # type: ignore[no-any-return]

        def top(hidden: Tensor) -> Tensor:
            tokens = self._vision.post_layernorm(hidden)
            asked = self._head.probe.expand(len(tokens), -1, -1)
            return self._head.attention(asked, tokens, tokens)[0][:, 0]  # type: ignore[no-any-return]

        return Chain(stem, [_step(layer) for layer in self._vision.encoder.layers], top)

    def head(self, features: Features) -> Float[Tensor, "n d"]:
        return features + self._head.mlp(self._head.layernorm(features))  # type: ignore[no-any-return]

    def blocks(self) -> list[nn.Module]:
        *blocks, last = blocks_of(self._vision, without=self._head)
        pooling = [nn.ParameterList([self._head.probe]), self._head.attention]
        return [*blocks, nn.ModuleList([last, *pooling])]

    def head_module(self) -> nn.Module:
        return nn.ModuleList([self._head.layernorm, self._head.mlp])

    def module(self) -> nn.Module:
        return self._vision  # type: ignore[no-any-return]

    def last_layer(self) -> nn.Linear | None:
        return None


def swin_chain(swin: Any) -> Chain:
    """transformers' `SwinModel`; its tokens are those of square images."""

    def run(layer: nn.Module, tokens: Tensor) -> Tensor:
        side = math.isqrt(tokens.shape[1])
        return _first(layer(tokens, (side, side)))

    stages = [[*stage.blocks, stage.downsample] for stage in swin.encoder.layers]
    blocks = [partial(run, layer) for stage in stages for layer in stage if layer is not None]
    return Chain(
        lambda pixels: _first(swin.embeddings(pixels)), blocks, lambda hidden: swin.layernorm(hidden).mean(dim=1)
    )


def _vit_chain(vision: Any) -> Chain:
    """CLIP's vision transformer, ViT or DeiT."""
    layers = next(part for part in vision.modules() if isinstance(part, nn.ModuleList))
    if hasattr(vision, "pre_layrnorm"):
        first, top = vision.pre_layrnorm, lambda hidden: vision.post_layernorm(hidden[:, 0])
    else:
        first, top = nn.Identity(), lambda hidden: vision.pooler(vision.layernorm(hidden))
    return Chain(
        lambda pixels: first(vision.embeddings(pixels, interpolate_pos_encoding=True)),
        [_step(layer) for layer in layers],
        top,
        prefix=2 if hasattr(vision.embeddings, "distillation_token") else 1,
    )


def _step(layer: nn.Module) -> Step:
    """A layer, with nothing for the masks that it cannot do without."""
    _, *others = inspect.signature(layer.forward).parameters.values()
    masks = [each.name for each in others if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]
    return lambda tokens: _first(layer(tokens, **dict.fromkeys(masks)))


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def patch_inputs(pixels: Tensor, patch: int) -> dict[str, Tensor]:
    """Images (n, 3, h, w) as SigLIP 2 reads them: patches (n, rows * columns, patch * patch * 3), none masked.

    Raises:
        ModelError: if a side is no multiple of the patch's.
    """
    count, channels, height, width = pixels.shape
    if height % patch or width % patch:
        raise ModelError(f"images of {height} x {width} pixels cannot be cut into patches of {patch} x {patch}")
    rows, columns = height // patch, width // patch
    grid = pixels.reshape(count, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": grid.reshape(count, rows * columns, -1),
        "pixel_attention_mask": torch.ones(count, rows * columns, dtype=torch.int64, device=pixels.device),
        "spatial_shapes": torch.tensor([[rows, columns]], device=pixels.device).expand(count, -1),
    }


def blocks_of(tower: nn.Module, without: nn.Module | None = None) -> list[nn.Module]:
    """A tower's weights in order, once each: what precedes its layers, each layer, what follows with the last one.

    The layers are the outermost list of modules; a tower without one is cut at its children.
    """
    layers = next((part for part in tower.modules() if isinstance(part, nn.ModuleList) and len(part)), None)
    if layers is None:
        return list(_pieces(tower, without))
    pieces = [part for part in _around(tower, layers) if part is not without]
    place = pieces.index(layers)
    first, after = pieces[:place], pieces[place + 1 :]
    *blocks, last = layers
    return [*([nn.ModuleList(first)] if first else []), *blocks, nn.ModuleList([last, *after]) if after else last]


def _around(module: nn.Module, inner: nn.Module) -> Iterator[nn.Module]:
    """`inner`, and the largest modules before and behind it that do not hold it."""
    yield from _own(module)
    for child in module.children():
        if child is not inner and inner in child.modules():
            yield from _around(child, inner)
        elif any(True for _ in child.parameters()):
            yield child


def _pieces(module: nn.Module, without: nn.Module | None) -> Iterator[nn.Module]:
    """A chain's members, with chains in it opened; a wrapper around one module counts as that module."""
    children = [child for child in module.children() if child is not without and any(True for _ in child.parameters())]
    own = list(_own(module))
    if len(children) == 1 and not own:
        yield from _pieces(children[0], without)
        return
    yield from own
    for child in children:
        if isinstance(child, nn.Sequential):
            yield from (part for part in child if any(True for _ in part.parameters()))
        else:
            yield child


def _own(module: nn.Module) -> Iterator[nn.Module]:
    """The parameters that a module holds itself, beside its children."""
    parameters = list(module.parameters(recurse=False))
    if parameters:
        yield nn.ParameterList(parameters)
