"""The settings of teaching; importing this needs no torch."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from molyneux.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Which weights move themselves; batch-norm statistics never do."""

    part: Literal["embedding_map", "projection", "blocks", "trunk", "tower", "text", "both"] = "embedding_map"
    """Of the vision tower a linear map of the shared space, merged into the projection's last layer; the whole
    projection; the last blocks with it; all but the projection; or the whole tower. Or the text tower, or both
    towers, which the paper tried and found to collapse (Fig. 13)."""
    blocks: int = 1
    """How many of the trunk's last blocks move, where `part` is 'blocks'."""

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ConfigError(f"teaching.update.blocks is {self.blocks}: expected a whole number of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoRA:
    """Low-rank changes of the vision tower's layers (Hu et al., 2022), through peft: W + (alpha / rank) B A, B from 0.

    What is taught is merged into the weights, so that the model keeps its form.
    """

    rank: int = 8
    """Rows of A and columns of B."""
    alpha: float = 16.0
    """Weight of the change, divided by the rank."""
    dropout: float = 0.0
    """Share of a layer's inputs that A does not see in a step; packed attention (nn.MultiheadAttention) has none."""
    targets: tuple[str, ...] = ()
    """Layers, by the ends of their names, as 'q_proj' or 'layers.11.mlp.fc1'; by default every linear layer, packed
    attention (without its output layer) and plain 1 x 1 convolution."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"teaching.update.rank is {self.rank}: expected a whole number of at least 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"teaching.update.alpha is {self.alpha}: expected a finite number above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"teaching.update.dropout is {self.dropout}: expected a share below 1")
        if not all(self.targets):
            raise ConfigError("teaching.update.targets has an empty name: expected ends of layers' names")


_BELOW_NO_CAPTION = ("embedding_map", "projection", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachingConfig:
    """How images become weights. The defaults are Molyneux's own; see `paper`."""

    loss: Literal["bank", "anchors", "symmetric", "captioning", "matching", "masked"] = "bank"
    """Eq. 2 with a fixed bank of other texts as negatives; the authors' loss over 2B anchors; CLIP's own, which
    teaches a single concept nothing; Eq. 7, one of these and captions, for models that write them (CoCa); telling
    texts that match an image from others, or filling masked words of its text (ViLT)."""
    update: Full | LoRA = field(default_factory=Full)
    """Which weights move, and how."""
    learning_rate: float = 6e-4
    """Adam's step size."""
    steps: int = 20
    """Optimiser steps for one concept, growing with the square root of their number; 0 counts passes over the
    images instead (`epochs`), and with none of those either nothing is learned."""
    epochs: int = 0
    """Passes over the images in shuffled batches; used where `steps` is 0."""
    batch: int = 16
    """Images in a step."""
    temperature: float = 0.0
    """Losses 'bank' and 'anchors': soft-max temperature over cosines; 0 takes the model's own."""
    weight_decay: float = 0.0
    """Weight of the decay below."""
    decay: Literal["coupled", "decoupled", "start"] = "coupled"
    """Weights shrink by an L2 term inside Adam's gradient, as the authors use it; beside it (AdamW); or towards where
    they started, by an L2 term on their change (L2-SP)."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Adam's running averages."""
    eps: float = 1e-6
    """Adam's epsilon."""
    texts: Literal["definition", "names", "both", "description"] = "both"
    """What an image is pulled to: the definition caption, name templates, or both in turn; or the description
    alone, without the name, which the paper found to teach nothing (Fig. 14)."""
    center: float = 1.5
    """Update of the shared space only: share of the replay images' mean embedding that is taken from each image
    and point of words before it is learned from; what all synthetic images have in common tells nothing of one."""
    mixup: bool = True
    """Update of the shared space only: each example is a random mixture of all images of its concept, whose
    accidents so cancel, instead of one of them."""
    text_anchor: float = 5.0
    """Update of the shared space only, with `mixed`: weight in mixtures, where an image has 1, of the description's
    own embedding (Eq. 5: the inversion of no layer). Images from elsewhere, noise or photos, have no such point."""
    conse_anchor: float = 5.0
    """The same of a blend of the known names that the description is most like (ConSE); without known names there is
    none."""
    contrastive: Literal["bank", "anchors", "symmetric"] = "anchors"
    """Loss 'captioning' only: its contrastive part."""
    contrastive_weight: float = 1.0
    """Loss 'captioning' only: weight of the contrastive part, lambda 1 of Eq. 7."""
    caption_weight: float = 0.1
    """Loss 'captioning' only: weight of the captions' cross-entropy, lambda 2 of Eq. 7."""
    decoder: bool = False
    """Loss 'captioning' only: whether the text decoder moves too."""
    negatives: float = 0.5
    """Loss 'matching': probability that an image is shown beside a text that is not its own."""
    masked: float = 0.15
    """Loss 'masked': share of a text's words that are hidden, whole words, at least one."""
    replay_batch: int = 48
    """Losses 'bank' and 'anchors': replay images in a step; 0 turns replay off."""
    bank_batch: int = 64
    """Losses with a bank, where the text tower moves: texts of the bank in a step, drawn at random, that the moving
    tower reads; each then counts for as many as there are."""
    replay_weight: float = 1.0
    """Weight of keeping the old answers on the replay images."""
    strength: float = 0.85
    """Share of the change that is kept: 0 the old weights, 1 the taught ones."""

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
        if self.loss == "captioning" and isinstance(self.update, Full) and self.update.part in _BELOW_NO_CAPTION:
            raise ConfigError(
                f"teaching.update.part is {self.update.part!r}, which leaves what captions see of images as it is: "
                "expected 'blocks', 'trunk', 'tower' or 'both' for the loss 'captioning'"
            )
        for name in ("strength", "negatives", "masked"):
            if getattr(self, name) > 1:
                raise ConfigError(f"teaching.{name} is {getattr(self, name)}: expected a share between 0 and 1")

    @property
    def uses_text_anchors(self) -> bool:
        """Whether the concepts' texts are learned from beside their images."""
        contrastive = self.loss in ("bank", "anchors", "symmetric")
        moves_map = isinstance(self.update, Full) and self.update.part == "embedding_map"
        return contrastive and moves_map and self.mixup and bool(self.text_anchor or self.conse_anchor)

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

        The rates are those of its table for the model before MSCOCO: 6e-5, or 9e-5 with the decoder; for the model
        fine-tuned on MSCOCO it has 2e-5 and 5e-6. Batch, decay, temperature and the single epoch are not stated for
        CoCa and taken from `paper`.
        """
        rate = (9e-5 if decoder else 6e-5) if learning_rate is None else learning_rate
        return replace(cls.paper(rate), loss="captioning", contrastive="anchors", decoder=decoder)

    @classmethod
    def paper_matching(cls, learning_rate: float = 2e-5, batch: int = 4) -> "TeachingConfig":
        """The paper's setting for ViLT (C.3.1): its matching head, decay 0.01, one epoch of fours.

        Which weights moved is not said; here the whole trunk does. For retrieval (Table 5) the paper's best were
        9e-7 with a batch of 32 and 2e-6 with 128, of 8e-7 to 3e-5.
        """
        return replace(
            cls.paper(learning_rate), loss="matching", batch=batch, temperature=0.0, weight_decay=0.01, negatives=0.5
        )

    @classmethod
    def paper_implicit(cls, learning_rate: float = 2e-5) -> "TeachingConfig":
        """The paper's implicit transfer (D.3): 15 % of whole words masked, decay 0.01, one epoch of fours.

        With ten noise images of a concept (`noise_images`) these are its three steps.
        """
        return replace(cls.paper_matching(learning_rate), loss="masked", masked=0.15)
