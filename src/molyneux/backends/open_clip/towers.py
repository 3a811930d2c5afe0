"""How each of open_clip's vision towers divides into a trunk and a projection."""

import abc
from collections.abc import Sequence
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from molyneux.backends.division import Chain, leaves, timm_chain
from molyneux.errors import ModelError
from molyneux.shapes import Features, Images, Memory


class VisionTower(abc.ABC):
    """A trunk and a projection that together compute what the tower's own `forward` computes."""

    @abc.abstractmethod
    def features(self, images: Images) -> Features:
        """Normalised images to what the projection reads."""

    @abc.abstractmethod
    def project(self, features: Features) -> Float[Tensor, "n d"]:
        """Features to the shared space, not yet of unit length."""

    @abc.abstractmethod
    def projection(self) -> nn.Module:
        """What holds the projection's weights, and no others: its own module, or a list of one bare matrix."""

    @abc.abstractmethod
    def blocks(self) -> list[nn.Module]:
        """All other weights, input first, in the portions that 'the last k blocks' counts."""

    @abc.abstractmethod
    def chain(self) -> Chain:
        """`features`, block by block.

        Raises:
            ModelError: if the tower is not known so.
        """

    @abc.abstractmethod
    def remap(self, change: Float[Tensor, "d d"]) -> None:
        """Follow the projection with the map I + change."""

    def check_remap(self) -> None:
        """Raise ModelError if no weights can hold a `remap`."""
        return

    @property
    @abc.abstractmethod
    def any_size(self) -> bool:
        """Whether images of other sizes than the trained one are read too."""


@final
class TransformerTower(VisionTower):
    """open_clip's own vision transformer, with or without attention pooling (CoCa's); its projection is a matrix."""

    def __init__(self, visual: Any) -> None:
        self._visual = visual

    def pooled(self, images: Images) -> tuple[Features, Memory]:
        """The features, and the tokens that were not pooled into them: what CoCa's decoder attends to."""
        visual = self._visual
        # `forward` without its last line, the projection
        return visual._pool(visual.transformer(visual._embeds(images)))  # type: ignore[no-any-return]

    def features(self, images: Images) -> Features:
        return self.pooled(images)[0]

    def project(self, features: Features) -> Float[Tensor, "n d"]:
        projected: Tensor = features @ self._visual.proj
        return projected

    def projection(self) -> nn.Module:
        return nn.ParameterList([self._visual.proj])

    def blocks(self) -> list[nn.Module]:
        visual = self._visual
        places = nn.ParameterList([visual.class_embedding, visual.positional_embedding])
        stem = nn.ModuleList([visual.conv1, places, visual.ln_pre])
        *layers, last = visual.transformer.resblocks
        if visual.attn_pool is None:
            return [stem, *layers, nn.ModuleList([last, visual.ln_post])]
        pools = [pool for pool in (visual.attn_pool, visual.attn_pool_contrastive) if pool is not None]
        return [stem, *layers, last, nn.ModuleList([*pools, visual.ln_post])]

    def chain(self) -> Chain:
        visual = self._visual
        ordered = visual.transformer.batch_first

        def run(layer: nn.Module, tokens: Tensor) -> Tensor:
            found: Tensor = layer(tokens if ordered else tokens.transpose(0, 1))
            return found if ordered else found.transpose(0, 1)

        blocks = [partial(run, layer) for layer in visual.transformer.resblocks]
        return Chain(visual._embeds, blocks, lambda hidden: visual._pool(hidden)[0], prefix=1)

    @torch.no_grad()
    def remap(self, change: Float[Tensor, "d d"]) -> None:
        self._visual.proj.add_(self._visual.proj.to(change) @ change.T)

    @property
    def any_size(self) -> bool:
        return False


