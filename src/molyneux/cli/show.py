"""Results on stdout: JSON for programs, a table for people."""

import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from molyneux.images.choices import CONTROLS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from molyneux.tasks.recognition.record import Recognition

MISSING = "–"

FEW_CONCEPTS = 4
"""Up to so many concepts, each one's controls are shown; of more, the controls' means."""

_WIDE = 110
"""Columns of a terminal on which no heading has to be broken."""

FEW = 12
"""Up to so many photos, all of each one's names are shown."""


def print_json(value: Any) -> None:
    """The value as JSON, and nothing else."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_next(*command: str) -> None:
    """What a user may want to type next; words in capitals are to be filled in."""
    print(f"next: molyneux {shlex.join(command)}")


def _console() -> "Console":
    """Where tables go: names may hold brackets, and for a program that reads a table a row is a line."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 1000, markup=False)


def _table(console: "Console", headings: Sequence[str]) -> "Table":
    """A table whose first column alone may break its lines; on a narrow terminal headings take two."""
    from rich.table import Table

    first, *others = headings
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for heading in others:
        named = heading.rsplit(" ", 1) if console.width < _WIDE else [heading]
        table.add_column("\n".join(named), justify="right", no_wrap=True)
    return table


def print_scores(scores: Mapping[str, Any], verbose: bool = False) -> bool:
    """A row for each concept and, below it, for each control, and what happened to the known classes.

    Args:
        scores: a result of `teach` or `evaluate`.
        verbose: whether all of the protocol is said.

    Returns:
        Whether anything was measured.
    """
    console = _console()
    measured = any(concept["photos"] for concept in scores["concepts"].values())
    if measured:
        headings = ("concept", "target recall", "95 % interval", "false positives", "median rank", "photos")
        table = _table(console, headings)
        controls = scores.get("controls", {})
        for name, concept in scores["concepts"].items():
            table.add_row(name, *_score_cells(concept))
            for control, found in controls.items() if len(scores["concepts"]) <= FEW_CONCEPTS else ():
                if name in found:
                    table.add_row(f"  control: {_control(control)}", *_score_cells(found[name]))
        for control, found in controls.items() if len(scores["concepts"]) > FEW_CONCEPTS else ():
            table.add_row(
                f"mean of control: {_control(control)}",
                _mean(found, "target_recall"),
                "",
                _mean(found, "false_positive_rate"),
                "",
                "",
            )
        console.print(table)
    for key, label in (
        ("known_accuracy", "known accuracy"),
        ("known_accuracy_joint", "known accuracy, with the new names among the answers"),
    ):
        if (written := change(scores[key], percent)) != MISSING:
            measured = True
            console.print(f"{label}: {written}", highlight=False)
    if scores.get("known_retention") is not None:
        console.print(f"known retention: {percent(scores['known_retention'])}", highlight=False)
    measured = measured or bool(scores.get("text_only"))
    if measured and "protocol" in scores:
        said = protocol(scores["protocol"]) if verbose else protocol_line(scores["protocol"])
        console.print(said, highlight=False, soft_wrap=True)
        _print_notes(scores["protocol"].get("notes", ()))
    for name, found in scores.get("text_only", {}).items():
        console.print(f"{name}, {from_text(found)}", highlight=False, soft_wrap=True)
    return measured


def protocol(said: Mapping[str, Any]) -> str:
    """What the numbers mean, in a line or two."""
    prompts = said["prompts"]
    words = repr(prompts[0]) if len(prompts) == 1 else f"{len(prompts)} templates ({said['templates'] or 'a file'})"
    counts = said["counts"]
    return (
        f"protocol: {counts['known_names']} known and {counts['novel_names']} new names in {words}; {said['naming']}; "
        f"ImageNet's classes by {said['class_names']}; score: {said['score']}; photos: {said['preprocessing']}"
        + "".join(f"; {said[key]}" for key in ("same_names", "scans", "use") if key in said)
    )


