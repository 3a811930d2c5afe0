"""Bad inputs of every kind for every verb: tables of bad files and bad values, and what becomes of each."""

import contextlib
import io
import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import pytest
from PIL import Image

from helpers.command import QUICK
from helpers.noise import noise_photo
from helpers.runs import use_few_classes, use_tiny, write_photos
from helpers.small_captioner import build_letters
from helpers.small_models import load_tiny
from molyneux.backends.load import load, named_device
from molyneux.cli import main

SECONDS = 8
"""After so long a command counts as hanging."""

LONGEST_LINE = 2000

Kind = Literal["refused", "accepted", "traceback", "hang", "leftover", "unclear"]

Maker = str | bytes | Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A command with one bad input."""

    name: str
    arguments: tuple[str, ...]
    bad: Maker | None = None
    """What lies at `bad/FILE` while the command runs: text, bytes, or a function that makes it."""
    file: str = ""
    prepare: Callable[[Path], object] | None = None
    """Spoils a copy of a good folder."""


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    case: Case
    kind: Kind
    said: str
    seconds: float


class Hang(BaseException):
    """The time for a command is over."""


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


FILES: dict[str, Maker] = {
    "missing": lambda path: None,
    "empty": b"",
    "blank": b" \n\t\n  \n",
    "bytes": bytes(range(256)) * 9,
    "nul": b"ring\0: a band\0\n",
    "half a code point": b"ring: caf" + b"\xc3\n",
    "utf-16": "ring: A band.\n".encode("utf-16"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "endless zeros": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: path.symlink_to("/dev/null"),
    "a loop": _link_to_itself,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a picture": lambda path: Image.new("RGB", (9, 9)).save(path, "PNG"),
    "too large": lambda path: path.write_bytes(b"a\n" * 6_000_000),
    "escapes": b"\x1b[31mring\x1b[0m\n",
}
"""What may lie where any file is expected."""

JSON: dict[str, str] = {
    "truncated": '{"ring": "A ba',
    "deep list": "[" * 100_000,
    "deep mapping": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "null": "null",
    "number": "3",
    "text": '"ring"',
    "list": '[["ring", "A band."]]',
    "nan": '{"ring": NaN}',
    "infinity": '{"ring": [Infinity, "A band."]}',
    "1e999": '{"ring": 1e999}',
    "huge whole number": '{"ring": ' + "9" * 5000 + "}",
    "half a surrogate": '{"ring": "A band \\ud800."}',
    "half a surrogate as key": '{"\\udfff": "A band."}',
    "twice": '{"ring": "A band.", "ring": "A hole."}',
    "comma": '{"ring": "A band.",}',
    "empty key": '{"": "A band."}',
    "null value": '{"ring": null}',
    "nested": '{"ring": {"ring": {"ring": "A band."}}}',
    "mixed list": '{"ring": ["A band.", 3, null]}',
    "empty list": '{"ring": []}',
    "true": '{"ring": true}',
}

YAML: dict[str, str] = {
    "alias bomb": "a: &a [x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{two}: &{two} [{', '.join([f'*{one}'] * 8)}]\n" for one, two in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "alias of itself": "a: &a [*a]\n",
    "python tag": "ring: !!python/object/apply:os.system ['true']\n",
    "deep": "[" * 20_000,
    "deep blocks": "".join(" " * n + "a:\n" for n in range(900)),
    "no such day": "ring: 2001-99-99\n",
    "list as key": "[a, b]: A band.\n",
    "mapping as key": "? {a: b}\n: A band.\n",
    "tab": "ring:\n\t- A band.\n",
    "two documents": "ring: A band.\n---\nring: A hole.\n",
    "wrong int": "ring: !!int 'x'\n",
    "wrong binary": "ring: !!binary 'x'\n",
    "merge of a number": "<<: 3\nring: A band.\n",
    "merge of itself": "a: &a\n  <<: *a\n",
    "half a surrogate": 'ring: "A band \\ud800."\n',
    "set": "!!set {ring, cross}\n",
    "ordered": "!!omap [ring: A band.]\n",
    "pairs of nothing": "!!pairs [3]\n",
    "huge number": "ring: " + "9" * 5000 + "\n",
    "sexagesimal": "ring: 1:1:1\n",
    "unknown anchor": "ring: *none\n",
    "unknown tag": "ring: !mine A band.\n",
    "nan": "ring: .nan\n",
    "nothing": "ring:\n",
    "not closed": 'ring: "A band.\n',
    "date as key": "2001-01-01: A band.\n",
    "null as key": "~: A band.\n",
    "float timestamps": "ring: 2001-01-01T99:99:99Z\n",
}

LINES: dict[str, str] = {
    "twice": "circle\ncircle\n",
    "one": "circle\n",
    "long": "x" * 100_000 + "\n",
    "slash": "a/b\n../../etc\n",
    "control": "cir\x07cle\nsquare\n",
}

TABLES: dict[str, str] = {
    "header alone": "image,caption\n",
    "other header": "photo,text\n0.png,A band.\n",
    "column twice": "image,caption,caption\n0.png,a,b\n",
    "short row": "image,caption\n0.png\n",
    "long row": "image,caption\n0.png,a,b,c\n",
    "open quote": 'image,caption\n0.png,"a band\n1.png,b\n',
    "stray quote": 'image,caption\n0.png,"a" band\n',
    "no such photo": "image,caption\nnone.png,a band\n",
    "above": "image,caption\n../../../etc/passwd,a band\n",
    "absolute": "image,caption\n/etc/passwd,a band\n",
    "nul in a cell": "image,caption\n0.png,a\0band\n",
    "nul in a name": "image,caption\n0\0.png,a band\n",
    "empty caption": "image,caption\n0.png,\n",
    "empty image": "image,caption\n,a band\n",
    "long name": "image,caption\n" + "x" * 5000 + ".png,a band\n",
    "long cell": "image,caption\n0.png," + "x" * 200_000 + "\n",
    "a folder": "image,caption\n.,a band\n",
    "carriage returns": "image,caption\r0.png,a band\r",
}

KARPATHY: dict[str, Any] = {
    "no images": {},
    "images a number": {"images": 3},
    "images of numbers": {"images": [3]},
    "no sentences": {"images": [{"filename": "0.png", "split": "test"}]},
    "sentences a text": {"images": [{"filename": "0.png", "split": "test", "sentences": "a"}]},
    "raw a number": {"images": [{"filename": "0.png", "split": "test", "sentences": [{"raw": 3}]}]},
    "filename a number": {"images": [{"filename": 3, "split": "test", "sentences": [{"raw": "a"}]}]},
    "filename above": {"images": [{"filename": "../x.png", "split": "test", "sentences": [{"raw": "a"}]}]},
    "filename with nul": {"images": [{"filename": "\0.png", "split": "test", "sentences": [{"raw": "a"}]}]},
    "filename long": {"images": [{"filename": "x" * 5000, "split": "test", "sentences": [{"raw": "a"}]}]},
    "split a list": {"images": [{"filename": "0.png", "split": ["test"], "sentences": [{"raw": "a"}]}]},
    "another split": {"images": [{"filename": "0.png", "split": "none", "sentences": [{"raw": "a"}]}]},
    "empty raw": {"images": [{"filename": "0.png", "split": "test", "sentences": [{"raw": " "}]}]},
}

COCO_CAPTIONS: dict[str, Any] = {
    "empty": {"images": [], "annotations": []},
    "no annotations": {"images": [{"id": 1, "file_name": "0.png"}]},
    "id a list": {"images": [{"id": [1], "file_name": "0.png"}], "annotations": [{"image_id": [1], "caption": "a"}]},
    "ids twice": {
        "images": [{"id": 1, "file_name": "0.png"}, {"id": 1, "file_name": "1.png"}],
        "annotations": [{"image_id": 1, "caption": "a"}],
    },
    "unknown id": {"images": [{"id": 1, "file_name": "0.png"}], "annotations": [{"image_id": 9, "caption": "a"}]},
    "caption a number": {"images": [{"id": 1, "file_name": "0.png"}], "annotations": [{"image_id": 1, "caption": 3}]},
    "caption null": {"images": [{"id": 1, "file_name": "0.png"}], "annotations": [{"image_id": 1, "caption": None}]},
    "file above": {
        "images": [{"id": 1, "file_name": "../../0.png"}],
        "annotations": [{"image_id": 1, "caption": "a"}],
    },
    "file a mapping": {"images": [{"id": 1, "file_name": {}}], "annotations": [{"image_id": 1, "caption": "a"}]},
    "annotations of lists": {"images": [{"id": 1, "file_name": "0.png"}], "annotations": [[]]},
    "id a huge number": {
        "images": [{"id": 10**30, "file_name": "0.png"}],
        "annotations": [{"image_id": 10**31, "caption": "a"}],
    },
}

SHAPES: dict[str, Any] = {
    "null": None,
    "number": 3,
    "text": "x",
    "empty": [],
    "empty polygon": [[]],
    "two points": [[1, 1, 2, 2]],
    "odd": [[1, 1, 2, 2, 3, 3, 4]],
    "texts": [["a", "b", "c", "d", "e", "f"]],
    "nested": [[[1, 1], [2, 2], [3, 3]]],
    "huge": [[1e30, 1, 2, 2, 3, 1e30]],
    "huger": [[10**30, 1, 2, 2, 3, 10**30]],
    "far negative": [[-(10**9), 1, 2, 2, 3, 10**9]],
    "true": [[True, True, False, True, False, False]],
    "no size": {"counts": [10, 5]},
    "no counts": {"size": [24, 32]},
    "size a number": {"size": 768, "counts": [768]},
    "size huge": {"size": [10**9, 10**9], "counts": [10**18]},
    "size huger": {"size": [10**30, 1], "counts": [10**30]},
    "size negative": {"size": [-24, -32], "counts": [768]},
    "size a float": {"size": [24.5, 32], "counts": [768]},
    "size of texts": {"size": ["24", "32"], "counts": [768]},
    "size zero": {"size": [0, 0], "counts": []},
    "other size": {"size": [32, 24], "counts": [700, 68]},
    "counts negative": {"size": [24, 32], "counts": [-5, 773]},
    "counts too many": {"size": [24, 32], "counts": [700, 700]},
    "counts too few": {"size": [24, 32], "counts": [7, 7]},
    "counts huge": {"size": [24, 32], "counts": [10**30]},
    "counts floats": {"size": [24, 32], "counts": [700.5, 67.5]},
    "counts texts": {"size": [24, 32], "counts": ["7"]},
    "counts null": {"size": [24, 32], "counts": None},
    "counts nothing": {"size": [24, 32], "counts": ""},
    "counts unreadable": {"size": [24, 32], "counts": "\u00ff\u20ac!!"},
    "counts never ending": {"size": [24, 32], "counts": "o" * 100_000},
    "counts of blanks": {"size": [24, 32], "counts": "   "},
}
"""Segmentations of COCO on a picture of 32 by 24."""

INSTANCES: dict[str, Any] = {
    "images a mapping": {"images": {}},
    "categories a number": {"categories": 3},
    "categories of texts": {"categories": ["block"]},
    "category without name": {"categories": [{"id": 1}]},
    "category name a number": {"categories": [{"id": 1, "name": 3}]},
    "category twice": {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
    "id a list": {"images": [{"id": [], "file_name": "0.png", "width": 32, "height": 24}]},
    "image twice": {"images": [{"id": 0, "file_name": "0.png", "width": 32, "height": 24}] * 2},
    "width wrong": {"images": [{"id": 0, "file_name": "0.png", "width": 99, "height": 24}]},
    "width a text": {"images": [{"id": 0, "file_name": "0.png", "width": "32", "height": 24}]},
    "width huge": {"images": [{"id": 0, "file_name": "0.png", "width": 10**30, "height": 24}]},
    "file above": {"images": [{"id": 0, "file_name": "../0.png", "width": 32, "height": 24}]},
    "file with nul": {"images": [{"id": 0, "file_name": "\0", "width": 32, "height": 24}]},
    "file missing": {"images": [{"id": 0, "file_name": "none.png", "width": 32, "height": 24}]},
    "annotations null": {"annotations": None},
    "unknown category": {"annotations": [{"image_id": 0, "category_id": 9, "segmentation": [[1, 1, 9, 1, 9, 9]]}]},
    "unknown image": {"annotations": [{"image_id": 9, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}]},
    "no image": {"annotations": [{"category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}]},
    "no shape": {"annotations": [{"image_id": 0, "category_id": 1}]},
    "none": {"annotations": []},
}

TEXTS = {
    "empty": "",
    "blank": "   ",
    "surrogate": "\udcff",
    "escape": "\x1b[31m",
    "nul": "a\0b",
    "overlong": "x" * 5000,
    "line": "a\nb",
    "colon": ":",
    "tiny colon": "tiny:",
    "percent": "%s{0}{}",
    "device": "/dev/zero",
}
"""For options that take text or a path."""

WHOLE = {"half": "1.5", "nan": "nan", "inf": "inf", "negative": "-1", "word": "abc", "empty": "", "1e3": "1e3"}
"""For options that take a whole number."""

WHOLE_BIG = {"huge": "9" * 30, "digits": "9" * 4000, "more digits": "9" * 5000}

FLOAT = {
    "nan": "nan",
    "inf": "inf",
    "minus inf": "-inf",
    "1e999": "1e999",
    "word": "abc",
    "empty": "",
    "minus": "-1e300",
}

HARMLESS: dict[str, str] = {
    "cite --model*": "only what begins with a known family's name adds a citation",
    "list taught/config.yaml*": "packs have all that is needed",
    "pack taught/config.yaml*": "packs have all that is needed",
    "remove taught/config.yaml*": "the model's folder has all that is needed",
    "remove taught/environment.json*": "the model's folder has all that is needed",
    "pack taught/environment.json*": "packs have all that is needed",
    "list taught/environment.json*": "packs have all that is needed",
    "recognise taught/*": "the model's folder has all that is needed",
    "remove taught/scores.json*": "the model's folder has all that is needed",
    "list taught/model/tiny.json*": "packs have all that is needed",
    "pack taught/model/tiny.json*": "packs have all that is needed",
    "report taught/scores.json: a loop": "a run without scores has a report too",
    "report taught/environment.json: a loop": "a run without it has a report too",
    "* --*seed: negative": "a seed may be any whole number",
    "report taught/model/*": "a report is made from the run's records",
    "list taught/model/model.safetensors*": "packs have all that is needed",
    "pack taught/model/model.safetensors*": "packs have all that is needed",
    "remove taught/model/*": "without its last pack the model is the untaught one, saved beside it",
    "photo of *: a narrow one": "a photo of one pixel is a photo",
    "photo of *: a long one": "a long photo is a photo",
    "photo shown: a narrow one": "a photo of one pixel is a photo",
    "photo shown: a long one": "a long photo is a photo",
    "photo with captions: a narrow one": "a photo of one pixel is a photo",
    "photo with captions: a long one": "a long photo is a photo",
    "*: a picture": "it is a photo",
    "mask: all of it": "all of an image may be marked",
    "* csv: carriage returns": "old line ends are line ends",
    "mask: *": "the image without its mask is left out, and that is said where a file is there",
    "photo of *": "what is no file is left out, and counted",
    "retrieve --finished: *": "a folder may be called so",
    "* --out: escape": "a folder may be called so",
    "* --out: line": "a folder may be called so",
    "* --out: colon": "a folder may be called so",
    "* --out: tiny colon": "a folder may be called so",
    "* --out: percent": "a folder may be called so",
    "* --description: *": "any words may describe",
    "recognise --names: one": "one name may be asked for",
    "recognise --names: slash": "a name may hold a slash",
    "recognise --names: long": "a name may be long",
    "recognise --names: line": "white space between words is one blank",
    "recognise --names: colon": "a name may be any printable text",
    "recognise --names: tiny colon": "a name may be any printable text",
    "recognise --names: percent": "a name may be any printable text",
    "describe --out json: empty *": "what is in the file stays as it is",
    "describe --device: *": "an endpoint computes elsewhere",
    "describe --out*: missing": "a new file is made",
    "describe --out*: a loop": "a new file takes its place",
    "describe --out*: a dangling link": "a new file takes its place",
    "describe --endpoint-model: *": "an endpoint calls its models as it likes",
    "* --text: *": "any words may be looked for",
}
"""Case to the reason why it is right to accept it; with '*' for any text."""


def shape(segmentation: Any) -> str:
    """COCO's file of one picture with this segmentation."""
    return json.dumps(instances(annotations=[{"image_id": 0, "category_id": 1, "segmentation": segmentation}]))


