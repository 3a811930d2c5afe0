"""The files of results, one class each: what writes a file also reads it back. Importing this needs no torch.

A key that is not set is not written. Numbers are finite; a share lies in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError, to_json

from molyneux.errors import ConfigError, DataError
from molyneux.files import write_json
from molyneux.foreign import LARGEST_ANNOTATIONS, LARGEST_TEXT, read_bytes, read_yaml, said

SCORES, CLASSES, PREDICTIONS = "scores.json", "classes.json", "predictions.json"
ENVIRONMENT, IMAGES, CONFIG = "environment.json", "images.json", "config.yaml"
CONCEPTS = "concepts.json"
PACKS = "packs.json"
DIGESTS = "digests.json"
SHOWN, MISTAKEN = "shown.json", "mistaken.json"

Version = Literal[1]
"""Of a file's layout."""


def _expected(what: str) -> WrapValidator:
    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("expected", "{what}", {"what": what}) from None

    return WrapValidator(check)


Number = Annotated[float, _expected("a number")]
Share = Annotated[float, Field(ge=0, le=1), _expected("a number between 0 and 1")]
Difference = Annotated[float, Field(ge=-1, le=1), _expected("a number between -1 and 1")]
Amount = Annotated[float, Field(ge=0), _expected("a number of at least 0")]
Count = Annotated[int, Field(ge=0), _expected("a whole number of at least 0")]
Interval = tuple[Number, Number]
ShareInterval = tuple[Share, Share]
Texts = tuple[str, ...]
Settings = Mapping[str, JsonValue]
"""Settings by name, which only their own classes know."""

PLAIN = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Record(BaseModel):
    """Plain values that say what they mean, and turn into JSON and back."""

    model_config = ConfigDict(**PLAIN, extra="forbid")

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the keys that are set."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)

    def given(self) -> dict[str, Any]:
        """The values that are set, by name."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The rows as a pandas `DataFrame`; ConfigError if pandas is not installed."""
    try:
        pandas = import_module("pandas")
    except ImportError:
        raise ConfigError("to_pandas needs pandas: pip install pandas") from None
    return pandas.DataFrame(rows)


class Compared(Record):
    """A model's numbers, beside those of its base where there is one: `before` and `change` are set where it is."""

    version: Version
    model: str
    base: str | None

    @model_validator(mode="after")
    def _before_where_there_is_a_base(self) -> "Compared":
        _check_before(self, "", self.base is not None)
        return self


class Pair(Record):
    """A number before and after teaching; without a base model, and of a control, there is no `before`.

    A number that was not computed is None, with the reason beside it.
    """

    before: Number | None = None
    after: Number | None
    reason: str = ""

    @model_validator(mode="after")
    def _number_or_reason(self) -> "Pair":
        if (self.after is None) != bool(self.reason):
            raise PydanticCustomError("whole", "either a number under 'after', or the 'reason' why there is none")
        return self

    @property
    def known(self) -> bool:
        """Whether there is any number at all."""
        return self.before is not None or self.after is not None

    @property
    def difference(self) -> float | None:
        """After minus before, where both were computed."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def why(self) -> str:
        """The reason, without the words 'not computed'."""
        return self.reason.removeprefix("not computed").lstrip(": ")


class SharePair(Pair):
    """The same of shares."""

    before: Share | None = None
    after: Share | None


class RankPair(Pair):
    """The same of ranks; 0 is best."""

    before: Amount | None = None
    after: Amount | None


class CountPair(Pair):
    """The same of counts."""

    before: Count | None = None
    after: Count | None


class IntervalPair(Record):
    """The same of a share's interval."""

    before: ShareInterval | None = None
    after: ShareInterval | None


class ConceptResult(Record):
    """What photos say about one novel name."""

    target_recall: SharePair
    false_positive_rate: SharePair
    median_rank: RankPair
    photos: Count
    target_recall_interval: IntervalPair
    false_positives: CountPair


class ClassResult(Record):
    """A known class's photos, and the share of them whose best known name is theirs."""

    photos: Count
    accuracy: SharePair


