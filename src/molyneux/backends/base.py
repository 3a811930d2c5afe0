"""What every room may ask of a vision-language model, whoever trained it."""

import abc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from molyneux.arguments import check_kind, check_pixels
from molyneux.backends.options import LongText, Precision
from molyneux.cards import write_card
from molyneux.concepts import Concept
from molyneux.digests import write_digests
from molyneux.errors import ModelError
from molyneux.framing import Framing
from molyneux.packs import FOLDER, Merged, Pack
from molyneux.records import CONCEPTS, ConceptTexts, Lineage, write_record
from molyneux.shapes import Embeddings, Features, Images, Scores
from molyneux.tables import imported

if TYPE_CHECKING:
    from molyneux.tasks.recognition.record import Recognition
else:
    Recognition = Any

_SHOWN_CONCEPTS = 3

OutputT = TypeVar("OutputT", bound=Tensor | tuple[Tensor, ...])
ModelT = TypeVar("ModelT", bound="VisionLanguageModel")


@dataclass(frozen=True, slots=True)
class Alignment:
    """A text, fixed once, and what inversion climbs; higher is better."""

    score: Callable[[Images], tuple[Scores, Tensor]]
    """One number per image, and one for all together: the similarity of their mean embedding where the model
    has one and all images share a text, else the mean of the numbers."""