def protocol_line(said: Mapping[str, Any]) -> str:
    """The same in a few words."""
    prompts, counts = said["prompts"], said["counts"]
    words = repr(prompts[0]) if len(prompts) == 1 else f"{len(prompts)} templates"
    use = f"; {said['use']}" if "use" in said else ""
    return (
        f"protocol: {counts['known_names']} known and {counts['novel_names']} new names in {words}{use} (-v: all of it)"
    )


def _score_cells(concept: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        percents(concept["target_recall"]),
        change(concept.get("target_recall_interval", {}), between),
        percents(concept["false_positive_rate"]),
        change(concept["median_rank"], place),
        str(concept["photos"]),
    )


def _mean(found: Mapping[str, Any], key: str) -> str:
    values = [one[key]["after"] for one in found.values() if one[key]["after"] is not None]
    return percent(sum(values) / len(values)) if values else MISSING


def print_classes(classes: Mapping[str, Any]) -> None:
    """A row for each known class that there are photos of."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("class", "right", "photos"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, found in classes.items():
        table.add_row(name, change(found["accuracy"], percent), str(found["photos"]))
    Console(markup=False).print(table)


def print_predictions(predictions: Iterable[Mapping[str, Any]]) -> None:
    """A line for each photo and model: its three best names with their scores."""
    for one in predictions:
        for when in ("before", "after"):
            if when in one:
                top = ", ".join(f"{name} {score:.3f}" for name, score in one[when]["top"])
                print(f"{one['path']} ({one['concept']}) {when}: {top}")


def print_recognised(found: "Recognition", verbose: bool = False) -> None:
    """A row for each photo, of a few photos all names, each on a line; with `verbose` all of the protocol below."""
    from rich.console import Console
    from rich.table import Table

    from molyneux.tasks.recognition.record import NONE

    moments = ("before", "after") if found.base is not None else ("after",)
    table = Table(box=None, pad_edge=False)
    table.add_column("photo", overflow="fold")
    few = len(found) <= FEW
    for moment in moments:
        table.add_column("name" if len(moments) == 1 else moment, overflow="fold")
        table.add_column("share", justify="right")
        table.add_column("score", justify="right")
    for photo in found:
        answers = [getattr(photo, moment) for moment in moments]
        for place in range(max(len(one.best) for one in answers) if few else 1):
            cells = [photo.photo if place == 0 else ""]
            for one in answers:
                name, score, share = one.best[place]
                mark = f"{NONE}: " if place == 0 and one.none_of_these else ""
                cells += [f"{mark}{name}", percent(share), f"{score:.3f}"]
            table.add_row(*cells)
    # for a program that reads the table, a row is a line
    console = Console(width=None if sys.stdout.isatty() else 1000, markup=False)
    console.print(table, highlight=False)
    for one in found.unreadable:
        console.print(f"not read: {one.reason}", highlight=False, soft_wrap=True)
    said = found.protocol
    _print_notes(said.notes)
    if not verbose:
        limit = f"; below {percent(said.limit.probability)} none of these" if said.limit.probability is not None else ""
        use = f"; {said.use}" if said.use else ""
        console.print(f"protocol: {len(said.names)} names{limit}{use} (-v: all of it)", highlight=False, soft_wrap=True)
        return
    limit = "" if said.limit.probability is None else f"limit {percent(said.limit.probability)}: "
    console.print(
        f"{len(said.names)} names; share: {said.probability}; {limit}{said.limit_means}"
        + (f"; {said.use}" if said.use else ""),
        highlight=False,
        soft_wrap=True,
    )


def print_retrieval(scores: Mapping[str, Any]) -> None:
    """A row for each direction, and below it one for each control."""
    console = _console()
    moments = [key for key in ("before", "after") if key in scores]
    cutoffs = list(scores["after"]["image_to_text"]["recall"])
    table = _table(console, ("", *(f"recall@{cutoff}" for cutoff in cutoffs), "median rank", "queries"))
    for key in ("image_to_text", "text_to_image"):
        rows = {key.replace("_", " "): {moment: scores[moment][key] for moment in moments}}
        rows |= {f"  {_control(name)}": {"after": one[key]} for name, one in scores["controls"].items()}
        for label, found in rows.items():
            table.add_row(
                label,
                *(percents({moment: one["recall"][cut] for moment, one in found.items()}) for cut in cutoffs),
                change({moment: one["median_rank"] for moment, one in found.items()}, place),
                str(found["after"]["queries"]),
            )
    console.print(table)
    protocol = scores["protocol"]
    told = f"{protocol['photos']} photos, {protocol['captions']} captions; rank 1 is best, ties count against the model"
    if protocol["reranking"] is not None:
        told += f"; {protocol['reranking']['means']}"
    console.print(told, highlight=False, soft_wrap=True)
    _print_notes(protocol.get("notes", ()))


def print_captions(found: Mapping[str, Any]) -> None:
    """What was said about each photo, or, where it is known what people said, a row for each score."""
    from rich.console import Console
    from rich.table import Table

    from molyneux.tasks.captioning.page import METRICS

    if "scores" not in found:
        for path, text in found["captions"].items():
            print(f"{path}: {text}")
        _print_notes(found["protocol"].get("notes", ()))
        return
    scores = found["scores"]
    columns = {key: scores[key] for key in ("before", "after") if key in scores} | scores["controls"]
    table = Table(box=None, pad_edge=False)
    for heading in ("", *(_control(name) for name in columns)):
        table.add_column(heading, justify="right" if heading else "left")
    absent = {}
    for key, label in METRICS.items():
        values = [one[key]["value"] if isinstance(one[key], dict) else one[key] for one in columns.values()]
        if None in values:
            absent[label] = next(one[key]["reason"] for one in columns.values())
        else:
            table.add_row(label, *(f"{100 * value:.1f}" for value in values))
    console = Console(markup=False)
    console.print(table)
    for label, reason in absent.items():
        console.print(f"{label}: {reason}", highlight=False, soft_wrap=True)
    told = f"{found['protocol']['photos']} photos, {found['protocol']['references']} references; all times 100"
    console.print(told, highlight=False)
    _print_notes(found["protocol"].get("notes", ()))


def print_localised(scores: Mapping[str, Any]) -> None:
    """A row for each metric; beside the text's mean, how far it is from that of a text that means nothing."""
    from rich.console import Console
    from rich.table import Table

    if scores["after"] is None:
        print(f"{scores['protocol']['images']} images; for research only")
        _print_notes(scores["protocol"].get("notes", ()))
        return
    table = Table(box=None, pad_edge=False)
    moments = [key for key in ("before", "after") if key in scores]
    for heading in ("", *(column for moment in moments for column in (moment, "minus gibberish"))):
        table.add_column(heading, justify="right" if heading else "left")
    for stage, metrics in scores["after"]["text"].items():
        for metric in metrics:
            cells = []
            for moment in moments:
                apart = scores[moment]["text_minus_gibberish"][stage][metric]
                low, high = apart["interval"]
                cells += [f"{scores[moment]['text'][stage][metric]['mean']:.3f}"]
                cells += [f"{apart['mean']:+.3f} ({low:+.3f} to {high:+.3f})"]
            table.add_row(f"{stage}: {metric.replace('_', ' ')}", *cells)
    # for a program that reads the table, a row is a line
    console = Console(width=None if sys.stdout.isatty() else 1000, markup=False)
    console.print(table)
    chance = scores["chance"]["pointing"]
    console.print(
        f"{scores['protocol']['images']} images; chance is an energy ratio of 1, and to point right in "
        f"{percent(chance)}; for research only"
    )
    _print_notes(scores["protocol"].get("notes", ()))