class Opinion(Record):
    """What one model makes of one photo, among all known names and the photo's own."""

    top: tuple[tuple[str, Number], ...]
    """The best three names with their scores, best first."""
    rank: Count
    """Of the photo's own name; 0 is best."""
    margin: Number | None
    """Score of the photo's own name less the best known name's; None without known names."""


class Prediction(Record):
    """One novel photo, before and after."""

    path: str
    """Relative to the novel folder."""
    concept: str
    before: Opinion | None = None
    after: Opinion


class KeptPrediction(Prediction):
    """The same in a run folder."""

    before: Opinion
    thumbnail: str | None
    """A small copy, relative to the run folder; None where none is kept."""


class MistakenPhoto(Record):
    """A photo of a known class for which a novel name scores above every known name."""

    path: str
    """Relative to the known folder."""
    label: str
    """What it shows."""
    margin: Number
    """Score of the novel name less the best known name's."""
    before: bool | None
    """Whether it was so before teaching; None where that was not measured."""
    thumbnail: str | None = None
    """A small copy, relative to the run folder."""


class Mistaken(RootModel[Mapping[str, tuple[MistakenPhoto, ...]]]):
    """`mistaken.json`: for each concept the known photos that are mistaken for it, those with the widest margin."""

    model_config = PLAIN


class Place(Record):
    """Where one name stands among all."""

    rank: Count
    """1 is best."""
    probability: Share


class ShownAnswers(Record):
    """What one model says of a photo."""

    best: tuple[tuple[str, Number, Share], ...]
    """The best names, best first: name, score, probability."""
    concepts: Mapping[str, Place]
    """Where each concept's name stands."""


class ShownPhoto(Record):
    """A photo that a report shows, with the answers of each model."""

    photo: str
    """Relative to the folder that was given."""
    shows: str | None
    """The concept that it shows; None for something else."""
    credit: str = ""
    thumbnail: str
    """A small copy, relative to the run folder."""
    before: ShownAnswers
    after: ShownAnswers
    controls: Mapping[str, ShownAnswers]


class ShownPhotos(Record):
    """`shown.json`: photos to look at, which are too few to be a measure."""

    version: Version
    names: Count
    """Among how many names the models chose."""
    probability: str
    photos: tuple[ShownPhoto, ...]


class Bootstrap(Record):
    """How intervals were computed."""

    kind: str
    level: Share
    resamples: Count
    seed: Count


class Counts(Record):
    """How many names and photos there were."""

    known_names: Count
    novel_names: Count
    known_photos: Count
    novel_photos: Count


class Protocol(Record):
    """All that is needed to say what the numbers mean."""

    prompts: Texts
    """The name is put into each; how their answers become one score, `score` says."""
    templates: str | None
    """What these prompts are called, if anything."""
    ensemble: str
    class_names: str
    same_names: str = ""
    """What becomes of classes that share a name, where there are photos of such."""
    described: Mapping[str, Annotated[str | Texts, _expected("a text, or a list of them")]]
    """Names that texts stand for instead of the prompts; all others keep the prompts."""
    naming: str
    score: str
    known_names: Texts
    """Distinct, in label order."""
    novel_names: Texts
    label_sets: Mapping[str, str]
    counts: Counts
    known_folder: str | None
    novel_folder: str | None
    image_size: Count
    crop_fraction: Amount
    photo_fit: str
    preprocessing: str
    scans: str = ""
    """How medical files became images, where there were any."""
    use: str = ""
    """What the numbers are not to be used for, where the images or the model are medical."""
    interval: Bootstrap
    novel_images: str = ""
    """Said where they are drawings, which must not be taken for photos."""
    notes: Texts = ()
    """What there is to say of the photos: files that were left out and why, values that make no good image."""


class Scores(Compared):
    """What `molyneux evaluate` prints."""

    protocol: Protocol
    known_accuracy: SharePair
    known_accuracy_joint: SharePair
    concepts: Mapping[str, ConceptResult]
    known_retention: Amount | None
    """Known accuracy after teaching as a share of that before."""
    classes: Mapping[str, ClassResult] = {}
    predictions: tuple[Prediction, ...] = ()