class VisionLanguageModel(abc.ABC):
    """A model with its weights; every weight is frozen unless teaching says otherwise."""

    long_text: LongText = "error"
    """What becomes of a text that has more tokens than the model reads; set by `load`, kept by copies."""

    concepts: tuple[Concept, ...] = ()
    """What the model was taught, in order; kept by copies, by `save` and by `load`."""

    means: tuple[str, ...] = ()
    """What it was taught with: names in `citations.MEANS_ENTRIES`; kept likewise."""

    base: str = ""
    """The name of the untaught model that it comes from, once it was saved or taught; kept likewise."""

    family: str = ""
    """A name in `families.FAMILIES`; set by `load`, kept likewise."""

    precision: Precision = "fp32"
    """What the towers compute in; weights, pixels, embeddings and logits are fp32 all the same. Set by `load`, kept by
    copies."""

    merged: Merged | None = None
    """The packs that were merged into the weights, and what the weights were before; kept by copies. Whatever else
    changes a weight sets this to None."""

    @property
    def packs(self) -> tuple[Pack, ...]:
        """The packs that were merged into the weights, in the order of their names."""
        return () if self.merged is None else self.merged.packs

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What `load` was asked for."""

    @property
    @abc.abstractmethod
    def native(self) -> nn.Module:
        """The model as its own library builds it."""

    @property
    @abc.abstractmethod
    def image_size(self) -> int:
        """Side of the square image that the vision tower was trained on."""

    @property
    def crop_fraction(self) -> float:
        """Side of the central square that is looked at, as a share of a photo's shorter side."""
        return 1.0

    @property
    def photo_fit(self) -> Framing:
        """How a photo becomes a square, as the model's makers do it."""
        return Framing()

    @property
    def activation(self) -> str:
        """The kinds of GELU that the towers compute with, such as 'QuickGELU': weights do not show it; '' if none.

        Weights that were trained with one kind run under another too, only worse.
        """
        named = [(type(part).__name__, part) for part in self.native.modules()]
        kinds = {_GELUS.get(name, name) + _approximation(part) for name, part in named if "gelu" in name.casefold()}
        return ", ".join(sorted(kinds))

    @property
    def medical(self) -> bool:
        """Whether it learned from medical images; what it gives is for research only then."""
        return "biomed" in self.name.casefold()

    @property
    @abc.abstractmethod
    def inversion_size(self) -> int:
        """Side of the view used in inversion: smaller than `image_size` where the tower takes any size."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.native.parameters()).device

    def place_on(self, device: torch.device | str) -> None:
        """Move the model itself, with what it has read; for `load`, whose model nobody shares yet."""
        self.native.to(device)

    @abc.abstractmethod
    def alignment(self, texts: Sequence[str], *, each: bool = False, distance: bool = False) -> Alignment:
        """Encode the texts once; score images against all of them.

        Args:
            texts: at least one.
            each: average the scores against each text, instead of scoring against their mean.
            distance: minus the L2 distance of the embeddings before their normalisation, instead of their cosine.

        Raises:
            ModelError: for `distance`, if the model has no embeddings of images alone.
        """

    @abc.abstractmethod
    def alignment_each(self, texts: Sequence[str], *, distance: bool = False) -> Alignment:
        """Encode the texts once; score the i-th image against the i-th text. `distance` as for `alignment`."""

    @abc.abstractmethod
    def check_text(self, text: str) -> None:
        """Raise ModelError, with the token count and the part that would be lost, if the text cannot be read.

        A text that does not fit can be read all the same where `long_text` says how.
        """

    @abc.abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the model where its own library can load it; `folder` must not exist.

        What was merged is written into the folder `packs` beside the weights.
        """

    def save_packs(self, folder: Path) -> None:
        """Write what was merged into `packs` of a model's folder, if anything was."""
        if self.merged is not None and self.merged.packs:
            self.merged.save(folder / FOLDER)

    @abc.abstractmethod
    def copy(self, *, whole: bool = False) -> "VisionLanguageModel":
        """An independent copy of the weights.

        A text tower apart from the vision tower is shared, with what it has read, unless the copy is `whole`.
        """

    def compute(self, function: Callable[..., OutputT], *inputs: Tensor) -> OutputT:
        """What `function` makes of the inputs, computed in the model's precision and returned as fp32."""
        if self.precision == "fp32":
            return function(*inputs)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            found = function(*inputs)
        return found.float() if isinstance(found, Tensor) else tuple(part.float() for part in found)  # type: ignore

    def __repr__(self) -> str:
        """Family, size, concepts and device, on one line."""
        millions = sum(value.numel() for value in self.native.parameters()) / 1e6
        names = ", ".join(concept.name for concept in self.concepts[:_SHOWN_CONCEPTS])
        more = f", … ({len(self.concepts)} in all)" if len(self.concepts) > _SHOWN_CONCEPTS else ""
        taught = f"taught {names}{more}" if self.concepts else "nothing taught"
        about = f"{self.family or type(self).__name__}, {millions:.1f} million weights, {self.image_size} pixels"
        return f"<{self.name}: {about}, {taught}, on {self.device}>"

    def to(self: ModelT, device: str | torch.device) -> ModelT:
        """The model on a device, 'cpu', 'cuda' or 'mps': itself if it is there already, else a copy.

        Raises:
            ModelError: if the device is not there.
        """
        place: torch.device = imported("molyneux.backends", "load:named_device")(str(device))
        if place.type == self.device.type and place.index in (None, self.device.index):
            return self
        # a text tower may be shared with other models, which stay where they are
        twin = cast(ModelT, self.copy(whole=True))
        twin.native.to(place)
        return twin

    def recognise(
        self,
        photos: object,
        names: Sequence[str] | None = None,
        *,
        base: "VisionLanguageModel | None" = None,
        top: int = 5,
        on_step: Callable[[str, int, int], None] | None = None,
    ) -> Recognition:
        """The best names of each photo; see `molyneux.tasks.recognition.run.recognise`, which this calls."""
        found: Recognition = imported("molyneux.tasks", "recognition.run:recognise")(
            self, photos, names, base=base, top=top, on_step=on_step
        )
        return found

    def resemble(self, other: "VisionLanguageModel") -> None:
        """Take over what `load` set, and what the other was taught."""
        self.long_text, self.precision = other.long_text, other.precision
        self.concepts, self.base, self.family = other.concepts, other.base, other.family
        self.means = other.means

    def learned(self, concepts: Sequence[Concept], means: Sequence[str] = ()) -> None:
        """Add to what the model was taught, and with what; a name taught again has its last descriptions."""
        self.means = tuple(dict.fromkeys((*self.means, *means)))
        new = {concept.name.casefold() for concept in concepts}
        self.concepts = (*(one for one in self.concepts if one.name.casefold() not in new), *concepts)
        self.base = self.base or self.name

    def write_about(self, folder: Path) -> None:
        """Write what stands beside the weights in a saved model's folder, once all else is there.

        That is `concepts.json`, a card for people, and `digests.json`, by which `load` sees whether a file has changed.
        """
        write_record(folder / CONCEPTS, self.lineage)
        write_card(folder, self.lineage)
        write_digests(folder)

    @property
    def lineage(self) -> Lineage:
        """What `save` writes beside the weights, as `concepts.json`."""
        name = self.base or self.name
        return Lineage(
            version=1,
            base=Path(name).name if Path(name).is_dir() else name,
            family=self.family or type(self).__name__,
            concepts=tuple(ConceptTexts(name=one.name, descriptions=one.descriptions) for one in self.concepts),
            **({"means": self.means} if self.means else {}),
        )

    @abc.abstractmethod
    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        """The vision tower's batch-norm layers, input first; empty where it has none."""


