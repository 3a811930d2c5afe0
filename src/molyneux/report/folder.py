"""A run folder as one value: the records that are there, and the files of its images and photos."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from molyneux.digests import check_digests
from molyneux.errors import DataError
from molyneux.images.choices import SOURCES, taught_controls
from molyneux.records import (
    CLASSES,
    CONFIG,
    ENVIRONMENT,
    IMAGES,
    MISTAKEN,
    PREDICTIONS,
    SCORES,
    SHOWN,
    Classes,
    ClassResult,
    ConceptResult,
    CountPair,
    Environment,
    ImagesRecord,
    IntervalPair,
    KeptPrediction,
    Mistaken,
    MistakenPhoto,
    Predictions,
    RankPair,
    RecordT,
    RunSettings,
    SharePair,
    ShownPhoto,
    ShownPhotos,
    TeachResult,
    TextOnly,
    read_record,
)
from molyneux.tables import listed

NO_SCORES = "the run folder has no scores.json"

NO_ACCURACY = SharePair(after=None, reason=NO_SCORES)
NO_RESULT = ConceptResult(
    target_recall=NO_ACCURACY,
    false_positive_rate=NO_ACCURACY,
    median_rank=RankPair(after=None, reason=NO_SCORES),
    photos=0,
    target_recall_interval=IntervalPair(after=None),
    false_positives=CountPair(after=None, reason=NO_SCORES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """One concept of the run with all that is known about it."""

    name: str
    descriptions: tuple[str, ...]
    images: ImagesRecord | None
    files: tuple[Path, ...]
    """Its synthetic images."""
    result: ConceptResult
    text_only: TextOnly | None
    controls: Mapping[str, ConceptResult]
    photos: tuple[KeptPrediction, ...]
    mistaken: tuple[MistakenPhoto, ...]
    """Known photos that its name captures."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder's content; all but the settings may be missing."""

    folder: Path
    settings: RunSettings
    scores: TeachResult | None
    environment: Environment | None
    classes: Mapping[str, ClassResult]
    """The known classes that there are photos of."""
    concepts: tuple[Taught, ...]
    exhibits: ShownPhotos | None = None
    """Photos to look at."""

    @cached_property
    def known_accuracy(self) -> SharePair:
        """Among the known names alone."""
        return self.scores.known_accuracy if self.scores else NO_ACCURACY

    @cached_property
    def known_accuracy_joint(self) -> SharePair:
        """Among known and new names."""
        return self.scores.known_accuracy_joint if self.scores else NO_ACCURACY

    @cached_property
    def known_photos(self) -> int | None:
        """How many photos of known classes there were."""
        return self.scores.protocol.counts.known_photos if self.scores else None

    @cached_property
    def drawn(self) -> bool:
        """Whether the concepts were scored on drawings, which must not be taken for photos."""
        return self.settings.evaluation.drawn or bool(self.scores and self.scores.protocol.novel_images)

    @property
    def shown(self) -> str:
        """What the concepts were scored on: 'drawings' or 'photos'."""
        return "drawings" if self.drawn else "photos"

    def thumbnail(self, photo: KeptPrediction | MistakenPhoto | ShownPhoto) -> Path | None:
        """The small copy of a photo; None if it is absent or leads out of the folder."""
        path = (self.folder / (photo.thumbnail or ".")).resolve()
        return path if path.is_relative_to(self.folder.resolve()) and path.is_file() else None


def read_run(folder: Path) -> Run:
    """Read what a run wrote into `folder`.

    Raises:
        DataError: if the folder is no run folder, or a file in it is not as it was written; of a finished run its
            digest tells.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        what = "has no config.yaml" if folder.is_dir() else "is no folder"
        raise DataError(f"{folder} {what}: expected a run folder as written by 'molyneux teach'")
    check_digests(folder)
    settings = read_record(RunSettings, folder / CONFIG)
    if settings.control is not None:
        _check_name(folder / CONFIG, "control", settings.control, taught_controls())
    scores = _record(TeachResult, folder / SCORES)
    predictions = _record(Predictions, folder / PREDICTIONS)
    classes = _record(Classes, folder / CLASSES)
    mistaken = _record(Mistaken, folder / MISTAKEN)
    made = {path.parent: read_record(ImagesRecord, path) for path in folder.glob(f"synthetic/*/{IMAGES}")}
    for place, about in made.items():
        _check_name(place / IMAGES, "source", about.source, SOURCES)
    images = {about.name: (about, tuple(sorted(place.glob("*.png")))) for place, about in made.items()}
    if scores:
        lost = next((one.name for one in settings.concepts if one.name not in scores.concepts), None)
        if lost is not None:
            raise DataError(f"{folder / SCORES}: concepts.{lost}: expected its numbers, got nothing")
        wanted = scores.protocol.counts.known_photos
        photos = sum(one.photos for one in classes.root.values()) if classes else 0
        if photos != wanted:
            raise DataError(f"{folder / CLASSES}: expected {wanted} photos in all, as {SCORES} says, got {photos}")
    concepts = []
    for name, descriptions in ((one.name, one.descriptions) for one in settings.concepts):
        record, files = images.get(name, (None, ()))
        concepts.append(
            Taught(
                name=name,
                descriptions=descriptions,
                images=record,
                files=files,
                result=scores.concepts[name] if scores else NO_RESULT,
                text_only=scores.text_only.get(name) if scores else None,
                controls={key: own[name] for key, own in scores.controls.items() if name in own} if scores else {},
                photos=predictions.root.get(name, ()) if predictions else (),
                mistaken=mistaken.root.get(name, ()) if mistaken else (),
            )
        )
    return Run(
        folder=folder,
        settings=settings,
        scores=scores,
        environment=_record(Environment, folder / ENVIRONMENT),
        classes=classes.root if classes else {},
        concepts=tuple(concepts),
        exhibits=_record(ShownPhotos, folder / SHOWN),
    )


def _check_name(path: Path, field: str, value: str, table: Collection[str]) -> None:
    if value not in table:
        raise DataError(f"{path}: {field}: expected {listed(table)}, got {value!r}")


def _record(kind: type[RecordT], path: Path) -> RecordT | None:
    return read_record(kind, path) if path.exists() else None
