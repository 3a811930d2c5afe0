"""Flags that several verbs share. A configuration's flags come from its dataclass; they override its preset."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Argument, ArgumentCollection, Group, Parameter, Token

from molyneux.backends.options import Generation, Running
from molyneux.datasets.windows import Window
from molyneux.errors import ConceptError
from molyneux.images.choices import SOURCES, taught_controls
from molyneux.images.config import Control
from molyneux.inversion.config import InversionConfig
from molyneux.pipeline.settings import PRESETS
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.classification.prompts import ClassTexts, PromptConfig
from molyneux.tasks.localisation.config import MaskConfig, SaliencyConfig
from molyneux.teaching.config import TeachingConfig

if TYPE_CHECKING:
    from molyneux.concepts import Concept

    _InversionPreset = str
    _TeachingPreset = str
    _SaliencyPreset = str
else:
    _InversionPreset = Literal["default", *PRESETS["inversion"]]
    _TeachingPreset = Literal["default", *PRESETS["teaching"]]
    _SaliencyPreset = Literal["default", *PRESETS["saliency"]]

_ABSENT = object()

RUNNING = Running()
GENERATION = Generation()
PROMPTS = PromptConfig()
WINDOW = Window()
TEXTS = ClassTexts()
INVERSION = InversionConfig()
TEACHING = TeachingConfig()
CAPTIONING = CaptioningConfig()
SALIENCY = SaliencyConfig()
MASKS = MaskConfig()

_CAPTIONING = Group("Captioning", help="How captions are decoded.", sort_key=12)
_WORDING = Group("Prompts for classes", help="The texts that photos are scored against.", sort_key=8)
_TEXTS = Group("Descriptions in prompts", help="Score descriptions without teaching.", sort_key=8)
_SALIENCY = Group("Heat maps", help="How an information bottleneck is put into the vision tower.", sort_key=13)
_MASKS = Group("Masks", help="How heat maps become masks, and what SAM is asked with.", sort_key=14)
_WINDOW = Group(
    "Medical images", help="DICOM and NIfTI files, for research only: molyneux[medical] reads them.", sort_key=8
)
_RUNNING = Group("Running the model", sort_key=9)
_GENERATION = Group("Generation", help="With --images-from sdxl: how images are made.", sort_key=10)
_INVERSION = Group("Inversion", help="How descriptions become images.", sort_key=10)
_TEACHING = Group("Teaching", help="How images become weights.", sort_key=11)

Name = Annotated[str | None, Parameter(help="The concept's name.")]
Descriptions = Annotated[
    tuple[str, ...],
    Parameter(
        name="--description",
        show_default=False,
        help="How it looks, without using the name; may be given several times.",
    ),
]
ConceptFile = Annotated[
    Path | None,
    Parameter(help="A JSON or YAML file with several concepts: name to description, or to a list of them."),
]
Model = Annotated[
    str,
    Parameter(help="'mini', a folder that holds a saved model, or a name that 'molyneux list models' explains."),
]
Out = Annotated[Path, Parameter(help="A new folder for the results, or that of the same run to continue it.")]
Seed = Annotated[int, Parameter(help="The same seed gives the same images, weights and scores.")]
_LAYOUT = "a folder for each (CLASS/IMAGE), or NAME:FOLDER as 'molyneux list datasets' explains."
Novel = Annotated[str | None, Parameter(help=f"Photos of the new concepts to score on, {_LAYOUT}")]
Known = Annotated[str | None, Parameter(help=f"Photos of known classes, {_LAYOUT}")]
Names = Annotated[
    str | None,
    Parameter(help="The known names: 'imagenet-1k', or a text file with one per line; else --known's classes."),
]
ControlModels = Annotated[
    dict[str, str] | None,
    Parameter(
        name="--control",
        help="Models taught on a control's images, to show beside: "
        f"{' '.join(f'--control.{name} FOLDER' for name in taught_controls())}.",
    ),
]
CaptionSplit = Annotated[str, Parameter(help="Which photos of Karpathy's lists.")]
PromptFlags = Annotated[PromptConfig, Parameter(name="*", group=_WORDING)]
TextFlags = Annotated[ClassTexts, Parameter(name="*", group=_TEXTS)]
ImagesFrom = Annotated[
    str | None,
    Parameter(
        help="Teach on other than inverted images. "
        + " ".join(f"{kind.flag}: {kind.help}." for kind in SOURCES.values() if kind.flag)
    ),
]
TaughtControl = Annotated[
    Control | None,
    Parameter(
        help="Teach on a control's images instead. "
        + " ".join(f"{name}: {kind.phrase}." for name, kind in taught_controls().items())
    ),
]
GenerationFlags = Annotated[Generation, Parameter(name="--generation", group=_GENERATION)]
WindowFlags = Annotated[Window, Parameter(name="*", group=_WINDOW)]
RunningFlags = Annotated[Running, Parameter(name="*", group=_RUNNING)]
ExecutorFlag = Annotated[
    Literal["serial", "ray"],
    Parameter(
        group=_RUNNING,
        help="Make images here, or on the Ray cluster of RAY_ADDRESS (else on this machine's cores, OMP_NUM_THREADS "
        "of them for each concept): the same pixels.",
    ),
]
AsJson = Annotated[
    bool,
    Parameter(name="--json", negative=(), show_default=False, help="Print the result as JSON, and nothing else."),
]
Quiet = Annotated[bool, Parameter(negative=(), show_default=False, help="No progress on stderr.")]
InversionPreset = Annotated[
    _InversionPreset,
    Parameter(group=_INVERSION, help="The settings below start from this preset."),
]
InversionFlags = Annotated[InversionConfig, Parameter(name="--inversion", group=_INVERSION)]
TeachingPreset = Annotated[
    _TeachingPreset,
    Parameter(group=_TEACHING, help="The settings below start from this preset."),
]
TeachingFlags = Annotated[TeachingConfig, Parameter(name="--teaching", group=_TEACHING)]
SaliencyPreset = Annotated[
    _SaliencyPreset, Parameter(group=_SALIENCY, help="The settings below start from this preset.")
]
SaliencyFlags = Annotated[SaliencyConfig, Parameter(name="--saliency", group=_SALIENCY)]
MaskFlags = Annotated[MaskConfig, Parameter(name="--masks", group=_MASKS)]
CaptioningFlags = Annotated[CaptioningConfig, Parameter(name="--captioning", group=_CAPTIONING)]


def presets(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give each setting without a flag the value of the chosen preset.

    A flag of another kind of update than the preset's (low-rank or not) replaces the preset's update as a whole.
    """
    del app, commands
    for group, choices in PRESETS.items():
        preset = choices.get(_chosen(arguments, f"--{group}-preset"))
        if preset is not None:
            _fill(arguments, group, preset())


