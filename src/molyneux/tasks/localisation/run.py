"""`molyneux localise`: marked images in; where models see a text in them, and how that lies on the marks, out."""

import csv
import io
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from molyneux.backends.abilities import Explainable, explainable
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.options import Running
from molyneux.backends.sam import Seen as SeenBySam
from molyneux.backends.sam import Segmenter, load_segmenter
from molyneux.datasets.marked import Marked, MarkedSet
from molyneux.datasets.names import name_key
from molyneux.datasets.segmented import read_marked
from molyneux.errors import ConfigError, DataError
from molyneux.files import slug, write_bytes, write_text
from molyneux.records import SCORES, read_record
from molyneux.runs.folder import check_out, open_run
from molyneux.runs.options import Progress
from molyneux.runs.stage import Stage
from molyneux.tasks.classification.results import bootstrap
from molyneux.tasks.localisation.config import MaskConfig, SaliencyConfig
from molyneux.tasks.localisation.maps import grids
from molyneux.tasks.localisation.masks import boxes, coarse_mask, image_library, largest, pieces, points
from molyneux.tasks.localisation.page import GALLERY, Panel, Shown, write_gallery
from molyneux.tasks.localisation.record import (
    Chance,
    HeatSpreads,
    LocaliseProtocol,
    LocaliseResult,
    MaskSpreads,
    Seen,
    Spread,
    Stages,
)
from molyneux.tasks.localisation.saliency import chosen_block, heat
from molyneux.tasks.localisation.scores import MEANING, Row, change, heat_row, mask_row, summary

TABLE, IMAGES = "images.csv", "images"

GIBBERISH = "blorp zanth quiv mertle"
"""A text that means nothing: what a heat map owes to the image alone, whatever is asked for."""