class Reading(Record):
    """What text alone can tell, after a control's lesson: similarity and rank of a name on fresh images."""

    similarity: Pair
    """A cosine, or the log-probability of a match."""
    median_rank: RankPair
    replay_captured: SharePair
    """The share of replay images that the name captures."""


class TextOnly(Reading):
    """What text alone can tell of one concept."""

    images: Count
    replay_images: Count
    means: str
    controls: Mapping[str, Reading]


class Replay(Record):
    """How many images of known classes were taught beside the concepts'."""

    images: Count
    names: Count


class TeachResult(Scores):
    """`scores.json` of `molyneux teach`."""

    text_only: Mapping[str, TextOnly] = {}
    """Without photos."""
    controls: Mapping[str, Mapping[str, ConceptResult]] = {}
    """By control: the concepts' scores without their lesson."""
    replay: Replay
    descriptions: bool
    """Whether the concepts' descriptions were learned from, and not their images alone."""


class Predictions(RootModel[Mapping[str, tuple[KeptPrediction, ...]]]):
    """`predictions.json`: for each concept its photos."""

    model_config = PLAIN


class Classes(RootModel[Mapping[str, ClassResult]]):
    """`classes.json`: the known classes that there are photos of."""

    model_config = PLAIN

    @model_validator(mode="after")
    def _all_before(self) -> "Classes":
        _check_before(self.root, "", True)
        return self


class TracePoint(Record):
    """How well images match their text after `step` steps."""

    step: Count
    plain: Number
    """Mean similarity of the images as they are."""
    augmented: Number
    """Mean similarity under fresh random views, which adversarial detail does not survive."""


class ImagesRecord(Record):
    """`images.json`: where the images of one concept come from."""

    version: Version
    name: str
    descriptions: Texts
    seed: Count
    source: str
    """A name in `images.choices.SOURCES`."""
    depicted: str
    source_descriptions: Texts
    origin: str
    seconds: Amount
    trace: tuple[TracePoint, ...]
    block: Count | None
    """Of hidden states: after how many blocks of the vision tower they lie."""


class PackBase(Record):
    """The untaught model that a pack is for."""

    name: str
    weights: str
    """`backends.digest.weights_digest`."""


class PackRecord(Record):
    """What a pack's file says of its two vectors."""

    version: Version
    name: str
    descriptions: Texts
    base: PackBase
    side: Literal["images", "texts"]
    made: Settings
    scores: Settings
    sha256: str = ""
    """Of all the rest and the two vectors; packs of older versions have none."""


class MergedRecord(Record):
    """What the file of a taught model's untouched tensors says of them."""

    version: Version
    base: PackBase
    packs: Texts
    """Names of the packs that are merged into the weights."""


class PackList(Record):
    """`packs.json` of a repository of packs."""

    version: Version
    base: PackBase
    """The model that all of them are for."""
    packs: Annotated[Mapping[str, str], Field(min_length=1)]
    """Name to file."""


class Machine(Record):
    """What a run ran on."""

    system: str
    processor: str
    cores: Count | None
    threads: Count | None = None
    """That torch computed with."""
    device: str


class ModelFacts(Record):
    """A run's base model."""

    parameters: Count
    image_size: Count
    activation: str = ""
    """The towers' kinds of GELU, which weights do not show; '' if none."""


class Environment(Record):
    """`environment.json`: versions and machine, without names of hosts or folders."""

    version: Version
    versions: Mapping[str, str]
    machine: Machine
    timings: Mapping[str, Amount]
    """Seconds."""
    weights: Annotated[Mapping[str, str], Field(min_length=1)]
    """For each model by its name the SHA-256 of its weights."""
    model: ModelFacts | None = None
    """Set where a run has one base model."""
    command: Texts
    notes: Texts
    """What there is to say about the run, such as that a damaged file was made again."""


class ConceptTexts(Record):
    """A concept in words."""

    name: str
    descriptions: Texts


class Digests(Record):
    """`digests.json` in the folder of a saved model or a finished run."""

    version: Version
    files: Mapping[str, str]
    """SHA-256 by path, relative to the folder."""