@final
class ResNetTower(VisionTower):
    """OpenAI's modified ResNet; its projection is the last layer of the attention that pools its grid."""

    def __init__(self, visual: Any) -> None:
        self._visual = visual

    def features(self, images: Images) -> Features:
        chain = self.chain()
        return chain.upper(chain.stem(images), 0)

    def _pooled(self, grid: Float[Tensor, "n c h w"]) -> Features:
        pool = self._visual.attnpool
        places = grid.flatten(2).transpose(1, 2)
        places = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1) + pool.positional_embedding
        # only the mean asks; the answers to the other places are dropped by the tower itself
        asked, keys, values = pool.q_proj(places[:, :1]), pool.k_proj(places), pool.v_proj(places)
        heads = [part.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2) for part in (asked, keys, values)]
        return scaled_dot_product_attention(*heads).transpose(1, 2).flatten(1)

    def project(self, features: Features) -> Float[Tensor, "n d"]:
        return self._visual.attnpool.c_proj(features)  # type: ignore[no-any-return]

    def projection(self) -> nn.Module:
        return self._visual.attnpool.c_proj  # type: ignore[no-any-return]

    def blocks(self) -> list[nn.Module]:
        visual, pool = self._visual, self._visual.attnpool
        stem = [visual.conv1, visual.bn1, visual.conv2, visual.bn2, visual.conv3, visual.bn3]
        places = nn.ParameterList([pool.positional_embedding])
        return [*stem, *self._layers(), nn.ModuleList([places, pool.q_proj, pool.k_proj, pool.v_proj])]

    def chain(self) -> Chain:
        return Chain(self._visual.stem, self._layers(), self._pooled)

    def _layers(self) -> list[nn.Module]:
        visual = self._visual
        return [block for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4) for block in layer]

    def remap(self, change: Float[Tensor, "d d"]) -> None:
        _remap_linear(self._visual.attnpool.c_proj, change)

    @property
    def any_size(self) -> bool:
        return False


@final
class TimmTower(VisionTower):
    """A timm trunk and open_clip's head; where that head is empty, the trunk's own classifier is the projection.

    Where there is no classifier either (SigLIP), the trunk ends in the shared space and there is no projection.
    """

    def __init__(self, visual: Any) -> None:
        self._trunk, self._head = visual.trunk, visual.head
        self._pools = "pool" in dict(visual.head.named_children())
        classifier = visual.trunk.get_classifier() if len(visual.head) == 0 else None
        self._classifier = None if isinstance(classifier, nn.Identity) else classifier

    def features(self, images: Images) -> Features:
        return self._pooled(self._trunk.forward_features(images))

    def _pooled(self, hidden: Tensor) -> Features:
        features: Tensor = self._trunk.forward_head(hidden, pre_logits=self._classifier is not None)
        return features.flatten(1) if self._pools else features

    def project(self, features: Features) -> Float[Tensor, "n d"]:
        if self._pools:
            side = round((features.shape[1] / self._trunk.num_features) ** 0.5)
            return self._head(features.unflatten(1, (-1, side, side)))  # type: ignore[no-any-return]
        return self.projection()(features)  # type: ignore[no-any-return]

    def projection(self) -> nn.Module:
        projection: nn.Module = self._head if self._classifier is None else self._classifier
        return projection

    def blocks(self) -> list[nn.Module]:
        projected = {id(parameter) for parameter in self.projection().parameters()}
        children = [leaf for child in self._trunk.children() for leaf in leaves(child)]
        found = [block for block in children if {id(p) for p in block.parameters()} - projected]
        while len(found) > 1 and isinstance(found[-1], nn.LayerNorm):
            norm = found.pop()
            found[-1] = nn.ModuleList([found[-1], norm])
        bare = list(self._trunk.parameters(recurse=False))
        return [nn.ParameterList(bare), *found] if bare else found

    def chain(self) -> Chain:
        return timm_chain(self._trunk, self._pooled)

    def remap(self, change: Float[Tensor, "d d"]) -> None:
        self.check_remap()
        _remap_linear(self._linears()[-1], change)

    def check_remap(self) -> None:
        if not self._linears():
            raise ModelError(
                "the vision tower ends without a linear layer, so a map of the shared space cannot be merged into it: "
                "set teaching.update.part to 'blocks' or 'tower'"
            )

    def _linears(self) -> list[nn.Linear]:
        return [layer for layer in self.projection().modules() if isinstance(layer, nn.Linear)]

    @property
    def any_size(self) -> bool:
        layers = (*self._trunk.modules(), *self._head.modules())
        convolutional = any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
        names = [name for part in (self._trunk, self._head) for name in part.state_dict()]
        return convolutional and not any("pos_embed" in name for name in names)


def vision_tower(visual: nn.Module) -> VisionTower:
    """The tower that an open_clip model's `visual` is.

    Raises:
        ModelError: if it is none of open_clip's.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    towers: Sequence[tuple[type, type[VisionTower]]] = (
        (VisionTransformer, TransformerTower),
        (ModifiedResNet, ResNetTower),
        (TimmModel, TimmTower),
    )
    for native, tower in towers:
        if isinstance(visual, native):
            return tower(visual)  # type: ignore[call-arg]
    raise ModelError(f"the vision tower is a {type(visual).__name__}: expected one that open_clip builds")


@torch.no_grad()
def _remap_linear(layer: nn.Linear, change: Float[Tensor, "d d"]) -> None:
    for values in (layer.weight, layer.bias):
        if values is not None:
            values.add_(change @ values.to(change))
