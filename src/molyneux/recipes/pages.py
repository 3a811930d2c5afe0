"""The pages of a recipe: its numbers and plot with links to what there is to look at, and images beside photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from molyneux.backends.base import VisionLanguageModel, dual_encoder
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.names import name_key
from molyneux.datasets.photos import load_batch, read_photo
from molyneux.files import write_text
from molyneux.recipes.plots import PLOT
from molyneux.recipes.schema import Recipe
from molyneux.recipes.table import NO_NUMBER, number, titles_compared
from molyneux.report.pages import data_uri, embedded, fill
from molyneux.synthetic import SyntheticImages, noise_images

PAGE = "report.html"
SIDE = 200
"""Longest side of an embedded image, in pixels."""

WIDE = 1600
"""The same of the plot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A concept's images above photos of it."""

    name: str
    descriptions: Sequence[str]
    images: Sequence[str]
    photos: Sequence[str]
    likeness: Mapping[str, str]
    """Mean cosine to the description, as text, by of what."""


def write_report(
    root: Path, recipe: Recipe, found: Sequence[Mapping[str, Any]], pages: Mapping[str, str], notes: Sequence[str]
) -> None:
    """Write `report.html`: the table, the plot, and links to the pages that experiments left."""
    compared = titles_compared(recipe, found)
    titles = {column.title: column.title in compared for column in recipe.columns.values()}
    rows = [
        (
            [row["at"][axis] for axis in recipe.axes],
            [
                (number(row["values"][title]["ours"]), number(row["values"][title]["paper"]) if there else None)
                for title, there in titles.items()
            ],
        )
        for row in found
    ]
    rows += [
        (
            [system, *[NO_NUMBER] * (len(recipe.axes) - 1)],
            [(NO_NUMBER, number(numbers.get(title)) if there else None) for title, there in titles.items()],
        )
        for system, numbers in recipe.others.items()
    ]
    plot = root / PLOT
    page = fill(
        "recipes/page.html",
        recipe=recipe,
        titles=titles,
        rows=rows,
        pages=pages,
        notes=notes,
        plot=embedded(plot, WIDE) if plot.is_file() else "",
    )
    write_text(root / PAGE, page)


def show_likeness(
    model: VisionLanguageModel,
    made: Sequence[SyntheticImages],
    photos: PhotoFolder,
    path: Path,
    *,
    called: str,
    shown: int,
    seed: int,
) -> dict[str, Any]:
    """Mean cosines to the description of a concept's images, of photos of it, and of noise; a page with both.

    `called` is what the page calls the model.

    Returns:
        by concept {'images', 'photos', 'noise'}, and 'mean' over concepts.
    """
    reader = dual_encoder(model, "comparing images")
    found, cards = {}, []
    for one in made:
        name = one.concept.name
        label = [name_key(other) for other in photos.names].index(name_key(name))
        paths = [photo.path for photo in photos.photos if photo.label == label]
        with torch.no_grad():
            text = reader.embed_texts(one.concept.descriptions).mean(dim=0)
            text = text / text.norm()
            groups = {
                "images": one.pixels,
                "photos": load_batch(paths, reader.image_size, reader.crop_fraction, reader.photo_fit, photos.window),
                "noise": noise_images(one.concept, len(one), reader.image_size, seed).pixels,
            }
            found[name] = {
                key: float((reader.embed_images(pixels.to(reader.device)) @ text).mean())
                for key, pixels in groups.items()
            }
        cards.append(
            Beside(
                name=name,
                descriptions=one.concept.descriptions,
                images=[data_uri(image, SIDE) for image in one.images()[:shown]],
                photos=[data_uri(read_photo(path, photos.window), SIDE) for path in paths[:shown]],
                likeness={key: f"{value:.3f}" for key, value in found[name].items()},
            )
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, fill("recipes/likeness.html", model=called, cards=cards))
    mean = {key: sum(one[key] for one in found.values()) / len(found) for key in ("images", "photos", "noise")}
    return {"concepts": found, "mean": mean}
