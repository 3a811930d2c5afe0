"""Descriptions written by a language model, as the paper's were: asked for, checked, kept in a concept file.

The prompt is the paper's (arXiv 2411.15611, C.1), verbatim, in `description-prompt.txt`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from molyneux.backends.writers import Writer, endpoint_writer, local_writer
from molyneux.concepts import LONGEST_DESCRIPTION, LONGEST_NAME, read_descriptions
from molyneux.datasets.imagenet import ClassNames
from molyneux.datasets.names import name_key, read_names
from molyneux.errors import ConceptError, ConfigError
from molyneux.files import write_text
from molyneux.foreign import parse_yaml, printable, read_text, shown, unprintable
from molyneux.runs.options import Progress, check_seed

PLACE = "<class name>"
"""Where a prompt takes the name."""

_REFUSAL = re.compile(
    r"(i['’]m|i (am|can|cannot|could|do|have|apologi[sz]e)|sorry|unfortunately|as an ai)\b", re.IGNORECASE
)
"""What a language model begins with that does not describe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeSettings:
    """What is to be described, by what, and where it is kept."""

    out: Path
    names: tuple[str, ...] = ()
    list_of_names: str | None = None
    """'imagenet-1k' or a file with one name a line."""
    class_names: ClassNames = "openai"
    model: str | None = None
    endpoint: str | None = None
    endpoint_model: str | None = None
    prompt: Path | None = None
    """Another prompt than the paper's."""
    attempts: int = 5
    longest: int = 200
    """Tokens of a description."""
    seed: int = 0
    device: str | None = None
    """Of a local model: 'cpu' if None."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if (self.model is None) == (self.endpoint is None):
            raise ConfigError("a language model is needed: give one of --model and --endpoint")
        if self.endpoint is not None and self.device is not None:
            raise ConfigError("--device is for a local model: leave it out, or give --model instead of --endpoint")
        if (self.endpoint is None) != (self.endpoint_model is None):
            raise ConfigError("--endpoint and --endpoint-model go together: give both, or neither")
        for name in ("attempts", "longest"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected a whole number of at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What was written, and what was there already."""

    written: Mapping[str, str]
    kept: tuple[str, ...]


def describe(settings: DescribeSettings, *, on_step: Progress | None = None) -> Described:
    """Ask for a description of each name that `settings.out` does not hold, and add it there at once.

    What stands in the file stays as it is, comments too, and is not asked for again. A description that uses the name
    is asked for anew, `settings.attempts` times in all; names for which that fails do not keep others from theirs.

    Raises:
        ConceptError: if there is no name, the file cannot be read, or every description of a name uses the name.
        ConfigError: if the prompt has no place for the name, or the endpoint cannot be used.
        DataError: if a list of names or the prompt cannot be read.
        ModelError: if the language model cannot be loaded, or gives no answer.
        OutputError: if the file cannot be written.
    """
    names = _names(settings)
    prompt = read_prompt(settings.prompt)
    there = {name_key(name) for name in read_descriptions(settings.out)} if settings.out.exists() else set()
    missing = [name for name in names if name_key(name) not in there]
    written: dict[str, str] = {}
    refused: list[ConceptError] = []
    writer = _writer(settings) if missing else None
    for done, name in enumerate(missing, start=1):
        assert writer is not None
        try:
            text = description_of(name, writer, prompt, attempts=settings.attempts, seed=settings.seed)
        except ConceptError as error:
            refused.append(error)
        else:
            add_description(settings.out, name, text, header=_header(settings))
            written[name] = text
        if on_step is not None:
            on_step("descriptions", done, len(missing))
    if refused:
        others = f" (and {len(refused) - 1} names more)" if len(refused) > 1 else ""
        raise ConceptError(f"{refused[0]}{others}; new in {settings.out}: {len(written)}")
    return Described(written=written, kept=tuple(name for name in names if name_key(name) in there))


def description_of(name: str, writer: Writer, prompt: str, *, attempts: int = 5, seed: int = 0) -> str:
    """A description that does not use the name, on one line.

    Raises:
        ConceptError: if none of the attempts gives one, with the words that were used.
    """
    question = prompt.replace(PLACE, name)
    found: list[str] = []
    refused = ""
    for attempt in range(attempts):
        digest = hashlib.sha256(f"{seed}/{name}/{attempt}".encode()).digest()
        text = _cleaned(writer(question, int.from_bytes(digest[:4], "big")))
        used = names_used(name, text)
        if _REFUSAL.match(text):
            refused = refused or text
        elif text and len(text) <= LONGEST_DESCRIPTION and not used:
            return text
        else:
            found.extend(used or ["too much" if text else "nothing at all"])
    if refused and not found:
        raise ConceptError(
            f"the language model refuses to describe {name!r} ({shown(refused, 60)}): choose another model, or write "
            "the description into the file yourself"
        )
    words = ", ".join(repr(word) for word in dict.fromkeys(found))
    raise ConceptError(
        f"none of {attempts} descriptions of {name!r} does without the name: they say {words}; ask for more attempts, "
        "choose another model, or write it into the file yourself"
    )