class Lineage(Record):
    """`concepts.json` beside a model's weights: what it was before teaching, and what it was taught."""

    version: Version
    base: str
    """What `load` was asked for at first; of a folder its name alone."""
    family: str
    """A name in `backends.families.FAMILIES`."""
    concepts: tuple[ConceptTexts, ...]
    """In the order of teaching."""
    means: Texts = ()
    """What it was taught with: names in `citations.MEANS_ENTRIES`."""


class ScoringSettings(Record):
    """On what a run was scored, and how classes were put into words."""

    novel: str | None
    known: str | None
    names: str | None
    class_names: str
    templates: str
    ensemble: str
    window_center: Number | None = None
    window_width: Number | None = None
    slice: Count | None = None
    drawn: bool = False
    controls: bool


class RunSettings(Record):
    """`config.yaml` of `molyneux teach`: everything that decides the result."""

    version: Version
    model: str
    device: str
    precision: str
    long_text: str
    seed: Count
    control: str | None
    """A name in `images.choices.CONTROLS`."""
    concepts: Annotated[tuple[ConceptTexts, ...], Field(min_length=1)]
    images_from: str | None
    """What --images-from was given; None for inversion where the lesson needs images, else for none."""
    generation: Settings | None
    inversion: Settings | None
    """None where no images are made."""
    teaching: Settings
    replay: Settings | None
    evaluation: ScoringSettings
    show: str | None = None
    """A folder of photos that the report shows."""
    adapter_only: bool
    fresh: bool


RecordT = TypeVar("RecordT", bound=BaseModel)


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as JSON; errors as for `write_json`."""
    write_json(path, record.model_dump(mode="json", exclude_unset=True, by_alias=True))


def read_record(kind: type[RecordT], path: Path) -> RecordT:
    """Read a record from JSON, or from YAML where the file is called so.

    Raises:
        DataError: if the file cannot be read, or is not as `write_record` writes it, naming the field.
    """
    try:
        if path.suffix == ".yaml":
            plain = read_yaml(path, "the record", limit=LARGEST_TEXT)
            content = to_json(plain, inf_nan_mode="constants")
        else:
            content = read_bytes(path, "the record", limit=LARGEST_ANNOTATIONS)
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise DataError(f"{path}: {_first(error)}; mend the file, or make it again") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {said(error)}") from error


def parse_record(kind: type[RecordT], text: str) -> RecordT:
    """A record from JSON that lies in another file.

    Raises:
        DataError: naming the field that is not as it was written.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise DataError(_first(error)) from error


def as_record(kind: type[RecordT], plain: Any) -> RecordT:
    """What `as_dict` made plain, as a record again; `pydantic.ValidationError` for anything else."""
    return kind.model_validate_json(to_json(plain))


def _first(error: ValidationError) -> str:
    """The first thing that is wrong: the field, what was expected there, what was found."""
    one = error.errors()[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in one["loc"]).lstrip(".")
    expected, found = one["msg"].removeprefix("Input should be "), f", got {one['input']!r:.80}"
    match one["type"]:
        case "missing":
            expected, found = "a value", ", got nothing"
        case "extra_forbidden":
            expected = "no field of this name"
        case "json_invalid":
            expected, found = "JSON", f": {one['msg'].removeprefix('Invalid JSON: ')}"
        case "whole":
            found = ""
    return f"{f'{place}: ' if place else ''}expected {expected}{found}"


def _check_before(value: object, place: str, wanted: bool) -> None:
    """See that whatever can have a `before` has one, or that nothing has; controls have none."""
    if isinstance(value, Record):
        for key in {"before", "change"} & type(value).model_fields.keys():
            if (key in value.model_fields_set) != wanted:
                what = f"{'a' if wanted else 'no'} value beside the base model's at {place}.{key}".replace(" .", " ")
                raise PydanticCustomError("whole", "{what}", {"what": what})
        for name, part in value.given().items():
            _check_before(part, f"{place}.{name}", wanted and name != "controls")
    elif isinstance(value, Mapping):
        for name, part in value.items():
            _check_before(part, f"{place}.{name}", wanted)
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            _check_before(part, f"{place}[{index}]", wanted)
