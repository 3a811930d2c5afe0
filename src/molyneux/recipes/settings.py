"""From what a recipe says of inversion and teaching, a preset and changes to it, to their settings."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from molyneux.backends.options import Generation
from molyneux.errors import ConfigError
from molyneux.foreign import shown
from molyneux.images.config import ReplayConfig
from molyneux.inversion.config import InversionConfig
from molyneux.pipeline.settings import PRESETS
from molyneux.tasks.captioning.config import CaptioningConfig
from molyneux.tasks.localisation.config import MaskConfig, SaliencyConfig
from molyneux.teaching.config import Full, LoRA, TeachingConfig

_KINDS = (
    InversionConfig,
    TeachingConfig,
    CaptioningConfig,
    SaliencyConfig,
    MaskConfig,
    Generation,
    ReplayConfig,
    Full,
    LoRA,
)

SettingsT = TypeVar(
    "SettingsT",
    InversionConfig,
    TeachingConfig,
    CaptioningConfig,
    SaliencyConfig,
    MaskConfig,
    Generation,
    ReplayConfig,
)


def inversion_of(given: Any) -> InversionConfig:
    """The settings that `preset` names ('default', 'paper', ...), with all else that is given in their place.

    Raises:
        ConfigError: for an unknown preset or setting, or a value that is none.

    >>> inversion_of({"preset": "paper", "steps": 10}).steps
    10
    """
    return _resolved("inversion", InversionConfig, given)


def teaching_of(given: Any) -> TeachingConfig:
    """The same for teaching; `update` holds what is changed of the preset's, or with `rank` a low-rank one."""
    return _resolved("teaching", TeachingConfig, given)


def captioning_of(given: Any) -> CaptioningConfig:
    """The same for how captions are written, of which there are no presets."""
    return _resolved("decoding", CaptioningConfig, given)


def saliency_of(given: Any) -> SaliencyConfig:
    """The same for heat maps."""
    return _resolved("saliency", SaliencyConfig, given)


def masks_of(given: Any) -> MaskConfig:
    """The same for masks, of which there are no presets."""
    return _resolved("masks", MaskConfig, given)


def generation_of(given: Any) -> Generation:
    """The same for images of a text-to-image model, of which there are no presets."""
    return _resolved("generation", Generation, given)


def replay_of(given: Any) -> ReplayConfig:
    """The same for replay images, of which there are no presets."""
    return _resolved("replay", ReplayConfig, given)


def _resolved(group: str, kind: type[SettingsT], given: Any) -> SettingsT:
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"{group} is {shown(given)}: expected settings by name")
    presets: Mapping[str, Callable[[], Any]] = {"default": kind, **PRESETS.get(group, {})}
    name = given.get("preset", "default")
    if not isinstance(name, str) or name not in presets:
        raise ConfigError(f"{group}.preset is {shown(name)}: expected one of {', '.join(presets)}")
    whole = asdict(presets[name]())
    for key, value in given.items():
        if key == "preset":
            continue
        _check_known(group, key, [one.name for one in fields(kind)])
        if key == "update" and not isinstance(value, Mapping):
            raise ConfigError(f"teaching.update is {shown(value)}: expected settings by name")
        whole[key] = _update(whole[key], value) if key == "update" else value
    if group == "teaching":
        whole["update"] = _made(f"{group}.update", LoRA if "rank" in whole["update"] else Full, whole["update"])
    made: SettingsT = _made(group, kind, whole)
    return made


def _update(whole: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    start = {} if ("rank" in given) != ("rank" in whole) else dict(whole)
    kind = LoRA if "rank" in given or "rank" in start else Full
    for key in given:
        _check_known("teaching.update", key, [one.name for one in fields(kind)])
    return start | dict(given)


def _made(group: str, kind: type[Any], values: Mapping[str, Any]) -> Any:
    try:
        made = _adapter(kind.__name__).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([group, *map(str, first["loc"])])
        raise ConfigError(f"{place} is {shown(first['input'])}: {first['msg']}") from error
    _check_booleans(group, values, made)
    return made


def _check_booleans(place: str, given: Any, made: Any) -> None:
    """Raise ConfigError where True or False, in YAML also yes and no, became a number."""
    if isinstance(given, bool) and not isinstance(made, bool):
        raise ConfigError(f"{place} is {given}: expected a number, and neither yes, no, true nor false")
    if isinstance(given, Mapping):
        for key, value in given.items():
            _check_booleans(f"{place}.{key}", value, getattr(made, key, value))
    elif isinstance(given, list | tuple) and isinstance(made, list | tuple):
        for index, (one, other) in enumerate(zip(given, made, strict=False)):
            _check_booleans(f"{place}.{index}", one, other)


@cache
def _adapter(name: str) -> Any:  # a generic of pydantic's, which annotations checked at run time cannot hold
    return TypeAdapter(next(kind for kind in _KINDS if kind.__name__ == name))


def _check_known(group: str, key: str, known: list[str]) -> None:
    if key not in known:
        raise ConfigError(f"there is no setting {group}.{key}: known are {', '.join(known)}")
