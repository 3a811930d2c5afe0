"""Synthetic images of a concept: what inversion returns and teaching takes."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, final, overload

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate

from molyneux.arguments import check_pixels
from molyneux.concepts import Concept
from molyneux.errors import ConceptError, DataError
from molyneux.files import new_folder
from molyneux.records import IMAGES, ImagesRecord, TracePoint, read_record, write_record
from molyneux.shapes import Images

NO_IMAGES = "none"
"""The source of what is taught from descriptions alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticImages:
    """The images of one concept, and where they come from."""

    concept: Concept
    pixels: Images
    """RGB in [0, 1], on the CPU; none where there are hidden states."""
    seed: int
    hidden: Tensor | None = None
    """Hidden states of the vision tower instead of images, from relaxed inversion (Eq. 5), on the CPU."""
    block: int | None = None
    """After how many blocks the hidden states lie."""
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

    def __post_init__(self) -> None:
        check_pixels(self.pixels, f"images of {self.concept.name!r}")
        if self.pixels.is_inference():
            # with such a tensor no gradients can be computed
            with torch.inference_mode(False):
                object.__setattr__(self, "pixels", self.pixels.clone())

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def samples(self) -> int:
        """Number of images, or of hidden states."""
        return len(self.pixels) if self.hidden is None else len(self.hidden)

    @overload
    def __getitem__(self, place: int) -> Image.Image: ...
    @overload
    def __getitem__(self, place: slice) -> "SyntheticImages": ...
    def __getitem__(self, place: int | slice) -> "Image.Image | SyntheticImages":
        """One image as PIL's, or several as a value of their own."""
        return replace(self, pixels=self.pixels[place]) if isinstance(place, slice) else as_png(self.pixels[place])

    def __repr__(self) -> str:
        ends = f", similarity {self.trace[-1].plain:.2f}" if self.trace else ""
        size = f" of {self.pixels.shape[3]} x {self.pixels.shape[2]} pixels" if len(self) else ""
        if self.hidden is not None:
            return f"<{len(self.hidden)} hidden states of {self.concept.name!r} after block {self.block}{ends}>"
        return f"<{len(self)} {self.source} images of {self.concept.name!r}{size}, seed {self.seed}{ends}>"

    def images(self) -> list[Image.Image]:
        """All images as PIL's, 8-bit RGB."""
        return [as_png(image) for image in self.pixels]

    def plot(self, axes: Any = None) -> Any:
        """Draw how similar the images became to their text, step by step; returns matplotlib's axes.

        Args:
            axes: what to draw on; new axes if None.

        Raises:
            DataError: if the images have no trace.
        """
        if not self.trace:
            raise DataError(f"the images of {self.concept.name!r} have no trace: only inversion keeps one")
        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.subplots()[1]
        steps = [point.step for point in self.trace]
        axes.plot(steps, [point.augmented for point in self.trace], label="fresh views")
        axes.plot(steps, [point.plain for point in self.trace], label="as they are")
        axes.set(xlabel="step", ylabel="similarity to the description", title=self.concept.name)
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{escape(text)}</p>" for text in self.concept.descriptions)
        shown = "".join(f'<img src="{_data_uri(image)}" alt="image {place}">' for place, image in enumerate(self, 1))
        return f"<div><b>{escape(self.concept.name)}</b>{said}{shown}<p>{escape(repr(self)[1:-1])}</p></div>"

    def __iter__(self) -> Iterator[Image.Image]:
        return map(as_png, self.pixels)

    def shown_as(self, concept: Concept) -> "SyntheticImages":
        """The same images under another concept's name, for the control 'shuffled'."""
        return replace(self, concept=concept, depicted=self.depicted or self.concept.name)

    def save(self, folder: Path) -> None:
        """Write `images.safetensors` (the data, if any), `images.json` (the rest) and a PNG per image for people."""
        with new_folder(folder) as target:
            hidden = {} if self.hidden is None else {"hidden": self.hidden.contiguous()}
            if self.source != NO_IMAGES:
                save_file({"pixels": self.pixels.contiguous(), **hidden}, target / "images.safetensors")
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
                block=self.block,
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
            none = about.source == NO_IMAGES
            tensors = {"pixels": _no_pixels()} if none else load_file(folder / "images.safetensors")
            pixels, hidden = tensors["pixels"], tensors.get("hidden")
            if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
                raise ValueError(f"the pixels are {pixels.dtype} of shape {tuple(pixels.shape)}")
            if (hidden is None) != (about.block is None):
                raise ValueError("hidden states and their block's number go together")
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
                hidden=hidden,
                block=about.block,
            )
        except (OSError, KeyError, ValueError, SafetensorError, ConceptError, DataError) as error:
            raise DataError(
                f"{folder} holds no synthetic images that can be read ({error}): repeat the command that made them"
            ) from error


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


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def description_only(concept: Concept) -> SyntheticImages:
    """No images, only the descriptions: an edit is computed from those alone."""
    return SyntheticImages(
        concept=concept,
        pixels=_no_pixels(),
        seed=0,
        source=NO_IMAGES,
        depicted=concept.name,
        source_descriptions=concept.descriptions,
    )


def _no_pixels() -> torch.Tensor:
    return torch.zeros(0, 3, 1, 1)


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
