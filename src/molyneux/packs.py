"""A taught concept as a small file: two vectors, what they were made from, and which model they are for.

A model remembers the packs that were merged into it, and the few tensors that merging changed (`Merged`); so a pack can
be taken out again to the bit.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from molyneux.arguments import check_kind
from molyneux.concepts import Concept
from molyneux.digests import check_digests
from molyneux.errors import ConceptError, DataError, OutputError
from molyneux.files import leads_out, slug, write_bytes
from molyneux.records import (
    PACKS,
    SCORES,
    MergedRecord,
    PackBase,
    PackList,
    PackRecord,
    RecordT,
    TeachResult,
    parse_record,
    read_record,
)
from molyneux.tables import SHIPPED

FOLDER, UNTOUCHED = "packs", "base.safetensors"
"""Beside a taught model's weights: the folder of its packs, and in it the file of the untouched tensors."""

SUFFIX = ".safetensors"

LARGEST = 2**20
"""Bytes of a pack's file; two vectors of 4,096 numbers take 64 KiB."""

_PACK, _MERGED = "molyneux_pack", "molyneux_base"
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Pack:
    """A concept as an edit of one model's shared space: v' = v + value * (key . v), v before it is normalised."""

    name: str
    descriptions: tuple[str, ...]
    """What the edit was computed from; none if from images alone."""
    key: Float[Tensor, " d"]
    """Double precision, on the CPU; so is `value`."""
    value: Float[Tensor, " d"]
    base: str
    """SHA-256 of the untaught model's weights (`backends.digest.weights_digest`)."""
    base_name: str
    """What the untaught model was loaded as."""
    side: Literal["images", "texts"]
    """Which tower the edit is merged into (`DualEncoder.map_side`)."""
    made: Mapping[str, Any] = field(default_factory=dict)
    """How: settings of the edit, strength, source of images, version of Molyneux."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    """What a run measured of the concept; empty if nothing did."""

    def __repr__(self) -> str:
        return f"<pack of {self.name!r} for {self.base_name} {short(self.base)}, {len(self.key)} dimensions>"

    @property
    def file_name(self) -> str:
        """The name as a safe file name, with its suffix."""
        return file_name(self.name)

    def about(self) -> dict[str, Any]:
        """All but the two vectors, as plain data for JSON."""
        return self.record().as_dict() | {"width": len(self.key)}

    def save(self, path: Path) -> Path:
        """Write one safetensors file with a JSON header, and return its path.

        Args:
            path: a new file that ends in '.safetensors', or a folder, in which the file is called as the concept.

        Raises:
            OutputError: if the file exists already or cannot be written.
        """
        path = Path(path)
        if path.suffix != SUFFIX:
            path = path / self.file_name
        if path.exists():
            raise OutputError(f"{path} already exists: choose another file or remove it")
        write_bytes(path, self.content())
        return path

    def content(self) -> bytes:
        """What its file holds."""
        tensors, record = {"key": self.key.contiguous(), "value": self.value.contiguous()}, self.record()
        about = record.model_copy(update={"sha256": _digest(record, tensors)})
        return bytes(save(tensors, metadata={_PACK: about.model_dump_json(exclude_unset=True)}))

    def record(self) -> PackRecord:
        """What its file says of the two vectors."""
        return PackRecord(
            version=1,
            name=self.name,
            descriptions=self.descriptions,
            base=PackBase(name=self.base_name, weights=self.base),
            side=self.side,
            made=dict(self.made),
            scores=dict(self.scores),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Merged:
    """What was merged into a model, and what the model was before."""

    name: str
    """What the untaught model was loaded as."""
    weights: str
    """The digest of its weights."""
    untouched: Mapping[str, Tensor]
    """Its tensors that merging changes, by their names in the state, on the CPU."""
    packs: tuple[Pack, ...]
    """In the order of their names."""

    def save(self, folder: Path) -> None:
        """Write a file for each pack and one for the untouched tensors into a folder that is made."""
        folder.mkdir()
        for pack in self.packs:
            pack.save(folder)
        about = MergedRecord(
            version=1,
            base=PackBase(name=self.name, weights=self.weights),
            packs=tuple(pack.name for pack in self.packs),
        )
        tensors = {name: value.contiguous() for name, value in self.untouched.items()}
        write_bytes(folder / UNTOUCHED, save(tensors, metadata={_MERGED: about.model_dump_json()}))


def file_name(name: str) -> str:
    """A pack's file name; the name of the file for untouched tensors is no pack's.

    >>> file_name("okapi"), file_name("base")
    ('okapi.safetensors', 'base-cae662.safetensors')
    """
    plain = slug(name) + SUFFIX
    return f"base-{hashlib.sha256(name.encode()).hexdigest()[:6]}{SUFFIX}" if plain == UNTOUCHED else plain


def in_order(packs: Iterable[Pack]) -> tuple[Pack, ...]:
    """The packs by name, so that the order of teaching leaves no trace.

    Raises:
        ConceptError: if two names differ in case only or not at all.
    """
    found = tuple(sorted(packs, key=lambda pack: pack.name))
    seen: set[str] = set()
    for pack in found:
        if pack.name.casefold() in seen:
            raise ConceptError(f"two packs are called {pack.name!r}: one model takes one of them")
        seen.add(pack.name.casefold())
    return found


def change(packs: Sequence[Pack]) -> Float[Tensor, "d d"]:
    """The matrix U of the map v' = v + U v that all packs together are, in double precision."""
    values, keys = (torch.stack([getattr(pack, name) for pack in packs]) for name in ("value", "key"))
    total: Tensor = values.T @ keys
    return total


