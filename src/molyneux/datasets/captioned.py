"""Photos with several captions each, as Flickr8k, Flickr30k and COCO come: for retrieval and captioning."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from molyneux.datasets.folders import alike, left_out_notes, listing_below
from molyneux.errors import DataError
from molyneux.files import leads_out
from molyneux.foreign import LARGEST_ANNOTATIONS, is_blank, is_file, read_json, read_table, shown

LISTS = ("captions.csv", "captions.txt", "annotations.json", "dataset*.json", "annotations/captions_*.json")
"""What a list of captions is called: Flickr8k's tables, ours in COCO's layout, Karpathy's, and COCO's own."""

TEST = "test"
"""The split that is taken unless another is asked for."""

IMAGES = ("images", "Images", "flickr30k-images", "flickr30k_images", "Flicker8k_Dataset")
"""Where beside a list its photos lie; else where the list does."""

HALVES = ("train-half", "test-half")
"""Parts of a list without splits of its own, by `half_of`. `scripts/train_mini_head.py` reads Flickr8k's first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionedPhotos:
    """Photos and what people wrote about each; nothing is decoded yet."""

    root: Path
    names: tuple[str, ...]
    """Each photo's path relative to `root`, with forward slashes, in the order of the list that named them."""
    captions: tuple[tuple[str, ...], ...]
    """For each photo one or more."""
    split: str | None = None
    """Which part of the list this is, where it has parts."""
    left_out: int = 0
    """Photos below `root` for which no caption counts: the list has none, or they are of another split."""
    notes: tuple[str, ...] = ()
    """What there is to say of other files below `root` that were left out."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The photos' files."""
        return tuple(self.root / name for name in self.names)

    @property
    def texts(self) -> tuple[str, ...]:
        """All captions, photo by photo."""
        return tuple(caption for group in self.captions for caption in group)

    @property
    def owners(self) -> tuple[int, ...]:
        """For each of `texts` the index of its photo."""
        return tuple(index for index, group in enumerate(self.captions) for _ in group)

    def as_references(self) -> dict[str, tuple[str, ...]]:
        """What caption metrics take: captions by photo."""
        return dict(zip(self.names, self.captions, strict=True))


def half_of(name: str) -> str:
    """Which of `HALVES` a photo is in: the first where the first byte of its file name's SHA-256 is even.

    Args:
        name: the photo's path; only the file name counts.

    >>> half_of("images/1000268201_693b08cb0e.jpg") == half_of("1000268201_693b08cb0e.jpg")
    True
    """
    return HALVES[hashlib.sha256(name.rpartition("/")[2].encode()).digest()[0] % 2]


def read_captioned(place: Path, split: str = TEST, images: Path | None = None) -> CaptionedPhotos:
    """The photos that a list of captions names, with their captions.

    Args:
        place: the list, or the folder in which one of `LISTS` lies. A table is read by `read_captions_csv`; JSON by
            `read_karpathy` where its photos have sentences, else by `read_coco_captions`.
        split: of Karpathy's lists, which hold several; of other lists, which hold none, 'test' is all, and each of
            `HALVES` is a half.
        images: the folder of photos; else one of `IMAGES` beside the list (of COCO's `captions_NAME.json` a folder
            NAME beside it or above), else the list's own folder.

    Raises:
        DataError: if there is no such list or more than one, it cannot be read, it has no such split, a photo is not
            there, or none is of that half.
    """
    place = Path(place)
    path = _list_in(place) if place.is_dir() else place
    if not path.is_file():
        raise DataError(f"{place} is not there: expected a list of captions, or a folder with one")
    root = Path(images) if images is not None else _images_of(path)
    if not root.is_dir():
        raise DataError(f"{root} is {'a file' if root.exists() else 'not there'}: expected the folder of the photos")
    table = path.suffix.lower() != ".json"
    listed = None if table else _read_json(path).get("images")
    if isinstance(listed, list) and any(isinstance(entry, dict) and "sentences" in entry for entry in listed):
        return read_karpathy(path, root, split)
    if split not in (TEST, *HALVES):
        raise DataError(
            f"{path} has no splits, and {split!r} is asked for: leave the split out, take one of {', '.join(HALVES)}, "
            "or give Karpathy's list"
        )
    photos = read_captions_csv(path, root) if table else read_coco_captions(path, root)
    return _half(photos, split) if split in HALVES else photos


def _half(photos: CaptionedPhotos, split: str) -> CaptionedPhotos:
    kept = [index for index, name in enumerate(photos.names) if half_of(name) == split]
    if not kept:
        raise DataError(f"none of the {len(photos)} photos in {photos.root} is of the {split}: expected more photos")
    return replace(
        photos,
        names=tuple(photos.names[index] for index in kept),
        captions=tuple(photos.captions[index] for index in kept),
        split=split,
        left_out=photos.left_out + len(photos) - len(kept),
    )


def _list_in(folder: Path) -> Path:
    found = [path for name in LISTS for path in sorted(folder.glob(name)) if path.is_file()]
    if len(found) != 1:
        came = ", ".join(path.relative_to(folder).as_posix() for path in found) or "none of them"
        raise DataError(
            f"{folder} holds {came}: expected one of {', '.join(LISTS)}, beside {IMAGES[0]}/; or give the list itself"
        )
    return found[0]