def instances(**changed: Any) -> dict[str, Any]:
    """COCO's instances of one picture, with these parts in place of others."""
    return {
        "images": [{"id": 0, "file_name": "0.png", "width": 32, "height": 24}],
        "categories": [{"id": 1, "name": "block"}],
        "annotations": [{"image_id": 0, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9, 1, 9]]}],
    } | changed


TEACH = ("teach", "ring", "--description", "A round band.", "--model", "tiny", "--quiet", *QUICK,
         "--teaching.update.part=projection", "--no-controls", "--out", "out/run")  # fmt: skip
INVERT = ("invert", "ring", "--description", "A round band.", "--model", "tiny", "--quiet", "--out", "out/run",
          "--inversion.images=2", "--inversion.steps=4")  # fmt: skip
EVALUATE = ("evaluate", "--model", "tiny", "--novel", "novel", "--known", "known", "--names", "names.txt", "--quiet")
RECOGNISE = ("recognise", "novel/ring/00.png", "--model", "tiny", "--names", "ring", "cross", "--rejected=0", "--quiet")
RETRIEVE = ("retrieve", "--model", "tiny", "--data", "captions", "--quiet")
LOCALISE = ("localise", "--model", "tiny", "--images", "marked", "--text", "a block", "--saliency.steps=2",
            "--saliency.draws=2", "--quiet", "--out", "out/run")  # fmt: skip
