"""Flags that several verbs share. A configuration's flags come from its dataclass; they override its preset."""

import math
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from cyclopts import App, Argument, ArgumentCollection, Group, Parameter, Token

from molyneux.backends.options import Generation, Running
from molyneux.datasets.windows import Window
from molyneux.errors import ConceptError, ConfigError
from molyneux.foreign import shown, unpaired
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
    from molyneux.images.config import ReplayConfig
    from molyneux.records import RunSettings

    _InversionPreset = str
    _TeachingPreset = str
    _SaliencyPreset = str
else:
    _InversionPreset = Literal["default", *PRESETS["inversion"]]
    _TeachingPreset = Literal["default", *PRESETS["teaching"]]
    _SaliencyPreset = Literal["default", *PRESETS["saliency"]]

_ABSENT = object()

LONGEST_PART = 255
"""Bytes of a file's name, on the file systems in use."""

LONGEST_PATH = 3_000
"""Bytes; systems take 4,096, of which a run's own files need some."""

LARGEST_NUMBER = 10**9
"""Of what is counted: images, steps, pixels."""

LARGEST_SEED = 2**63 - 1

_MAYBE_PATHS = {
    "--model", "--base", "--novel", "--known", "--names", "--images-from", "--images", "--sam", "--templates",
    "--rerank-with", "--concepts",
}  # fmt: skip
"""Options of text that may be the path of a file or a folder."""

_CONFIGURED = (
    "model",
    "device",
    "precision",
    "long_text",
    "seed",
    "control",
    "images_from",
    "show",
    "adapter_only",
    "fresh",
)
"""Fields of a run's configuration that are flags of `molyneux teach`."""

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
_TEACHING = Group("Teaching", help="How a model is taught.", sort_key=11)

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
    Parameter(help="'mini', the folder of a saved model or of a run, or a name that 'molyneux list models' explains."),
]
Out = Annotated[Path, Parameter(help="A new folder for the results, or that of the same run to continue it.")]
Seed = Annotated[
    int,
    Parameter(
        help="The same seed gives the same images, weights and scores on the same machine, with as many threads."
    ),
]
_LAYOUT = "a folder for each (CLASS/IMAGE), or NAME:FOLDER as 'molyneux list datasets' explains."
Novel = Annotated[str | None, Parameter(help=f"Photos of the new concepts to score on, {_LAYOUT}")]
Known = Annotated[str | None, Parameter(help=f"Photos of known classes, {_LAYOUT}")]
Names = Annotated[
    str | None,
    Parameter(
        help="The known names: 'imagenet-1k', or a text file with one per line; else --known's classes, else "
        "ImageNet's."
    ),
]
ControlModels = Annotated[
    dict[str, str] | None,
    Parameter(
        name="--control",
        help="Models taught on a control's images, to show beside: "
        f"{' '.join(f'--control.{name} FOLDER' for name in taught_controls())}.",
    ),
]
CaptionSplit = Annotated[
    str,
    Parameter(
        help="Which photos: a split of Karpathy's lists; of other lists 'train-half' or 'test-half' (by file name), "
        "else all."
    ),
]
PromptFlags = Annotated[PromptConfig, Parameter(name="*", group=_WORDING)]
TextFlags = Annotated[ClassTexts, Parameter(name="*", group=_TEXTS)]
ImagesFrom = Annotated[
    str | None,
    Parameter(
        help="Where the images to teach on come from; by default inversion where the lesson needs images, else none. "
        + " ".join(f"{kind.flag}: {kind.help}." for kind in SOURCES.values() if kind.flag)
    ),
]
TaughtControl = Annotated[
    Control | None,
    Parameter(
        help="Teach a control instead: "
        + ", or ".join(
            repr(name) + (f" ({kind.phrase})" if kind.phrase != name else "")
            for name, kind in taught_controls().items()
        )
        + "."
    ),
]
GenerationFlags = Annotated[Generation, Parameter(name="--generation", group=_GENERATION)]
WindowFlags = Annotated[Window, Parameter(name="*", group=_WINDOW)]


