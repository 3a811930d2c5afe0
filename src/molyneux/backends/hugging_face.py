"""Dual encoders of transformers: CLIP, SigLIP, SigLIP 2 and VisionTextDualEncoder, from a folder or the hub."""

import copy
import importlib
import inspect
import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from molyneux.backends.abilities import Explainable
from molyneux.backends.checkpoints import ANOTHER, one_tower, save_tokenizer
from molyneux.backends.division import Chain
from molyneux.backends.hub import DESCRIBED, fetch_files
from molyneux.backends.hugging_face_preprocess import (
    ImagePreprocessing,
    check_followed,
    image_preprocessing,
    resizes_with_torch,
)
from molyneux.backends.hugging_face_towers import PooledTower, ProjectedTower, VisionTower
from molyneux.backends.long_text import TokenWindow, hugging_face_window
from molyneux.backends.text_side import TokenizedEncoder
from molyneux.errors import DataError, HubError, ModelError
from molyneux.files import new_folder
from molyneux.foreign import read_json
from molyneux.framing import Framing
from molyneux.shapes import Features, Images

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CLASSES = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "siglip2": "Siglip2Model",
    "vision-text-dual-encoder": "VisionTextDualEncoderModel",
}
"""config.json's model_type, and transformers' class for it."""

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tokenizer.model",),
)
"""Each a set of files that a tokenizer can be made of."""

STALE = (".position_ids", ".relative_position_index")
"""Buffers of constants that older versions of transformers saved with the weights."""

_PADDED_TEXTS = ("siglip_text_model", "siglip2_text_model")
_OFFSET_TEXTS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "mpnet")
_NO_LIMIT = 10**9


@final
class HuggingFaceModel(TokenizedEncoder, Explainable):
    """A dual encoder of transformers with its tokenizer and image processor."""

    def __init__(self, name: str, native: nn.Module, tokenizer: Any, image_processor: Any) -> None:
        super().__init__()
        self._name, self._native = name, native
        self._tokenizer, self._image_processor = tokenizer, image_processor
        self._rules = image_preprocessing(image_processor.to_dict(), by_torch=resizes_with_torch(image_processor))
        self._tower = vision_tower(native)
        self._limit = text_limit(self._config.text_config, tokenizer)
        self._text_keys = inspect.signature(native.get_text_features).parameters.keys()  # type: ignore[arg-type]
        self._check_fits_together()
        native.requires_grad_(False).eval()

    @property
    def name(self) -> str:
        return self._name

    @property
    def native(self) -> nn.Module:
        return self._native

    @property
    def image_size(self) -> int:
        return self._rules.size

    @property
    def crop_fraction(self) -> float:
        return self._rules.crop

    @property
    def photo_fit(self) -> Framing:
        return self._rules.framing

    @property
    def inversion_size(self) -> int:
        return self.image_size * 4 // 7 if self.vision_batch_norms() else self.image_size

    @property
    def temperature(self) -> float:
        return float(1 / self._native.logit_scale.exp())  # type: ignore[operator]

    @property
    def image_settings(self) -> str:
        return repr((self._rules, self._config.vision_config.to_dict()))

    @property
    def rules(self) -> ImagePreprocessing:
        """How photos become what the vision tower reads."""
        return self._rules

    def features(self, images: Images) -> Features:
        return self.compute(self._tower.trunk, self._rules.normalized(images))

    def image_outputs(self, features: Features) -> Float[Tensor, "n d"]:
        return self.compute(self._tower.head, features)

    def chain(self) -> Chain:
        return self._tower.chain().around(self._rules.normalized)

    def save(self, folder: str | Path) -> None:
        native: Any = self._native
        with new_folder(Path(folder)) as target, quiet():
            native.save_pretrained(target)
            save_tokenizer(self._tokenizer, target)
            self._image_processor.save_pretrained(target)
            self.save_packs(target)
            self.write_about(target)

    def copy(self, *, whole: bool = False) -> "HuggingFaceModel":
        native = copy.deepcopy(self._native, {} if whole else {id(part): part for part in self.text_modules()})
        twin = HuggingFaceModel(self._name, native, self._tokenizer, self._image_processor)
        twin._resemble(self, whole)
        return twin

    def vision_batch_norms(self) -> list[nn.BatchNorm2d]:
        return [layer for layer in self._tower.module().modules() if isinstance(layer, nn.BatchNorm2d)]

    def text_modules(self) -> list[nn.Module]:
        found = (getattr(self._native, name, None) for name in ("text_model", "text_projection"))
        return [part for part in found if isinstance(part, nn.Module)]

    def trunk_modules(self) -> list[nn.Module]:
        return self._tower.blocks()

    def projection_module(self) -> nn.Module:
        return self._tower.head_module()

    def check_remap(self) -> None:
        if self._tower.last_layer() is None:
            raise ModelError(
                f"a linear map of the shared space cannot be merged into {self.name!r}, whose vision tower ends in a "
                "residual block: set the part that is taught (teaching.update.part) to 'projection', 'blocks' or "
                "'tower'"
            )

    @torch.no_grad()
    def remap(self, change: Float[Tensor, "d d"]) -> None:
        self.check_remap()
        last = self._tower.last_layer()
        assert last is not None
        for values in (last.weight, last.bias):
            if values is not None:
                values.add_(change @ values.to(change))

    def last_text_layer(self) -> nn.Linear | None:
        head = getattr(self._native.text_model, "head", getattr(self._native, "text_projection", None))
        return head if isinstance(head, nn.Linear) else None

    def vision_module(self) -> nn.Module:
        return self._tower.module()

    @property
    def _config(self) -> Any:
        return self._native.config

    @property
    def _window(self) -> TokenWindow:
        found = hugging_face_window(self.name, self._tokenizer, self._limit)
        return replace(found, tokens=lambda text: found.tokens(self._cased(text)))

    def _cased(self, text: str) -> str:
        """SigLIP and SigLIP 2 learned from lower-case texts; Gemma's tokenizer, published with the latter, keeps case.

        Source: big_vision's configurations of both; transformers' `Siglip2Tokenizer`.
        """
        padded = self._config.text_config.model_type in _PADDED_TEXTS
        return text.lower() if padded and getattr(self._tokenizer, "do_lower_case", True) else text

    def _fitting_outputs(self, texts: list[str]) -> Float[Tensor, "n d"]:
        # SigLIP pools a text at its last place, which is padding, and was trained with all of it
        padding = "max_length" if self._config.text_config.model_type in _PADDED_TEXTS else True
        tokens = self._tokenizer(
            [self._cased(text) for text in texts],
            padding=padding,
            truncation=True,
            max_length=self._limit,
            return_tensors="pt",
            verbose=False,
        )
        inputs = {key: value.to(self.device) for key, value in tokens.items() if key in self._text_keys}

        def read() -> Tensor:
            return as_tensor(self._native.get_text_features(**inputs))  # type: ignore[operator]

        return self.compute(read)

    def _check_fits_together(self) -> None:
        """Raise ModelError if processor, tokenizer and weights cannot be of one checkpoint."""
        trained = getattr(self._config.vision_config, "image_size", None)
        if isinstance(trained, int) and trained != self.image_size:
            raise ModelError(
                f"{self.name!r} does not fit together: its image processor makes images of {self.image_size} pixels "
                f"and its vision tower reads {trained}"
            )
        words = self._config.text_config.vocab_size
        if len(self._tokenizer) > words:
            raise ModelError(
                f"{self.name!r} does not fit together: its tokenizer has {len(self._tokenizer)} words and its text "
                f"tower knows {words}"
            )


