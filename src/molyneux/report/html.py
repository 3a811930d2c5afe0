"""One page from a run folder: values to words, words to HTML; everything it shows is inside the file."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from molyneux.errors import DataError
from molyneux.files import write_text
from molyneux.images.choices import CONTROLS, SOURCES, taught_controls
from molyneux.report import phrases
from molyneux.report.figures import Row, change_chart, time_chart, trace_chart
from molyneux.report.folder import Answer, Change, Outcome, Photo, Run, Taught, read_run
from molyneux.report.pages import embedded, fill

WIDE, PHONE = 720, 340
"""Every chart is drawn for both widths, in CSS pixels; the page shows the one that fits."""

IMAGE_SIDE, THUMBNAIL_SIDE = 288, 240
"""Longest side of an embedded image, in pixels."""

MOST_CLASSES = 5
"""How many known classes to show of those that lost most, and as many of those that gained most."""

BEST_AND_WORST = 3
"""How many photos to show of the most improved, and as many of the least."""


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run folder, from the files that are there; returns its path.

    The same folder always gives the same bytes.

    Raises:
        DataError: if the folder is no run folder, or a file in it cannot be read as expected.
        OutputError: if the report cannot be written there.
    """
    run_folder = Path(run_folder)
    page = render(read_run(run_folder))
    target = run_folder / "report.html"
    write_text(target, page)
    return target


def render(run: Run) -> str:
    """The whole page as text."""
    several = len(run.concepts) > 1
    return fill(
        "report/template.html",
        run=run,
        several=several,
        title=run.concepts[0].name if not several else f"{len(run.concepts)} concepts",
        verdict=_overall(run) if several else [],
        summary=_summary(run) if several else [],
        classes=_class_lines(run),
        concepts=[_ConceptView.of(run, concept) for concept in run.concepts],
        controls=list(taught_controls().values()),
        settings=[(name, list(_flat(values))) for name, values in run.settings.items() if values],
        timings=[(name, phrases.duration(seconds)) for name, seconds in run.timings],
        total_time=phrases.duration(math.fsum(seconds for _, seconds in run.timings)),
        time_chart=_both(time_chart, run.timings),
        command=command(run),
        concept_file=_concept_file(run) if several else "",
    )


