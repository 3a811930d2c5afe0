"""Reading a run folder into values; every key may be missing, and none is ever taken for a zero."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from molyneux.errors import DataError
from molyneux.images.choices import CONTROLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A number before and after teaching; None is 'not computed', and `reason` says why."""

    before: float | None = None
    after: float | None = None
    reason: str = ""
    before_interval: tuple[float, float] | None = None
    after_interval: tuple[float, float] | None = None

    @property
    def known(self) -> bool:
        """Whether there is any number at all."""
        return self.before is not None or self.after is not None

    @property
    def difference(self) -> float | None:
        """After minus before, where both were computed."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What photos say about one concept."""

    recall: Change = field(default_factory=Change)
    false_positives: Change = field(default_factory=Change)
    rank: Change = field(default_factory=Change)
    photos: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePoint:
    """Mean similarity after `step` steps: of the images as they are, and under fresh random views."""

    step: int
    plain: float
    augmented: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The synthetic images of one concept, as files."""

    files: tuple[Path, ...]
    source: str = ""
    depicted: str = ""
    origin: str = ""
    text_anchors: bool = False
    """Whether the words that they were computed from were learned from beside them."""
    seed: int | None = None
    seconds: float | None = None
    trace: tuple[TracePoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says to one photo: its best names with their scores, and where the right one stands."""

    top: tuple[tuple[str, float], ...]
    rank: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One photo of a concept with the answers to it."""

    name: str
    thumbnail: Path | None
    before: Answer | None
    after: Answer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """One concept of the run with all that is known about it."""

    name: str
    descriptions: tuple[str, ...]
    images: Images | None
    outcome: Outcome
    text_similarity: Change
    text_rank: Change
    text_controls: Mapping[str, Change]
    """Median rank on the same fresh images after teaching on a control's images."""
    controls: Mapping[str, Outcome]
    photos: tuple[Photo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClass:
    """A class that the model knew, and the share of its photos that are sorted under it."""

    name: str
    photos: int | None
    accuracy: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder's content."""

    model: str
    seed: int | None
    control: str
    images_from: str
    """What the images came from, where not from inversion."""
    max_forgetting: float | None
    concepts: tuple[Taught, ...]
    known_accuracy: Change
    known_accuracy_joint: Change
    known_photos: int | None
    classes: tuple[KnownClass, ...]
    """The known classes, where the run kept their numbers."""
    drawn: bool
    """Whether the concepts were scored on drawings, which must not be taken for photos."""
    use: str
    """What the numbers are not to be used for, where the images or the model are medical."""
    interval_level: float | None
    """Of the intervals that go with the shares, such as 0.95."""
    evaluation: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    """Everything else worth printing, by heading."""
    timings: tuple[tuple[str, float], ...]
    command: str
    """The command line as it was given, where the run recorded it."""

    @property
    def shown(self) -> str:
        """What the concepts were scored on: 'drawings' or 'photos'."""
        return "drawings" if self.drawn else "photos"


def read_run(folder: Path) -> Run:
    """Read what a run wrote into `folder`.

    Raises:
        DataError: if the folder is no run folder, or a file in it cannot be read as expected.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: expected a run folder as written by 'molyneux teach'")
    config = _Node(_read_config(folder / "config.yaml"), "config.yaml")
    environment = _Node(_read_json(folder / "environment.json"), "environment.json")
    scores = _Node(_read_json(folder / "scores.json"), "scores.json")
    predictions = _Node(_read_json(folder / "predictions.json"), "predictions.json")
    classes = _Node(_read_json(folder / "classes.json"), "classes.json")
    images = dict(_all_images(folder, text_anchors_used=_uses_text_anchors(config["teaching"])))
    protocol = scores["protocol"]
    unscored = "" if scores.value is not None else "the run folder has no scores.json"
    no_photos = unscored or _not_given(config, "novel", "no folder of its photos was given")
    no_known = unscored or _not_given(config, "known", "no folder of known photos was given")
    concepts = tuple(
        _concept(folder, entry, images.get(entry["name"].text()), scores, predictions, no_photos, no_known)
        for entry in config["concepts"].items()
    )
    if not concepts:
        raise DataError(
            f"{folder / 'config.yaml'} names no concept: expected a run folder as written by 'molyneux teach'"
        )
    return Run(
        model=config["model"].text(),
        seed=config["seed"].whole(),
        control=config["control"].text(),
        images_from=config["images_from"].text(),
        max_forgetting=config["max_forgetting"].number(),
        concepts=concepts,
        known_accuracy=_change(scores["known_accuracy"], no_known),
        known_accuracy_joint=_change(scores["known_accuracy_joint"], no_known),
        known_photos=_known_photos(protocol),
        classes=tuple(
            KnownClass(name=name, photos=classes[name]["photos"].whole(), accuracy=_change(classes[name]["accuracy"]))
            for name in classes.mapping()
        ),
        drawn=config["evaluation"].mapping().get("drawn") is True
        or protocol["novel_images"].text().startswith("drawings"),
        use=protocol["use"].text(),
        interval_level=protocol["interval"]["level"].number(),
        evaluation=config["evaluation"].mapping(),
        settings={
            "Generation": config["generation"].mapping(),
            "Inversion": config["inversion"].mapping(),
            "Teaching": config["teaching"].mapping(),
            "Evaluation": config["evaluation"].mapping(),
            "Protocol": protocol.mapping(),
            "Replay": scores["replay"].mapping(),
            "Forecast": scores["forecast"].mapping(),
            "Model": {"name": config["model"].text(), **environment["model"].mapping()},
            "Versions": environment["versions"].mapping(),
            "Machine": environment["machine"].mapping(),
        },
        timings=tuple(
            (name, seconds)
            for name in environment["timings"].mapping()
            if (seconds := environment["timings"][name].number()) is not None
        ),
        command=_command(environment["command"]),
    )


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a file with its place, so that an error can say where it is."""

    value: Any
    place: str

    def __getitem__(self, key: str) -> "_Node":
        return _Node(
            self.mapping().get(key),
            f"{self.place}: {key}" if ":" not in self.place else f"{self.place}.{key}",
        )

    def mapping(self) -> dict[str, Any]:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict) or not all(isinstance(key, str) for key in self.value):
            self._fail("a mapping")
        return self.value

    def items(self) -> Iterator["_Node"]:
        if self.value is None:
            return
        if not isinstance(self.value, list):
            self._fail("a list")
        for index, value in enumerate(self.value):
            yield _Node(value, f"{self.place}[{index}]")

    def number(self) -> float | None:
        if self.value is None:
            return None
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            self._fail("a number")
        return float(self.value)

    def whole(self) -> int | None:
        found = self.number()
        if found is not None and found != int(found):
            self._fail("a whole number")
        return None if found is None else int(found)

    def text(self) -> str:
        if self.value is None:
            return ""
        if not isinstance(self.value, str):
            self._fail("text")
        return self.value

    def _fail(self, expected: str) -> NoReturn:
        raise DataError(f"{self.place}: expected {expected}, got {self.value!r:.80}: run again, or mend the file")


