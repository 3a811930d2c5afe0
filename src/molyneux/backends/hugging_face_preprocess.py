"""How a checkpoint wants its images: read from its image processor, never guessed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from molyneux.errors import ModelError
from molyneux.framing import Fit, Framing, Interpolation, square
from molyneux.shapes import Images

_RESAMPLING: Mapping[int, Interpolation] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
_SQUASHED_FROM = 384  # ConvNeXt's processor: from here on no margin is cut away


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocessing:
    """From a photo to what the vision tower reads."""

    size: int
    """Side of the square image."""
    framing: Framing
    """Whether a photo's middle is cut out ('crop'), or the whole photo is squeezed to a square ('squash'), and how it
    is resized."""
    crop: float
    """Side of the part that is cut out, as a share of the photo's shorter side; 1 where nothing is cut."""
    scale: float
    """What pixels in [0, 1] are multiplied by first: 1 wherever the processor divides bytes by 255."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalized(self, images: Images) -> Tensor:
        """Pixels in [0, 1] to what the tower reads; differentiable."""
        mean, std = (torch.tensor(values).view(3, 1, 1).to(images) for values in (self.mean, self.std))
        return (images * self.scale - mean) / std


def image_preprocessing(processor: Mapping[str, Any], *, by_torch: bool = True) -> ImagePreprocessing:
    """The rules in an image processor's settings, as its `to_dict` gives them.

    A processor for images of any shape (SigLIP 2's NaFlex) is used on squares alone: the largest that fits.

    Args:
        processor: the settings.
        by_torch: whether the processor resizes with torch; with Pillow otherwise.

    Raises:
        ModelError: if it does something that square images of one size cannot follow.
    """
    size, fit, crop = _framing(processor)
    if processor.get("rescale_offset") or processor.get("do_pad") or not processor.get("do_resize", True):
        raise _unknown(processor)
    scale = 255 * float(processor["rescale_factor"]) if processor.get("do_rescale", True) else 255.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if processor.get("do_normalize", True):
        mean, std = _three(processor, "image_mean"), _three(processor, "image_std")
    framing = Framing(
        fit=fit,
        interpolation=_interpolation(processor.get("resample", 3)),
        kernel="torch" if by_torch else "pillow",
        odd_margin="down",
    )
    return ImagePreprocessing(size=size, framing=framing, crop=crop, scale=scale, mean=mean, std=std)


def check_followed(processor: Any, rules: ImagePreprocessing) -> None:
    """Raise ModelError if an image processor makes other pixels of a photo than its rules say.

    Some kinds cut or colour in ways that their settings do not tell: LeViT's resizes to 256/224 of the size first,
    EfficientNet's divides by the deviation twice. A photo of noise is shown to both. Patches (NaFlex) are not compared.
    """
    if "max_num_patches" in processor.to_dict():
        return
    shape = (rules.size, rules.size * 3 // 2 + 1, 3)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    kind = type(processor).__name__
    try:
        theirs = torch.from_numpy(np.array(processor([photo], return_tensors="np")["pixel_values"], dtype=np.float32))
    except Exception as error:  # a foreign file: its settings may be of any kind
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the image processor {kind} cannot prepare a photo ({reason}): save it again") from error
    framed = square(photo, rules.size, rules.crop, rules.framing)
    ours = torch.from_numpy(np.array(framed)).permute(2, 0, 1)[None].float() / 255
    unlike = theirs.shape != ours.shape
    if not unlike:
        level = rules.scale / 255 / torch.tensor(rules.std).view(3, 1, 1)
        unlike = bool(((rules.normalized(ours) - theirs).abs() / level).mean() > 1)
    if unlike:
        raise ModelError(
            f"the image processor {kind} prepares photos in a way of its own, which is not followed here: expected one "
            "that resizes, cuts and normalises as its settings say, such as CLIPImageProcessor or ViTImageProcessor"
        )


def resizes_with_torch(processor: Any) -> bool:
    """Whether an image processor of transformers resizes with torch: from release 5 on most do."""
    named = str(getattr(processor, "backend", ""))
    return named == "torchvision" if named else type(processor).__name__.endswith("Fast")


def _interpolation(resample: Any) -> Interpolation:
    if resample is None or int(resample) not in _RESAMPLING:
        raise ModelError(f"the image processor's resample is {resample!r}: expected 2 (bilinear) or 3 (bicubic)")
    return _RESAMPLING[int(resample)]


def _framing(processor: Mapping[str, Any]) -> tuple[int, Fit, float]:
    if "max_num_patches" in processor:
        return int(processor["patch_size"]) * math.isqrt(int(processor["max_num_patches"])), "crop", 1.0
    size, cut = _sides(processor.get("size")), _sides(processor.get("crop_size"))
    shorter = size.get("shortest_edge")
    if "crop_pct" in processor and shorter:
        return (
            (shorter, "squash", 1.0)
            if shorter >= _SQUASHED_FROM
            else (shorter, "crop", shorter / int(shorter / processor["crop_pct"]))
        )
    if processor.get("do_center_crop"):
        side = _square(cut)
        if side and shorter and side <= shorter:
            return side, "crop", side / shorter
    elif side := _square(size):
        return side, "squash", 1.0
    raise _unknown(processor)


def _sides(value: Any) -> dict[str, int]:
    if isinstance(value, int):
        return {"height": value, "width": value}
    return {name: int(side) for name, side in dict(value or {}).items() if side}


def _square(sides: Mapping[str, int]) -> int:
    """The side of a square, 0 where it is none."""
    height, width = sides.get("height", 0), sides.get("width", 0)
    return height if height == width else 0


def _three(processor: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    try:
        red, green, blue = processor[key]
        return float(red), float(green), float(blue)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the image processor's {key} is {processor.get(key)!r}: expected three numbers") from error


def _unknown(processor: Mapping[str, Any]) -> ModelError:
    keys = ("do_resize", "size", "do_center_crop", "crop_size", "crop_pct", "rescale_offset")
    found = {key: processor[key] for key in keys if processor.get(key) is not None}
    return ModelError(
        f"the image processor {processor.get('image_processor_type', '')} does not make square images of one size "
        f"({found}): expected a resize to a square, or to the shorter side and a square cut from the middle"
    )