def command(run: Run) -> str:
    """The command line that repeats the run: the recorded one, else one made from the configuration."""
    if run.command:
        return run.command
    parts = ["molyneux teach"]
    if len(run.concepts) == 1:
        parts[0] += f" {shlex.quote(run.concepts[0].name)}"
        parts += [f"--description {shlex.quote(text)}" for text in run.concepts[0].descriptions]
    else:
        parts.append("--concepts concepts.json")
    parts.append(f"--model {shlex.quote(run.model)}")
    if run.seed is not None:
        parts.append(f"--seed {run.seed}")
    for option in ("novel", "known", "names"):
        value = run.evaluation.get(option)
        if isinstance(value, str):
            parts.append(f"--{option} {shlex.quote(value)}")
    if run.control:
        parts.append(f"--control {shlex.quote(run.control)}")
    if run.images_from:
        parts.append(f"--images-from {shlex.quote(run.images_from)}")
    if run.max_forgetting is not None:
        parts.append(f"--max-forgetting {run.max_forgetting:g}")
    parts.append("--out FOLDER")
    return " \\\n  ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """A number of a table with what stands small under it; or, with no text, 'not computed'."""

    text: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A row of the before-and-after table; `reason` takes the place of the cells where there is no number."""

    label: str
    note: str
    before: _Cell
    after: _Cell
    change: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """One photo with its answers before and after."""

    name: str
    image: str
    moved: str
    answers: Sequence[tuple[str, Sequence[tuple[str, str, bool]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ConceptView:
    """All that the template shows of one concept, already in words."""

    name: str
    anchor: str
    descriptions: tuple[str, ...]
    long: bool
    verdict: list[str]
    images: list[str]
    about_images: str
    without_images: bool
    """Whether it was taught on words without images."""
    trace: Markup
    lines: list[_Line]
    comparison: list[tuple[str, list[str], bool]]
    changes: Markup
    interval: str
    best: list[_Card]
    worst: list[_Card]

    @staticmethod
    def of(run: Run, concept: Taught) -> "_ConceptView":
        best, worst = _extremes(concept.photos)
        return _ConceptView(
            name=concept.name,
            anchor=f"concept-{run.concepts.index(concept) + 1}",
            descriptions=concept.descriptions,
            long=sum(map(len, concept.descriptions)) > 200 or len(concept.descriptions) > 1,
            verdict=_verdict(run, concept),
            images=[embedded(path, IMAGE_SIDE) for path in concept.images.files] if concept.images else [],
            about_images=_about_images(concept),
            without_images=concept.images is not None and not SOURCES[concept.images.source].has_images,
            trace=_both(trace_chart, concept.images.trace if concept.images else ()),
            lines=list(_lines(run, concept)),
            comparison=list(_comparison(run, concept)),
            changes=_both(change_chart, list(_rows(run, concept))),
            interval=_interval_name(run) if concept.outcome.recall.after_interval else "",
            best=[_card(concept.name, photo) for photo in best],
            worst=[_card(concept.name, photo) for photo in worst],
        )


def _verdict(run: Run, concept: Taught) -> list[str]:
    said = phrases.verdict(
        concept.outcome,
        run.known_accuracy,
        run.known_photos,
        concept.controls,
        teaching=phrases.taught_on([concept]),
        is_control=bool(run.control),
        drawn=run.drawn,
    )
    text_only = phrases.from_text(concept.text_rank, concept.text_similarity, concept.text_controls)
    return [*said, text_only] if text_only and concept.outcome.recall.after is None else list(said)


def _overall(run: Run) -> list[str]:
    whole = phrases.together([concept.outcome for concept in run.concepts])
    return list(
        phrases.verdict(
            whole,
            run.known_accuracy,
            run.known_photos,
            phrases.controls_together(run.concepts),
            teaching=phrases.taught_on(run.concepts),
            several=True,
            is_control=bool(run.control),
            drawn=run.drawn,
        )
    )


def _summary(run: Run) -> list[tuple[str, str, list[_Cell], float | None]]:
    """One row a concept: anchor, name, cells, and the recall for the little bar."""
    found = []
    for index, concept in enumerate(run.concepts):
        outcome = concept.outcome
        cells = [
            _share(outcome.recall.before, outcome.photos),
            _share(outcome.recall.after, outcome.photos),
            _share(outcome.false_positives.after, run.known_photos),
            *(
                _share(concept.controls[name].recall.after, concept.controls[name].photos or outcome.photos)
                if name in concept.controls
                else _Cell(text="")
                for name in taught_controls()
            ),
        ]
        found.append((f"concept-{index + 1}", concept.name, cells, outcome.recall.after))
    return found


def _about_images(concept: Taught) -> str:
    images = concept.images
    source = None if images is None else SOURCES.get(images.source)
    if images is None or source is None or (source.has_images and not images.files):
        return ""
    count = f"{len(images.files)} image{'s' if len(images.files) != 1 else ''}"
    said = source.about.format(count=count, origin=images.origin or "a text-to-image model")
    if not source.has_images:
        return said
    if source.uses_descriptions and images.depicted not in ("", concept.name):
        said = f"{count} computed from the description of “{images.depicted}”, shown under this name: a control."
    elif images.text_anchors:
        said += " The embeddings of its descriptions were learned from as well."
    facts = [f"seed {images.seed}" if images.seed is not None else ""]
    facts.append(f"made in {phrases.duration(images.seconds)}" if images.seconds else "")
    extra = ", ".join(fact for fact in facts if fact)
    said = f"{said} {source.warning}".strip()
    return f"{said} {extra[:1].upper()}{extra[1:]}." if extra else said


def _lines(run: Run, concept: Taught) -> Iterator[_Line]:
    outcome, others, shown = concept.outcome, run.known_photos, run.shown
    yield _shares("Recognised", f"share of its {shown} whose best name is this one", outcome.recall, outcome.photos)
    yield _numbers("Median rank of its name", f"on its own {shown}; 0 is best", outcome.rank)
    yield _shares("Mistaken for it", "share of other photos that its name captures", outcome.false_positives, others)
    yield _shares("Known accuracy", "among the known names alone", run.known_accuracy)
    yield _shares("Known accuracy, jointly", "among known and new names", run.known_accuracy_joint)
    on_synthetic = "on fresh synthetic images, not photos"
    if concept.text_similarity.known:
        yield _numbers("Similarity to its name", on_synthetic, concept.text_similarity, digits=3)
    if concept.text_rank.known:
        yield _numbers("Median rank of its name", on_synthetic, concept.text_rank)


def _class_lines(run: Run) -> list[_Line]:
    """The known classes whose accuracy changed most, the worst first."""
    changed = [one for one in run.classes if one.accuracy.difference]
    changed.sort(key=lambda one: one.accuracy.difference or 0.0)
    ends = changed if len(changed) <= 2 * MOST_CLASSES else changed[:MOST_CLASSES] + changed[-MOST_CLASSES:]
    return [_shares(one.name, "", one.accuracy, one.photos) for one in ends]


def _shares(label: str, note: str, change: Change, total: int | None = None) -> _Line:
    return _Line(
        label=label,
        note=note,
        before=_share(change.before, total, change.before_interval),
        after=_share(change.after, total, change.after_interval),
        change="" if change.difference is None else f"{phrases.signed(100 * change.difference)}{phrases.SPACE}pts",
        reason=None if change.known else change.reason,
    )


def _numbers(label: str, note: str, change: Change, *, digits: int = 0) -> _Line:
    """Numbers that are no shares; without `digits`, whole ones are written as such."""
    difference = change.difference
    decimals = digits or (0 if difference is None or difference == int(difference) else 1)
    before, after = (
        "" if value is None else (f"{value:.{digits}f}" if digits else phrases.plain(value))
        for value in (change.before, change.after)
    )
    return _Line(
        label=label,
        note=note,
        before=_Cell(text=before),
        after=_Cell(text=after),
        change="" if difference is None else phrases.signed(difference, decimals),
        reason=None if change.known else change.reason,
    )


def _comparison(run: Run, concept: Taught) -> Iterator[tuple[str, list[str], bool]]:
    """This teaching beside its controls: recognised, median rank, mistaken for it."""
    if not concept.controls:
        return
    yield (phrases.taught_on([concept]), _compared(concept.outcome), True)
    for name, outcome in concept.controls.items():
        yield (phrases.control_label(name), _compared(outcome), False)


def _compared(outcome: Outcome) -> list[str]:
    recall, rank, rate = (_latest(change) for change in (outcome.recall, outcome.rank, outcome.false_positives))
    return [
        phrases.percent(recall) if recall is not None else "",
        phrases.plain(rank) if rank is not None else "",
        phrases.percent(rate) if rate is not None else "",
    ]


def _rows(run: Run, concept: Taught) -> Iterator[Row]:
    recall = concept.outcome.recall
    if not recall.known:
        return
    yield Row(label="Recognised", before=recall.before, after=recall.after, interval=recall.after_interval)
    for name, control in concept.controls.items():
        yield Row(
            label=CONTROLS[name].short if name in CONTROLS else f"… {name:.24}",
            after=_latest(control.recall),
            interval=control.recall.after_interval,
            kind="control",
        )
    rate = concept.outcome.false_positives
    yield Row(label="Others mistaken for it", before=rate.before, after=rate.after, kind="price")
    known = run.known_accuracy
    yield Row(label="Known accuracy", before=known.before, after=known.after, kind="price")


def _interval_name(run: Run) -> str:
    return "interval" if run.interval_level is None else f"{phrases.percent(run.interval_level, 0)} interval"


def _latest(change: Change) -> float | None:
    return change.after if change.after is not None else change.before


def _share(share: float | None, total: int | None, interval: tuple[float, float] | None = None) -> _Cell:
    if share is None:
        return _Cell(text="")
    number = phrases.counted(share, total)
    notes = [f"{number:,} of {total:,}" if number is not None and total is not None else ""]
    if interval is not None:
        notes.append(f"{100 * interval[0]:.0f}\u2060–\u2060{phrases.percent(interval[1], 0)}")
    return _Cell(text=phrases.percent(share), note=" · ".join(note for note in notes if note))


def _extremes(photos: Sequence[Photo]) -> tuple[list[Photo], list[Photo]]:
    """The photos that teaching helped most, and least; none is in both lists."""
    ordered = sorted(photos, key=_improvement, reverse=True)
    most = min(BEST_AND_WORST, (len(ordered) + 1) // 2)
    least = min(BEST_AND_WORST, len(ordered) - most)
    return ordered[:most], ordered[len(ordered) - least :][::-1]


def _improvement(photo: Photo) -> tuple[float, float]:
    """By how much the margin rose, and the rank fell; without a 'before', where they stand."""
    return _gain(photo, "margin"), -_gain(photo, "rank")


def _gain(photo: Photo, what: str) -> float:
    after = getattr(photo.after, what, None)
    before = getattr(photo.before, what, None)
    return float(after or 0.0) - float(before or 0.0)


def _card(name: str, photo: Photo) -> _Card:
    moved = ""
    if photo.before and photo.after and photo.before.rank is not None and photo.after.rank is not None:
        was, now = photo.before.rank, photo.after.rank
        moved = (
            f"rank {phrases.plain(was)} → {phrases.plain(now)}"
            if was != now
            else f"rank {phrases.plain(now)}, as before"
        )
    elif photo.after and photo.after.rank is not None:
        moved = f"rank {phrases.plain(photo.after.rank)}"
    answers = [
        (when, _answers(name, answer)) for when, answer in (("before", photo.before), ("after", photo.after)) if answer
    ]
    return _Card(name=photo.name, image=_thumbnail(photo.thumbnail), moved=moved, answers=answers)


def _answers(name: str, answer: Answer) -> list[tuple[str, str, bool]]:
    return [(said, f"{score:.2f}".replace("-", "−"), said == name) for said, score in answer.top]


def _thumbnail(path: Path | None) -> str:
    try:
        return embedded(path, THUMBNAIL_SIDE) if path is not None else ""
    except DataError:
        return ""


def _both(figure: Any, values: Any) -> Markup:
    """The figure for a desk and for a phone; empty where it has nothing to show."""
    if not values or not figure(values, width=WIDE):
        return Markup()
    wide, narrow = figure(values, width=WIDE), figure(values, width=PHONE)
    return Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')  # escaped in figures


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as 'a.b' and text; long lists by their length and first members."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list) and len(value) > 6:
            yield name, f"{len(value):,}: {', '.join(map(_said, value[:4]))}, …"
        elif isinstance(value, list):
            yield name, ", ".join(map(_said, value)) or "none"
        else:
            yield name, _said(value)


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−") if abs(value) >= 1e-3 or value == 0 else f"{value:.3g}"
    return str(value)


def _concept_file(run: Run) -> str:
    return json.dumps(
        {concept.name: list(concept.descriptions) for concept in run.concepts}, indent=2, ensure_ascii=False
    )