def _print_notes(notes: Iterable[str]) -> None:
    """What there is to say of the files, on stderr: which were left out, and why."""
    for note in notes:
        print(f"molyneux: note: {note}", file=sys.stderr)


def from_text(found: Mapping[str, Any]) -> str:
    """What text alone can tell of one concept, as a sentence."""
    rank = change(found["median_rank"], place)
    share = change(found["replay_captured"], percent)
    similarity = change(found["similarity"], lambda value: f"{value:.3f}")
    beside = ", ".join(
        f"{place(control['median_rank']['after'])} after the same teaching on {_control(name)}"
        for name, control in found.get("controls", {}).items()
    )
    return (
        f"on fresh inverted images (not photos): median rank {rank}{f' ({beside})' if beside else ''}, "
        f"similarity {similarity}; images of known classes that it captures: {share}"
    )


def change(pair: Mapping[str, Any], written: Any) -> str:
    """Before and after, as far as they are known."""
    values = [MISSING if pair[key] is None else written(pair[key]) for key in ("before", "after") if key in pair]
    return MISSING if set(values) == {MISSING} else " → ".join(values)


def percents(pair: Mapping[str, Any]) -> str:
    """Shares before and after as percentages, with the sign once.

    >>> percents({"before": 0.125, "after": 0.5}), percents({"after": 0.5}), percents({"before": 0.5, "after": None})
    ('12.5 → 50.0 %', '50.0 %', '50.0 % → –')
    """
    written = change(pair, percent)
    return written if MISSING in written else written.replace(" % →", " →")