def _read_config(path: Path) -> Any:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{path.parent} has no config.yaml: expected a run folder as written by 'molyneux teach'"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    return content


def _read_json(path: Path) -> Any:
    """The file's content; None where there is no such file."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def _uses_text_anchors(teaching: _Node) -> bool:
    """Whether this teaching looks at where words are, besides images."""
    weights = (teaching["text_anchor"].number(), teaching["conse_anchor"].number())
    return any(weights) and teaching["update"]["part"].text() == "embedding_map" and teaching["mixup"].value is True


def _all_images(folder: Path, *, text_anchors_used: bool) -> Iterator[tuple[str, Images]]:
    for about in sorted(folder.glob("synthetic/*/images.json")):
        node = _Node(_read_json(about), f"{about.parent.name}/images.json")
        yield (
            node["name"].text(),
            Images(
                files=tuple(sorted(about.parent.glob("*.png"))),
                source=node["source"].text(),
                depicted=node["depicted"].text(),
                origin=node["origin"].text(),
                text_anchors=text_anchors_used and bool(list(node["source_descriptions"].items())),
                seed=node["seed"].whole(),
                seconds=node["seconds"].number(),
                trace=tuple(_trace_points(node["trace"])),
            ),
        )


def _trace_points(trace: _Node) -> Iterator[TracePoint]:
    for point in trace.items():
        step, plain, augmented = point["step"].whole(), point["plain"].number(), point["augmented"].number()
        if step is not None and plain is not None and augmented is not None:
            yield TracePoint(step=step, plain=plain, augmented=augmented)


def _not_given(config: _Node, option: str, reason: str) -> str:
    given = config["evaluation"].mapping()
    return reason if option in given and given[option] is None else ""


def _concept(
    folder: Path,
    entry: _Node,
    images: Images | None,
    scores: _Node,
    predictions: _Node,
    no_photos: str,
    no_known: str,
) -> Taught:
    name = entry["name"].text()
    if not name:
        raise DataError(f"{entry.place}: expected a concept with a name: run again, or mend the file")
    by_control = scores["controls"].mapping()
    return Taught(
        name=name,
        descriptions=tuple(text.text() for text in entry["descriptions"].items()),
        images=images,
        outcome=_outcome(scores["concepts"][name], no_photos, no_known),
        text_similarity=_change(scores["text_only"][name]["similarity"]),
        text_rank=_change(scores["text_only"][name]["median_rank"]),
        text_controls={
            control: _change(scores["text_only"][name]["controls"][control]["median_rank"])
            for control in scores["text_only"][name]["controls"].mapping()
        },
        controls={
            control: _outcome(scores["controls"][control][name], photos=scores["concepts"][name]["photos"].whole())
            for control in (*CONTROLS, *sorted(set(by_control) - set(CONTROLS)))
            if name in scores["controls"][control].mapping()
        },
        photos=tuple(_photo(folder, photo) for photo in predictions[name].items()),
    )


def _outcome(node: _Node, no_photos: str = "", no_known: str = "", *, photos: int | None = None) -> Outcome:
    reason = node["reason"].text()
    recall = _change(node["target_recall"], reason or no_photos)
    interval = node["target_recall_interval"]
    return Outcome(
        recall=Change(
            before=recall.before,
            after=recall.after,
            reason=recall.reason,
            before_interval=_interval(interval["before"]),
            after_interval=_interval(interval["after"]),
        ),
        false_positives=_change(node["false_positive_rate"], reason or no_known),
        rank=_change(node["median_rank"], reason or recall.reason),
        photos=photos if (own := node["photos"].whole()) is None else own,
    )


def _change(node: _Node, reason: str = "") -> Change:
    said = node["reason"].text().strip().removeprefix("not computed").lstrip(": ")
    return Change(before=node["before"].number(), after=node["after"].number(), reason=said or reason)


def _interval(node: _Node) -> tuple[float, float] | None:
    """None also for one without width: resampling photos that all agree says nothing of others."""
    ends = tuple(end for part in node.items() if (end := part.number()) is not None)
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] < ends[1] else None


def _photo(folder: Path, node: _Node) -> Photo:
    return Photo(
        name=node["photo"].text() or node["path"].text(),
        thumbnail=_inside(folder, node["thumbnail"].text()),
        before=_answer(node["before"]),
        after=_answer(node["after"]),
    )


def _inside(folder: Path, name: str) -> Path | None:
    """The file `name` of the run folder; None if it is absent or leads out of the folder."""
    if not name:
        return None
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def _answer(node: _Node) -> Answer | None:
    if node.value is None:
        return None
    return Answer(
        top=tuple(_named_score(pair) for key in ("top3", "top") for pair in node[key].items())[:3],
        rank=node["rank"].number(),
        margin=node["margin"].number(),
    )


def _named_score(pair: _Node) -> tuple[str, float]:
    match list(pair.items()):
        case [name, score] if (value := score.number()) is not None:
            return name.text(), value
        case _:
            raise DataError(
                f"{pair.place}: expected [name, score], got {pair.value!r:.80}: run again, or mend the file"
            )


def _known_photos(protocol: _Node) -> int | None:
    counts = protocol["counts"]
    found = counts["known_photos"] if "known_photos" in counts.mapping() else counts["known"]
    return found.whole()


def _command(node: _Node) -> str:
    if isinstance(node.value, list):
        return shlex.join(part.text() for part in node.items())
    return node.text()
