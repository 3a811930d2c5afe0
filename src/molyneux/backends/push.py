"""Models and packs to the hub of Hugging Face: what would be sent is listed first, and sent in one commit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from molyneux.arguments import check_kind
from molyneux.backends.hub import REPOSITORY, endpoint, quiet_hub, reason
from molyneux.backends.load import reader_of
from molyneux.backends.lora import CONFIG as ADAPTER
from molyneux.cards import CARD, packs_card, published
from molyneux.digests import check_digests, digests_file
from molyneux.errors import ConfigError, DataError, HubError
from molyneux.files import sha256
from molyneux.foreign import read_json, read_text
from molyneux.packs import FOLDER, SUFFIX, Pack, file_name, load_pack, model_folder, read_merged
from molyneux.records import CONCEPTS, DIGESTS, PACKS, Lineage, PackBase, PackList, read_record

_ENDINGS = (SUFFIX, ".json", ".txt", ".model")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What `send` would do."""

    repository: str
    kind: Literal["model", "packs"]
    files: Mapping[str, Path | bytes]
    """By their place in the repository."""
    left_out: Mapping[str, str]
    """Files of the folder that are not sent, and why."""
    removed: tuple[str, ...]
    """Files of the same kinds that are there and not among these: a model must not be mixed with an older one."""
    visibility: Literal["public", "private"]
    exists: bool
    user: str
    """Whose token it is."""
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            name: len(one) if isinstance(one, bytes) else one.stat().st_size for name, one in sorted(self.files.items())
        }


def push(folder: str | Path, name: str, *, public: bool = False) -> str:
    """Send a saved model, the model of a run, or packs to the hub, and return the page's address.

    Tensors, JSON, text and the card are sent, nothing else. `load("hf:ORG/NAME")` reads them again. The token is that
    of `hf auth login` or `HF_TOKEN`.

    Args:
        folder: what `save` wrote, a run's folder, a pack's file, or a folder of packs for one model.
        name: ORG/NAME.
        public: whether a repository that is not there yet is made for all to see. One that is there stays as it is.

    Raises:
        ConfigError: if the name is none of a repository.
        DataError: if the folder holds neither a model nor packs that can be read, or a pickle.
        HubError: if there is no token, it is refused, or the hub cannot be reached. Nothing has changed there then, but
            that an empty repository may have been made.
    """
    return send(planned(folder, name, public=public))


def planned(folder: str | Path, name: str, *, public: bool = False) -> Upload:
    """What `push` would send; asks the hub who one is and what is there. Errors: as there."""
    check_kind(folder, (str, Path), "what is sent", "a folder or a file: save a model or a pack first", DataError)
    check_kind(name, str, "the repository's name", "ORG/NAME")
    name = name.removeprefix("hf:")
    if not REPOSITORY.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a repository: expected ORG/NAME")
    source = Path(folder)
    inner = model_folder(source)
    if (inner / CONCEPTS).is_file():
        kind: Literal["model", "packs"] = "model"
        files, left_out, notes = _model_files(inner, name)
    else:
        kind, left_out = "packs", {}
        files, notes = _pack_files(_packs_in(source), name)
    user, there, private = _asked(name)
    visibility: Literal["public", "private"] = "private" if (not public if private is None else private) else "public"
    removed = tuple(one for one in there if one not in files and one.endswith(_ENDINGS))
    return Upload(
        repository=name,
        kind=kind,
        files=files,
        left_out=left_out,
        removed=removed,
        visibility=visibility,
        exists=private is not None,
        user=user,
        notes=notes,
    )


def send(upload: Upload) -> str:
    """Do what was planned, in one commit: a reader of the repository sees all or nothing. Errors: as for `push`."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    name = upload.repository
    operations: list[Any] = [CommitOperationDelete(path_in_repo=one) for one in upload.removed]
    operations += [
        CommitOperationAdd(path_in_repo=place, path_or_fileobj=content)
        for place, content in sorted(upload.files.items())
    ]
    api = _api()
    try:
        with quiet_hub():
            api.create_repo(name, private=upload.visibility == "private", exist_ok=True)
            api.create_commit(
                name, operations, commit_message=f"{upload.kind.capitalize()} by Molyneux {version('molyneux')}"
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"nothing changed in {name}: the same command sends what is missing") from None
    except Exception as error:  # the client's errors come from three libraries
        raise HubError(
            f"{name!r} was not filled: {reason(error)}; nothing changed there, and the same command sends what is "
            "missing"
        ) from error
    return f"{api.endpoint}/{name}"


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(**endpoint(), library_name="molyneux", library_version=version("molyneux"))


def _asked(name: str) -> tuple[str, list[str], bool | None]:
    """The token's user, the repository's files, and whether it is private; None if it is not there."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if get_token() is None:
        raise HubError("there is no token for the Hugging Face hub: log in with 'hf auth login', or set HF_TOKEN")
    api = _api()
    try:
        with quiet_hub():
            user = str(api.whoami()["name"])
            try:
                found = api.model_info(name)
            except RepositoryNotFoundError:
                return user, [], None
    except Exception as error:  # as above
        raise HubError(f"cannot push to {name!r}: {reason(error)}") from error
    return user, [one.rfilename for one in found.siblings or ()], bool(found.private)