def percent(share: float) -> str:
    """A share as a percentage.

    >>> percent(0.125)
    '12.5 %'
    """
    return f"{100 * share:.1f} %"


def share(value: float | None) -> str:
    """A share as a percentage, if it is known.

    >>> share(0.5), share(None)
    ('50.0 %', '–')
    """
    return MISSING if value is None else percent(value)


def between(interval: Sequence[float]) -> str:
    """Two shares as percentages; photos that all agree say nothing of others.

    >>> between([0.25, 0.5]), between([1.0, 1.0])
    ('25–50', '–')
    """
    if interval[0] == interval[-1]:
        return MISSING
    return "–".join(f"{100 * end:.0f}" for end in interval)


def number(value: float) -> str:
    """A number without needless decimals.

    >>> number(3.0), number(1.5)
    ('3', '1.5')
    """
    return f"{value:g}"


def bytes_said(count: int) -> str:
    """A size for a person, in powers of a thousand.

    >>> bytes_said(950), bytes_said(6_900), bytes_said(57_400_000)
    ('950 B', '6.9 kB', '57.4 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def place(rank: float) -> str:
    """A rank of a record, which counts from 0, as people count.

    >>> place(0.0), place(1.5)
    ('1', '2.5')
    """
    return number(rank + 1)


def print_shown(shown: Mapping[str, Any]) -> None:
    """The best names of a few photos, before and after teaching, and of the controls where a photo shows a concept."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 1000, markup=False)
    for photo in shown["photos"]:
        own = photo["shows"]
        models = {"before": photo["before"], "after": photo["after"]}
        if own is not None:
            models |= {f"after {_control(name)}": one for name, one in photo["controls"].items()}
        table = Table(box=None, pad_edge=False)
        for label in models:
            table.add_column(label, overflow="fold")
        rows = [[_guess(name, share) for name, _, share in one["best"]] for one in models.values()]
        if own is not None:
            rows = [
                [*told, f"{own}: place {one['concepts'][own]['rank']}"]
                for told, one in zip(rows, models.values(), strict=True)
            ]
        for cells in zip(*rows, strict=True):
            table.add_row(*cells)
        title = f"{photo['photo']}{f', a photo of a {own}' if own else ''}"
        console.print(f"{title} ({photo['credit']})" if photo["credit"] else title, highlight=False, soft_wrap=True)
        console.print(table, highlight=False)
    console.print(
        f"{len(shown['photos'])} photos are no measure; the README has a table of twelve concepts, on 30 photos each.",
        highlight=False,
        soft_wrap=True,
    )


def _guess(name: str, share: float) -> str:
    return f"{percent(share):>7} {name}"


def _control(name: str) -> str:
    return CONTROLS[name].phrase if name in CONTROLS else name