def vision_tower(native: nn.Module) -> VisionTower:
    """The vision tower of a model, by what stands behind its pooling."""
    if hasattr(native, "visual_projection"):
        return ProjectedTower(native)
    return PooledTower(native, patches=native.config.model_type == "siglip2")  # type: ignore[union-attr]


def as_tensor(output: Any) -> Tensor:
    """What `get_image_features` and `get_text_features` give: a tensor, from transformers 5 on inside an output."""
    return output if isinstance(output, Tensor) else output.pooler_output


def text_limit(config: Any, tokenizer: Any) -> int:
    """Tokens that a text tower reads: the smaller of its positions and of its tokenizer's limit.

    Raises:
        ModelError: if neither states one.
    """
    positions = getattr(config, "max_position_embeddings", None) or _NO_LIMIT
    if config.model_type in _OFFSET_TEXTS:
        # these count positions from behind the padding token's number
        positions -= config.pad_token_id + 1
    limit = min(positions, tokenizer.model_max_length)
    if limit >= _NO_LIMIT:
        raise ModelError("neither the text tower's config nor its tokenizer states how many tokens are read")
    return int(limit)


def load_named(rest: str) -> HuggingFaceModel:
    """The model of 'hf:FOLDER' or 'hf:ORG/NAME'; the latter is fetched by the hub's own client, or found in its cache.

    Raises:
        ModelError: if it cannot be fetched or read.
    """
    folder = Path(rest)
    return load_folder(folder if folder.is_dir() else fetch(rest), name=f"hf:{rest}")


