"""The page of a run that wrote captions: its scores, and the samples that gained or lost most."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from molyneux.errors import DataError
from molyneux.files import write_text
from molyneux.report import phrases
from molyneux.report.pages import embedded, fill

CAPTIONS, SCORES = "captions.json", "scores.json"

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
        DataError: if the files are missing or cannot be read as expected.
        OutputError: if the page cannot be written there.
    """
    folder = Path(folder)
    try:
        scores, captions = (json.loads((folder / name).read_text("utf-8")) for name in (SCORES, CAPTIONS))
        page = _render(scores, captions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} holds no captions that can be shown ({error!r}): run 'molyneux caption'") from error
    target = folder / "report.html"
    write_text(target, page)
    return target


def is_caption_run(folder: Path) -> bool:
    """Whether a folder holds what `molyneux caption` writes."""
    return (Path(folder) / CAPTIONS).is_file()


def _render(scores: Mapping[str, Any], captions: Mapping[str, Any]) -> str:
    found, root = scores.get("scores"), Path(scores["images"])
    samples = scores.get("samples")
    galleries: list[tuple[str, list[_Card]]] = []
    if samples is not None:
        by = METRICS[samples["by"]]
        galleries = [
            (f"Gained most, by {by}", [_sample(root, one) for one in samples["improved"]]),
            (f"Lost most, by {by}", [_sample(root, one) for one in samples["worsened"]]),
        ]
    else:
        galleries = [("The first of them", [_plain(root, name, one) for name, one in list(captions.items())[:PLAIN]])]
    return fill(
        "tasks/captioning/page.html",
        model=scores["model"],
        base=scores["base"],
        photos=scores["protocol"]["photos"],
        protocol=[(key.replace("_", " "), _written(value)) for key, value in scores["protocol"].items()],
        columns=_columns(found) if found else [],
        lines=list(_lines(found)) if found else [],
        samples=samples,
        galleries=[(title, cards) for title, cards in galleries if cards],
    )


def _moments(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {key: found[key] for key in ("before", "after") if key in found} | dict(found["controls"])


def _columns(found: Mapping[str, Any]) -> list[str]:
    return [phrases.control_label(name) for name in _moments(found)]


def _lines(found: Mapping[str, Any]) -> Iterator[_Line]:
    for key, label in METRICS.items():
        scores = [one[key] for one in _moments(found).values()]
        reason = next((one["reason"] for one in scores if isinstance(one, dict) and one["value"] is None), "")
        values = [one["value"] if isinstance(one, dict) else one for one in scores]
        change = found.get("change", {}).get(key)
        yield _Line(
            label=label,
            cells=[] if reason else [f"{100 * value:.1f}" for value in values],
            change="" if change is None else phrases.signed(100 * change["value"]),
            interval=_interval(change),
            reason=reason.removeprefix("not computed: "),
        )


def _interval(change: Mapping[str, Any] | None) -> str:
    if change is None or "interval" not in change:
        return ""
    low, high = (phrases.signed(100 * edge) for edge in change["interval"])
    return f"{low} to {high}"


def _sample(root: Path, sample: Mapping[str, Any]) -> _Card:
    said = [(when, sample[when]["caption"], f"{100 * sample[when]['score']:.1f}") for when in ("before", "after")]
    return _Card(
        name=sample["photo"],
        image=_photo(root / sample["photo"]),
        said=[("people", sample["references"][0], ""), *said],
    )


def _plain(root: Path, name: str, entry: Mapping[str, Any]) -> _Card:
    said = [(when, entry[when], "") for when in ("before", "after") if when in entry]
    people = [("people", entry["references"][0], "")] if entry.get("references") else []
    return _Card(name=name, image=_photo(root / name), said=[*people, *said])


def _photo(path: Path) -> str:
    try:
        return embedded(path, SIDE)
    except DataError:
        return ""


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_written(part)}" for key, part in value.items())
    return "none" if value is None else str(cast(object, value))