def placed(running: Running) -> Running:
    """The same on a device by name: what 'auto' stands for here is said on one line, and kept in a run's settings."""
    if running.device != "auto":
        return running
    from molyneux.backends.load import named_device

    found = named_device("auto").type
    print(f"device: {found} (auto: the first of cuda, mps and cpu that is there)", file=sys.stderr)
    return replace(running, device=found)


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
Verbose = Annotated[
    bool,
    Parameter(
        name=("--verbose", "-v"), negative=(), show_default=False, help="All of the protocol behind the numbers."
    ),
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


Config = Annotated[
    Path | None,
    Parameter(
        name="--config",
        help="A config.yaml that 'molyneux teach' wrote: its concepts and settings, except those that are given here.",
    ),
]


def presets(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give each setting without a flag the value of the chosen preset.

    A flag of another kind of update than the preset's (low-rank or not) replaces the preset's update as a whole.

    Raises:
        ConfigError: if a number is not whole where it must be, not finite or beyond all use; if a text holds what no
            file can; or if nothing can be called as a path is.
    """
    del app, commands
    for argument in arguments:
        _check_texts(argument)
    path = _chosen(arguments, "--config")
    if path:
        _configure(arguments, Path(path))
    for argument in arguments:
        _check_numbers(argument)
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


def configured_concepts(
    name: str | None, descriptions: Iterable[str], file: Path | None, config: Path | None
) -> "tuple[Concept, ...]":
    """`given_concepts`, or those of a run's configuration where no others are given. Errors: as there.

    Raises:
        DataError: if the configuration is none that `molyneux teach` wrote.
    """
    descriptions = tuple(descriptions)
    if config is None or name is not None or descriptions or file is not None:
        return given_concepts(name, descriptions, file)
    from molyneux.concepts import Concept, check_distinct

    return check_distinct(Concept(one.name, one.descriptions) for one in _read_config(config).concepts)


def configured_replay(config: Path | None) -> "ReplayConfig":
    """What a run's configuration says of replay images, for which there are no flags; else the default."""
    from molyneux.images.config import ReplayConfig
    from molyneux.recipes.settings import replay_of

    found = None if config is None else _read_config(config).replay
    return ReplayConfig() if found is None else replay_of(found)


def warn_of_names(concepts: "Iterable[Concept]") -> None:
    """Say on stderr which descriptions hold their concept's name: they are to say how it looks without it."""
    from molyneux.pipeline.describe import names_used

    for concept in concepts:
        used = [word for text in concept.descriptions for word in names_used(concept.name, text)]
        if used:
            print(
                f"molyneux: warning: a description of {concept.name!r} says {used[0]!r}: describe how it looks without "
                "its name",
                file=sys.stderr,
            )


def _configure(arguments: ArgumentCollection, path: Path) -> None:
    """Give each setting without a flag the value that a run's configuration has."""
    from molyneux.recipes.settings import generation_of, inversion_of, teaching_of

    found = _read_config(path)
    scoring = found.evaluation
    flat = {
        **{key: getattr(found, key) for key in _CONFIGURED},
        **{key: getattr(scoring, key) for key in ("novel", "known", "names", "class_names", "templates", "ensemble")},
        **{key: getattr(scoring, key) for key in ("window_center", "window_width", "slice")},
        # without photos of the concepts no controls were scored; that says nothing of a run with photos
        "controls": None if scoring.novel is None else scoring.controls,
    }
    for argument in arguments:
        value = flat.get(argument.name.removeprefix("--").replace("-", "_"))
        if value is not None and not argument.tokens:
            argument.append(Token(keyword=argument.name, source="config", implicit_value=value))
    groups: dict[str, Any] = {"teaching": teaching_of(found.teaching)}
    if found.inversion is not None:
        groups["inversion"] = inversion_of(found.inversion)
    if found.generation is not None:
        groups["generation"] = generation_of(found.generation)
    for group, config in groups.items():
        if not _chosen(arguments, f"--{group}-preset"):
            _fill(arguments, group, config)


def _read_config(path: Path) -> "RunSettings":
    """A run's configuration; DataError if it is none, or lies in a finished run and is not what was saved there."""
    from molyneux.digests import check_digests
    from molyneux.records import RunSettings, read_record

    check_digests(path.parent, (path.name,), again="to change settings, edit a copy outside of the run's folder")
    return read_record(RunSettings, path)


def _check_texts(argument: Argument) -> None:
    """See that what is given for a text or a path can be written down, and can be the name of a file."""
    is_path = Path in (argument.hint, *get_args(argument.hint))
    may_be_path = is_path or argument.name in _MAYBE_PATHS
    for token in argument.tokens:
        if token.source != "cli":
            continue
        text = token.value
        if "\0" in text or unpaired(text):
            raise ConfigError(f"{argument.name} is {shown(text)}: expected text in UTF-8 without a zero character")
        if may_be_path and not text.strip():
            raise ConfigError(f"{argument.name} is {text!r}: expected a path; '.' is the current folder")
        if may_be_path and text.startswith("~"):
            raise ConfigError(
                f"{argument.name} is {shown(text)}: no shell has put your home there, as none does behind '='; write "
                f"{argument.name} {text} without '=', or the whole path, or ./{text} for what is called so"
            )
        if (may_be_path and any(len(part.encode()) > LONGEST_PART for part in text.split("/"))) or (
            may_be_path and len(text.encode()) > LONGEST_PATH
        ):
            raise ConfigError(
                f"{argument.name} is {shown(text)}, of {len(text):,} characters: no file can be called so; expected at "
                f"most {LONGEST_PART} bytes in each part of a path, and {LONGEST_PATH:,} in all"
            )


def _check_numbers(argument: Argument) -> None:
    """See that what is given for a number is one; a rounded half would be another setting than was asked for."""
    kinds = list(_number_types(argument.hint))
    for place, token in enumerate(argument.tokens if kinds else ()):
        try:
            value = float(token.value)
        except ValueError:
            # not a number in this notation: the parser says so, or knows it
            continue
        kind = kinds[place % len(kinds)]
        if kind is int and not re.fullmatch(r"[+-]?[0-9]+", token.value.strip()):
            raise ConfigError(f"{argument.name} is {token.value!r}: expected a whole number")
        if kind is int and abs(value) > (LARGEST_SEED if argument.name.endswith("seed") else LARGEST_NUMBER):
            raise ConfigError(
                f"{argument.name} is {shown(token.value)}: expected at most "
                f"{LARGEST_SEED if argument.name.endswith('seed') else LARGEST_NUMBER:,}"
            )
        if kind is float and not math.isfinite(value):
            raise ConfigError(f"{argument.name} is {token.value!r}: expected a finite number")


def _number_types(hint: Any) -> Iterator[type]:
    """The types of numbers that a flag takes, one after the other; none for a flag that takes no numbers alone.

    >>> list(_number_types(int | None)), list(_number_types(tuple[tuple[float, int], ...])), list(_number_types(str))
    ([<class 'int'>], [<class 'float'>, <class 'int'>], [])
    """
    if hint in (int, float):
        yield hint
    elif get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from _number_types(part)


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
