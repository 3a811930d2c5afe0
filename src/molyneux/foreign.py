"""The one door for files that nobody has vouched for: regular files only, of a bounded size, parsed within limits."""

import csv
import io
import json
import math
import re
import reprlib
import stat
import sys
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from molyneux.errors import DataError, MolyneuxError

LARGEST_TEXT = 10_000_000
"""Bytes of a list, a table or a JSON file that people write."""

LARGEST_YAML = 1_000_000
"""Bytes; YAML is parsed some hundred times slower than JSON."""

LARGEST_ANNOTATIONS = 600_000_000
"""Bytes; COCO's largest list of instances has 449 million."""

MOST_NODES = 200_000
"""Values of a YAML file, each as often as aliases repeat it."""

_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars"}

ErrorType = type[MolyneuxError]


def read_bytes(path: Path, what: str, *, limit: int = LARGEST_TEXT, error: ErrorType = DataError) -> bytes:
    """A regular file's content.

    Raises:
        MolyneuxError: of the type `error`, if it is missing, is a folder, pipe or device, has more than `limit` bytes,
            or cannot be read.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise error(f"cannot read {what} {path}: it is {kind}; expected a regular file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as reason:
        raise error(f"cannot read {what} {path}: {said(reason)}") from reason
    if len(content) > limit:
        raise error(f"{what} {path} is too large: expected at most {limit:,} bytes")
    return content


def read_text(path: Path, what: str, *, limit: int = LARGEST_TEXT, error: ErrorType = DataError) -> str:
    """A text file's content: UTF-8, with or without a byte order mark; errors as for `read_bytes`."""
    content = read_bytes(path, what, limit=limit, error=error)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"cannot read {what} {path}: {said(reason)}; expected text in UTF-8") from reason
    if "\0" in text:
        raise error(f"cannot read {what} {path}: it holds a character with the code 0; expected text in UTF-8")
    return text


def read_json(path: Path, what: str, *, limit: int = LARGEST_TEXT, error: ErrorType = DataError) -> Any:
    """A JSON file's content.

    Raises:
        MolyneuxError: of the type `error`: as `read_bytes`; and if it is not JSON, is nested too deeply, repeats a key,
            or holds NaN, an infinity or half a surrogate pair, none of which JSON has.
    """
    text = read_text(path, what, limit=limit, error=error)
    try:
        content = json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_distinct)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as reason:
        raise error(f"cannot read {what} {path}: it is not valid JSON: {said(reason)}") from reason
    return content


def read_yaml(path: Path, what: str, *, limit: int = LARGEST_YAML, error: ErrorType = DataError) -> Any:
    """A YAML file's content, without tags that make objects.

    Raises:
        MolyneuxError: of the type `error`: as `read_bytes`; and if it is not YAML, is nested too deeply, repeats a key,
            holds half a surrogate pair, or aliases that repeat one another into more than `MOST_NODES` values.
    """
    text = read_text(path, what, limit=limit, error=error)
    try:
        return parse_yaml(text)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as reason:
        # also impossible dates, and lists as keys
        raise error(f"cannot read {what} {path}: it is not valid YAML: {said(reason)}") from reason


def parse_yaml(text: str) -> Any:
    """The content of YAML; `read_yaml` says what is refused, here with the parser's own errors."""
    parser = _Loader(text)
    try:
        node = parser.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES:,} values, those of aliases counted each time")
        content = parser.construct_document(node)
    finally:
        parser.dispose()
    # half a surrogate pair has no encoding
    json.dumps(content, ensure_ascii=False, default=str, skipkeys=True).encode()
    return content


