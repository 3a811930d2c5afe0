"""Values to pieces of HTML, every text escaped; charts and lines are those of the reports."""

from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from molyneux.app.models import MOST_MAPS, Seen
from molyneux.app.queue import QueuedLesson
from molyneux.app.teaching import warning
from molyneux.datasets.photos import read_photo
from molyneux.errors import DataError
from molyneux.packs import Pack
from molyneux.records import SHOWN, ShownPhotos, read_record
from molyneux.report.figures import trace_chart
from molyneux.report.html import PHONE
from molyneux.report.pages import data_uri, fill
from molyneux.report.phrases import duration, percent
from molyneux.tasks.recognition.page import Line, columns

SIDE, IMAGE_SIDE = 320, 128
"""Longest side of a photo and of a synthetic image, in pixels."""

CHART = 520


class Card(NamedTuple):
    """A photo with its names, before and after."""

    name: str
    image: str
    columns: list[tuple[str, bool, list[Line]]]
    changed: bool
    map: str


def lesson(queued: QueuedLesson) -> str:
    """How far a lesson is, and when it is done what became of the photos that come with Molyneux."""
    progress = queued.progress
    done = progress.state == "done"
    place = queued.settings.out
    return fill(
        "app/lesson.html",
        name=queued.concept.name,
        progress=progress,
        seconds=duration(progress.seconds),
        warning=warning(queued.concept),
        images=[data_uri(image, IMAGE_SIDE) for image in progress.images],
        curve=_curve(queued),
        shown=_shown(place) if done else [],
        place=place,
    )


def recognised(seen: Seen) -> str:
    """Each photo with its best names before and after, and its heat map."""
    taught = set(seen.found.protocol.taught)
    maps = [data_uri(image, SIDE) for image in seen.maps]
    maps += [""] * (len(seen.files) - len(maps))
    cards = [
        Card(
            name=photo.photo,
            image=data_uri(read_photo(path), SIDE),
            columns=columns(photo, taught),
            changed=photo.before is not None and photo.before.best[0].name != photo.after.best[0].name,
            map=heat,
        )
        for photo, path, heat in zip(seen.found.photos, seen.files, maps, strict=True)
    ]
    without_map = bool(seen.maps) and len(seen.files) > len(seen.maps)
    return fill(
        "app/recognised.html",
        cards=cards,
        found=seen.found,
        text=seen.text,
        without_map=without_map,
        most_maps=MOST_MAPS,
    )


def concepts(packs: tuple[Pack, ...]) -> str:
    """What a model was taught, a row for each pack."""
    if not packs:
        return note("This model holds no packs.")
    rows = Markup("").join(
        Markup("<tr><th>{}</th><td>{}{}</td></tr>").format(pack.name, "; ".join(pack.descriptions), _measured(pack))
        for pack in packs
    )
    return str(Markup("<table><tbody>{}</tbody></table>").format(rows))


def report(page: str, label: str) -> str:
    """A report in a frame of its own, where it can run and fetch nothing."""
    return str(
        Markup('<iframe class="m-report" sandbox title="{}" srcdoc="{}"></iframe>').format(f"report of {label}", page)
    )


def good(text: str) -> str:
    """A line about something that went well."""
    return str(Markup('<p role="status">{}</p>').format(text))


def bad(text: str) -> str:
    """A line about something that was refused, read out at once by a screen reader."""
    return str(Markup('<p role="alert" class="m-refused">{}</p>').format(text))


def note(text: str) -> str:
    """A quiet line."""
    return str(Markup('<p class="m-soft">{}</p>').format(text))


def _curve(queued: QueuedLesson) -> Markup:
    points = queued.progress.trace
    if not points:
        return Markup()
    wide, narrow = trace_chart(points, width=CHART), trace_chart(points, width=PHONE)
    return Markup(f'<div class="m-wide">{wide}</div><div class="m-narrow">{narrow}</div>')  # escaped in figures


def _shown(run: Path) -> list[tuple[str, str, str, bool]]:
    """Each photo, and its best name before and after."""
    try:
        found = read_record(ShownPhotos, run / SHOWN).photos
    except DataError:
        return []
    rows = []
    for photo in found:
        (before, _, share), (after, _, later) = photo.before.best[0], photo.after.best[0]
        rows.append(
            (Path(photo.photo).name, f"{before} {percent(share, 0)}", f"{after} {percent(later, 0)}", before != after)
        )
    return rows


def _measured(pack: Pack) -> Markup:
    recall, taken = (pack.scores.get(name) for name in ("recall", "false_positives"))
    if not isinstance(recall, float) or not isinstance(taken, float):
        return Markup()
    return Markup("<br>On photos: recall {}, false positives {}").format(percent(recall), percent(taken))
