"""One page from a run folder: values to words, words to HTML; everything it shows is inside the file."""

import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from molyneux.errors import DataError
from molyneux.files import write_text
from molyneux.images.choices import CONTROLS, SOURCES, taught_controls
from molyneux.records import (
    ConceptResult,
    IntervalPair,
    KeptPrediction,
    MistakenPhoto,
    Opinion,
    Pair,
    Reading,
    SharePair,
    ShownAnswers,
    ShownPhoto,
)
from molyneux.report import phrases
from molyneux.report.figures import Row, change_chart, time_chart, trace_chart
from molyneux.report.folder import Run, Taught, read_run
from molyneux.report.pages import embedded, fill
from molyneux.teaching.choices import OBJECTIVES

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
    timings = list(run.environment.timings.items()) if run.environment else []
    return fill(
        "report/template.html",
        run=run,
        several=several,
        title=run.concepts[0].name if not several else f"{len(run.concepts)} concepts",
        verdict=_overall(run) if several else [],
        summary=_summary(run) if several else [],
        classes=_class_lines(run),
        exhibits=[_exhibit(run, photo) for photo in run.exhibits.photos] if run.exhibits else [],
        concepts=[_ConceptView.of(run, concept) for concept in run.concepts],
        controls=list(taught_controls().values()),
        settings=[(name, list(_flat(values))) for name, values in _settings(run).items() if values],
        made_images=any(_has_images(concept) for concept in run.concepts),
        use=run.scores.protocol.use if run.scores else "",
        timings=[(name, phrases.duration(seconds)) for name, seconds in timings],
        total_time=phrases.duration(math.fsum(seconds for _, seconds in timings)),
        time_chart=_both(time_chart, timings),
        notes=run.environment.notes if run.environment else (),
        command=shlex.join(run.environment.command) if run.environment else "",
        concept_file=_concept_file(run) if several else "",
    )


def _settings(run: Run) -> dict[str, Mapping[str, Any]]:
    """Everything else worth printing, by heading."""
    found: dict[str, Mapping[str, Any]] = {
        "Generation": run.settings.generation or {},
        "Inversion": (run.settings.inversion or {}) if any(_inverts(concept) for concept in run.concepts) else {},
        "Teaching": _used(run.settings.teaching),
        "Evaluation": run.settings.evaluation.as_dict(),
    }
    if run.scores:
        found |= {"Protocol": run.scores.protocol.as_dict(), "Replay": run.scores.replay.as_dict()}
    environment = run.environment
    facts = environment.model.as_dict() if environment and environment.model else {}
    found["Model"] = {"name": run.settings.model, **facts}
    if environment:
        found |= {"Weights": environment.weights, "Versions": environment.versions}
        found["Machine"] = environment.machine.as_dict()
    return found


def _has_images(concept: Taught) -> bool:
    """Whether the concept was taught with images, or may have been."""
    return concept.images is None or SOURCES[concept.images.source].has_images


def _inverts(concept: Taught) -> bool:
    """Whether the settings of inversion say something of how the concept was taught."""
    return _has_images(concept) or (concept.images is not None and SOURCES[concept.images.source].inverts)