def given_concepts(name: str | None, descriptions: Iterable[str], file: Path | None) -> "tuple[Concept, ...]":
    """One concept from its name and descriptions, or several from a file.

    Raises:
        ConceptError: if there are none, or both ways are used, or a concept is not well formed.
    """
    from molyneux.concepts import Concept, check_distinct, read_concepts

    descriptions = tuple(descriptions)
    if file is not None:
        if name is not None or descriptions:
            raise ConceptError("give either a NAME with --description, or --concepts FILE, not both")
        return read_concepts(file)
    if name is None:
        raise ConceptError("no concept given: expected a NAME with --description TEXT, or --concepts FILE")
    return check_distinct([Concept(name, descriptions)])


def _chosen(arguments: Iterable[Argument], flag: str) -> str:
    for argument in arguments:
        if argument.name == flag and argument.tokens:
            return argument.tokens[0].value
    return ""


def _fill(arguments: Iterable[Argument], group: str, config: Any) -> None:
    mine = [argument for argument in arguments if argument.name.startswith(f"--{group}.")]
    values = {argument.name: _value(config, argument.name.removeprefix(f"--{group}.")) for argument in mine}
    replaced = {_parent(argument.name) for argument in mine if argument.tokens and values[argument.name] is _ABSENT}
    for argument in mine:
        value = values[argument.name]
        if argument.tokens or value is _ABSENT or is_dataclass(value) or _parent(argument.name) in replaced:
            continue
        argument.append(Token(keyword=argument.name, source="preset", implicit_value=value))


def _value(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part.replace("-", "_"), _ABSENT)
    return config


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


@contextmanager
def continuable(out: Path | None) -> Iterator[None]:
    """Within the block, an interruption says how to go on, where the run left something to go on from."""
    try:
        yield
    except KeyboardInterrupt:
        from molyneux.runs.folder import is_unfinished

        if out is not None and is_unfinished(out):
            raise KeyboardInterrupt(f"the same command continues the run in {out}") from None
        raise
