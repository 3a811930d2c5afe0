"""Tables of choices: a name, and a row with everything that others ask about it.

Tables are plain data, so that the command line can read them without torch; what a row names is imported when it is
first needed.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

SHIPPED = ("mini", "drawn")
"""Models that come with Molyneux, by what `load` takes."""


def imported(package: str, place: str) -> Any:
    """What 'MODULE:NAME' stands for in a package.

    >>> imported("molyneux", "concepts:LONGEST_NAME")
    100
    """
    module, _, name = place.partition(":")
    return getattr(import_module(f"{package}.{module}"), name)


def listed(names: Iterable[str], joint: str = "or") -> str:
    """The names as a list in a sentence.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ("'a', 'b' or 'c'", "'a'")
    """
    *first, last = map(repr, names)
    return f"{', '.join(first)} {joint} {last}" if first else last