def _used(teaching: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of teaching that its loss reads."""
    loss = teaching.get("loss")
    edits = loss in OBJECTIVES and OBJECTIVES[loss].merges
    return {key: value for key, value in teaching.items() if key == "loss" or (key == "edit") == edits}


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
    text_comparison: list[tuple[str, list[str], bool]]
    mistaken: list[tuple[str, str, str]]
    """Photos of known classes that its name captures: image, what it shows, its file and whether it was so before."""
    measured: bool
    """Whether any number was computed."""
    changes: Markup
    interval: str
    best: list[_Card]
    worst: list[_Card]

    @staticmethod
    def of(run: Run, concept: Taught) -> "_ConceptView":
        best, worst = _extremes(concept.photos)
        interval = _wide(concept.result.target_recall_interval.after)
        return _ConceptView(
            name=concept.name,
            anchor=f"concept-{run.concepts.index(concept) + 1}",
            descriptions=concept.descriptions,
            long=sum(map(len, concept.descriptions)) > 200 or len(concept.descriptions) > 1,
            verdict=_verdict(run, concept),
            images=[embedded(path, IMAGE_SIDE) for path in concept.files],
            about_images=_about_images(run, concept),
            without_images=not _has_images(concept),
            trace=_both(trace_chart, concept.images.trace if concept.images else ()),
            lines=_computed(_lines(run, concept)),
            comparison=list(_comparison(run, concept)),
            text_comparison=list(_text_comparison(concept)),
            mistaken=[_mistaken(run, photo) for photo in concept.mistaken],
            measured=any(line.reason is None for line in _lines(run, concept)),
            changes=_both(change_chart, list(_rows(run, concept))),
            interval=phrases.percent(run.scores.protocol.interval.level, 0) if run.scores and interval else "",
            best=[_card(run, photo) for photo in best],
            worst=[_card(run, photo) for photo in worst],
        )


def _verdict(run: Run, concept: Taught) -> list[str]:
    said = phrases.verdict(
        concept.result,
        run.known_accuracy,
        run.known_photos,
        concept.controls,
        teaching=phrases.taught_on([concept]),
        is_control=bool(run.settings.control),
        drawn=run.drawn,
    )
    text_only = phrases.from_text(concept.text_only) if concept.text_only else ""
    shown = phrases.exhibits(run.exhibits, concept.name) if run.exhibits else ""
    if concept.result.target_recall.known:
        return [one for one in (*said, shown, text_only) if one]
    # what was seen comes first; what nobody measured is left out
    if shown:
        return [one for one in (shown, text_only) if one]
    return [text_only, said[0]] if text_only else list(said)


def _overall(run: Run) -> list[str]:
    whole = phrases.together([concept.result for concept in run.concepts])
    return list(
        phrases.verdict(
            whole,
            run.known_accuracy,
            run.known_photos,
            phrases.controls_together(run.concepts),
            teaching=phrases.taught_on(run.concepts),
            several=True,
            is_control=bool(run.settings.control),
            drawn=run.drawn,
        )
    )


def _summary(run: Run) -> list[tuple[str, str, list[_Cell], float | None]]:
    """One row a concept: anchor, name, cells, and the recall for the little bar."""
    found = []
    for index, concept in enumerate(run.concepts):
        result, others = concept.result, concept.controls
        cells = [
            _share(result.target_recall.before, result.photos),
            _share(result.target_recall.after, result.photos),
            _share(result.false_positive_rate.after, run.known_photos),
            *(
                _share(others[name].target_recall.after, others[name].photos) if name in others else _Cell(text="")
                for name in taught_controls()
            ),
        ]
        found.append((f"concept-{index + 1}", concept.name, cells, result.target_recall.after))
    return found


def _about_images(run: Run, concept: Taught) -> str:
    images = concept.images
    if images is None:
        return ""
    source = SOURCES[images.source]
    if source.has_images and not concept.files:
        return ""
    count = f"{len(concept.files)} image{'s' if len(concept.files) != 1 else ''}"
    said = source.about.format(count=count, origin=images.origin or "a text-to-image model")
    stranger = source.uses_descriptions and images.depicted not in ("", concept.name)
    if not source.has_images:
        return f"No image was made: taught on the description of “{images.depicted}”: a control." if stranger else said
    if stranger:
        said = f"{count} computed from the description of “{images.depicted}”, shown under this name: a control."
    elif run.scores and run.scores.descriptions and images.source_descriptions:
        said += " Its description was learned from as well."
    said = f"{said} {source.warning}".strip()
    seconds = f", made in {phrases.duration(images.seconds)}" if images.seconds else ""
    return f"{said} Seed {images.seed}{seconds}."


def _lines(run: Run, concept: Taught) -> Iterator[_Line]:
    result, others, shown = concept.result, run.known_photos, run.shown
    recall = f"share of its {shown} whose best name is this one"
    yield _shares("Target recall", recall, result.target_recall, result.photos, result.target_recall_interval)
    yield _numbers("Median rank of its name", f"on its own {shown}; 1 is best", result.median_rank, ranks=True)
    captured = "share of other photos that its name captures"
    yield _shares("False positives", captured, result.false_positive_rate, others)
    yield _shares("Known accuracy", "among the known names alone", run.known_accuracy)
    yield _shares("Known accuracy, jointly", "among known and new names", run.known_accuracy_joint)
    if concept.text_only:
        on_synthetic = "on fresh synthetic images, not photos"
        yield _numbers("Similarity to its name", on_synthetic, concept.text_only.similarity, digits=3)
        yield _numbers(
            "Median rank of its name", f"{on_synthetic}; 1 is best", concept.text_only.median_rank, ranks=True
        )


def _computed(lines: Iterable[_Line]) -> list[_Line]:
    """The lines with numbers; where there is none at all, all lines with their reasons."""
    found = list(lines)
    return [line for line in found if line.reason is None] or found


def _class_lines(run: Run) -> list[_Line]:
    """The known classes whose accuracy changed most, the worst first."""
    changed = sorted(
        ((one.accuracy.difference, name) for name, one in run.classes.items() if one.accuracy.difference),
        key=lambda pair: pair[0],
    )
    ends = changed if len(changed) <= 2 * MOST_CLASSES else changed[:MOST_CLASSES] + changed[-MOST_CLASSES:]
    return [_shares(name, "", run.classes[name].accuracy, run.classes[name].photos) for _, name in ends]


def _shares(
    label: str, note: str, pair: SharePair, total: int | None = None, interval: IntervalPair | None = None
) -> _Line:
    return _Line(
        label=label,
        note=note,
        before=_share(pair.before, total, interval.before if interval else None),
        after=_share(pair.after, total, interval.after if interval else None),
        change="" if pair.difference is None else f"{phrases.signed(100 * pair.difference)}{phrases.SPACE}pts",
        reason=None if pair.known else pair.why,
    )


def _numbers(label: str, note: str, pair: Pair, *, digits: int = 0, ranks: bool = False) -> _Line:
    """Numbers that are no shares; without `digits`, whole ones are written as such. Records count ranks from 0."""
    difference = pair.difference
    decimals = digits or (0 if difference is None or difference == int(difference) else 1)
    before, after = (
        "" if value is None else (f"{value:.{digits}f}" if digits else phrases.plain(value + ranks))
        for value in (pair.before, pair.after)
    )
    return _Line(
        label=label,
        note=note,
        before=_Cell(text=before),
        after=_Cell(text=after),
        change="" if difference is None else phrases.signed(difference, decimals),
        reason=None if pair.known else pair.why,
    )


def _text_comparison(concept: Taught) -> Iterator[tuple[str, list[str], bool]]:
    """The same without photos: on fresh synthetic images, median rank, similarity, replay images captured."""
    if concept.text_only is None or not concept.text_only.controls:
        return
    yield (phrases.taught_on([concept]), _read(concept.text_only), True)
    for name, outcome in concept.text_only.controls.items():
        yield (phrases.control_label(name), _read(outcome), False)


def _read(found: Reading) -> list[str]:
    rank, similarity, captured = found.median_rank.after, found.similarity.after, found.replay_captured.after
    return [
        phrases.place(rank) if rank is not None else "",
        f"{similarity:.3f}" if similarity is not None else "",
        phrases.percent(captured) if captured is not None else "",
    ]


def _comparison(run: Run, concept: Taught) -> Iterator[tuple[str, list[str], bool]]:
    """This teaching beside its controls: target recall, median rank, false positives."""
    if not concept.controls:
        return
    yield (phrases.taught_on([concept]), _compared(concept.result), True)
    for name, outcome in concept.controls.items():
        yield (phrases.control_label(name), _compared(outcome), False)


def _compared(result: ConceptResult) -> list[str]:
    recall, rank, rate = result.target_recall.after, result.median_rank.after, result.false_positive_rate.after
    return [
        phrases.percent(recall) if recall is not None else "",
        phrases.place(rank) if rank is not None else "",
        phrases.percent(rate) if rate is not None else "",
    ]


def _rows(run: Run, concept: Taught) -> Iterator[Row]:
    result = concept.result
    recall, interval = result.target_recall, _wide(result.target_recall_interval.after)
    if not recall.known:
        return
    yield Row(label="Target recall", before=recall.before, after=recall.after, interval=interval)
    for name, control in concept.controls.items():
        yield Row(
            label=CONTROLS[name].short if name in CONTROLS else f"… {name:.24}",
            after=control.target_recall.after,
            interval=_wide(control.target_recall_interval.after),
            kind="control",
        )
    for label, pair in (("False positives", result.false_positive_rate), ("Known accuracy", run.known_accuracy)):
        yield Row(label=label, before=pair.before, after=pair.after, kind="price")


def _wide(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """None also for one without width: resampling photos that all agree says nothing of others."""
    return interval if interval and interval[0] < interval[1] else None


def _share(share: float | None, total: int | None, interval: tuple[float, float] | None = None) -> _Cell:
    if share is None:
        return _Cell(text="")
    number = phrases.counted(share, total)
    notes = [f"{number:,} of {total:,}" if number is not None and total is not None else ""]
    if interval is not None and _wide(interval):
        notes.append(f"{100 * interval[0]:.0f}\u2060–\u2060{phrases.percent(interval[1], 0)}")
    return _Cell(text=phrases.percent(share), note=" · ".join(note for note in notes if note))


def _extremes(photos: Sequence[KeptPrediction]) -> tuple[list[KeptPrediction], list[KeptPrediction]]:
    """The photos that teaching helped most, and least; none is in both lists."""
    ordered = sorted(photos, key=_improvement, reverse=True)
    most = min(BEST_AND_WORST, (len(ordered) + 1) // 2)
    least = min(BEST_AND_WORST, len(ordered) - most)
    return ordered[:most], ordered[len(ordered) - least :][::-1]


def _improvement(photo: KeptPrediction) -> tuple[float, int]:
    """By how much the margin rose, and the rank fell."""
    gain = (photo.after.margin or 0.0) - (photo.before.margin or 0.0)
    return gain, photo.before.rank - photo.after.rank


def _mistaken(run: Run, photo: MistakenPhoto) -> tuple[str, str, str]:
    was = ", as before teaching" if photo.before else ""
    return _thumbnail(run.thumbnail(photo)), photo.label, f"{photo.path}{was}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exhibit:
    """A photo at the head of the report, with each model's best names."""

    name: str
    image: str
    credit: str
    shows: str
    columns: Sequence[tuple[str, Sequence[tuple[str, str, float, bool]]]]
    """Which model, and its names: name, percentage, width of the bar, whether it is a concept's."""
    change: str


def _exhibit(run: Run, photo: ShownPhoto) -> _Exhibit:
    concepts = {concept.name for concept in run.concepts}
    models = {"Before": photo.before, "After": photo.after}
    if photo.shows is not None:
        models |= {phrases.control_label(name): answers for name, answers in photo.controls.items()}
    was, now = photo.before.best[0][0], photo.after.best[0][0]
    return _Exhibit(
        name=photo.photo,
        image=_thumbnail(run.thumbnail(photo)),
        credit=photo.credit,
        shows=photo.shows or "",
        columns=[(label, _bars(answers, concepts)) for label, answers in models.items()],
        change=f"“{was}”, before and after" if was == now else f"“{was}” before, “{now}” after",
    )


def _bars(answers: ShownAnswers, concepts: set[str]) -> list[tuple[str, str, float, bool]]:
    rows = [(name, share) for name, _, share in answers.best]
    told = {name for name, _ in rows}
    # a concept that is not among the best is told with its place
    rows += [(name, one.probability) for name, one in answers.concepts.items() if name not in told]
    return [
        (
            name if name in told else f"{name} (place {answers.concepts[name].rank:,})",
            phrases.percent(share),
            100 * share,
            name in concepts,
        )
        for name, share in rows
    ]


def _card(run: Run, photo: KeptPrediction) -> _Card:
    was, now = photo.before.rank + 1, photo.after.rank + 1
    moved = f"rank {was:,} → {now:,}" if was != now else f"rank {now:,}, as before"
    answers = [(when, _answers(photo.concept, one)) for when, one in (("before", photo.before), ("after", photo.after))]
    return _Card(name=photo.path, image=_thumbnail(run.thumbnail(photo)), moved=moved, answers=answers)


def _answers(name: str, answer: Opinion) -> list[tuple[str, str, bool]]:
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