def fetch(name: str) -> Path:
    """The folder of a model on the hub, with what is needed of it.

    Raises:
        ModelError: if there is no such model, or the hub cannot be reached.
    """
    try:
        with quiet():
            folder = fetch_files(name, (*DESCRIBED, "model*.safetensors"))
            if not any((folder / weights).is_file() for weights in WEIGHTS[:2]):
                folder = fetch_files(name, (*DESCRIBED, "pytorch_model*.bin"))
    except HubError as error:
        raise ModelError(f"{error}; or give the folder of a downloaded model") from error
    return folder


def load_folder(folder: Path, name: str | None = None) -> HuggingFaceModel:
    """A folder as transformers saves it: configuration, weights, tokenizer and image processor.

    Raises:
        ModelError: naming what is missing, cannot be read, or does not belong together.
    """
    folder = Path(folder)
    kind = model_type(folder)
    check_files(folder)
    check_weights(folder)
    with quiet():
        native = read_weighted(folder, CLASSES[kind])
        tokenizer = read_part(folder, "AutoTokenizer", "tokenizer")
        image_processor = read_part(folder, "AutoImageProcessor", "image processor")
        model = HuggingFaceModel(name or str(folder), native, tokenizer, image_processor)
        check_followed(image_processor, model.rules)
        return model


def model_type(folder: Path) -> str:
    """What config.json says the model is.

    Raises:
        ModelError: if it cannot be read, or says something that is not read here.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(f"{folder} has no {CONFIG}: expected a folder that transformers saved")
    try:
        kind = read_json(path, "the configuration", error=ModelError)["model_type"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} does not say what model it describes (model_type): {error}") from error
    if kind not in CLASSES:
        raise ModelError(
            f"{path} describes a model of type {kind!r}: expected one of {', '.join(CLASSES)}{one_tower(kind)}"
        )
    return str(kind)


def check_files(folder: Path) -> None:
    """Raise ModelError for the first file that is missing: nothing of a checkpoint is replaced by a default."""
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise ModelError(f"{folder} has no weights: expected {' or '.join(WEIGHTS)}")
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        looked = ", or ".join(" with ".join(names) for names in TOKENIZERS)
        raise ModelError(f"{folder} has no tokenizer: expected {looked}")
    if not _has_image_processor(folder):
        raise ModelError(f"{folder} has no {PROCESSORS[0]}: without it the images' size and colours would be guessed")


def check_weights(folder: Path) -> None:
    """Raise ModelError if a safetensors file of the folder cannot be read, as when it was cut short."""
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise ModelError(f"the weights {path} cannot be read ({error}): fetch or save them again") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block transformers draws no bars and gives no advice; what matters is raised."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_weighted(folder: Path, vendor: str) -> nn.Module:
    """A folder's model as that class of transformers, every weight of it found and no other.

    Raises:
        ModelError: if it cannot be read, or the weights are another model's.
    """
    safe = any((folder / name).is_file() for name in WEIGHTS[:2])
    try:
        native, found = getattr(importlib.import_module("transformers"), vendor).from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            use_safetensors=safe,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # a wrong checkpoint is met with errors of every kind
        if _is_unsafe(error):
            raise ModelError(
                f"the weights in {folder} hold more than tensors, which could run code, and are not read: where you "
                "trust them, load them with torch and save their state_dict() as safetensors"
            ) from error
        raise ModelError(f"the model in {folder} cannot be read ({_reason(error)}): {_remedy(error)}") from error
    shapes = [key if isinstance(key, str) else key[0] for key in found["mismatched_keys"]]
    extra = [key for key in found["unexpected_keys"] if not key.endswith(STALE)]
    faults = (("lack", found["missing_keys"]), ("have the unknown key", extra), ("have another shape for", shapes))
    for fault, keys in faults:
        if keys:
            first = min(keys)
            raise ModelError(f"the weights in {folder} {fault} {first!r} ({len(keys)} in all): {ANOTHER}")
    assert isinstance(native, nn.Module)
    return native


def read_part(folder: Path, vendor: str, what: str) -> Any:
    """What lies beside the weights, by a class of transformers; errors as for `read_weighted`."""
    try:
        reader = getattr(importlib.import_module("transformers"), vendor)
        return reader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise ModelError(f"the {what} in {folder} cannot be read ({_reason(error)}): {_remedy(error)}") from error


def _has_image_processor(folder: Path) -> bool:
    first, second = (folder / name for name in PROCESSORS)
    if first.is_file():
        return True
    try:
        return "image_processor" in read_json(second, "the processor")
    except (DataError, TypeError):
        return False


def _is_unsafe(error: BaseException | None) -> bool:
    """Whether an unpickler's refusal is behind an error."""
    while error is not None:
        if isinstance(error, pickle.UnpicklingError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _remedy(error: BaseException) -> str:
    return "install what is missing" if isinstance(error, ImportError) else "fetch or save it again"


def _reason(error: BaseException) -> str:
    """The first line of an error that has something to say."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)[:200]
