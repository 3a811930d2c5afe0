"""The settings of teaching; importing this needs no torch."""

import math
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from molyneux.arguments import check_fields, check_texts
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


LARGEST = 1e30
"""Of any setting: single precision, in which weights move, ends at 3e38."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """How an edit is computed."""

    width: float = 0.5
    """Width of the regression's Gaussian kernel, over unit vectors; the distance of two unrelated texts is 1.4."""
    ridge: float = 0.3
    """Ridge of the regression, in units of the kernel at distance 0."""
    name_view: float = 0.1
    """Share of the name in the text that is compared with known texts; the rest is the description."""
    description: float | None = None
    """Weight of the description's own direction beside the regression's, which has 1; None: chosen for each model by
    how well its known descriptions find their names (`edit.description_weight`)."""
    name: float = 0.1
    """Weight of the name's own direction beside the regression's."""
    images: float = 0.15
    """Weight of the direction of the concept's images beside the regression's, where there are any."""
    key_images: float = 0.0
    """Share of the images' covariance in the key's whitening; the rest is that of the known names."""
    key_shrinkage: float = 0.047
    """Multiple of the typical variance that is added to the key's covariance."""
    value_shrinkage: float = 0.0037
    """The same for the value's covariance, and for that of what all images share."""
    forget_name: float = 0.9
    """Share of the name's own score that an edit of strength 1 takes away; at 1 the detector alone decides."""
    price: float = 0.01
    """Share of photos of known things that a concept of strength 1 is expected to win, by stand-ins for them."""
    strength: float = 1.0
    """How much of the edit is made; at 1 the concept wins the `price` of the stand-ins."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not 0 <= value <= LARGEST:
                raise ConfigError(f"teaching.edit.{item.name} is {value}: expected a finite number of at least 0")
        for name in ("name_view", "key_images", "forget_name", "price"):
            if getattr(self, name) > 1:
                raise ConfigError(f"teaching.edit.{name} is {getattr(self, name)}: expected a number from 0 to 1")
        for name in ("width", "ridge", "value_shrinkage", "key_shrinkage"):
            if not getattr(self, name):
                raise ConfigError(f"teaching.edit.{name} is 0: expected a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Weights of the model are updated directly; batch-norm statistics stay."""

    part: Part = "tower"
    """What is updated. Of the vision tower: the projection; the last blocks and the projection; all but the projection;
    or all. Or the text tower; or both towers, which collapses in the paper (Fig. 13)."""
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
        check_texts(self.targets, "targets (teaching.update.targets)")
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
    """How a model is taught. The defaults are Molyneux's own; the paper's are in `paper`."""

    loss: Loss = "edit"
    """For models with separate embeddings: 'edit', which has no loss but a closed form; 'infonce', Eq. 2 against the
    captions of the other concepts, and 'anchors' where there are none; 'bank', Eq. 2 against prompts with known names;
    'anchors', the authors' loss over 2B anchors; 'symmetric', CLIP's, which cannot teach a single concept. For CoCa:
    'captioning', Eq. 7, a contrastive loss and the likelihood of captions. For ViLT: 'matching', does a text match an
    image; or 'masked', fill masked words of an image's text."""
    edit: Edit = field(default_factory=Edit)
    """Loss 'edit' only: how the closed form is computed. None of the settings below has a use then."""
    update: Full | LoRA = field(default_factory=Full)
    """Which weights are updated, and how."""
    learning_rate: float = 2e-5
    """Adam's step size."""
    steps: int = 20
    """Optimiser steps for one concept; for n concepts, this times the square root of n. 0: train for `epochs`."""
    epochs: int = 0
    """With `steps` 0: passes over the images, in shuffled batches. If both are 0, nothing is learned."""
    batch: int = 16
    """Images in a step."""
    micro_batch: int = 0
    """Where a tower's own layers move: images whose intermediate values are kept at once; 0 keeps all of a step. The
    gradients are equal; memory is less, and time about a third more."""
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
    contrastive: Contrastive = "anchors"
    """Loss 'captioning' only: its contrastive part."""
    contrastive_weight: float = 1.0
    """Loss 'captioning' only: weight of the contrastive part, lambda 1 of Eq. 7."""
    caption_weight: float = 0.1
    """Loss 'captioning' only: weight of the captions' cross-entropy, lambda 2 of Eq. 7."""
    caption_sum: bool = False
    """Loss 'captioning' only: whether a caption's cross-entropy is the sum over its tokens, as in Eq. 6, or their mean,
    with which open_clip trains CoCa. Of a caption with eight tokens the sum weighs eight times as much."""
    caption_templates: str = "paper"
    """Loss 'captioning' only: what the captions say. 'paper', its 26 templates; 'coco', twelve in the style of MSCOCO's
    captions; or a text file with one a line, with {} where the name goes."""
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
    strength: float = 1.0
    """How much of the change is kept (WiSE-FT's alpha): 0 gives the untaught model, 1 the fully taught one."""

    def __post_init__(self) -> None:
        check_fields(self, "teaching")
        if self.loss not in OBJECTIVES:
            raise ConfigError(f"teaching.loss is {self.loss!r}: expected {listed(OBJECTIVES)}")
        for item in fields(self):
            value = getattr(self, item.name)
            numbers = value if isinstance(value, tuple) else (value,)
            for number in numbers:
                if isinstance(number, int | float) and not 0 <= number <= LARGEST:
                    raise ConfigError(f"teaching.{item.name} is {value!r}: expected finite numbers of at least 0")
        if max(self.betas) >= 1:
            raise ConfigError(f"teaching.betas is {self.betas}: expected two numbers below 1")
        if self.batch < 1:
            raise ConfigError(f"teaching.batch is {self.batch}: expected a whole number of at least 1")
        if self.bank_batch < 1:
            raise ConfigError(f"teaching.bank_batch is {self.bank_batch}: expected a whole number of at least 1")
        if self.micro_batch and isinstance(self.update, LoRA) and self.update.dropout:
            raise ConfigError(
                f"teaching.micro_batch is {self.micro_batch} and teaching.update.dropout is {self.update.dropout}: "
                "expected one of them to be 0, because parts of a step are computed twice"
            )
        self._check_use()
        for name in ("strength", "negatives", "masked"):
            if getattr(self, name) > 1:
                raise ConfigError(f"teaching.{name} is {getattr(self, name)}: expected a number from 0 to 1")

    def _check_use(self) -> None:
        """Raise ConfigError for a setting that the loss does not use."""
        if self.objective.merges:
            ours, idle = {"loss", "edit"}, "an edit has no training"
        else:
            ours, idle = {item.name for item in fields(self)} - {"edit"}, "it is for the loss 'edit'"
        for item in fields(self):
            default = item.default if item.default_factory is MISSING else item.default_factory()
            if item.name not in ours and getattr(self, item.name) != default:
                raise ConfigError(
                    f"teaching.{item.name} has no use for the loss {self.loss!r}, because {idle}: leave it out, or "
                    "choose another teaching.loss or preset of teaching"
                )
        update, allowed = self.update, self.objective.updates
        if (LOW_RANK if isinstance(update, LoRA) else update.part) not in allowed:
            found = " is LoRA: expected part" if isinstance(update, LoRA) else f".part is {update.part!r}: expected"
            raise ConfigError(
                f"teaching.update{found} {listed(name for name in allowed if name != LOW_RANK)} "
                f"for the loss {self.loss!r}, because {self.objective.because}"
            )

    @property
    def objective(self) -> ObjectiveKind:
        """The row of `OBJECTIVES`."""
        return OBJECTIVES[self.loss]

    @property
    def uses_replay(self) -> bool:
        """Whether replay images are used: learned from, or read to know where images lie."""
        return self.objective.merges or (self.objective.uses_replay and self.replay_batch > 0)

    @property
    def needs_images(self) -> bool:
        """Whether there is nothing to learn from without images of the concepts."""
        return not self.objective.reads_descriptions

    @classmethod
    def paper(cls, learning_rate: float = 2e-5) -> "TeachingConfig":
        """The paper's setting as the authors coded it (C.1): whole tower, coupled decay, one epoch of fours.

        Several concepts are told apart by Eq. 2. With a single one Eq. 2 has no other captions and no gradient; then
        the loss is the authors', which the paper does not describe.
        """
        return cls(
            loss="infonce",
            update=Full(part="tower"),
            learning_rate=learning_rate,
            steps=0,
            epochs=1,
            batch=4,
            temperature=0.07,
            weight_decay=0.2,
            texts="definition",
            replay_batch=0,
            strength=1.0,
        )

    @classmethod
    def paper_captioning(cls, learning_rate: float | None = None, *, decoder: bool = False) -> "TeachingConfig":
        """The paper's setting for CoCa (C.4.1): Eq. 7 with weights 1 and 0.1, the whole vision tower, Eq. 6 as a sum.

        The learning rates are those that the paper gives for the model before MSCOCO: 6e-5, or 9e-5 with the decoder.
        For the model fine-tuned on MSCOCO it gives 2e-5 and 5e-6. It does not state batch, decay, temperature or
        epochs for CoCa; these are taken from `paper`.
        """
        rate = (9e-5 if decoder else 6e-5) if learning_rate is None else learning_rate
        return replace(cls.paper(rate), loss="captioning", contrastive="infonce", caption_sum=True, decoder=decoder)

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