def read_table(
    path: Path, what: str, columns: Sequence[str], *, limit: int = LARGEST_TEXT
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, each with the number of its line.

    Blanks around cells do not count, nor do empty lines. A cell that holds a comma or a quote stands in double quotes,
    with a quote in it doubled.

    Raises:
        DataError: as `read_bytes`; and if a column is missing or there twice, a row has more or fewer cells than the
            header, a quote is not closed on its line, or stands behind a backslash.
    """
    text = read_text(path, what, limit=limit)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header: list[str] = []
    rows = []
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any("\n" in cell or "\r" in cell for cell in cells):
                raise DataError(f"{path}, line {line}: a cell goes on over the line's end; close the quote, or join it")
            if not any(cells):
                pass
            elif not header:
                header = _checked_header(path, cells, columns)
            elif len(cells) != len(header):
                step = (
                    "fill in the rest" if len(cells) < len(header) else "put a cell that holds a comma in double quotes"
                )
                raise DataError(f"{path}, line {line}: {len(cells)} cells where the header has {len(header)}; {step}")
            elif any('\\"' in cell for cell in cells):
                raise DataError(f"{path}, line {line}: a backslash before a quote; expected the quote to be doubled")
            else:
                rows.append((line, dict(zip(header, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as reason:
        raise DataError(
            f"{path}, line {line}: {said(reason)}; expected a quote within a quoted cell to be doubled, and each "
            "quote to be closed"
        ) from reason
    if not header:
        raise DataError(
            f"cannot read {what} {path}: it is empty; expected the header {','.join(columns)!r} and rows below it"
        )
    return rows


def is_file(path: Path) -> bool:
    """Whether a path that a file names is one of a regular file; False also for what no file can be called."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def said(reason: BaseException) -> str:
    """An error in words, on one line of bounded length."""
    if isinstance(reason, RecursionError):
        return "it is nested too deeply"
    words = (isinstance(reason, OSError) and reason.strerror) or str(reason)
    return f"{' '.join(words.split()) or type(reason).__name__:.300}"


def shown(value: Any, length: int = 60) -> str:
    r"""A foreign value in an error's text: as code, cut, and never expanded beyond that.

    >>> shown("a\x1b[31m"), shown(["a"] * 100, 20)
    ("'a\\x1b[31m'", "['a', 'a', 'a', ...]")
    """
    writer = reprlib.Repr()
    writer.maxstring = writer.maxother = writer.maxlong = length
    writer.maxlevel, writer.maxlist, writer.maxdict = 3, 3, 3
    try:
        return writer.repr(value)
    except ValueError:
        # an integer of thousands of digits
        return f"a {type(value).__name__} too long to show"


JOINERS = "\u200c\u200d"
"""Letters without a width that words of some scripts are spelt with."""


def printable(text: str) -> str:
    r"""A text on one line, in which nothing moves a terminal's cursor or changes its colours.

    >>> printable("a\x1b[31m b\nc")
    'a [31m b c'
    """
    return " ".join("".join(letter if letter.isprintable() or letter in JOINERS else " " for letter in text).split())


def unprintable(text: str) -> str | None:
    r"""The first letter of a name that nobody sees; between letters Persian, Hindi and emoji need their joiners.

    >>> unprintable("a\u200cb"), unprintable("a\u200c"), unprintable("a\u200bb")
    (None, '\u200c', '\u200b')
    """
    between = range(1, len(text) - 1)
    for place, letter in enumerate(text):
        if not (letter.isprintable() or (letter in JOINERS and place in between)):
            return letter
    return None


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen.

    >>> is_blank(" \u200b"), is_blank("a")
    (True, False)
    """
    return not any(letter.isprintable() and not letter.isspace() for letter in text)


def is_plain(text: str) -> bool:
    r"""Whether a name holds no control character, and nothing that was no UTF-8.

    >>> is_plain("café"), is_plain("a\x1b[31m"), is_plain("a\udcff")
    (True, False, False)
    """
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def unpaired(text: str) -> bool:
    """Whether a text holds half a surrogate pair, which no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def whole(value: object, least: int = 0, most: int = sys.maxsize) -> bool:
    """Whether a foreign value is a whole number in a range; True and 1.0 are none.

    >>> whole(3), whole(True), whole(3.0), whole(10**30)
    (True, False, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def finite(value: object) -> bool:
    """Whether a foreign value is a number that a float holds."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses repeated keys instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        _distinct([(self.construct_object(key, deep=True), None) for key in own])
        return super().construct_mapping(node, deep)


def _distinct(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {shown(twice)} occurs twice: leave one, or give each a name of its own")
    return found


def _checked_header(path: Path, cells: list[str], columns: Iterable[str]) -> list[str]:
    for name in columns:
        if cells.count(name) != 1:
            others = [word for mark, word in _SEPARATORS.items() if len(cells) == 1 and mark in cells[0]]
            step = f"; its cells stand apart by {others[0]}: expected commas" if others else ""
            raise DataError(
                f"{path} has {cells.count(name) or 'no'} column {name!r}: expected the header "
                f"{','.join(columns)!r}{step}"
            )
    if len(set(cells)) != len(cells):
        raise DataError(f"{path} has two columns of one name: give each its own")
    return cells


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes below a node, those of aliases each time; ValueError if a node holds itself."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise ValueError("an alias holds itself")
        return known[id(node)]
    known[id(node)] = 0
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(part, known) for part in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_size(key, known) + _size(value, known) for key, value in node.value)
    known[id(node)] = size
    return size


def _no_number(text: str) -> float:
    raise ValueError(f"it holds {text}, which is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {text:.40}, which no number can be")
    return value