class DualEncoder(VisionLanguageModel):
    """A model that embeds images and texts in one space.

    The vision tower is a `trunk` (images to features) followed by a `projection` (features to the
    shared space), so that what lies below the tuned part is computed once.
    """

    @abc.abstractmethod
    def copy(self, *, whole: bool = False) -> "DualEncoder": ...

    @property
    @abc.abstractmethod
    def temperature(self) -> float:
        """The model's own soft-max temperature over cosines."""

    @property
    def image_settings(self) -> str:
        """What decides beside the weights how images are seen, such as colours and numbers of heads; '' if nothing."""
        return ""

    @abc.abstractmethod
    def features(self, images: Images) -> Features:
        """Images in [0, 1], of any size the tower takes, to features before the projection; differentiable."""

    @abc.abstractmethod
    def image_outputs(self, features: Features) -> Float[Tensor, "n d"]:
        """Features to what the vision tower gives: embeddings of any length; differentiable."""

    def project(self, features: Features) -> Embeddings:
        """Features to unit-length embeddings; differentiable."""
        return normalize(self.image_outputs(features), dim=-1)

    def embed_images(self, images: Images) -> Embeddings:
        """Images in [0, 1] to unit-length embeddings; differentiable with respect to the pixels.

        Raises:
            DataError: if the pixels are not floats in [0, 1].
        """
        check_pixels(images)
        return self.project(self.features(images))

    @abc.abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Texts to unit-length embeddings, without gradients.

        Raises:
            ModelError: if a text has more tokens than the tower reads, and `long_text` is 'error'.
        """

    @abc.abstractmethod
    def text_outputs(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """What the text tower gives for each text, of any length, without gradients; errors as for `embed_texts`.

        A text that is read in parts has the mean of theirs.
        """

    @abc.abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """As `embed_texts`, but differentiable with respect to the text tower, and read anew each time."""

    @abc.abstractmethod
    def text_modules(self) -> list[nn.Module]:
        """The text tower, projection included: weights that no image passes through."""

    @abc.abstractmethod
    def trunk_modules(self) -> list[nn.Module]:
        """The trunk's blocks, input first: what 'the last k blocks' counts."""

    @abc.abstractmethod
    def projection_module(self) -> nn.Module:
        """The part of the vision tower after `features`."""

    def check_remap(self) -> None:
        """Raise ModelError, naming the parts that can be taught instead, if no weights can hold a `remap`."""
        return

    @abc.abstractmethod
    def remap(self, change: Float[Tensor, "d d"]) -> None:
        """Follow the projection with the map I + change, by changing its last layer's weights.

        The new weights are computed in the precision of `change`, and rounded once.

        Raises:
            ModelError: as for `check_remap`.
        """

    @property
    def map_side(self) -> Literal["images", "texts"]:
        """Which tower can hold a linear map of the shared space: texts, where the vision tower ends in a residual."""
        try:
            self.check_remap()
        except ModelError:
            return "texts"
        return "images"

    def merge(self, change: Float[Tensor, "d d"]) -> None:
        """Have images and texts compare as if I + change followed the vision tower.

        On the side of texts, each text t becomes t + change^T t: (v + change v) . t = v . (t + change^T t). The scores
        are the same but for the length of the text, by which they are divided.

        Raises:
            ModelError: if no weights of either tower can hold the map.
        """
        if self.map_side == "images":
            self.remap(change)
        else:
            self.remap_texts(change.T)

    def map_weights(self) -> list[nn.Parameter]:
        """The weights that `merge` changes: those of the last linear layer, of the tower that `map_side` names."""
        if self.map_side == "texts":
            last: nn.Module | None = self.last_text_layer()
            return [] if last is None else list(last.parameters())
        projection = self.projection_module()
        linear = [layer for layer in projection.modules() if isinstance(layer, nn.Linear)]
        return list((linear[-1] if linear else projection).parameters())

    def remap_texts(self, change: Float[Tensor, "d d"]) -> None:
        """Follow the text tower with the map I + change; the tower must not be shared with another model.

        Raises:
            ModelError: if its last layer is not linear.
        """
        last = self.last_text_layer()
        if last is None:
            raise ModelError(
                f"neither tower of {self.name!r} ends in a linear layer, so an edit cannot be merged: choose another "
                "preset of teaching, such as 'paper'"
            )
        with torch.no_grad():
            for values in (last.weight, last.bias):
                if values is not None:
                    values.add_(change @ values.to(change))

    def last_text_layer(self) -> nn.Linear | None:
        """The linear layer whose output is a text's embedding before its normalisation; None if there is none."""
        return None

    @abc.abstractmethod
    def vision_module(self) -> nn.Module:
        """The whole vision tower, projection included."""

    def alignment(self, texts: Sequence[str], *, each: bool = False, distance: bool = False) -> Alignment:
        if distance:
            return self._nearness(self.text_outputs(texts), each)
        mean = self.embed_texts(texts).mean(dim=0)
        # the mean of the cosines is the product with the mean text as it is, shorter than the texts
        target = mean if each else mean / mean.norm()

        def score(images: Images) -> tuple[Scores, Tensor]:
            # views may lie outside [0, 1] slightly
            embedded = self.project(self.features(images))
            mean = embedded.mean(dim=0)
            return embedded @ target, mean @ target / mean.norm()

        return Alignment(score)

    def alignment_each(self, texts: Sequence[str], *, distance: bool = False) -> Alignment:
        targets = self.text_outputs(texts) if distance else self.embed_texts(texts)

        def score(images: Images) -> tuple[Scores, Tensor]:
            features = self.features(images)
            if distance:
                scores = -(self.image_outputs(features) - targets).norm(dim=-1)
            else:
                scores = (self.project(features) * targets).sum(dim=-1)
            return scores, scores.mean()

        return Alignment(score)

    def _nearness(self, texts: Float[Tensor, "m d"], each: bool) -> Alignment:
        targets = texts if each else texts.mean(dim=0, keepdim=True)

        def score(images: Images) -> tuple[Scores, Tensor]:
            seen = self.image_outputs(self.features(images))
            off, off_together = seen[:, None] - targets, seen.mean(dim=0) - targets
            return -off.norm(dim=-1).mean(dim=1), -off_together.norm(dim=-1).mean()

        return Alignment(score)


