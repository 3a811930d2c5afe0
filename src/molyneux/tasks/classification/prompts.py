"""What stands for a class's name, and how the answers of several texts become one; importing this needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from molyneux.arguments import check_texts
from molyneux.datasets.imagenet import ClassNames
from molyneux.errors import ConfigError, DataError
from molyneux.foreign import read_text

PROMPTS = ("a photo of a {}.",)
"""What a class is called by, unless said otherwise."""

Ensemble = Literal["embeddings", "logits", "max"]
"""'embeddings': the cosine to the texts' mean direction (CLIP). 'logits': the mean of the cosines (Menon & Vondrick;
MedCLIP's `ensemble=True`). 'max': the best of them (MedCLIP's other choice)."""

Naming = Literal["asymmetric", "symmetric", "descriptors"]
"""Who is described, and how."""

_SHORT = {"one": PROMPTS, "photo": ("a photo of a {}",), "name": ("{}",)}
_FILES = ("openai-7", "openai-80")
TEMPLATES = (*_SHORT, *_FILES)
"""The sets of templates that have a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """How classes are put into words for scoring."""

    class_names: ClassNames = "openai"
    """What ImageNet's classes are called: 'openai' (curated for prompts), 'wordnet' (the first lemma), or
    'wordnet-all' (all lemmas, with commas)."""
    templates: str = "one"
    """What each name is put into: 'one' ('a photo of a {}.'), 'photo' (without the full stop), 'name' (the bare
    name), 'openai-7', 'openai-80', or a text file with one a line."""
    ensemble: Ensemble = "embeddings"
    """How several texts' answers become one: 'embeddings' (normalise, average, normalise), 'logits' (the mean of the
    cosines) or 'max' (the best of them)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTexts:
    """What stands in place of names, which is what descriptions achieve without teaching."""

    descriptions: Path | None = None
    """A JSON or YAML file with descriptions of classes: name to description, or to a list of them."""
    naming: Naming = "asymmetric"
    """'asymmetric': new names are defined ('A NAME is DESCRIPTION'), all others stay names. 'symmetric': all names
    are defined, and each needs a description, which ImageNet's classes have. 'descriptors': 'NAME, which has
    DESCRIPTOR.' for each description, the bare name where there is none (Menon & Vondrick; with --ensemble logits)."""
    pools: Path | None = None
    """MedCLIP's constants.py, or JSON of that layout: prompts of every severity, kind and place for each class."""
    pool_prompts: int = 10
    """How many prompts are drawn for each class from its pool."""
    pool_seed: int = 0
    """Decides which."""

    def __post_init__(self) -> None:
        if self.descriptions is not None and self.pools is not None:
            raise ConfigError("texts come from descriptions or from pools: give one of --descriptions and --pools")
        if self.pool_prompts < 1:
            raise ConfigError(f"pool-prompts is {self.pool_prompts}: expected a whole number of at least 1")


def read_templates(spec: str) -> tuple[str, ...]:
    """The templates of that name, else the lines of a text file; empty lines and those that begin with '#' are none.

    Raises:
        DataError: if the file cannot be read.
        ConfigError: if it holds no template, or one without '{}' exactly once.

    >>> read_templates("photo"), len(read_templates("openai-80"))
    (('a photo of a {}',), 80)
    """
    if spec in _SHORT:
        return _SHORT[spec]
    try:
        if spec in _FILES:
            text = (
                resources.files("molyneux.tasks.classification").joinpath("templates", f"{spec}.txt").read_text("utf-8")
            )
        else:
            text = read_text(Path(spec), "the templates in")
    except DataError as error:
        raise DataError(f"{error}; expected {', '.join(TEMPLATES)} or a text file with one a line") from error
    lines = (" ".join(line.split()) for line in text.splitlines())
    return check_prompts(tuple(line for line in lines if line and not line.startswith("#")))


def templates_name(prompts: Sequence[str]) -> str | None:
    """Which of the named sets these are; None if none.

    >>> templates_name(["a photo of a {}."]), templates_name(["{}!"])
    ('one', None)
    """
    return next((name for name in TEMPLATES if read_templates(name) == tuple(prompts)), None)


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """The prompts; ConfigError unless there are some and each holds '{}' exactly once."""
    check_texts(prompts, "prompts")
    if not prompts:
        raise ConfigError(f"no prompt given: expected at least one, such as {PROMPTS[0]!r}")
    for prompt in prompts:
        if prompt.count("{}") != 1:
            raise ConfigError(f"the prompt {prompt!r} must hold '{{}}' once, where the name goes: try {PROMPTS[0]!r}")
    return tuple(prompts)
