"""`molyneux pack`, `molyneux apply` and `molyneux remove`; `molyneux list packs` is with the lists."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.list import PLACE
from molyneux.cli.show import print_json, print_next
from molyneux.errors import ConfigError, DataError

if TYPE_CHECKING:
    from molyneux.backends.base import DualEncoder
    from molyneux.packs import Pack

NewModel = Annotated[Path, Parameter(help="A new folder for the model.")]


def pack(
    source: Annotated[Path, Parameter(help=PLACE)],
    /,
    *,
    out: Annotated[
        Path, Parameter(help="A folder for NAME.safetensors, or, for a single pack, a new file that ends in that.")
    ] = Path(),
    as_json: flags.AsJson = False,
) -> None:
    """Save each concept that a model learned by edits as a small file, to send or to apply elsewhere."""
    from molyneux.packs import SUFFIX, read_packs

    found = read_packs(source)
    if out.suffix == SUFFIX and len(found) > 1:
        raise ConfigError(f"{source} has {len(found)} packs: give a folder to --out, not the file {out}")
    files = {one.name: one.save(out) for one in found}
    if as_json:
        print_json({one.name: one.about() | {"file": str(files[one.name])} for one in found})
        return
    for name, path in files.items():
        print(f"{name}: {path}, {path.stat().st_size:,} bytes")
    if files:
        print_next("apply", *map(str, files.values()), "--model", found[0].base_name, "--out", "FOLDER")


def apply(
    packs: Annotated[
        tuple[str, ...],
        Parameter(help="Files that 'molyneux pack' wrote, folders of them, or hf:ORG/NAME of what was pushed."),
    ],
    /,
    *,
    out: NewModel,
    model: flags.Model = "mini",
    as_json: flags.AsJson = False,
) -> None:
    """Merge packs into the model that they were made for, beside those that it has, and save it as a plain model."""
    found = read_files(packs)

    from molyneux.backends.load import load
    from molyneux.backends.packs import apply as applied

    save(applied(load(model), found), out, as_json, base=model)


def remove(
    names: Annotated[tuple[str, ...], Parameter(help="Concepts to take out, as 'molyneux list packs' calls them.")],
    /,
    *,
    model: Annotated[Path, Parameter(help=PLACE)],
    out: NewModel,
    as_json: flags.AsJson = False,
) -> None:
    """Take concepts out of a model that learned them by edits; without the last it is the untaught model to the bit."""
    from molyneux.backends.load import load
    from molyneux.backends.packs import remove as removed

    save(removed(load(model), names), out, as_json)


def read_files(names: tuple[str, ...]) -> "list[Pack]":
    """The packs in these files, folders and repositories of the hub.

    Raises:
        DataError: if a file cannot be read, or a folder holds none.
        HubError: if a repository cannot be read.
    """
    from molyneux.backends.hub import fetch_saved
    from molyneux.packs import SUFFIX, UNTOUCHED, load_pack, read_listed
    from molyneux.records import PACKS

    found = []
    for name in names:
        pushed, path = fetch_saved(name), Path(name)
        if pushed is not None and (pushed / PACKS).is_file():
            found += read_listed(pushed)[1]
            continue
        inside = sorted(one for one in path.glob(f"*{SUFFIX}") if one.name != UNTOUCHED) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"{path} holds no packs: expected files that 'molyneux pack' wrote")
        found += [load_pack(one) for one in inside]
    return found


def save(model: "DualEncoder", out: Path, as_json: bool, base: str | None = None) -> None:
    """Save a model, and say which packs it has; `base` is what it may be compared with."""
    from molyneux.backends.digest import weights_digest

    model.save(out)
    names, digest = [one.name for one in model.packs], weights_digest(model.native)
    if as_json:
        print_json({"folder": str(out), "packs": names, "weights": f"sha256:{digest}"})
    else:
        print(f"{out}: packs: {', '.join(names) or 'none'}; SHA-256 {digest}")
        print_next("recognise", "PHOTO", "--model", str(out), *(() if base is None else ("--base", base)))
