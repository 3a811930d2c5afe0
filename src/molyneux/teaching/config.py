"""The settings of teaching; importing this needs no torch."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from molyneux.errors import ConfigError
from molyneux.tables import listed
from molyneux.teaching.choices import LOW_RANK, OBJECTIVES, UPDATES, ObjectiveKind, UpdateKind, losses_where

if TYPE_CHECKING:
    Loss = str
    Contrastive = str
    Part = str
else:
    Loss = Literal[*OBJECTIVES]
    Contrastive = Literal[*losses_where(lambda kind: kind.contrastive)]
    Part = Literal[*(name for name in UPDATES if name != LOW_RANK)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Weights of the model are updated directly; batch-norm statistics stay."""

    part: Part = "embedding_map"
    """What is updated. Of the vision tower: a linear map of the shared space, merged into the projection's last
    layer; the projection; the last blocks and the projection; all but the projection; or all. Or the text tower;
    or both towers, which collapses in the paper (Fig. 13)."""
    blocks: int = 1
    """For part 'blocks': how many of the last blocks are updated."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ConfigError(f"teaching.update.blocks is {self.blocks}: expected a whole number of at least 1")

    @property
    def kind(self) -> UpdateKind:
        """The row of `UPDATES`."""
        return UPDATES[self.part]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoRA:
    """Low-rank changes of the vision tower's layers, through peft: W + (alpha / rank) B A, where B starts at 0.

    They are merged into the weights at the end, so the taught model has the architecture of the untaught one.

    Source: Hu et al. (2022).
    """

    rank: int = 8
    """Rows of A and columns of B."""
    alpha: float = 16.0
    """Scale of the change, divided by the rank."""
    dropout: float = 0.0
    """Dropout probability of A's inputs; not applied to packed attention (nn.MultiheadAttention)."""
    targets: tuple[str, ...] = ()
    """Layers to change, by the ends of their names, such as 'q_proj' or 'layers.11.mlp.fc1'; by default every linear
    layer, packed attention (without its output layer) and plain 1 x 1 convolution."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"teaching.update.rank is {self.rank}: expected a whole number of at least 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"teaching.update.alpha is {self.alpha}: expected a finite number above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"teaching.update.dropout is {self.dropout}: expected 0 or more, below 1")
        if not all(self.targets):
            raise ConfigError("teaching.update.targets has an empty name: expected ends of layers' names")

    @property
    def kind(self) -> UpdateKind:
        """The row of `UPDATES`."""
        return UPDATES[LOW_RANK]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachingConfig:
    """How images become weights. The defaults are Molyneux's own; the paper's are in `paper`."""

    loss: Loss = "bank"
    """For models with separate embeddings: 'bank', Eq. 2 with a fixed bank of other texts as negatives; 'anchors', the
    authors' loss over 2B anchors; 'symmetric', CLIP's, which cannot teach a single concept. For CoCa: 'captioning',
    Eq. 7, a contrastive loss and the likelihood of captions. For ViLT: 'matching', does a text match an image; or
    'masked', fill masked words of an image's text."""
    update: Full | LoRA = field(default_factory=Full)
    """Which weights are updated, and how."""
    learning_rate: float = 6e-4
    """Adam's step size."""
    steps: int = 20
    """Optimiser steps for one concept; for n concepts, this times the square root of n. 0: train for `epochs`."""
    epochs: int = 0
    """With `steps` 0: passes over the images, in shuffled batches. If both are 0, nothing is learned."""
    batch: int = 16
    """Images in a step."""
    temperature: float = 0.0
    """Contrastive losses: temperature of the soft-max over cosines; 0 takes the model's own."""
    weight_decay: float = 0.0
    """Weight of the term that `decay` describes."""
    decay: Literal["coupled", "decoupled", "start"] = "coupled"
    """'coupled': an L2 term in Adam's gradient, as the authors use it; 'decoupled': AdamW; 'start': an L2 term on the
    change, which pulls weights to where they started (L2-SP)."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Adam's decay rates of the two moments."""
    eps: float = 1e-6
    """Adam's epsilon."""
    texts: Literal["definition", "names", "both", "description"] = "both"
    """What an image is pulled to: the fine-tuning caption ('NAME is DESCRIPTION'), name templates, or one of all
    these at random; or the description without the name, which teaches nothing in the paper (Fig. 14)."""
    center: float = 1.5
    """Update 'embedding_map' only: centring. The mean embedding of the replay images, times this, is subtracted from
    each image and text anchor, because what all synthetic images share says nothing about one concept."""
    mixup: bool = True
    """Update 'embedding_map' only: train on random mixtures of a concept's images, not on single ones."""
    text_anchor: float = 5.0
    """Update 'embedding_map' with `mixup` only: mixing weight of the text anchor, the description's own embedding; an
    image has 1 (Eq. 5, inverting no layer). Noise and external images have no description."""
    conse_anchor: float = 5.0
    """The same for the ConSE anchor, a blend of the known names nearest to the description. Needs known names."""
    contrastive: Contrastive = "anchors"
    """Loss 'captioning' only: its contrastive part."""
    contrastive_weight: float = 1.0
    """Loss 'captioning' only: weight of the contrastive part, lambda 1 of Eq. 7."""
    caption_weight: float = 0.1
    """Loss 'captioning' only: weight of the captions' cross-entropy, lambda 2 of Eq. 7."""
    decoder: bool = False
    """Loss 'captioning' only: whether the text decoder is updated too."""
    negatives: float = 0.5
    """Loss 'matching': probability that an image is paired with a text of something else."""
    masked: float = 0.15
    """Loss 'masked': fraction of a text's words that are masked, whole words, at least one."""
    replay_batch: int = 48
    """All losses but 'matching' and 'masked': replay images in a step; 0 turns replay off."""
    bank_batch: int = 64
    """Where the text tower is updated: texts of the bank that it reads in a step, drawn at random and weighted to
    stand for all."""
    replay_weight: float = 1.0
    """Weight of the distillation loss, which keeps the untaught model's answers on the replay images."""
    strength: float = 0.85
    """How much of the change is kept (WiSE-FT's alpha): 0 gives the untaught model, 1 the fully taught one."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            numbers = value if isinstance(value, tuple) else (value,)
            for number in numbers:
                if isinstance(number, int | float) and not (math.isfinite(number) and number >= 0):
                    raise ConfigError(f"teaching.{item.name} is {value!r}: expected finite numbers of at least 0")
        if max(self.betas) >= 1:
            raise ConfigError(f"teaching.betas is {self.betas}: expected two numbers below 1")
        if self.batch < 1:
            raise ConfigError(f"teaching.batch is {self.batch}: expected a whole number of at least 1")
        if self.bank_batch < 1:
            raise ConfigError(f"teaching.bank_batch is {self.bank_batch}: expected a whole number of at least 1")
        update, allowed = self.update, self.objective.updates
        if (LOW_RANK if isinstance(update, LoRA) else update.part) not in allowed:
            found = " is LoRA: expected part" if isinstance(update, LoRA) else f".part is {update.part!r}: expected"
            raise ConfigError(
                f"teaching.update{found} {listed(name for name in allowed if name != LOW_RANK)} "
                f"for the loss {self.loss!r}, because {self.objective.because}"
            )
        for name in ("strength", "negatives", "masked"):
            if getattr(self, name) > 1:
                raise ConfigError(f"teaching.{name} is {getattr(self, name)}: expected a number from 0 to 1")

    @property
    def objective(self) -> ObjectiveKind:
        """The row of `OBJECTIVES`."""
        return OBJECTIVES[self.loss]

    @property
    def uses_replay(self) -> bool:
        """Whether replay images are learned from."""
        return self.objective.uses_replay and self.replay_batch > 0

    @property
    def uses_text_anchors(self) -> bool:
        """Whether descriptions are learned from beside the images."""
        anchored = self.mixup and bool(self.text_anchor or self.conse_anchor)
        return self.objective.contrastive and self.update.kind.is_map and anchored

    @classmethod
    def paper(cls, learning_rate: float = 2e-5) -> "TeachingConfig":
        """The paper's setting as the authors coded it (C.1): whole tower, coupled decay, one epoch of fours."""
        return cls(
            loss="anchors",
            update=Full(part="tower"),
            learning_rate=learning_rate,
            steps=0,
            epochs=1,
            batch=4,
            temperature=0.07,
            weight_decay=0.2,
            texts="definition",
            text_anchor=0.0,
            conse_anchor=0.0,
            replay_batch=0,
            strength=1.0,
        )

    @classmethod
    def paper_captioning(cls, learning_rate: float | None = None, *, decoder: bool = False) -> "TeachingConfig":
        """The paper's setting for CoCa (C.4.1): Eq. 7 with weights 1 and 0.1, the whole vision tower.

        The learning rates are those that the paper gives for the model before MSCOCO: 6e-5, or 9e-5 with the decoder.
        For the model fine-tuned on MSCOCO it gives 2e-5 and 5e-6. It does not state batch, decay, temperature or
        epochs for CoCa; these are taken from `paper`.
        """
        rate = (9e-5 if decoder else 6e-5) if learning_rate is None else learning_rate
        return replace(cls.paper(rate), loss="captioning", contrastive="anchors", decoder=decoder)

    @classmethod
    def paper_matching(cls, learning_rate: float = 2e-5, batch: int = 4) -> "TeachingConfig":
        """The paper's setting for ViLT (C.3.1): its matching head, decay 0.01, one epoch of fours.

        The paper does not say which weights are updated; here the whole trunk is. For retrieval (Table 5) it tried
        8e-7 to 3e-5; best were 9e-7 with a batch of 32, and 2e-6 with 128.
        """
        return replace(
            cls.paper(learning_rate), loss="matching", batch=batch, temperature=0.0, weight_decay=0.01, negatives=0.5
        )

    @classmethod
    def paper_implicit(cls, learning_rate: float = 2e-5) -> "TeachingConfig":
        """The paper's implicit transfer (D.3): 15 % of whole words masked, decay 0.01, one epoch of fours.

        On ten noise images of a concept (`noise_images`) that makes the paper's three steps.
        """
        return replace(cls.paper_matching(learning_rate), loss="masked", masked=0.15)