def names_used(name: str, text: str) -> tuple[str, ...]:
    """Where a text uses a name, or its plural, as words of their own and in any case: what it says there.

    Words of a name may stand apart by spaces or hyphens. Regular plurals are found, irregular ones are not.

    >>> names_used("moongate", "Moongates, or a Moongate's arch"), names_used("ring", "a spring")
    (('Moongates', 'Moongate'), ())
    >>> names_used("great white shark", "great-white sharks"), names_used("butterfly", "two butterflies")
    (('great-white sharks',), ('butterflies',))
    """
    *first, last = re.split(r"[\s\-]+", name.strip())
    ends = {last, f"{last}s", f"{last}es"}
    if last.lower().endswith("y"):
        ends.add(f"{last[:-1]}ies")
    if last.lower().endswith(("f", "fe")):
        ends.add(f"{last.rstrip('eE')[:-1]}ves")
    either = "|".join(sorted(map(re.escape, ends), key=len, reverse=True))
    words = [re.escape(word) for word in first] + [f"(?:{either})"]
    pattern = r"(?<!\w)" + r"[\s\-]+".join(words) + r"(?!\w)"
    return tuple(match.group() for match in re.finditer(pattern, text, re.IGNORECASE))


def read_prompt(path: Path | None = None) -> str:
    """The paper's prompt, or that in a file.

    Raises:
        DataError: if the file cannot be read.
        ConfigError: if it has no place for the name.
    """
    if path is None:
        return resources.files("molyneux.pipeline").joinpath("description-prompt.txt").read_text("utf-8").strip()
    text = read_text(path, "the prompt").strip()
    if PLACE not in text:
        raise ConfigError(f"the prompt in {path} has no place for the name: expected {PLACE!r} in it")
    return text


def add_description(path: Path, name: str, text: str, *, header: str = "") -> None:
    """Add an entry to a concept file, which is made where there is none, and leave the rest as it stands.

    Raises:
        ConceptError: if the file cannot be read.
        OutputError: if it cannot be written.
    """
    path = Path(path)
    before = dict(read_descriptions(path)) if path.exists() else {}
    whole = before | {name: (text,)}
    plain = {one: texts[0] if len(texts) == 1 else list(texts) for one, texts in whole.items()}
    if path.suffix.lower() == ".json":
        write_text(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
        return
    old = path.read_text(encoding="utf-8").rstrip("\n") + "\n" if path.exists() else header
    new = old + _yaml({name: text})
    # a person may have written the mapping in braces, to which no line can be added
    write_text(path, new if _is(new, plain) else _yaml(plain))


def _names(settings: DescribeSettings) -> tuple[str, ...]:
    listed = () if settings.list_of_names is None else read_names(settings.list_of_names, settings.class_names)
    names = {name_key(name): " ".join(name.split()) for name in (*settings.names, *listed)}
    if not names:
        raise ConceptError("nothing to describe: expected one or more names, or --names FILE")
    for name in names.values():
        if not name or len(name) > LONGEST_NAME or unprintable(name):
            raise ConceptError(f"the name {name!r:.120} cannot be used: expected 1 to {LONGEST_NAME} plain characters")
    return tuple(names.values())


def _writer(settings: DescribeSettings) -> Writer:
    if settings.endpoint is not None and settings.endpoint_model is not None:
        return endpoint_writer(settings.endpoint, settings.endpoint_model, longest=settings.longest)
    assert settings.model is not None
    return local_writer(settings.model, device=settings.device or "cpu", longest=settings.longest)


def _header(settings: DescribeSettings) -> str:
    model = " ".join((settings.model or settings.endpoint_model or "").split())
    prompt = "the prompt of arXiv 2411.15611, C.1" if settings.prompt is None else "a prompt of its user's"
    return f"# Begun by {model} with {prompt}. Edit freely: what stands here is not asked for again.\n"


def _cleaned(text: str) -> str:
    # what a model or an endpoint writes goes to a terminal too
    clean = printable(text.rpartition("</think>")[2])
    return clean[1:-1].strip() if len(clean) > 1 and clean[0] + clean[-1] in ('""', "''", "“”") else clean


def _yaml(content: Mapping[str, str | Sequence[str]]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=100)


def _is(text: str, expected: Mapping[str, str | Sequence[str]]) -> bool:
    try:
        found = parse_yaml(text)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and {name: _entry(entry) for name, entry in found.items()} == expected


def _entry(entry: Any) -> Any:
    texts = entry.get("descriptions") if isinstance(entry, dict) else entry
    return texts[0] if isinstance(texts, list) and len(texts) == 1 else texts
