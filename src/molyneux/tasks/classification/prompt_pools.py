"""Prompts for radiographs: for each finding every severity with every kind at every place, as MedCLIP makes them.

The words are GLoRIA's and MedCLIP's own and do not ship with Molyneux: they are read from MedCLIP's `constants.py`,
of which nothing is run, or from a JSON file of the same layout.
"""

import ast
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from molyneux.errors import ConfigError, DataError

Pools = Mapping[str, Mapping[str, Sequence[str]]]
"""For each class, in order, the parts of its prompts, in order, each with the words to choose from."""

CHEXPERT_VARIABLE = "CHEXPERT_CLASS_PROMPTS"
"""What MedCLIP's `constants.py` calls its pools."""


def read_pools(path: Path, variable: str = CHEXPERT_VARIABLE) -> dict[str, dict[str, list[str]]]:
    """Pools from a JSON file, or from the literal that a Python file assigns to `variable`; the file is not run.

    Raises:
        DataError: if the file cannot be read, or holds no such pools.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = _assigned(text, variable) if path.suffix == ".py" else json.loads(text)
    except (OSError, ValueError, SyntaxError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise DataError(
            f"cannot read the pools in {path}: {reason}; expected JSON, or MedCLIP's constants.py"
        ) from error
    if not _are_pools(content):
        raise DataError(f"{path} holds no pools: expected for each class its parts, and for each part a list of words")
    return {name: {part: list(words) for part, words in parts.items()} for name, parts in content.items()}


def pool_prompts(parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Every combination of one word from each part, the last part changing fastest, with one space between words.

    An empty word leaves its part out. Two combinations may read the same; both count, as they do in MedCLIP.

    >>> pool_prompts({"severity": ["", "mild"], "kind": ["edema"], "place": ["left", "right"]})
    ['edema left', 'edema right', 'mild edema left', 'mild edema right']
    """
    return [" ".join(" ".join(words).split()) for words in itertools.product(*parts.values())]


def sampled_prompts(pools: Pools, count: int | None = 10, seed: int = 0) -> dict[str, list[str]]:
    """For each class `count` of its prompts, drawn without replacement, or all where there are no more or it is None.

    What is drawn for a class, its name and the seed decide, not the other classes.

    Raises:
        ConfigError: if `count` is below 1, or a class has no prompts.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{count} prompts for each class: expected at least 1, or None for all")
    drawn = {}
    for name, parts in pools.items():
        prompts = pool_prompts(parts)
        if not prompts:
            raise ConfigError(f"there are no prompts for {name!r}: expected a word or more in each of its parts")
        few = count is not None and count < len(prompts)
        drawn[name] = random.Random(f"{seed}/{name}").sample(prompts, count) if few and count else prompts
    return drawn


def _assigned(source: str, variable: str) -> Any:
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if variable in names:
                return ast.literal_eval(statement.value)
    raise ValueError(f"nothing is assigned to {variable}")


def _are_pools(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(name, str) and isinstance(parts, dict) and bool(parts) for name, parts in content.items())
        and all(
            isinstance(words, list) and bool(words) and all(isinstance(word, str) for word in words)
            for parts in content.values()
            for words in parts.values()
        )
    )
