"""Synthetic images of a concept: what inversion returns and teaching takes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import final, overload

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate

from molyneux.concepts import Concept
from molyneux.errors import ConceptError, DataError
from molyneux.files import new_folder
from molyneux.records import IMAGES, ImagesRecord, TracePoint, read_record, write_record
from molyneux.shapes import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticImages:
    """The images of one concept, and where they come from."""

    concept: Concept
    pixels: Images
    """RGB in [0, 1], on the CPU."""
    seed: int
    source: str = "inverted"
    """A name in `images.choices.SOURCES`."""
    depicted: str = ""
    """The concept whose description the images show; another than `concept` in the control 'shuffled' alone."""
    source_descriptions: tuple[str, ...] = ()
    """The descriptions that the images were inverted from, or that are taught on without images. In the control
    'shuffled' they are another concept's; other sources have none."""
    origin: str = ""
    """The name of the model that generated the images."""
    trace: tuple[TracePoint, ...] = field(default=())
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.pixels)

    def shown_as(self, concept: Concept) -> "SyntheticImages":
        """The same images under another concept's name, for the control 'shuffled'."""
        return replace(self, concept=concept, depicted=self.depicted or self.concept.name)

    def save(self, folder: Path) -> None:
        """Write `images.safetensors` (the data), `images.json` (the rest) and a PNG per image for people."""
        with new_folder(folder) as target:
            save_file({"pixels": self.pixels.contiguous()}, target / "images.safetensors")
            about = ImagesRecord(
                version=1,
                name=self.concept.name,
                descriptions=self.concept.descriptions,
                seed=self.seed,
                source=self.source,
                depicted=self.depicted,
                source_descriptions=self.source_descriptions,
                origin=self.origin,
                seconds=self.seconds,
                trace=self.trace,
            )
            write_record(target / IMAGES, about)
            for index, image in enumerate(self.pixels):
                as_png(image).save(target / f"{index:02d}.png")

    @staticmethod
    def load(folder: Path) -> "SyntheticImages":
        """Read what `save` wrote.

        Raises:
            DataError: if a file is missing or not as `save` writes it.
        """
        folder = Path(folder)
        try:
            about = read_record(ImagesRecord, folder / IMAGES)
            pixels = load_file(folder / "images.safetensors")["pixels"]
            if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
                raise ValueError(f"the pixels are {pixels.dtype} of shape {tuple(pixels.shape)}")
            return SyntheticImages(
                concept=Concept(about.name, about.descriptions),
                pixels=pixels,
                seed=about.seed,
                source=about.source,
                depicted=about.depicted,
                source_descriptions=about.source_descriptions,
                origin=about.origin,
                seconds=about.seconds,
                trace=about.trace,
            )
        except (OSError, KeyError, ValueError, SafetensorError, ConceptError, DataError) as error:
            raise DataError(f"{folder} holds no synthetic images that can be read ({error}): invert again") from error


@final
class LazyImages(Sequence[SyntheticImages]):
    """The images of several concepts; each concept's are read or made anew whenever they are asked for."""

    def __init__(self, readers: Sequence[Callable[[], SyntheticImages]]) -> None:
        self._readers = tuple(readers)

    def __len__(self) -> int:
        return len(self._readers)

    @overload
    def __getitem__(self, index: int) -> SyntheticImages: ...
    @overload
    def __getitem__(self, index: slice) -> "LazyImages": ...
    def __getitem__(self, index: int | slice) -> "SyntheticImages | LazyImages":
        return LazyImages(self._readers[index]) if isinstance(index, slice) else self._readers[index]()

    @classmethod
    def saved(cls, folders: Iterable[Path]) -> "LazyImages":
        """Those that `SyntheticImages.save` wrote."""
        return cls([partial(SyntheticImages.load, folder) for folder in folders])


def as_png(image: torch.Tensor) -> Image.Image:
    """One image, (3, h, w) in [0, 1], as an 8-bit image."""
    values = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(values.numpy()))


def description_only(concept: Concept) -> SyntheticImages:
    """No images, only the descriptions: an embedding map can be learned from those alone."""
    nothing = torch.zeros(0, 3, 1, 1)
    return SyntheticImages(
        concept=concept,
        pixels=nothing,
        seed=0,
        source="none",
        depicted=concept.name,
        source_descriptions=concept.descriptions,
    )


def noise_images(concept: Concept, count: int, size: int, seed: int) -> SyntheticImages:
    """Uniform random pixels under a concept's name, for the control 'noise'."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(count, 3, size, size, generator=generator)
    return SyntheticImages(concept=concept, pixels=pixels, seed=seed, source="noise", depicted="noise")


def resized(pixels: Images, size: int) -> Tensor:
    """The images, (n, 3, size, size), bicubic and clamped to [0, 1]; as they are if they have that size."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    return interpolate(pixels, size=(size, size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