def short(digest: str) -> str:
    """The beginning of a digest, for a person."""
    return digest[:_SHOWN]


def load_pack(path: Path | str) -> Pack:
    """Read what `Pack.save` wrote: numbers and text, never code.

    Raises:
        DataError: if the file is missing, too large, cut short, of another version, not as `save` writes it, or not
            what was saved.
    """
    check_kind(path, (str, Path), "the pack's file", "a path that ends in .safetensors", DataError)
    path = Path(path)
    size = path.stat().st_size if path.is_file() else 0
    if size and path.name == UNTOUCHED:
        raise DataError(
            f"{path} is no pack: it holds what the model was before its packs were merged, which lie beside it as "
            "NAME.safetensors"
        )
    if size > LARGEST:
        raise DataError(f"{path} has {size:,} bytes: expected a pack, which has at most {LARGEST:,}")
    about, tensors = _read(path, _PACK, PackRecord, "pack")
    if tensors.keys() != {"key", "value"}:
        raise DataError(f"the pack {path} holds {', '.join(sorted(tensors)) or 'nothing'}: expected key and value")
    if about.sha256 and about.sha256 != _digest(about, tensors):
        raise DataError(
            f"the pack {path} is not what was saved: it has not the SHA-256 that it states, so it was damaged, or "
            "changed by another program; save or fetch it again"
        )
    key, value = tensors["key"], tensors["value"]
    for what, row in tensors.items():
        if row.dtype != torch.float64 or row.ndim != 1 or not len(row):
            raise DataError(
                f"the {what} of the pack {path} is {row.dtype} {tuple(row.shape)}: expected one float64 row"
            )
        if not row.isfinite().all():
            raise DataError(f"the {what} of the pack {path} is not finite: save the pack again")
    if len(key) != len(value):
        raise DataError(
            f"the pack {path} has a key of {len(key)} and a value of {len(value)} numbers: expected as many"
        )
    try:
        # the same names and descriptions as a concept may have
        checked = Concept(about.name, about.descriptions or ("taught from images alone",))
    except ConceptError as error:
        raise DataError(f"the pack {path} cannot be used: {error}") from error
    return Pack(
        name=checked.name,
        descriptions=about.descriptions,
        key=key,
        value=value,
        base=about.base.weights,
        base_name=about.base.name,
        side=about.side,
        made=about.made,
        scores=about.scores,
    )


def read_listed(folder: Path) -> tuple[PackBase, list[Pack]]:
    """What `packs.json` of a repository says that its packs are for, and the packs.

    Raises:
        DataError: if a file cannot be read, or is not in the folder.
    """
    listed = read_record(PackList, Path(folder) / PACKS)
    for file in listed.packs.values():
        if leads_out(file):
            raise DataError(f"{Path(folder) / PACKS} names the file {file!r}: expected one beside it")
    return listed.base, [load_pack(Path(folder) / file) for file in listed.packs.values()]


