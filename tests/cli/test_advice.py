"""What errors, notes and help advise: every flag, verb and setting that they name is there."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

import molyneux
from molyneux.backends.options import Generation
from molyneux.cli import main
from molyneux.cli.help import ALL
from molyneux.images.config import ReplayConfig
from molyneux.inversion.config import InversionConfig
from molyneux.pipeline.settings import PRESETS
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.localisation.config import MaskConfig, SaliencyConfig
from molyneux.teaching.config import Full, LoRA, TeachingConfig

SOURCE = Path(molyneux.__file__).parent
GROUPS: dict[str, tuple[Any, ...]] = {
    "inversion": (InversionConfig,),
    "teaching": (TeachingConfig,),
    "replay": (ReplayConfig,),
    "generation": (Generation,),
    "captioning": (CaptioningConfig,),
    "saliency": (SaliencyConfig,),
    "masks": (MaskConfig,),
}
FOREIGN = {"--force-download"}
"""Flags of other programs."""

COMMAND = re.compile(r"""(?:^|['"`\n(]|as |with |which |like )molyneux ([a-z][a-z-]*)((?:[^'"`\n;]|'[^'\n]*' )*)""")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*(?:\.[a-z][\w-]*)*")
SETTING = re.compile(rf"(?<![\w./-])(?:{'|'.join(GROUPS)})(?:\.[a-z][a-z_]*)+")


def texts() -> Iterator[tuple[str, str]]:
    """Each text of the source, without what is put into it while it runs; with the file that it stands in."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                said = "".join(one.value if isinstance(one, ast.Constant) else "\0" for one in node.values)
                yield path.relative_to(SOURCE).as_posix(), said
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield path.relative_to(SOURCE).as_posix(), node.value


def flags(verb: str) -> set[str]:
    app = main.app[verb]
    subs = [app, *(app[name] for name in app if not name.startswith("-"))] if verb == "list" else [app]
    found = [one.assemble_argument_collection() for one in subs if one.default_command is not None]
    return {"--help", "--version"} | {name for own in found for argument in own for name in argument.names}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return {verb: flags(verb) for verb in main.app if not verb.startswith("-")}


@pytest.fixture(scope="module")
def said() -> list[tuple[str, str]]:
    return list(texts())


def test_each_command_that_a_text_names_is_there_with_its_flags(known, said):
    named = [(file, *match.groups()) for file, text in said for match in COMMAND.finditer(text)]
    assert len(named) > 40
    wrong = [
        (file, verb, flag)
        for file, verb, rest in named
        for flag in ["", *FLAG.findall(rest)]
        if verb not in known or (flag and flag not in known[verb])
    ]
    assert wrong == []


def test_each_flag_that_a_text_names_is_one_of_some_verb(known, said):
    every = set().union(*known.values()) | FOREIGN | {ALL}
    groups = {flag.partition(".")[0] for flag in every if "." in flag}
    named = [(file, flag) for file, text in said for flag in FLAG.findall(text)]
    assert len(named) > 60
    assert [(file, flag) for file, flag in named if flag not in every | groups] == []


def test_each_setting_that_a_text_names_is_there(said):
    named = [(file, one) for file, text in said for one in SETTING.findall(text.replace("\0", " "))]
    modules = {f"{one.parent.name}.{one.stem}" for one in SOURCE.rglob("*.py")}
    named = [(file, one) for file, one in named if one not in modules and not one.endswith(".safetensors")]
    assert len(named) > 20
    assert [(file, one) for file, one in named if not _is_setting(one)] == []


def test_each_preset_that_an_error_names_is_there(said):
    presets = {name for choices in PRESETS.values() for name in choices}
    named = [name for _, text in said for name in re.findall(r"preset (?:of teaching, such as )?'([\w-]+)'", text)]
    assert named
    assert set(named) <= presets


def _is_setting(path: str) -> bool:
    group, *parts = path.split(".")
    kinds: tuple[Any, ...] = GROUPS[group]
    for part in parts:
        hints = [one.type for kind in kinds if is_dataclass(kind) for one in fields(kind) if one.name == part]
        if part == "preset" and len(parts) == 1:
            return True
        if not hints:
            return False
        kinds = (Full, LoRA) if part == "update" else tuple(one for hint in hints for one in (hint, *get_args(hint)))
    return True