CAPTION = ("caption", "--model", "letters", "--images", "captions/images", "--captioning.longest=6",
           "--captioning.shortest=3", "--no-java", "--quiet")  # fmt: skip
ENDPOINT = "http://127.0.0.1:9/v1"
DESCRIBE = ("describe", "cup", "--endpoint", ENDPOINT, "--endpoint-model", "x", "--out", "out/c.yaml",
            "--quiet")  # fmt: skip
RUN = ("run", "paper/table-9", "--miniature", "--out", "out/run", "--quiet")

GOOD: dict[str, tuple[str, ...]] = {
    "teach": TEACH, "invert": INVERT, "evaluate": EVALUATE, "recognise": RECOGNISE, "retrieve": RETRIEVE,
    "localise": LOCALISE, "caption": CAPTION, "describe": DESCRIBE, "convert": ("convert", "tiny", "--out", "out/run"),
    "pack": ("pack", "taught", "--out", "out/packs"), "apply": ("apply", "ring.safetensors", "--model", "tiny", "--out",
    "out/run"), "remove": ("remove", "ring", "--model", "taught", "--out", "out/run"), "report": ("report", "taught"),
    "cite": ("cite",), "push": ("push", "saved", "ada/b", "--yes"), "show": ("show", "paper/table-9"), "run": RUN,
}  # fmt: skip


