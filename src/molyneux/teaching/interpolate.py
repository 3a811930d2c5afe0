"""Interpolation of two models' weights (WiSE-FT, Wortsman et al., 2022)."""

from numbers import Real
from typing import TypeVar, cast

import torch

from molyneux.arguments import check_kind
from molyneux.backends.base import VisionLanguageModel, check_model
from molyneux.backends.gradients import with_gradients
from molyneux.errors import ConfigError, ModelError

ModelT = TypeVar("ModelT", bound=VisionLanguageModel)


@with_gradients
@torch.no_grad()
def interpolate(base: ModelT, taught: ModelT, strength: float) -> ModelT:
    """A new model with the weights (1 - strength) * base + strength * taught.

    Only floating-point tensors are interpolated; integers, such as counters, are the base's. Strength 0 gives the
    base and 1 the taught model, bit by bit. Between them the result does not know of packs (`molyneux.packs`) any more.

    Raises:
        ConfigError: if strength is outside [0, 1].
        ModelError: if the two models' weights differ in name or shape.
    """
    for one in (base, taught):
        check_model(one)
    check_kind(strength, Real, "strength", "a number from 0 to 1")
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength is {strength}: expected a number from 0 to 1")
    old, new = base.native.state_dict(), taught.native.state_dict()
    different = sorted(old.keys() ^ new.keys()) or [k for k in old if old[k].shape != new[k].shape]
    if different:
        raise ModelError(f"cannot interpolate: the models differ in {different[0]!r}; expected two of one architecture")
    result = cast(ModelT, taught.copy())
    # tensors that the copy shares with `taught` must not be written to: if teaching changed one, copy them too
    shared = _shared(result, taught)
    if any(not torch.equal(old[key], new[key]) for key in shared):
        result = cast(ModelT, taught.copy(whole=True))
        shared = _shared(result, taught)
    if 0 < strength < 1:
        result.means = tuple(dict.fromkeys((*result.means, "interpolation")))
    result.merged = base.merged if strength == 0 else taught.merged if strength == 1 else None
    own = result.native.state_dict()
    for key, start in old.items():
        if key in shared:
            continue
        if not start.is_floating_point() or strength == 0:
            own[key].copy_(start)
        elif strength < 1 and not torch.equal(start, new[key]):
            own[key].copy_(torch.lerp(start, new[key], strength))
    return result


def _shared(one: VisionLanguageModel, other: VisionLanguageModel) -> set[str]:
    """Names of the weights that are one tensor in both."""
    theirs = other.native.state_dict()
    return {key for key, value in one.native.state_dict().items() if value.data_ptr() == theirs[key].data_ptr()}
