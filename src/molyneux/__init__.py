"""Molyneux teaches a vision-language model a concept from words alone.

>>> import molyneux
>>> molyneux.Concept("moongate", "A circular archway built of stone.").name
'moongate'

The names below are loaded when they are first asked for: importing the package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from molyneux.backends.load import load as load
    from molyneux.backends.packs import apply as apply
    from molyneux.backends.packs import remove as remove
    from molyneux.backends.push import push as push
    from molyneux.citations import cite as cite
    from molyneux.concepts import Concept as Concept
    from molyneux.inversion.config import InversionConfig as InversionConfig
    from molyneux.inversion.invert import invert as invert
    from molyneux.packs import Pack as Pack
    from molyneux.packs import load_pack as load_pack
    from molyneux.pipeline.public import teach as teach
    from molyneux.recipes.public import run as run
    from molyneux.recipes.schema import Recipe as Recipe
    from molyneux.report.html import write_report as write_report
    from molyneux.synthetic import SyntheticImages as SyntheticImages
    from molyneux.tasks.classification.zero_shot import evaluate as evaluate
    from molyneux.teaching.config import Full as Full
    from molyneux.teaching.config import LoRA as LoRA
    from molyneux.teaching.config import TeachingConfig as TeachingConfig
    from molyneux.teaching.interpolate import interpolate as interpolate

__version__ = "0.1.0"

_HOMES = {
    "Concept": "molyneux.concepts",
    "Full": "molyneux.teaching.config",
    "InversionConfig": "molyneux.inversion.config",
    "LoRA": "molyneux.teaching.config",
    "Pack": "molyneux.packs",
    "Recipe": "molyneux.recipes.schema",
    "SyntheticImages": "molyneux.synthetic",
    "TeachingConfig": "molyneux.teaching.config",
    "apply": "molyneux.backends.packs",
    "cite": "molyneux.citations",
    "evaluate": "molyneux.tasks.classification.zero_shot",
    "interpolate": "molyneux.teaching.interpolate",
    "invert": "molyneux.inversion.invert",
    "load": "molyneux.backends.load",
    "load_pack": "molyneux.packs",
    "push": "molyneux.backends.push",
    "remove": "molyneux.backends.packs",
    "run": "molyneux.recipes.public",
    "teach": "molyneux.pipeline.public",
    "write_report": "molyneux.report.html",
}

__all__ = [  # noqa: RUF022 - in the order of use
    "Concept",
    "load",
    "InversionConfig",
    "invert",
    "SyntheticImages",
    "TeachingConfig",
    "Full",
    "LoRA",
    "teach",
    "interpolate",
    "Pack",
    "load_pack",
    "apply",
    "remove",
    "push",
    "evaluate",
    "Recipe",
    "run",
    "write_report",
    "cite",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