def check_good(root: Path) -> None:
    """AssertionError for each command of `GOOD` that fails by itself: bad values of it would not be tried."""
    found = [tried(Case(verb, arguments), root) for verb, arguments in GOOD.items()]
    failed = {one.case.name: one.said.strip()[-300:] for one in found if one.kind != "accepted"}
    assert not failed, failed


def without(arguments: tuple[str, ...], *flags: str) -> tuple[str, ...]:
    """The arguments without these flags and their values."""
    kept: list[str] = []
    skip = False
    for one in arguments:
        if one.startswith("--"):
            skip = one.partition("=")[0] in flags
        if not skip:
            kept.append(one)
    return tuple(kept)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _files()
    yield from _captions()
    yield from _coco()
    yield from _pictures()
    yield from _folders()
    yield from _values()


def _files() -> Iterator[Case]:
    concepts = without(TEACH, "--description")
    concepts = (concepts[0], *concepts[2:])
    inverted = without(INVERT, "--description")
    inverted = (inverted[0], *inverted[2:])
    bare = without(EVALUATE, "--names")
    named = without(RECOGNISE, "--names")
    doors: tuple[tuple[str, tuple[str, ...], str, tuple[dict[str, Any], ...]], ...] = (
        ("teach --concepts json", (*concepts, "--concepts"), "c.json", (FILES, JSON)),
        ("teach --concepts yaml", (*concepts, "--concepts"), "c.yaml", (FILES, YAML)),
        ("invert --concepts json", (*inverted, "--concepts"), "c.json", (FILES, JSON)),
        ("invert --concepts yaml", (*inverted, "--concepts"), "c.yaml", (YAML,)),
        ("teach --config", (*concepts, "--config"), "config.yaml", (FILES, YAML)),
        ("teach --names", (*TEACH, "--known", "known", "--names"), "n.txt", (FILES, LINES)),
        ("teach --images-from", (*TEACH, "--images-from"), "images", (FILES,)),
        ("teach --show", (*TEACH, "--show"), "shown", (FILES,)),
        ("evaluate --names", (*bare, "--names"), "n.txt", (FILES, LINES)),
        ("evaluate --templates", (*EVALUATE, "--templates"), "t.txt", (FILES, LINES)),
        ("evaluate --descriptions", (*EVALUATE, "--descriptions"), "d.json", (FILES, JSON)),
        ("evaluate --pools", (*EVALUATE, "--pools"), "p.json", (FILES, JSON)),
        ("evaluate --novel", (*without(EVALUATE, "--novel"), "--novel"), "n", (FILES,)),
        ("evaluate --known", (*without(EVALUATE, "--known"), "--known"), "k", (FILES,)),
        ("recognise PHOTO", ("recognise", *named[2:], "--names", "ring", "cross", "--"), "x.png", (FILES,)),
        ("recognise --names", (*named, "--names"), "n.txt", (FILES, LINES)),
        ("recognise --templates", (*RECOGNISE, "--templates"), "t.txt", (FILES, LINES)),
        ("retrieve --data csv", (*without(RETRIEVE, "--data"), "--images", "captions/images", "--data"), "captions.csv",
         (FILES,)),
        ("retrieve --data coco", (*without(RETRIEVE, "--data"), "--images", "captions/images", "--data"),
         "annotations.json", (FILES, JSON)),
        ("retrieve --data karpathy", (*without(RETRIEVE, "--data"), "--images", "captions/images", "--data"),
         "dataset_x.json", (FILES, JSON)),
        ("retrieve --images", (*RETRIEVE, "--images"), "i", (FILES,)),
        ("caption --images", (*without(CAPTION, "--images"), "--images"), "i", (FILES,)),
        ("caption --references", (*CAPTION, "--references"), "captions.csv", (FILES,)),
        ("localise --images", (*without(LOCALISE, "--images"), "--images"), "i", (FILES,)),
        ("describe --names", (*DESCRIBE, "--names"), "n.txt", (FILES,)),
        ("describe --prompt", (*DESCRIBE, "--prompt"), "p.txt", (FILES, LINES)),
        ("describe --out", (*without(DESCRIBE, "--out"), "--out"), "c.yaml", (FILES, YAML)),
        ("describe --out json", (*without(DESCRIBE, "--out"), "--out"), "c.json", (FILES, JSON)),
        ("apply PACK", ("apply", "--model", "tiny", "--out", "out/run", "--"), "x.safetensors", (FILES,)),
        ("apply --model", ("apply", "ring.safetensors", "--out", "out/run", "--model"), "m", (FILES,)),
        ("pack SOURCE", ("pack", "--out", "out/packs", "--"), "m", (FILES,)),
        ("remove --model", ("remove", "ring", "--out", "out/run", "--model"), "m", (FILES,)),
        ("list packs --model", ("list", "packs", "--model"), "m", (FILES,)),
        ("push FOLDER", ("push", "--yes", "--"), "m", (FILES,)),
        ("report FOLDER", ("report",), "m", (FILES,)),
        ("convert MODEL", ("convert", "--out", "out/run", "--"), "m.bin", (FILES,)),
        ("convert zip", ("convert", "--out", "out/run", "--"), "m.zip", (FILES,)),
        ("evaluate --model", (*without(EVALUATE, "--model"), "--model"), "m", (FILES,)),
        ("evaluate --base", (*EVALUATE, "--base"), "m", (FILES,)),
        ("cite --model", ("cite", "--model"), "m", (FILES,)),
        ("run RECIPE", ("run", "--out", "out/run", "--quiet", "--"), "r.yaml", (FILES, YAML)),
        ("run --concepts", (*RUN, "--concepts"), "c.yaml", (FILES, YAML)),
        ("show NAME", ("show",), "r.yaml", (FILES, YAML)),
    )  # fmt: skip
    for door, arguments, file, tables in doors:
        path = f"bad/{file}"
        for table in tables:
            for name, content in table.items():
                last = (path, "ada/b") if door == "push FOLDER" else (path,)
                yield Case(f"{door}: {name}", (*arguments, *last), content, file)


