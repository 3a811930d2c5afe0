"""The page of a run that wrote captions: its scores, and the samples that gained or lost most."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from molyneux.digests import check_digests
from molyneux.errors import DataError
from molyneux.files import write_text
from molyneux.records import SCORES, read_record
from molyneux.report import phrases
from molyneux.report.pages import embedded, fill
from molyneux.tasks.captioning.record import (
    CaptionEntry,
    CaptionMetrics,
    CaptionResult,
    Captions,
    ComparedMetrics,
    MeanGain,
    Measured,
    Sample,
)

CAPTIONS = "captions.json"

SIDE = 288
"""Longest side of an embedded photo, in pixels."""

PLAIN = 24
"""How many captions are shown where there is nothing to choose them by."""

METRICS = {
    **{f"bleu_{order}": f"BLEU@{order}" for order in range(1, 5)},
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "spice": "SPICE",
}
"""Scores by their names in tables, where all are shown times 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A score in the table; `reason` takes the place of numbers."""

    label: str
    cells: list[str]
    change: str
    interval: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """A photo with what was said about it: who, the caption, its score."""

    name: str
    image: str
    said: list[tuple[str, str, str]]


def write_caption_report(folder: Path) -> Path:
    """Write `report.html` into a folder of `molyneux caption`, from the files that are there; returns its path.

    Raises:
        DataError: if the files are missing, are not what was saved, or cannot be read as expected.
        OutputError: if the page cannot be written there.
    """
    folder = Path(folder)
    check_digests(folder)
    scores, captions = read_record(CaptionResult, folder / SCORES), read_record(Captions, folder / CAPTIONS)
    wanted = (
        {"after"} | ({"before"} if scores.base is not None else set()) | ({"references"} if scores.scores else set())
    )
    if len(captions.root) != scores.protocol.photos:
        raise DataError(
            f"{folder / CAPTIONS}: expected {scores.protocol.photos} photos, as {SCORES} has it; repeat the run"
        )
    for name, entry in captions.root.items():
        if entry.model_fields_set != wanted:
            raise DataError(f"{folder / CAPTIONS}: {name}: expected {', '.join(sorted(wanted))}, as {SCORES} has it")
    page = _render(scores, captions)
    target = folder / "report.html"
    write_text(target, page)
    return target


def is_caption_run(folder: Path) -> bool:
    """Whether a folder holds what `molyneux caption` writes."""
    return (Path(folder) / CAPTIONS).is_file()


def _render(scores: CaptionResult, captions: Captions) -> str:
    found, root, samples = scores.scores, Path(scores.images), scores.samples
    galleries: list[tuple[str, list[_Card]]] = []
    if samples is not None:
        by = METRICS[samples.by]
        galleries = [
            (f"Gained most, by {by}", [_sample(root, one) for one in samples.improved]),
            (f"Lost most, by {by}", [_sample(root, one) for one in samples.worsened]),
        ]
    else:
        first = list(captions.root.items())[:PLAIN]
        galleries = [("The first of them", [_plain(root, name, one) for name, one in first])]
    return fill(
        "tasks/captioning/page.html",
        model=scores.model,
        base=scores.base,
        photos=scores.protocol.photos,
        protocol=[(key.replace("_", " "), _written(value)) for key, value in scores.protocol.as_dict().items()],
        columns=[phrases.control_label(name) for name in _moments(found)] if found else [],
        lines=list(_lines(found)) if found else [],
        samples=samples,
        galleries=[(title, cards) for title, cards in galleries if cards],
    )


def _moments(found: ComparedMetrics) -> dict[str, CaptionMetrics]:
    before = {} if found.before is None else {"before": found.before}
    return {**before, "after": found.after, **found.controls}


def _lines(found: ComparedMetrics) -> Iterator[_Line]:
    for key, label in METRICS.items():
        scores = [getattr(one, key) for one in _moments(found).values()]
        reason = next((one.reason for one in scores if isinstance(one, Measured) and one.reason), "")
        values: list[Any] = [one.value if isinstance(one, Measured) else one for one in scores]
        change = getattr(found.change, key, None)
        yield _Line(
            label=label,
            cells=[] if reason else [f"{100 * value:.1f}" for value in values],
            change="" if change is None else phrases.signed(100 * change.value),
            interval=_interval(change) if isinstance(change, MeanGain) else "",
            reason=reason.removeprefix("not computed: "),
        )


def _interval(change: MeanGain) -> str:
    low, high = (phrases.signed(100 * edge) for edge in change.interval)
    return f"{low} to {high}"


def _sample(root: Path, sample: Sample) -> _Card:
    said = [("people", sample.references[0], "")]
    for when, one in (("before", sample.before), ("after", sample.after)):
        said.append((when, one.caption, f"{100 * one.score:.1f}"))
    return _Card(name=sample.photo, image=_photo(root / sample.photo), said=said)


def _plain(root: Path, name: str, entry: CaptionEntry) -> _Card:
    people = entry.references[0] if entry.references else None
    texts = (("people", people), ("before", entry.before), ("after", entry.after))
    said = [(who, text, "") for who, text in texts if text is not None]
    return _Card(name=name, image=_photo(root / name), said=said)


def _photo(path: Path) -> str:
    try:
        return embedded(path, SIDE)
    except DataError:
        return ""


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_written(part)}" for key, part in value.items())
    return "none" if value is None else str(cast(object, value))
