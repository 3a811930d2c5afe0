"""`molyneux evaluate`: photos in, how well models name them out; what the models share is computed once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.digest import state_outside
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.datasets.imagenet import SameNames
from molyneux.datasets.names import read_names
from molyneux.datasets.photos import check_window, checked
from molyneux.datasets.sets import read_set
from molyneux.datasets.windows import Window
from molyneux.errors import ConfigError
from molyneux.runs.options import Progress
from molyneux.tasks.classification.class_texts import class_texts
from molyneux.tasks.classification.features import name_texts
from molyneux.tasks.classification.labels import label_set
from molyneux.tasks.classification.prompts import ClassTexts, PromptConfig, read_templates
from molyneux.tasks.classification.results import Evaluation
from molyneux.tasks.classification.zero_shot import check_comparable, evaluate


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """A model to score, and on what."""

    model: str
    base: str | None = None
    novel: str | Path | None = None
    known: str | Path | None = None
    names: str | None = None
    prompt_config: PromptConfig = field(default_factory=PromptConfig)
    same_names: SameNames = "merged"
    texts: ClassTexts = field(default_factory=ClassTexts)
    window: Window = field(default_factory=Window)
    running: Running = field(default_factory=Running)

    def __post_init__(self) -> None:
        if self.novel is None and self.known is None:
            raise ConfigError("nothing to score on: give a folder of novel photos, of known photos, or both")


def evaluate_folders(settings: EvaluateSettings, *, on_step: Progress | None = None) -> Evaluation:
    """The job of `molyneux evaluate`: check the folders, load the models, score.

    Parts of the two models with equal weights (the trunk, the text tower) are computed once.

    Raises:
        DataError: if a folder, a photo, pools or a list of names or templates cannot be read, or names contradict.
        ConceptError: if descriptions cannot be read.
        ConfigError: if texts and names do not fit each other, or nothing is to be seen through the window.
        ModelError: if a model cannot be loaded, or a name is too long for it.
    """
    prompt_config = settings.prompt_config
    names = None if settings.names is None else read_names(settings.names, prompt_config.class_names)
    prompts = read_templates(prompt_config.templates)
    folders = [
        None if photos is None else read_set(photos, class_names=prompt_config.class_names, window=settings.window)
        for photos in (settings.novel, settings.known)
    ]
    novel, known = (None if folder is None else checked(folder) for folder in folders)
    check_window(settings.window, (kind for folder in (novel, known) if folder is not None for kind in folder.kinds))
    labels = label_set(
        known=None if known is None else known.names, novel=() if novel is None else novel.names, names=names
    )
    described = class_texts(settings.texts, labels, prompts, prompt_config.ensemble)
    running = asdict(settings.running)
    model = load(settings.model, **running)
    base = None if settings.base is None else load(settings.base, **running)
    check_comparable(model, base)
    for one in (model, base):
        if one is not None:
            check_class_texts(one, name_texts(labels.all, prompts, described))
    encoders = (model, base) if isinstance(model, DualEncoder) and isinstance(base, DualEncoder) else None
    return evaluate(
        model,
        base=base,
        novel=novel,
        known=known,
        names=names,
        prompts=prompts,
        described=described,
        ensemble=prompt_config.ensemble,
        class_names=prompt_config.class_names,
        same_names=settings.same_names,
        shared_trunk=encoders is not None and same_trunk(*encoders),
        shared_texts=encoders is not None and same_texts(*encoders),
        on_step=on_step,
    )


def check_class_texts(model: VisionLanguageModel, texts: Iterable[Sequence[str]]) -> None:
    """Raise ModelError for the first of the classes' texts that the model cannot read to its end."""
    for group in texts:
        for text in group:
            model.check_text(text)


def equal_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two sets of weights have the same names and the same values, bit by bit.

    >>> equal_weights({"a": torch.ones(2)}, {"a": torch.ones(2)}), equal_weights({}, {"a": torch.ones(2)})
    (True, False)
    """
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def same_trunk(one: DualEncoder, other: DualEncoder) -> bool:
    """Whether two models have the same features below the projection, of photos that are read in the same way."""
    views = [(model.image_size, model.crop_fraction, model.photo_fit) for model in (one, other)]
    return views[0] == views[1] and equal_weights(_trunk(one), _trunk(other))


def same_texts(one: DualEncoder, other: DualEncoder) -> bool:
    """Whether two models have the same embeddings of texts."""
    return equal_weights(_texts(one), _texts(other))


def _trunk(model: DualEncoder) -> dict[str, Tensor]:
    return state_outside(model.vision_module(), model.projection_module())


def _texts(model: DualEncoder) -> dict[str, Tensor]:
    return state_outside(model.native, model.vision_module())
