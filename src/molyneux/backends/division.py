"""A vision tower as a chain of blocks: what lies below a hidden state, and what above it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from molyneux.errors import ConfigError, ModelError

Step = Callable[[Tensor], Tensor]

Hidden = Float[Tensor, "n ..."]
"""Between two blocks: tokens (n, t, d) of a transformer, or maps (n, c, h, w) of a convolutional network."""


@dataclass(frozen=True, slots=True)
class Chain:
    """`top(blocks(stem(images)))` is what the projection reads; images are squares."""

    stem: Step
    """Images to the hidden state 0: patches with their positions, or the first convolution's maps."""
    blocks: Sequence[Step]
    top: Step
    """The last hidden state to one vector for each image."""
    prefix: int = 0
    """Tokens before those of patches: of the class, registers."""

    def lower(self, images: Tensor, block: int) -> Hidden:
        """Images to the hidden state after so many blocks.

        Raises:
            ConfigError: if there are fewer.
        """
        self._check(block)
        return _run(self.blocks[:block], self.stem(images))

    def upper(self, hidden: Hidden, block: int) -> Float[Tensor, "n f"]:
        """The hidden state after so many blocks to what the projection reads; errors as for `lower`."""
        self._check(block)
        return self.top(_run(self.blocks[block:], hidden))

    def places(self, hidden: Hidden) -> Float[Tensor, "n h w d"]:
        """A hidden state, or values in its shape, as rows and columns of vectors; prefix tokens are dropped."""
        if hidden.ndim == 4:
            return hidden.permute(0, 2, 3, 1)
        patches: Tensor = hidden[:, self.prefix :]
        side = math.isqrt(patches.shape[1])
        return patches.reshape(len(patches), side, side, -1)

    def around(self, before: Step) -> "Chain":
        """The same chain for images that pass through `before` first."""
        return Chain(lambda images: self.stem(before(images)), self.blocks, self.top, self.prefix)

    def _check(self, block: int) -> None:
        if not 0 <= block <= len(self.blocks):
            raise ConfigError(f"block {block}: expected 0 to {len(self.blocks)}, as many as the vision tower has")


def convolutional(layers: Iterable[nn.Module], top: Step) -> Chain:
    """Layers that run one after the other; a block begins with each that convolves."""
    portions: list[list[nn.Module]] = []
    for layer in layers:
        if not portions or any(isinstance(part, nn.Conv2d) for part in layer.modules()):
            portions.append([])
        portions[-1].append(layer)
    stem, *blocks = (nn.Sequential(*portion) for portion in portions)
    return Chain(stem, blocks, top)


def timm_chain(trunk: Any, top: Step) -> Chain:
    """A trunk of timm; `top` is what follows its `forward_features`.

    Of its convolutional networks those are known whose parts run in the order in which they are defined.

    Raises:
        ModelError: if it is neither timm's vision transformer nor convolutional.
    """
    from timm.models.vision_transformer import VisionTransformer

    if isinstance(trunk, VisionTransformer):
        return Chain(
            lambda images: trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(images)))),
            list(trunk.blocks),
            lambda hidden: top(trunk.norm(hidden)),
            trunk.num_prefix_tokens,
        )
    if any("pos_embed" in name or "attn" in name for name in trunk.state_dict()):
        raise undivided(trunk)
    spatial = takewhile(lambda part: part[0] not in ("global_pool", "head", "fc", "classifier"), trunk.named_children())
    return convolutional((leaf for _, child in spatial for leaf in leaves(child)), top)


def leaves(module: nn.Module) -> list[nn.Module]:
    """The members of a sequence, those of sequences in it one by one; else the module itself."""
    if not isinstance(module, nn.Sequential | nn.ModuleList):
        return [module]
    return [leaf for child in module.children() for leaf in leaves(child)]


def undivided(tower: nn.Module) -> ModelError:
    """What to raise for a tower that is not known block by block."""
    return ModelError(
        f"the vision tower {type(tower).__name__} is not known block by block: expected open_clip's, timm's or "
        "transformers' ViT, a Swin, or a convolutional network"
    )


def _run(steps: Sequence[Step], values: Tensor) -> Tensor:
    for step in steps:
        values = step(values)
    return values
