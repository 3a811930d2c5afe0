"""Whether heat maps lie on the object, before any mask is made of them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from molyneux.errors import DataError

Maps = Float[Tensor, "n h w"]
"""At least 0; higher where more of a text is seen."""

Masks = Bool[Tensor, "_ _ _"]
"""True where the object is; of the maps' shape, which is checked by name."""


def energy_ratio(maps: Maps, true: Masks) -> Float[Tensor, " n"]:
    """The share of a map's sum that lies in the mask, divided by the mask's share of the image.

    1 is what an even map gets, and on average one that knows nothing of the image; at most the image's area
    over the mask's. A map of zeros is even: 1.

    Raises:
        DataError: if the shapes differ, or a mask is empty: no share could lie in it.

    Source: Wang et al. (2020), Score-CAM (the energy-based pointing game), over what chance gives.

    >>> energy_ratio(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[True, False]]]))
    tensor([1.5000], dtype=torch.float64)
    """
    _check(maps, true)
    whole, inside = maps.double().sum(dim=(1, 2)), (maps.double() * true).sum(dim=(1, 2))
    share = true.double().mean(dim=(1, 2))
    return torch.where(whole > 0, inside / whole.clamp_min(torch.finfo(torch.float64).tiny) / share, 1.0)


def pointing_hits(maps: Maps, true: Masks) -> Float[Tensor, " n"]:
    """Whether the map's highest point lies in the mask: 1 or 0; of several highest points, the share that does.

    An even map gets the mask's share of the image, which is what chance gives.

    Raises:
        DataError: as for `energy_ratio`.

    Source: Zhang et al. (2016), Top-down Neural Attention by Excitation Backprop, without their margin.

    >>> pointing_hits(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[False, True]]]))
    tensor([0.], dtype=torch.float64)
    """
    _check(maps, true)
    highest = maps == maps.amax(dim=(1, 2), keepdim=True)
    return (highest & true).sum(dim=(1, 2)).double() / highest.sum(dim=(1, 2))


def _check(maps: Tensor, true: Tensor) -> None:
    if maps.shape != true.shape:
        raise DataError(
            f"maps of shape {tuple(maps.shape)} beside masks of shape {tuple(true.shape)}: expected the same"
        )
    if not true.any(dim=2).any(dim=1).all():
        raise DataError("a mask is empty: whether a map lies on an object needs an object; leave the image out")
