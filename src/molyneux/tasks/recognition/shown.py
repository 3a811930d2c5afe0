"""A few photos for a report to show, each with every model's answers: something to look at, no measure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from molyneux.backends.base import VisionLanguageModel
from molyneux.datasets.folders import photos_below
from molyneux.datasets.names import name_key
from molyneux.datasets.photos import check_headers
from molyneux.errors import DataError
from molyneux.files import write_bytes
from molyneux.foreign import read_json
from molyneux.records import Place, ShownAnswers, ShownPhoto, ShownPhotos
from molyneux.tasks.classification.predictions import thumbnail
from molyneux.tasks.classification.prompts import PROMPTS, Ensemble
from molyneux.tasks.recognition.record import Recognised
from molyneux.tasks.recognition.run import recognise

CREDITS = "credits.json"
"""A file beside the photos: path to who made it, and under which licence."""

FOLDER = "shown"
"""The folder of small copies in a run folder."""

TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A photo to show."""

    path: Path
    name: str
    """Relative to the folder, with forward slashes."""
    shows: str | None
    credit: str


def read_shown(folder: Path, concepts: Sequence[str]) -> tuple[Exhibit, ...]:
    """The photos of a folder, those of the concepts first: a sub-folder that is named like one shows it.

    Raises:
        DataError: if there are none, a header cannot be read, or the credits are no mapping of text to text.
    """
    folder = Path(folder)
    paths = photos_below(folder)
    check_headers(paths)
    credits = _credits(folder / CREDITS)
    spelled = {name_key(name): name for name in concepts}
    found = []
    for path in paths:
        name = path.relative_to(folder)
        shows = spelled.get(name_key(name.parts[0].replace("_", " "))) if len(name.parts) > 1 else None
        found.append(Exhibit(path=path, name=name.as_posix(), shows=shows, credit=credits.get(name.as_posix(), "")))
    return tuple(sorted(found, key=lambda one: (one.shows is None, one.name)))


def shown_photos(
    models: Mapping[str, VisionLanguageModel],
    exhibits: Sequence[Exhibit],
    concepts: Sequence[str],
    known: Sequence[str],
    root: Path,
    *,
    prompts: Sequence[str] = PROMPTS,
    ensemble: Ensemble = "embeddings",
) -> ShownPhotos:
    """The answers of each model, by 'before', 'after' and the controls' names; small copies go into `root`.

    Raises:
        DataError: if a photo cannot be read.
    """
    names = (*known, *concepts)
    found = {
        key: recognise(
            model,
            [one.path for one in exhibits],
            names,
            top=len(names),
            rejected=0.0,
            prompts=prompts,
            ensemble=ensemble,
        )
        for key, model in models.items()
    }
    first = next(iter(found.values()))
    if first.unreadable:
        raise DataError(first.unreadable[0].reason)
    photos = []
    for place, one in enumerate(exhibits):
        small = f"{FOLDER}/{place:02d}.jpg"
        write_bytes(root / small, thumbnail(one.path))
        said = {key: _answers(answers[place], concepts) for key, answers in found.items()}
        photos.append(
            ShownPhoto(
                photo=one.name,
                shows=one.shows,
                credit=one.credit,
                thumbnail=small,
                before=said.pop("before"),
                after=said.pop("after"),
                controls=said,
            )
        )
    return ShownPhotos(version=1, names=len(names), probability=first.protocol.probability, photos=tuple(photos))


def _answers(photo: Recognised, concepts: Sequence[str]) -> ShownAnswers:
    ranks = {answer.name: (rank, answer.probability) for rank, answer in enumerate(photo.after.best, start=1)}
    places = {name: Place(rank=ranks[name][0], probability=ranks[name][1]) for name in concepts}
    best = tuple((name, score, share) for name, score, share in photo.after.best[:TOP])
    return ShownAnswers(best=best, concepts=places)


def _credits(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    content = read_json(path, "the credits")
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise DataError(f"{path} is no mapping of photo to credit: expected text for each")
    return content
