"""Loaded models, and what is asked of them, one question at a time."""

import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from molyneux.app.folder import AppFolder
from molyneux.backends.abilities import explainable
from molyneux.backends.base import DualEncoder, VisionLanguageModel
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.backends.packs import apply, untaught
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.photos import check_headers, read_photo
from molyneux.errors import DataError
from molyneux.packs import read_merged
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.runs.progress import taken
from molyneux.tasks.localisation.maps import heat_map
from molyneux.tasks.localisation.page import overlaid
from molyneux.tasks.recognition.photos import Given
from molyneux.tasks.recognition.record import Recognised, Recognition, Unreadable
from molyneux.tasks.recognition.run import recognise
from molyneux.teaching.config import TeachingConfig

MOST_PHOTOS = 30
"""That one question may be about."""

MOST_MAPS = 6
"""Photos of one question that get a heat map: each takes a second or more."""

MOST_NAMES = 1000
"""That one may choose from."""

MAP_SIDE = 360
"""Longest side of a heat map in pixels."""

_KEPT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a model said of photos; `files` and `maps` are in the order of the photos that could be read."""

    found: Recognition
    files: tuple[Path, ...]
    text: str = ""
    """What heat maps show."""
    maps: tuple[Image.Image, ...] = ()


class Models:
    """The app's models: the last few stay in memory, and one thread at a time uses them."""

    def __init__(self, folder: AppFolder, running: Running | None = None) -> None:
        self.folder, self.running = folder, running or Running()
        self.lock = threading.RLock()
        self._loaded: OrderedDict[str, VisionLanguageModel] = OrderedDict()

    def get(self, value: str | None) -> VisionLanguageModel:
        """The model of a choice. A taught one shares the text tower of its base, if that is loaded too.

        Raises:
            DataError: if there is no such choice.
            ModelError: if the model cannot be loaded.
        """
        name = self.folder.model(value)
        with self.lock:
            if name not in self._loaded:
                self._loaded[name] = self._read(name)
                # the untaught models stay: those that were taught are made from them in no time
                old = [one for one in self._loaded if one not in self.folder.names][:-_KEPT]
                for one in old:
                    del self._loaded[one]
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def ask(self, value: str | None, photos: list[Path], names: str = "", text: str = "") -> Seen:
        """The best names of photos, before and after teaching, and where the model sees a text in the first of them.

        Args:
            value: a choice of model.
            photos: files.
            names: what to choose from, with commas or line ends between; empty for all that is known or was taught.
            text: what heat maps show; empty for none.

        Raises:
            MolyneuxError: if there are too many photos or names, no photo can be read, or the model lacks the ability.
        """
        if not photos:
            raise DataError("no photo was given: drop some, or use those that come with Molyneux")
        if len(photos) > MOST_PHOTOS:
            raise DataError(f"{len(photos)} photos were given: expected at most {MOST_PHOTOS} at a time")
        chosen, text = given_names(names), " ".join(text.split())
        _check_some(photos)
        with self.lock, taken():
            model = self.get(value)
            base = untaught(model) if isinstance(model, DualEncoder) and model.packs else None
            if chosen is None:
                load_known_texts(base or model, imagenet_names(), TeachingConfig())
            try:
                found = recognise(model, [Given(str(path), path) for path in photos], chosen, base=base)
            except DataError as error:
                raise DataError(_by_name(str(error), photos)) from error
            files = tuple(Path(one.photo) for one in found.photos)
            maps: tuple[Image.Image, ...] = ()
            if text:
                explained = explainable(model, "a heat map")
                small = [_small(path) for path in files[:MOST_MAPS]]
                maps = tuple(overlaid(photo, heat_map(explained, photo, text)) for photo in small)
        return Seen(_shortened(found, photos), files, text, maps)

    def _read(self, name: str) -> VisionLanguageModel:
        merged = read_merged(Path(name)) if Path(name).is_dir() else None
        if merged is not None and merged.name in self.folder.names:
            base = self.get(merged.name)
            if isinstance(base, DualEncoder) and not base.packs and weights_digest(base.native) == merged.weights:
                return apply(base, merged.packs)
        return load(name, **asdict(self.running))


def given_names(text: str) -> tuple[str, ...] | None:
    """Names with commas, semicolons or line ends between; None for no name.

    Raises:
        DataError: if there are too many.

    >>> given_names("cat, snow  leopard;"), given_names(" ")
    (('cat', 'snow leopard'), None)
    """
    for mark in ";\n":
        text = text.replace(mark, ",")
    names = [" ".join(name.split()) for name in text.split(",")]
    found = tuple(dict.fromkeys(name for name in names if name))
    if len(found) > MOST_NAMES:
        raise DataError(f"{len(found):,} names were given: expected at most {MOST_NAMES:,}")
    return found or None


def _check_some(photos: list[Path]) -> None:
    """Raise DataError with the first reason if none of the photos looks like one; models take longer to ask."""
    reasons = []
    for path in photos:
        try:
            check_headers([path])
            return
        except DataError as error:
            reasons.append(str(error))
    raise DataError(_by_name(reasons[0], photos))


def _small(path: Path) -> Image.Image:
    image = read_photo(path)
    image.thumbnail((MAP_SIDE, MAP_SIDE))
    return image


def _by_name(text: str, photos: list[Path]) -> str:
    """A text with files called by their names alone: where uploads lie is of no use to who sent them."""
    for path in photos:
        text = text.replace(str(path), path.name)
    return text


def _shortened(found: Recognition, photos: list[Path]) -> Recognition:
    shown = [Recognised(**one.given() | {"photo": Path(one.photo).name}) for one in found.photos]
    unread = [Unreadable(photo=Path(one.photo).name, reason=_by_name(one.reason, photos)) for one in found.unreadable]
    return found.model_copy(update={"photos": tuple(shown), "unreadable": tuple(unread)})