def check_model(model: object, what: str = "the model") -> None:
    """Raise ModelError unless this is a model, such as `load` gives."""
    named = isinstance(model, str | Path)
    expected = f"a model, such as molyneux.load({str(model)[:60]!r})" if named else "what molyneux.load gives"
    check_kind(model, VisionLanguageModel, what, expected, ModelError)


def dual_encoder(model: VisionLanguageModel, task: str) -> DualEncoder:
    """The model, if it embeds images and texts.

    Raises:
        ModelError: otherwise, naming the task.
    """
    check_model(model)
    if not isinstance(model, DualEncoder):
        raise ModelError(f"{task} needs a model with separate image and text embeddings (a CLIP), got {model.name!r}")
    return model


# transformers' names for what others call so
_GELUS = {
    "QuickGELUActivation": "QuickGELU",
    "GELUActivation": "GELU",
    "GELUTanh": "GELU (tanh)",
    "PytorchGELUTanh": "GELU (tanh)",
    "GeluTanh": "GELU (tanh)",
}


def _approximation(part: nn.Module) -> str:
    return " (tanh)" if isinstance(part, nn.GELU) and part.approximate == "tanh" else ""


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Within the block no weight of `model` asks for gradients and nothing is in training mode."""
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    training = {module: module.training for module in model.modules()}
    model.requires_grad_(False).eval()
    try:
        yield
    finally:
        for parameter, flag in zip(model.parameters(), wanted, strict=True):
            parameter.requires_grad_(flag)
        for module, flag in training.items():
            module.training = flag