def _captions() -> Iterator[Case]:
    base = (*without(RETRIEVE, "--data"), "--images", "captions/images", "--data")
    for name, text in TABLES.items():
        yield Case(f"retrieve csv: {name}", (*base, "bad/captions.csv"), text, "captions.csv")
        yield Case(f"caption csv: {name}", (*CAPTION, "--references", "bad/captions.csv"), text, "captions.csv")
    for table, file in ((KARPATHY, "dataset_x.json"), (COCO_CAPTIONS, "annotations.json")):
        for name, value in table.items():
            yield Case(f"retrieve {file}: {name}", (*base, f"bad/{file}"), json.dumps(value), file)
            yield Case(f"caption {file}: {name}", (*CAPTION, "--references", f"bad/{file}"), json.dumps(value), file)


def _coco() -> Iterator[Case]:
    def made(text: str | bytes) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            shutil.copytree("marked/images", path / "images")
            (path / "annotations.json").write_bytes(text if isinstance(text, bytes) else text.encode())

        return make

    base = (*without(LOCALISE, "--images"), "--images", "bad/coco")
    for name, segmentation in SHAPES.items():
        yield Case(f"coco segmentation: {name}", base, made(shape(segmentation)), "coco")
    for name, changed in INSTANCES.items():
        yield Case(f"coco file: {name}", base, made(json.dumps(instances(**changed))), "coco")
    for name, text in JSON.items():
        yield Case(f"coco json: {name}", base, made(text), "coco")
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000):
        text = shape([[1, 1, 9, 1, 9, 9]]).replace("[[1, ", f"[[{number}, ")
        yield Case(f"coco number: {number[:9]}", base, made(text), "coco")


