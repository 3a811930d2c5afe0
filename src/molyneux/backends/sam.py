"""The Segment Anything Model, first and second, through transformers: boxes or points in, masks out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool, Num
from PIL import Image
from torch import Tensor

from molyneux.backends.hugging_face import CONFIG, check_weights, fetch, quiet, read_part, read_weighted
from molyneux.errors import ModelError
from molyneux.foreign import read_json

KINDS = {
    "sam": ("SamModel", "SamProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    # how the published weights of SAM 2 describe themselves; what remembers earlier frames is left aside
    "sam2_video": ("Sam2Model", "Sam2Processor"),
}
"""config.json's model_type, and transformers' classes for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An image that the model has looked at, which is by far the slowest part: ask as often as you like."""

    embeddings: Any
    size: tuple[int, int]
    """The image's height and width."""
    read: tuple[int, int]
    """Height and width of the resized image, without padding."""


@final
class Segmenter:
    """A SAM or SAM 2 with its processor."""

    def __init__(self, name: str, native: Any, processor: Any) -> None:
        self._name, self._native, self._processor = name, native, processor
        native.requires_grad_(False).eval()

    @property
    def name(self) -> str:
        """What `load_segmenter` was asked for."""
        return self._name

    @property
    def native(self) -> Any:
        """The model as transformers builds it."""
        return self._native

    @torch.no_grad()
    def look(self, image: Image.Image) -> Seen:
        """Embed an image once."""
        inputs = self._processor(images=image.convert("RGB"), return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._native.device)
        height, width = (int(side) for side in inputs["original_sizes"][0])
        # SAM resizes the longer side and pads; SAM 2 resizes both sides
        resized = inputs.get("reshaped_input_sizes")
        read = pixels.shape[-2:] if resized is None else resized[0]
        return Seen(self._native.get_image_embeddings(pixels), (height, width), (int(read[0]), int(read[1])))

    def in_boxes(self, seen: Seen, boxes: Num[Tensor, "b 4"]) -> Bool[Tensor, "b h w"]:
        """The mask of what each box holds; boxes are left, top, right, bottom in the image's pixels."""
        return self._ask(seen, input_boxes=self._scaled(seen, boxes.reshape(-1, 2, 2)).reshape(1, -1, 4))

    def at_points(self, seen: Seen, points: Num[Tensor, "p 2"]) -> Bool[Tensor, "1 h w"]:
        """The mask of what all points (across, down, in the image's pixels) lie on."""
        labels = torch.ones(1, 1, len(points), dtype=torch.int64, device=self._native.device)
        return self._ask(seen, input_points=self._scaled(seen, points)[None, None], input_labels=labels)

    @torch.no_grad()
    def _ask(self, seen: Seen, **prompts: Tensor) -> Bool[Tensor, "b h w"]:
        found = self._native(image_embeddings=seen.embeddings, multimask_output=False, **prompts).pred_masks
        sizes: dict[str, Any] = {"original_sizes": [seen.size]}
        if self._native.config.model_type == "sam":
            sizes["reshaped_input_sizes"] = [seen.read]
        (masks,) = self._processor.post_process_masks(found.cpu(), **sizes)
        return masks[:, 0]  # type: ignore[no-any-return]

    def _scaled(self, seen: Seen, places: Tensor) -> Tensor:
        """Places (..., 2), across and down, in the resized image."""
        factors = [seen.read[1] / seen.size[1], seen.read[0] / seen.size[0]]
        return (places.float() * torch.tensor(factors)).to(self._native.device)


def load_segmenter(name: str, device: str = "cpu") -> Segmenter:
    """A folder that transformers saved, or ORGANISATION/NAME on the hub of Hugging Face (facebook/sam-vit-base).

    'tiny:sam' is a random one, to try out.

    Raises:
        ModelError: if it cannot be fetched or read, or is no SAM.
    """
    if name == "tiny:sam":
        from molyneux.backends.tiny import load_tiny_sam

        return load_tiny_sam()
    folder = Path(name) if Path(name).is_dir() else fetch(name)
    try:
        kind = read_json(folder / CONFIG, "the configuration", error=ModelError)["model_type"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG} does not say what model it describes: {error}") from error
    if kind not in KINDS:
        raise ModelError(f"{name!r} is a model of type {kind!r}: expected one of {', '.join(KINDS)}")
    check_weights(folder)
    vendor, processor = KINDS[kind]
    with quiet():
        native: Any = read_weighted(folder, vendor)
        return Segmenter(name, native.to(device), read_part(folder, processor, "processor"))
