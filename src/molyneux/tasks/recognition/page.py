"""A contact sheet: each photo small, with its best names; one HTML file with everything inside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from molyneux.datasets.folders import WHOLE
from molyneux.datasets.photos import read_photo
from molyneux.datasets.windows import Window
from molyneux.errors import DataError, OutputError
from molyneux.files import write_pieces
from molyneux.report.pages import data_uri, pieces
from molyneux.tasks.recognition.record import NONE, Answers, Recognised, Recognition

SIDE = 200
"""Longest side of a photo on the sheet, in pixels."""


@dataclass(frozen=True, slots=True)
class Line:
    """A name with its probability, as a bar."""

    name: str
    percent: str
    width: float
    taught: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One photo: the image as a data URI, or none, and for each model its lines."""

    photo: str
    image: str
    columns: Sequence[tuple[str, bool, Sequence[Line]]]
    """'before' or 'after', whether none of the names fits, the lines."""
    changed: bool


def check_page(path: Path) -> None:
    """Raise OutputError unless a page can be made there: it must not exist."""
    if Path(path).exists():
        raise OutputError(f"{path} already exists: choose another name for the page, or remove it")


def write_page(path: Path, found: Recognition, window: Window = WHOLE) -> None:
    """Write the contact sheet; photos are read again one by one, so that none is held.

    Raises:
        OutputError: if the page exists, or cannot be written.
    """
    check_page(path)
    counts = summary(found)
    write_pieces(path, pieces("tasks/recognition/page.html", found=found, counts=counts, cards=_cards(found, window)))


def summary(found: Recognition) -> Mapping[str, int]:
    """How many photos have each best name, the most frequent first."""
    counts: dict[str, int] = {}
    for photo in found.photos:
        counts[photo.name] = counts.get(photo.name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0] == NONE, item[0])))


def _cards(found: Recognition, window: Window) -> Iterator[Card]:
    taught = set(found.protocol.taught)
    for photo in found.photos:
        changed = photo.before is not None and photo.before.name != photo.name
        yield Card(photo.photo, _image(photo.photo, window), columns(photo, taught), changed)


def columns(photo: Recognised, taught: set[str]) -> list[tuple[str, bool, list[Line]]]:
    """'before', where there is one, and 'after': whether none of the names fits, and the best ones as lines."""
    return [(when, answers.none_of_these is True, _lines(answers, taught)) for when, answers in _answers(photo)]


def _answers(photo: Recognised) -> Iterator[tuple[str, Answers]]:
    if photo.before is not None:
        yield "before", photo.before
    yield "after", photo.after


def _lines(answers: Answers, taught: set[str]) -> list[Line]:
    return [Line(name, f"{100 * share:.1f} %", 100 * share, name in taught) for name, _, share in answers.best]


def _image(photo: str, window: Window) -> str:
    try:
        return data_uri(read_photo(Path(photo), window), SIDE)
    except DataError:
        return ""  # an image that lies in no file