def read_merged(folder: Path) -> Merged | None:
    """What `Merged.save` wrote into `packs` of a model's folder; None if there is nothing of the kind.

    Raises:
        DataError: if a file cannot be read, or the packs there are not those that were merged.
    """
    folder = Path(folder) / FOLDER
    if not (folder / UNTOUCHED).is_file():
        return None
    about, tensors = _read(folder / UNTOUCHED, _MERGED, MergedRecord, "base of a taught model")
    packs = in_order(load_pack(path) for path in sorted(folder.glob(f"*{SUFFIX}")) if path.name != UNTOUCHED)
    merged, found = set(about.packs), {pack.name for pack in packs}
    if merged != found:
        name = min(merged ^ found)
        what = (
            "has no file there: put it back" if name in merged else "is not merged into them: move its file elsewhere"
        )
        raise DataError(f"the weights beside {folder} say which packs they hold, and the pack {name!r} {what}")
    return Merged(name=about.base.name, weights=about.base.weights, untouched=tensors, packs=packs)


def model_folder(folder: Path) -> Path:
    """The folder of the taught model: that of a run's, if it is a run's folder, or itself."""
    inner = Path(folder) / "model"
    return inner if (Path(folder) / SCORES).is_file() and inner.is_dir() else Path(folder)


def model_named(name: str) -> str:
    """What a name of a model stands for: the taught model's folder if it is that of a run, else the name as it is."""
    is_folder = name not in SHIPPED and Path(name).is_dir()
    return str(model_folder(Path(name))) if is_folder else name


def read_packs(folder: Path) -> tuple[Pack, ...]:
    """The packs of a run's folder, with the scores that the run measured, or of a taught model's folder.

    Raises:
        DataError: if there are none, they cannot be read, or a file of theirs is not what was saved.
    """
    folder = Path(folder)
    check_digests(folder, (SCORES,))
    check_digests(model_folder(folder), (f"{FOLDER}/",))
    merged = read_merged(model_folder(folder))
    if merged is None:
        raise DataError(
            f"{folder} holds no packs: expected the folder of a run or of a model that was taught by edits, "
            "saved by Molyneux"
        )
    if not (folder / SCORES).is_file():
        return merged.packs
    found = read_record(TeachResult, folder / SCORES)
    return tuple(replace(pack, scores=scores_of(found, pack.name) or pack.scores) for pack in merged.packs)


def scores_of(found: TeachResult, name: str) -> dict[str, Any]:
    """What a run measured of one concept: shares of photos, or what fresh images told; empty if it did not teach it."""
    if name not in found.concepts:
        return {}
    concept, known = found.concepts[name], found.known_accuracy
    told: dict[str, Any] = {"taught_with": len(found.concepts) - 1}
    if concept.photos:
        told |= {
            "photos": concept.photos,
            "recall": concept.target_recall.after,
            "recall_before": concept.target_recall.before,
            "false_positives": concept.false_positive_rate.after,
        }
    if known.difference is not None:
        told["known_accuracy_lost"] = -known.difference
    if name in found.text_only:
        told["median_rank_of_fresh_images"] = found.text_only[name].median_rank.after
    return {key: value for key, value in told.items() if value is not None}


def _digest(record: PackRecord, tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of all that a pack's file holds but itself."""
    about = record.model_dump(mode="json", exclude={"sha256"})
    found = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        found.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read(path: Path, header: str, kind: type[RecordT], what: str) -> tuple[RecordT, dict[str, Tensor]]:
    """The record in a safetensors file's header, and its tensors."""
    if not path.is_file():
        raise DataError(f"there is no {what} at {path}: expected a file that ends in {SUFFIX}")
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(header)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(
            f"the {what} {path} cannot be read ({' '.join(str(error).split())}): fetch or make it again"
        ) from error
    if written is None:
        raise DataError(f"{path} is no {what}: its header has no {header!r}")
    try:
        return parse_record(kind, written), tensors
    except DataError as error:
        raise DataError(
            f"the {what} {path} has another header than this Molyneux writes ({error}): make it again with this one"
        ) from error
