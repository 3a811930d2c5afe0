"""What `teaching.loss` and `teaching.update` choose from, one row each; importing this needs no torch.

Nothing else asks for the name of a loss or an update: it asks for a fact of the row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from molyneux.backends.families import Ability


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateKind:
    """Which weights move."""

    implementation: str = "updates:Weights"
    """MODULE:CLASS in `molyneux.teaching`, an `Update`."""
    reads: Literal["pixels", "features", "embeddings"] = "pixels"
    """What is left of an image once everything below the moving weights has been computed."""
    modules: Callable[[Any, Any], list[Any]] | None = None
    """The modules of a dual encoder that move, from the model and the update."""
    fused_blocks: Callable[[Any, Any], list[Any]] | None = None
    """The blocks of a fused model that move; None if such a model has no such part."""
    moves_texts: bool = False
    """Whether the text tower moves."""

    @property
    def shares_trunk(self) -> bool:
        """Whether the taught model's features, before the projection, are those of the untaught model."""
        return self.reads != "pixels"


LOW_RANK = "LoRA"

UPDATES: dict[str, UpdateKind] = {
    "projection": UpdateKind(reads="features", modules=lambda model, _: [model.projection_module()]),
    "blocks": UpdateKind(
        modules=lambda model, update: [*model.trunk_modules()[-update.blocks :], model.projection_module()],
        fused_blocks=lambda model, update: model.fused_blocks()[-update.blocks :],
    ),
    "trunk": UpdateKind(modules=lambda model, _: model.trunk_modules()),
    "tower": UpdateKind(
        modules=lambda model, _: [model.vision_module()], fused_blocks=lambda model, _: model.fused_blocks()
    ),
    "text": UpdateKind(reads="embeddings", modules=lambda model, _: model.text_modules(), moves_texts=True),
    "both": UpdateKind(modules=lambda model, _: [model.vision_module(), *model.text_modules()], moves_texts=True),
    LOW_RANK: UpdateKind(implementation="updates:LowRank"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveKind:
    """How a model is taught: what that needs, and what it learns from."""

    implementation: str
    """MODULE:CLASS in `molyneux.teaching.objectives`, an `Objective`."""
    taught_by: str = "fine_tune:descend"
    """MODULE:FUNCTION in `molyneux.teaching`, called as `fine_tune.descend` is; that one follows gradients."""
    needs: Ability = "embeds"
    """What the model must be able to do."""
    updates: tuple[str, ...] = tuple(UPDATES)
    """The updates that it can be combined with."""
    because: str = ""
    """Why no others, as the end of a sentence."""
    contrastive: bool = False
    """Whether it compares embeddings of images and texts: then it can be part of the loss 'captioning'."""
    needs_known: bool = False
    """Whether it cannot teach a single concept without known names as negatives."""
    uses_replay: bool = True
    """Whether it has a use for replay images."""
    merges: bool = False
    """Whether the change is known without gradients, and merged into the last layer of whichever tower can hold it."""
    reads_descriptions: bool = False
    """Whether it learns from descriptions, so that it needs no images."""
    preset: str = "default"
    """The preset that is made for it, or nearest to what it needs."""

    @property
    def reads_hidden(self) -> bool:
        """Whether it can learn from hidden states in place of images."""
        return self.contrastive or self.merges


FUSED_UPDATES = tuple(name for name, kind in UPDATES.items() if kind.fused_blocks is not None)
_FUSED = "its models have no embeddings of images alone"

OBJECTIVES: dict[str, ObjectiveKind] = {
    "edit": ObjectiveKind(
        implementation="edit:Merge", taught_by="objectives.edit:teach_edit", merges=True, reads_descriptions=True
    ),
    "bank": ObjectiveKind(implementation="contrastive:Bank", contrastive=True, needs_known=True, preset="paper"),
    "infonce": ObjectiveKind(implementation="contrastive:InfoNCE", contrastive=True, preset="paper"),
    "anchors": ObjectiveKind(implementation="contrastive:Anchors", contrastive=True, preset="paper"),
    "symmetric": ObjectiveKind(implementation="contrastive:Symmetric", contrastive=True, preset="paper"),
    "captioning": ObjectiveKind(
        implementation="captioning:Captioning",
        needs="captions",
        updates=tuple(name for name, kind in UPDATES.items() if not kind.shares_trunk),
        because="captions see nothing of what the others move",
        preset="paper-captioning",
    ),
    "matching": ObjectiveKind(
        implementation="matching:Matching",
        needs="matches",
        updates=FUSED_UPDATES,
        because=_FUSED,
        uses_replay=False,
        preset="paper-matching",
    ),
    "masked": ObjectiveKind(
        implementation="masked:Masked",
        needs="fills masks",
        updates=FUSED_UPDATES,
        because=_FUSED,
        uses_replay=False,
        preset="paper-implicit",
    ),
}


def losses_where(fact: Callable[[ObjectiveKind], bool]) -> tuple[str, ...]:
    """The names of the losses of which that is true.

    >>> losses_where(lambda kind: not kind.uses_replay)
    ('matching', 'masked')
    """
    return tuple(name for name, kind in OBJECTIVES.items() if fact(kind))