ASKED = ("text", "gibberish")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocaliseSettings:
    """What to look for in which images, with which models, and where the results go."""

    model: str
    images: str | Path
    """'NAME:FOLDER' or a folder: see `read_marked`."""
    out: Path
    """New, or that of the same job to continue it."""
    texts: tuple[str, ...] = ()
    """What is looked for: the mean direction of these. Without any, what the set says is marked, in `template`."""
    template: str = "a photo of a {}."
    base: str | None = None
    """A model to show as 'before'."""
    controls: Mapping[str, str] = field(default_factory=dict)
    """Models taught on what cannot help, such as noise, by what that is; scored in the same way."""
    sam: str | None = None
    """A folder or a name on the hub; without one, the masks made of heat maps are the last ones."""
    saliency: SaliencyConfig = field(default_factory=SaliencyConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    category: str | None = None
    """What the set calls the masks that count, where it names what is marked; else the one that a text names."""
    gibberish: str = GIBBERISH
    limit: int = 0
    """How many images are taken; 0 is all."""
    limit_seed: int | None = None
    """From which seed these are drawn; None takes them evenly over the set."""
    shown: int = 10
    """How many of the best, and of the worst, the gallery shows."""
    batch: int = 8
    called: str | None = None
    """What results and pages call the model, where its folder says nothing."""
    running: Running = field(default_factory=Running)

    def __post_init__(self) -> None:
        for name, least in (("limit", 0), ("shown", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least {least}")
        if "{}" not in self.template:
            raise ConfigError(f"the template {self.template!r} has no place for a name: expected {{}} in it")

    def resolved(self) -> dict[str, Any]:
        """Plain data for YAML: everything that decides the result."""
        plain = asdict(self)
        del plain["out"], plain["batch"]
        for name in ("category", "limit_seed", "called"):
            if plain[name] is None:
                del plain[name]
        return plain | {"images": str(self.images), "texts": list(self.texts), "controls": dict(self.controls)}


def localise_set(settings: LocaliseSettings, *, on_step: Progress | None = None) -> LocaliseResult:
    """Heat maps, masks and their scores for a set of marked images; `settings.out` gets a report and a gallery.

    Every heat map and mask stands beside those of a text that means nothing. Images are squeezed to the model's
    square, and maps are stretched back. Finished images are kept, so that an interrupted job goes on. Of a set that
    names what is marked, the masks of one category count: `category`, or the one that a text names. Images without
    masks get heat maps and masks, and no scores.

    Raises:
        ConfigError: if there is nothing to look for, the texts name no category of the set or several, a model has no
            such block, or scipy is not installed.
        DataError: if the set is not there or not as expected, or nothing is marked in an image.
        ModelError: if a model cannot be loaded, cannot be explained, or a text is too long for it.
        OutputError: if `out` holds something else.
    """
    resolved = settings.resolved()
    check_out(settings.out, resolved)
    image_library()
    marked, category = _of_category(read_marked(settings.images), settings)
    items = _chosen(marked, settings.limit, settings.limit_seed)
    for item in items:
        _texts(settings, item)
    running = asdict(settings.running)
    named = {"after": settings.model} | ({} if settings.base is None else {"before": settings.base})
    named |= {f"control {name}": model for name, model in settings.controls.items()}
    models = {role: explainable(load(name, **running), "localising") for role, name in named.items()}
    for model in models.values():
        chosen_block(model, settings.saliency)
    targets = {role: _targets(model, settings, items) for role, model in models.items()}
    segmenter = None if settings.sam is None else load_segmenter(settings.sam, settings.running.device)
    weights = {named[role]: weights_digest(model.native) for role, model in models.items()}
    folder = open_run(settings.out, resolved, weights, on_step)
    run = LocaliseRun(settings, marked, items, models, targets, segmenter, folder.root, category)
    folder.run(run.stages(on_step))
    folder.finish()
    return read_record(LocaliseResult, folder.root / SCORES)


@dataclass(frozen=True, slots=True)
class LocaliseRun:
    """What the stages of one run share."""

    settings: LocaliseSettings
    marked: MarkedSet
    items: Sequence[Marked]
    models: Mapping[str, Explainable]
    targets: Mapping[str, Tensor]
    """For each model what is looked for in each image, and last the text that means nothing."""
    segmenter: Segmenter | None
    root: Path
    category: str | None = None

    def stages(self, on_step: Progress | None) -> Iterator[Stage]:
        """Maps and masks of every image, a batch at a time, then the scores of all."""
        about = self.settings.resolved()
        for start in range(0, len(self.items), self.settings.batch):
            # an image always has the same company, for the sake of the last digits
            places = range(start, min(start + self.settings.batch, len(self.items)))
            files = tuple(self._file(self.items[place]) for place in places)
            make = partial(self.explain, places, on_step)
            yield Stage(name=f"images/{start}", inputs=about, files=files, make=make)
        yield Stage(name="scores", inputs=about, files=(SCORES, TABLE, GALLERY, "report.html"), make=self.score)

    def explain(self, places: Sequence[int], on_step: Progress | None) -> None:
        """Maps and masks of some images, in a file for each."""
        images = [_checked(self.items[place]) for place in places]
        grids = {f"{role} {asked}": self._grids(role, asked, places, images) for role in self.models for asked in ASKED}
        for row, (place, image) in enumerate(zip(places, images, strict=True)):
            found = {name: grid[row] for name, grid in grids.items()}
            found |= self._masks(image, found)
            file = self.root / self._file(self.items[place])
            write_bytes(file, save({key: one.contiguous() for key, one in found.items()}))
            if on_step is not None:
                on_step("images", place + 1, len(self.items))

    def score(self) -> None:
        """The numbers of all images, a table of them, and a gallery."""
        rows = [self.rows(item) for item in self.items]
        _write_table(self.root / TABLE, self.items, rows)
        write_gallery(self.root, self.result(rows), self.gallery(rows))

    def result(self, rows: Sequence[Mapping[str, Row]]) -> LocaliseResult:
        """What the rows come to."""
        protocol = _protocol(self.settings, self.marked, self.models, len(rows), self.category)
        return _scores(self.settings, self.marked, self.models, rows, protocol)

    def rows(self, item: Marked) -> dict[str, dict[str, float]]:
        """A finished image's numbers, by 'ROLE ASKED STAGE'; without a truth, the masks' shares of the image."""
        kept = load_file(self.root / self._file(item))
        if item.truth is None:
            masks = {name: value for name, value in kept.items() if value.dtype == torch.bool}
            return {name: {"share": value.double().mean().item()} for name, value in masks.items()}
        true = item.truth()
        size = (true.shape[0], true.shape[1])
        found: dict[str, dict[str, float]] = {"image": {"mask_share": true.double().mean().item()}}
        for name, value in kept.items():
            if value.dtype == torch.bool:
                found[name] = mask_row(value, true)
            else:
                found[f"{name} heat"] = heat_row(heat(value[None], size)[0], true)
        return found

    def gallery(self, rows: Sequence[Mapping[str, Row]]) -> list[Shown]:
        """The images with the best and the worst last mask; with a base, those that changed most, either way.

        Without masks to compare with, the first ones and the last.
        """
        stage = "mask" if self.segmenter is None else "sam"
        moments = ["before", "after"] if "before" in self.models else ["after"]
        value = [
            row[f"after text {stage}"].get("dice", 0.0)
            - (row[f"before text {stage}"].get("dice", 0.0) if len(moments) > 1 else 0.0)
            for row in rows
        ]
        order = sorted(range(len(rows)), key=lambda place: (-value[place], place))
        count = self.settings.shown
        chosen = order if len(order) <= 2 * count else [*order[:count], *order[len(order) - count :]]
        return [self._shown(place, rows[place], moments, stage) for place in chosen]

    def _grids(self, role: str, asked: str, places: Sequence[int], photos: Sequence[Image.Image]) -> Tensor:
        model, targets = self.models[role], self.targets[role]
        wanted = targets[list(places)] if asked == "text" else targets[-1:].expand(len(places), -1)
        return grids(model, photos, wanted, self.settings.saliency)

    def _masks(self, image: Image.Image, grids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        size = (image.height, image.width)
        seen = None if self.segmenter is None else self.segmenter.look(image)
        found = {}
        for name, grid in grids.items():
            coarse = coarse_mask(heat(grid[None], size)[0], self.settings.masks)
            found[f"{name} mask"] = coarse
            if seen is not None:
                found[f"{name} sam"] = self._asked(seen, coarse)
        return found

    def _asked(self, seen: SeenBySam, coarse: Tensor) -> Tensor:
        """SAM's mask for a coarse one, as many of its pieces kept as the coarse one has."""
        assert self.segmenter is not None
        config = self.settings.masks
        if config.ask == "points":
            generator = torch.Generator().manual_seed(self.settings.saliency.seed)
            fine = self.segmenter.at_points(seen, points(coarse, config.points, generator))
        else:
            fine = self.segmenter.in_boxes(seen, boxes(coarse, each=config.ask == "boxes"))
        return largest(fine.any(dim=0), max(1, pieces(coarse)))

    def _shown(self, place: int, rows: Mapping[str, Row], moments: Sequence[str], stage: str) -> Shown:
        item = self.items[place]
        kept = load_file(self.root / self._file(item))
        image = item.image()
        size = (image.height, image.width)
        panels = [] if item.truth is None else [Panel("marked", item.truth())]
        for moment in moments:
            label = f", {moment}" if len(moments) > 1 else ""
            mask = f"{moment} text {stage}"
            panels.append(Panel(f"heat{label}", heat(kept[f"{moment} text"][None], size)[0]))
            dice = f", Dice {rows[mask]['dice']:.2f}" if "dice" in rows[mask] else ""
            panels.append(Panel(f"mask{label}{dice}", kept[mask]))
        panels.append(Panel("heat of no meaning", heat(kept["after gibberish"][None], size)[0]))
        return Shown(item.name, _texts(self.settings, item), image, tuple(panels))

    def _file(self, item: Marked) -> str:
        return f"{IMAGES}/{slug(item.name)}.safetensors"


def _checked(item: Marked) -> Image.Image:
    """The image, once it is seen that its mask can be read."""
    image = item.image()
    if item.truth is None:
        return image
    true = item.truth()
    if true.shape != (image.height, image.width):
        raise DataError(
            f"the mask of {item.name!r} has {true.shape[1]} x {true.shape[0]} pixels: expected its image's "
            f"{image.width} x {image.height}"
        )
    return image


def _chosen(marked: MarkedSet, limit: int, seed: int | None) -> list[Marked]:
    """That many images in the set's order: evenly over it, or drawn from a seed by their names alone."""
    count = len(marked) if limit == 0 else min(limit, len(marked))
    if seed is not None:
        names = sorted(item.name for item in marked.items)
        drawn = set(random.Random(seed).sample(names, count))
        return [item for item in marked.items if item.name in drawn]
    return [marked.items[place * len(marked) // count] for place in range(count)]


def _of_category(marked: MarkedSet, settings: LocaliseSettings) -> tuple[MarkedSet, str | None]:
    """The images whose marks are what is looked for, and what the set calls that; None where it does not matter.

    Raises:
        ConfigError: if the set names what is marked, and nobody says which of it is looked for.
    """
    known, asked = marked.categories, settings.category
    listed = ", ".join(map(repr, known[:8])) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
    if asked is not None:
        chosen = [name for name in known if name_key(name) == name_key(asked)]
        if not chosen:
            marks = f"marks {listed}" if known else "does not name what is marked"
            raise ConfigError(f"{settings.images} {marks}, not the category {asked!r}: choose one of its own")
    elif settings.texts and known:
        chosen = sorted({name for text in settings.texts for name in _named(text, known)})
        if len(chosen) != 1:
            found = " and ".join(map(repr, chosen)) or "none of it"
            raise ConfigError(
                f"{settings.images} marks {listed}, and the text names {found}: say with a category (--category) whose "
                "masks it is scored against"
            )
    else:
        return marked, None
    items = tuple(item for item in marked.items if item.sought in chosen)
    others = len(marked) - len(items)
    note = f"{others} of {len(marked)} marked images are left out: what is marked is no {chosen[0]!r}"
    return replace(marked, items=items, notes=(*marked.notes, *([note] if others else []))), chosen[0]


def _named(text: str, categories: Sequence[str]) -> list[str]:
    """The categories that a text names as words of their own, without those within another's name."""
    spans = {}
    for name in categories:
        words = r"\s+".join(map(re.escape, name_key(name).split()))
        for match in re.finditer(rf"(?<!\w){words}(?!\w)", name_key(text)):
            spans[match.span()] = name
    return [
        name
        for (start, end), name in spans.items()
        if not any(first <= start and end <= last and (first, last) != (start, end) for first, last in spans)
    ]


def _texts(settings: LocaliseSettings, item: Marked) -> tuple[str, ...]:
    """What is looked for in an image.

    Raises:
        ConfigError: if nobody says.
    """
    if settings.texts:
        if not all(text.strip() for text in settings.texts):
            raise ConfigError("a text to look for is empty: expected words, such as 'a dog'")
        return settings.texts
    if item.sought is None:
        raise ConfigError(f"nothing to look for: {settings.images} does not say what is marked; give a text")
    return (settings.template.format(item.sought),)


def _targets(model: Explainable, settings: LocaliseSettings, items: Sequence[Marked]) -> Tensor:
    wanted = [*(_texts(settings, item) for item in items), (settings.gibberish,)]
    known: dict[tuple[str, ...], Tensor] = {}
    for texts in dict.fromkeys(wanted):
        mean = model.embed_texts(texts).mean(dim=0)
        known[texts] = mean / mean.norm()
    return torch.stack([known[texts] for texts in wanted])


def _scores(
    settings: LocaliseSettings,
    marked: MarkedSet,
    models: Mapping[str, Explainable],
    rows: Sequence[Mapping[str, Row]],
    protocol: LocaliseProtocol,
) -> LocaliseResult:
    if not marked.is_marked:
        nothing: dict[str, Any] = {} if settings.base is None else {"before": None, "change": None}
        return LocaliseResult(
            version=1,
            model=settings.called or settings.model,
            base=settings.base,
            chance=None,
            protocol=protocol,
            after=None,
            controls={},
            **nothing,
        )

    def of(role: str, asked: str, stage: str) -> list[Row]:
        return [row[f"{role} {asked} {stage}"] for row in rows]

    def stages(numbers: Callable[[str], dict[str, Spread]]) -> Stages:
        sam = {} if settings.sam is None else {"sam": MaskSpreads(**numbers("sam"))}
        return Stages(heat=HeatSpreads(**numbers("heat")), mask=MaskSpreads(**numbers("mask")), **sam)

    def one(role: str) -> Seen:
        return Seen(
            text=stages(lambda stage: summary(of(role, "text", stage))),
            gibberish=stages(lambda stage: summary(of(role, "gibberish", stage))),
            text_minus_gibberish=stages(lambda stage: change(of(role, "gibberish", stage), of(role, "text", stage))),
        )

    compared: dict[str, Any] = {}
    if "before" in models:
        rose = stages(lambda stage: change(of("before", "text", stage), of("after", "text", stage)))
        compared = {"before": one("before"), "change": rose}
    share = sum(row["image"]["mask_share"] for row in rows) / len(rows)
    return LocaliseResult(
        version=1,
        model=settings.called or settings.model,
        base=settings.base,
        chance=Chance(energy_ratio=1.0, pointing=share),
        protocol=protocol,
        after=one("after"),
        controls={name: one(f"control {name}") for name in settings.controls},
        **compared,
    )


def _protocol(
    settings: LocaliseSettings,
    marked: MarkedSet,
    models: Mapping[str, Explainable],
    images: int,
    category: str | None,
) -> LocaliseProtocol:
    more: dict[str, Any] = {} if category is None else {"category": category}
    notes = (*marked.notes, *(() if marked.is_marked else ("the images have no masks, so nothing is scored",)))
    if notes:
        more["notes"] = notes
    return LocaliseProtocol(
        set=str(settings.images),
        images=images,
        marked_images=len(marked) if marked.is_marked else 0,
        left_out=marked.left_out,
        texts=settings.texts or (f"{settings.template} (what the set says is marked)",),
        gibberish=settings.gibberish,
        saliency=asdict(settings.saliency),
        blocks={role: (chosen_block(model, settings.saliency), model.block_count) for role, model in models.items()},
        masks=asdict(settings.masks),
        sam=settings.sam or "not computed: no SAM given",
        image="squeezed to the model's square; maps are stretched back to the image's size",
        metrics=MEANING,
        interval=bootstrap("bootstrap over images; of differences, paired"),
        **more,
    )


def _write_table(path: Path, items: Sequence[Marked], rows: Sequence[Mapping[str, Row]]) -> None:
    """A line for each image, a column for each number."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", *(name for name, _ in _cells(rows[0]))])
    for item, row in zip(items, rows, strict=True):
        writer.writerow([item.name, *(f"{value:.6g}" for _, value in _cells(row))])
    write_text(path, buffer.getvalue())


def _cells(row: Mapping[str, Row]) -> Iterator[tuple[str, float]]:
    for place in sorted(row):
        for metric, value in row[place].items():
            yield f"{place} {metric}", value