def _png(size: tuple[int, int], mode: str = "RGB", color: Any = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def _pictures() -> Iterator[Case]:
    good = _png((24, 24))
    huge = good[:16] + (10**9).to_bytes(4) * 2 + good[24:]
    pictures: dict[str, Maker] = {
        **FILES,
        "cut short": good[: len(good) // 2],
        "its header alone": good[:33],
        "gigantic": huge,
        "bits flipped": good[:45] + bytes(byte ^ 255 for byte in good[45:]),
        "a web page": b"<html><body>404 not found</body></html>",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "a narrow one": _png((1, 1)),
        "a long one": _png((1, 20_000)),
    }
    for name, content in pictures.items():
        for option in ("--novel", "--known"):

            def spoil(path: Path, content: Maker = content) -> None:
                shutil.copytree("novel", path)
                place(path / "ring" / "0.png", content)

            base = without(EVALUATE, option)
            yield Case(f"photo of {option}: {name}", (*base, option, "bad/p"), spoil, "p")

        def mask(path: Path, content: Maker = content) -> None:
            shutil.copytree("marked", path)
            place(path / "masks" / "0.png", content)

        def image(path: Path, content: Maker = content) -> None:
            shutil.copytree("marked", path)
            place(path / "images" / "0.png", content)

        def captioned(path: Path, content: Maker = content) -> None:
            shutil.copytree("captions", path)
            place(path / "images" / "0.png", content)

        base = (*without(LOCALISE, "--images"), "--images", "bad/m")
        yield Case(f"mask: {name}", base, mask, "m")
        yield Case(f"image with a mask: {name}", base, image, "m")
        yield Case(f"photo with captions: {name}", (*without(RETRIEVE, "--data"), "--data", "bad/m"), captioned, "m")
        yield Case(f"photo shown: {name}", ("recognise", *RECOGNISE[2:], "--", "bad/x.png"), content, "x.png")
        for file in ("x.dcm", "x.nii", "x.nii.gz"):
            yield Case(f"{file}: {name}", ("recognise", *RECOGNISE[2:], "--", f"bad/{file}"), content, file)
    masks = {
        "other size": _png((9, 9), "L", 255),
        "all empty": _png((32, 24), "L", 0),
        "all of it": _png((32, 24), "L", 255),
        "values 0 and 1": _png((32, 24), "L", 1),
        "colour": _png((32, 24), "RGB", (9, 80, 200)),
        "transparent": _png((32, 24), "RGBA", (255, 255, 255, 0)),
        "sixteen bits": _png((32, 24), "I;16", 300),
    }
    for name, content in masks.items():

        def other(path: Path, content: Maker = content) -> None:
            shutil.copytree("marked", path)
            place(path / "masks" / "0.png", content)

        yield Case(f"mask: {name}", (*without(LOCALISE, "--images"), "--images", "bad/m"), other, "m")


SPOILED = ("empty", "bytes", "a folder", "a pipe", "endless zeros", "a loop")


def _folders() -> Iterator[Case]:
    """Each file of saved models and of runs, spoiled."""
    verbs: dict[str, tuple[tuple[str, ...], ...]] = {
        "saved": ((*without(EVALUATE, "--model"), "--model", "bad/m"), ("convert", "bad/m", "--out", "out/run")),
        "taught": (
            ("report", "bad/m"), ("pack", "bad/m", "--out", "out/packs"), ("list", "packs", "--model", "bad/m"),
            ("remove", "ring", "--model", "bad/m", "--out", "out/run"),
            ("recognise", "novel/ring/00.png", "--model", "bad/m", "--names", "a", "b", "--rejected=0", "--quiet"),
        ),
    }  # fmt: skip
    for folder, commands in verbs.items():
        for file in FOLDERS[folder]:
            spoilers: dict[str, Maker] = {name: FILES[name] for name in SPOILED}
            if file.endswith((".json", ".yaml")):
                spoilers |= {name: JSON[name] for name in ("null", "deep list", "number", "nan", "truncated")}
            for name, content in spoilers.items():

                def spoil(path: Path, content: Maker = content, file: str = file, folder: str = folder) -> None:
                    shutil.copytree(folder, path, symlinks=True)
                    place(path / file, content)

                for arguments in commands:
                    yield Case(f"{arguments[0]} {folder}/{file}: {name}", arguments, spoil, "m")


FOLDERS: dict[str, tuple[str, ...]] = {
    "saved": ("open_clip_config.json", "open_clip_model.safetensors"),
    "taught": (
        "scores.json", "config.yaml", "environment.json", "model/tiny.json", "model/model.safetensors",
        "model/packs/base.safetensors", "model/packs/ring.safetensors",
    ),
}  # fmt: skip


def _values() -> Iterator[Case]:
    """Every option of every verb, set to what it cannot be."""
    for verb, base in GOOD.items():
        for argument in main.app[verb].assemble_argument_collection():
            if argument.children or not argument.name.startswith("--"):
                continue
            for name, value in _bad(argument.hint, argument.name).items():
                yield Case(
                    f"{verb} {argument.name}: {name}", (*without(base, argument.name), f"{argument.name}={value}")
                )


def _bad(hint: Any, name: str) -> dict[str, str]:
    kinds = set(_types(hint))
    if kinds <= {bool}:
        return {"word": "maybe"}
    if int in kinds and float not in kinds:
        return {**WHOLE, **WHOLE_BIG}
    if float in kinds:
        return FLOAT
    if Literal in kinds:
        return {key: TEXTS[key] for key in ("empty", "surrogate", "escape")}
    if Path in kinds or name in ("--model", "--base", "--images", "--sam", "--names", "--novel", "--known"):
        return TEXTS
    return {key: TEXTS[key] for key in ("empty", "surrogate", "escape", "nul", "overlong")}


def _types(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Literal:
        yield Literal
    elif get_args(hint):
        for part in get_args(hint):
            if part not in (type(None), Ellipsis):
                yield from _types(part)
    else:
        yield hint


def place(path: Path, content: Maker) -> None:
    """Put bad content at a path, in place of what is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def scene(root: Path) -> None:
    """The good files that the commands name, in the current folder."""
    write_photos(root)
    (root / "captions" / "images").mkdir(parents=True)
    rows = ["image,caption"]
    for index in range(4):
        noise_photo((20, 24), 20 + 9 * index, seed=index).save(root / "captions" / "images" / f"{index}.png")
        rows += [f"{index}.png,abc{index}"]
    (root / "captions" / "captions.csv").write_text("\n".join(rows) + "\n")
    for part in ("images", "masks"):
        (root / "marked" / part).mkdir(parents=True)
    for index in range(2):
        mask = Image.new("L", (32, 24))
        mask.paste(255, (3, 3, 12, 11))
        mask.save(root / "marked" / "masks" / f"{index}.png")
        noise_photo((32, 24), 50, seed=index).save(root / "marked" / "images" / f"{index}.png")
    for command in (
        ("teach", "ring", "--description", "A round band.", "--model", "tiny", "--quiet", "--no-controls",
         "--long-text", "truncate", "--out", "taught"),
        ("convert", "tiny:clip", "--out", "saved"),
        ("pack", "taught", "--out", "ring.safetensors"),
    ):  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            assert main.run(command) == 0


def use_small(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Small models under the names that the commands use, no network, and a cache of its own."""
    letters = build_letters(seed=1)

    def named(name: str | Path, **running: Any) -> Any:
        named_device(running.get("device", "cpu"))
        if str(name) == "letters":
            return letters
        with contextlib.suppress(OSError, ValueError):
            if str(name) == "tiny" or (Path(name) / "tiny.json").exists() or (Path(name) / "model/tiny.json").exists():
                return load_tiny(name, **running)
        return load(str(name), **running)

    patch.chdir(root)
    use_tiny(patch, root / "cache")
    use_few_classes(patch, 6)
    for module in (
        "pipeline.teach_run", "pipeline.invert_run", "tasks.classification.run", "tasks.retrieval.run",
        "tasks.captioning.run", "tasks.localisation.run", "tasks.recognition.run", "backends.load",
    ):  # fmt: skip
        patch.setattr(f"molyneux.{module}.load", named)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        patch.setenv(name, "1")


def use_stand_ins(patch: pytest.MonkeyPatch) -> None:
    """A hub that takes everything, and an endpoint that answers."""

    class Hub:
        endpoint = "https://hub.example"

        def whoami(self) -> dict[str, str]:
            return {"name": "ada"}

        def model_info(self, name: str) -> Any:
            return SimpleNamespace(siblings=(), private=True)

        def create_repo(self, *_: Any, **__: Any) -> None:
            pass

        def create_commit(self, *_: Any, **__: Any) -> None:
            pass

    def answer(opener: Any, request: Any, timeout: float) -> bytes:
        if not request.full_url.startswith(f"{ENDPOINT}/"):
            raise OSError("no such host")
        return json.dumps({"choices": [{"message": {"content": "A small bowl with a handle."}}]}).encode()

    patch.setattr("molyneux.backends.push._api", Hub)
    patch.setattr("molyneux.backends.writers._answer", answer)
    patch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")


def tried(case: Case, root: Path) -> Outcome:
    """Run a case in the scene at `root`, and clear away what it made."""
    for name in ("bad", "out"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    if case.bad is not None:
        place(root / "bad" / case.file, case.bad)
    before = listing(root)
    printed, said = io.StringIO(), io.StringIO()
    old = signal.signal(signal.SIGALRM, _over)
    signal.alarm(SECONDS)
    start = time.monotonic()
    code: int | None = None
    fault = ""
    kind: Kind = "traceback"
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = main.run(case.arguments)
    except Hang as hang:
        kind = "hang"
        fault = "".join(traceback.format_tb(hang.__traceback__)[-4:])
    except BaseException as error:
        fault = "".join(traceback.format_exception(error)[-4:])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    seconds = time.monotonic() - start
    left = sorted(listing(root) - before)
    if code == 0:
        kind = "accepted"
        fault = printed.getvalue()[-300:] + said.getvalue()[-300:]
    elif code is not None:
        lines = [line for line in said.getvalue().splitlines() if not line.startswith("molyneux: warning: ")]
        fault = said.getvalue()
        clear = code == main.USAGE and len(lines) == 1 and lines[0].startswith("molyneux: error: ")
        clear = clear and not printed.getvalue() and len(lines[0]) < LONGEST_LINE and lines[0].isprintable()
        kind = "leftover" if left else "refused" if clear else "unclear"
        fault += f" LEFT {left}" if left else ""
    for path in left:
        if (root / path).is_dir() and not (root / path).is_symlink():
            shutil.rmtree(root / path, ignore_errors=True)
        else:
            (root / path).unlink(missing_ok=True)
    return Outcome(case, kind, fault, seconds)


def listing(root: Path) -> set[str]:
    """All paths below a folder but those of the cache."""
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.relative_to(root).parts[0] not in ("cache", "bad")
    }


def reason(name: str) -> str | None:
    """Why it is right to accept a case; None if nothing says so."""
    for pattern, why in HARMLESS.items():
        if fnmatchcase(name, pattern):
            return why
    return None


def _over(number: int, frame: FrameType | None) -> None:
    raise Hang