def _images_of(path: Path) -> Path:
    folder, (word, _, name) = path.parent, path.stem.partition("_")
    named = [folder / name, folder.parent / name] if word == "captions" and name else []
    above = [folder.parent / name for name in IMAGES] if folder.name == "annotations" else []
    return next((one for one in (*named, *(folder / one for one in IMAGES), *above) if one.is_dir()), folder)


def read_captions_csv(path: Path, images: Path) -> CaptionedPhotos:
    """A table with the header `image,caption` and a row for each caption (Flickr8k).

    Raises:
        DataError: if the table or one of its photos is missing, a row has no caption, or it is no clean table: see
            `foreign.read_table`.
    """
    rows = read_table(path, "the captions in", ("image", "caption"), limit=LARGEST_ANNOTATIONS)
    return _captioned(path, images, ((row["image"], row["caption"]) for _, row in rows))


def read_coco_captions(path: Path, images: Path) -> CaptionedPhotos:
    """COCO's layout: `images` with id and file name; captions under `captions`, or among the `annotations`.

    Photos without a caption are left out.

    Raises:
        DataError: if the file or one of the photos is missing, or it is no such file.
    """
    content = _read_json(path)
    try:
        names = {entry["id"]: entry["file_name"] for entry in content["images"]}
        if len(names) != len(content["images"]):
            raise DataError(f"{path} has two photos of one id: give each its own")
        entries = content.get("captions") or content["annotations"]
        strange = next((entry for entry in entries if "caption" in entry and entry["image_id"] not in names), None)
        if strange is not None:
            raise DataError(
                f"{path} has a caption of the image_id {shown(strange['image_id'])}, which is no id there: give the "
                "image's entry, or take the caption out"
            )
        pairs = [(names[entry["image_id"]], entry["caption"]) for entry in entries if "caption" in entry]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not laid out as COCO's captions are: {shown(error)}") from error
    for name in names.values():
        if not isinstance(name, str):
            raise DataError(f"{path}: expected a photo's name, got {shown(name)}")
    place = {name: index for index, name in enumerate(names.values())}
    return _captioned(path, images, sorted(pairs, key=lambda pair: place[pair[0]]))


def read_karpathy(path: Path, images: Path, split: str = "test") -> CaptionedPhotos:
    """Karpathy's splits of Flickr8k, Flickr30k and COCO: `images`, each with `split` and its `sentences`.

    A photo lies at `filepath/filename` where both are given (COCO), else at `filename`.

    Raises:
        DataError: if the file or one of the photos is missing, it is no such file, has no photo of that split, or one
            without a sentence.

    Source: Karpathy & Fei-Fei (2015), Deep Visual-Semantic Alignments.
    """
    content = _read_json(path)
    try:
        splits = {entry["split"] for entry in content["images"]}
        wanted = [entry for entry in content["images"] if entry["split"] == split]
        pairs = [
            ("/".join(part for part in (entry.get("filepath"), entry["filename"]) if part), sentence["raw"])
            for entry in wanted
            for sentence in entry["sentences"] or [{"raw": ""}]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not laid out as Karpathy's splits are: {shown(error)}") from error
    if split not in splits:
        raise DataError(
            f"{path} has no photos of the split {split!r}: expected one of {', '.join(sorted(map(str, splits)))}"
        )
    return replace(_captioned(path, images, pairs), split=split)


def _captioned(path: Path, images: Path, pairs: Iterable[tuple[Any, Any]]) -> CaptionedPhotos:
    captions: dict[str, list[str]] = {}
    for name, caption in pairs:
        if not isinstance(name, str) or not isinstance(caption, str) or not name or is_blank(caption):
            raise DataError(f"{path}: expected a photo's name and a caption, got {shown(name)} and {shown(caption)}")
        if "\\" in name:
            raise DataError(f"{path}: the photo's name {name!r} holds a backslash: write folders with forward slashes")
        captions.setdefault(PurePosixPath(name).as_posix(), []).append(" ".join(caption.split()))
    if not captions:
        raise DataError(f"{path} holds no captions: expected one or more for each photo")
    root = Path(images)
    for name in captions:
        if leads_out(name):
            raise DataError(f"{path}: the photo's name {name!r} leads out of {root}: expected a file within")
        if not is_file(root / name):
            raise DataError(
                f"{path} names the photo {shown(name, 200)}, which is not in {root}: "
                f"add it, take its captions out, or give the folder of the photos{alike(root, name)}"
            )
    listing = listing_below(root)
    bare = sum(path.relative_to(root).as_posix() not in captions for path in listing.photos)
    why = f"of no caption in {path.name}, or of another split"
    return CaptionedPhotos(
        root=root,
        names=tuple(captions),
        captions=tuple(tuple(group) for group in captions.values()),
        left_out=bare,
        notes=left_out_notes(root, {**listing.left_out, why: bare} if bare else listing.left_out),
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    content = read_json(path, "the captions in", limit=LARGEST_ANNOTATIONS)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}: expected an object with 'images'")
    return content
