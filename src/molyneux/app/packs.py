"""Packs on the page: those of the folder, put into models and taken out again. Each change makes a new model."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from molyneux.app.folder import AppFolder
from molyneux.app.models import Models
from molyneux.backends import packs as merging
from molyneux.backends.base import dual_encoder
from molyneux.errors import DataError, MolyneuxError
from molyneux.files import fresh, numbered
from molyneux.packs import FOLDER, SUFFIX, UNTOUCHED, Pack, load_pack, model_folder

MOST_UPLOADED = 50
"""Packs at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredPack:
    """A pack in the folder."""

    pack: Pack
    value: str
    """Its file, relative to the app's folder."""

    @property
    def label(self) -> str:
        """What a person reads: its name, the strength it was taught with, and the model that it is for."""
        strength = self.pack.made.get("edit", {}).get("strength")
        said = f", strength {strength:g}" if isinstance(strength, float) else ""
        place = self.value.split(f"/model/{FOLDER}/")[0].split(f"/{FOLDER}/")[0].removesuffix(SUFFIX)
        return f"{self.pack.name}{said}, for {self.pack.base_name} ({place})"


def stored(folder: AppFolder) -> list[StoredPack]:
    """All packs that lie in the folder, each once, the uploaded ones first; files that cannot be read are left out."""
    files = sorted(folder.packs.glob(f"*{SUFFIX}"))
    for choice in folder.taught():
        files += sorted((model_folder(folder.root / choice.value) / FOLDER).glob(f"*{SUFFIX}"))
    found: dict[tuple[object, ...], StoredPack] = {}
    for path in files:
        if path.name == UNTOUCHED:
            continue
        try:
            pack = load_pack(path)
        except DataError:
            continue
        found.setdefault(_key(pack), StoredPack(pack, path.relative_to(folder.root).as_posix()))
    return list(found.values())


def upload(folder: AppFolder, files: list[Path]) -> tuple[list[str], list[str]]:
    """Keep packs that were sent, unless they are there; all their names, and why others were refused.

    Raises:
        DataError: if there are none, or too many.
    """
    if not files:
        raise DataError("no pack was given: drop files that end in .safetensors")
    if len(files) > MOST_UPLOADED:
        raise DataError(f"{len(files)} packs were given: expected at most {MOST_UPLOADED} at a time")
    there = {_key(one.pack) for one in stored(folder)}
    names, refused = [], []
    for path in files:
        try:
            pack = load_pack(path)
            if _key(pack) not in there:
                pack.save(_free(folder.packs, pack.file_name))
                there.add(_key(pack))
            names.append(pack.name)
        except MolyneuxError as error:
            refused.append(str(error).replace(str(path), path.name))
    return names, refused


def apply(models: Models, value: str | None, chosen: list[str]) -> str:
    """Put packs of the folder into a model; returns the new model's value.

    Raises:
        MolyneuxError: if none is chosen, one is not there, or the model does not take it.
    """
    if not chosen:
        raise DataError("no pack is chosen: tick at least one")
    found = _chosen(models.folder, chosen)
    with models.lock:
        return _save(models, merging.apply(models.get(value), found))


def remove(models: Models, value: str | None, names: list[str]) -> str:
    """Take concepts out of a model; returns the new model's value; errors as for `apply`."""
    if not names:
        raise DataError("no concept is chosen: tick at least one")
    with models.lock:
        return _save(models, merging.remove(models.get(value), names))


def concepts(models: Models, value: str | None) -> tuple[Pack, ...]:
    """The packs that a model has."""
    with models.lock:
        return models.get(value).packs


def download(folder: AppFolder, chosen: list[str]) -> list[str]:
    """Copies of packs for a browser to fetch; errors as for `apply`."""
    if not chosen:
        raise DataError("no pack is chosen: tick at least one")
    _chosen(folder, chosen)
    place = fresh(folder.uploads / "download")
    place.mkdir(parents=True)
    return [str(shutil.copyfile(folder.root / one, _free(place, Path(one).name))) for one in chosen]


def _key(pack: Pack) -> tuple[object, ...]:
    return pack.name, pack.base, tuple(pack.key.tolist()), tuple(pack.value.tolist())


def _free(place: Path, name: str) -> Path:
    """A file in a folder that is not taken, with a number before its suffix if need be."""
    stems = numbered(place / name.removesuffix(SUFFIX))
    return next(path for stem in stems if not (path := stem.with_name(stem.name + SUFFIX)).exists())


def _chosen(folder: AppFolder, chosen: list[str]) -> list[Pack]:
    there = {one.value: one.pack for one in stored(folder)}
    missing = next((one for one in chosen if one not in there), None)
    if missing is not None:
        raise DataError(f"there is no pack {missing!r} in the folder: choose one from the list")
    return [there[one] for one in chosen]


def _save(models: Models, model: object) -> str:
    taught = dual_encoder(model, "a pack")  # type: ignore[arg-type]
    out = models.folder.new_model(pack.name for pack in taught.packs)
    taught.save(out)
    return out.relative_to(models.folder.root).as_posix()
