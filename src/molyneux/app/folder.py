"""The folder that the app keeps everything in: lessons, models, packs, and what was uploaded for a while."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from molyneux.errors import DataError, OutputError
from molyneux.files import fresh, slug
from molyneux.packs import model_folder
from molyneux.records import CONCEPTS, SCORES, Lineage, read_record
from molyneux.runs.folder import is_unfinished, locked
from molyneux.runs.stage import remove

RUNS, MODELS, PACKS, UPLOADS = "runs", "models", "packs", "molyneux-uploads"


@dataclass(frozen=True, slots=True)
class Choice:
    """A line of a list, and what it stands for: a model's name, or a folder relative to the app's."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class AppFolder:
    """Where the app writes; nothing is written elsewhere."""

    root: Path
    names: tuple[str, ...] = ("mini",)
    """The untaught models that the app offers, as `load` takes them."""

    def prepare(self) -> None:
        """Make the folder and its parts, take it for this process, and remove what was uploaded to an earlier one.

        Raises:
            OutputError: if that cannot be done, or another process has the folder.
        """
        try:
            locked(self.root / ".lock", f"another app has the folder {self.root}: close it, or choose another folder")
            remove(self.uploads)
            for name in (RUNS, MODELS, PACKS, UPLOADS):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write into {self.root}: {error.strerror}; choose another folder") from error

    @property
    def packs(self) -> Path:
        """Packs that were uploaded."""
        return self.root / PACKS

    @property
    def uploads(self) -> Path:
        """For what a browser sends or fetches; old files there are removed."""
        return self.root / UPLOADS

    def lessons(self) -> list[Choice]:
        """Finished lessons, the newest first."""
        found = [path for path in self._folders(RUNS) if (path / SCORES).is_file() and not is_unfinished(path)]
        return [Choice(label, self._value(path)) for path in found if (label := self._label(path))]

    def taught(self) -> list[Choice]:
        """Models that were taught or put together here, the newest first."""
        made = [Choice(label, self._value(path)) for path in self._folders(MODELS) if (label := self._label(path))]
        return [*self.lessons(), *made]

    def models(self) -> list[Choice]:
        """The untaught models, then `taught`."""
        return [*(Choice(name, name) for name in self.names), *self.taught()]

    def model(self, value: str | None) -> str:
        """What `load` takes for a choice of `models`.

        Raises:
            DataError: if it is none of them.
        """
        if value in self.names:
            return str(value)
        return str(model_folder(self._chosen(value, self.models(), "model")))

    def lesson(self, value: str | None) -> Path:
        """The run's folder for a choice of `lessons`; errors as for `model`."""
        return self._chosen(value, self.lessons(), "lesson")

    def run_folder(self, name: str) -> Path:
        """The folder for a lesson about a concept; it may be taken."""
        return self.root / RUNS / slug(name)

    def new_model(self, names: Iterable[str]) -> Path:
        """A new folder for a model with these concepts."""
        return fresh(self.root / MODELS / (slug("-".join(names) or "untaught")))

    def _chosen(self, value: str | None, choices: list[Choice], what: str) -> Path:
        if value not in [one.value for one in choices]:
            raise DataError(f"there is no {what} {value or ''!r} in the folder: choose one from the list")
        return self.root / str(value)

    def _value(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _folders(self, name: str) -> list[Path]:
        place = self.root / name
        found = [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return sorted(found, key=lambda path: (-path.stat().st_mtime, path.name))

    def _label(self, path: Path) -> str:
        """What a person reads; empty where the folder is not one of ours, or not whole."""
        try:
            taught = read_record(Lineage, model_folder(path) / CONCEPTS)
        except DataError:
            return ""
        names = ", ".join(concept.name for concept in taught.concepts) or "nothing taught"
        return f"{names} ({self._value(path)})"