def _model_files(folder: Path, name: str) -> tuple[dict[str, Path | bytes], dict[str, str], tuple[str, ...]]:
    """A saved model's files, those that are left out with the reason, and what else there is to say.

    Raises:
        DataError: if it holds a pickle, a file is not what was saved, or what it says cannot be read.
        ModelError: if no family saves such a folder.
    """
    known = check_digests(folder)
    lineage = read_record(Lineage, folder / CONCEPTS)
    reader_of(folder)
    read_merged(folder)
    files: dict[str, Path | bytes] = {}
    left_out: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_dir() or place in (CARD, DIGESTS):
            continue
        if path.suffix in _PICKLES:
            raise DataError(
                f"{path} is a pickle, which can hold code: save the model with 'molyneux convert', and push that"
            )
        if path.is_symlink() or not path.is_file():
            left_out[place] = "no plain file"
        elif any(part.startswith(".") for part in path.relative_to(folder).parts):
            left_out[place] = "hidden"
        elif path.parent != folder and path.parent != folder / FOLDER:
            left_out[place] = "in a folder that no model has"
        elif path.suffix not in _ENDINGS:
            left_out[place] = f"none of {', '.join(_ENDINGS)}"
        else:
            files[place] = path
    for place in files:
        if place.endswith(SUFFIX):
            _check_tensors(folder / place)
    files[DIGESTS] = digests_file({place: known.get(place) or sha256(folder / place) for place in files})
    if (folder / CARD).is_file():
        files[CARD] = published(read_text(folder / CARD, "the model's card"), name).encode()
    notes = _notes(_adapted(folder) or lineage.base, "the model's base")
    return files, left_out, notes


def _packs_in(source: Path) -> list[Pack]:
    if source.is_dir():
        found = [load_pack(path) for path in sorted(source.glob(f"*{SUFFIX}"))]
    else:
        found = [load_pack(source)] if source.suffix == SUFFIX else []
    if not found:
        raise DataError(
            f"{source} holds neither a model that Molyneux saved nor packs: expected a run's folder, a saved model's, "
            "or what 'molyneux pack' wrote"
        )
    return found


def _pack_files(packs: Sequence[Pack], name: str) -> tuple[dict[str, Path | bytes], tuple[str, ...]]:
    """Files of a repository of packs, written anew from what was read."""
    first = packs[0]
    other = next((pack for pack in packs if pack.base != first.base), None)
    if other is not None:
        raise DataError(
            f"the packs {first.name!r} and {other.name!r} are for two models ({first.base_name!r} and "
            f"{other.base_name!r}): push those of one model"
        )
    listed = PackList(
        version=1,
        base=PackBase(name=first.base_name, weights=first.base),
        packs={pack.name: file_name(pack.name) for pack in packs},
    )
    files: dict[str, Path | bytes] = {pack.file_name: pack.content() for pack in packs}
    files[PACKS] = f"{json.dumps(listed.model_dump(mode='json'), indent=2, ensure_ascii=False)}\n".encode()
    files[CARD] = packs_card([pack.record() for pack in packs], name).encode()
    return files, _notes(first.base_name, "what the packs are for")


def _adapted(folder: Path) -> str:
    """What an adapter's folder names as its base."""
    path = folder / ADAPTER
    found = read_json(path, "the adapter's configuration") if path.is_file() else {}
    return str(found.get("base_model_name_or_path") or "") if isinstance(found, dict) else ""


def _notes(base: str, what: str) -> tuple[str, ...]:
    if base == "mini" or (":" in base and not Path(base.partition(":")[2]).exists()):
        return ()
    return (f"{what} is called {base!r}, which others may not have: say in the card where it is to be had",)


def _check_tensors(path: Path) -> None:
    try:
        with safe_open(path, framework="pt"):
            pass
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"the tensors {path} cannot be read ({error}): save the model again") from error
