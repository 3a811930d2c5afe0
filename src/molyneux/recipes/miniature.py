"""A recipe in miniature: every stage of it, on tiny random models and drawings, to see that it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from molyneux.backends.options import TINY_SDXL
from molyneux.datasets.toy import SHAPES, draw_shapes, write_folder
from molyneux.files import new_folder
from molyneux.images.choices import taught_controls
from molyneux.recipes.schema import (
    CONCEPT,
    Captioning,
    Case,
    Classification,
    Cost,
    Experiment,
    Likeness,
    Localisation,
    Recipe,
    Retrieval,
    Sweep,
)
from molyneux.recipes.table import as_number

MEANINGLESS = "miniature: these numbers mean nothing but that it runs"

SIDE = 32
CONCEPTS, IMAGES, STEPS = 2, 2, 2
"""Of a recipe's concepts the first; images of each, and steps to make them."""

PHOTOS, MARKED = 8, 2
"""Photos of each class, for shares in small steps; marked images, which take longer."""

SWEPT = {"inversion.steps": (STEPS, 6), "inversion.images": (IMAGES, 256), "generation.images": (IMAGES, 8)}
"""Of settings that are made small, the values at the first and the last point of a sweep over them."""

FASTER, FINE = 1000, 100
"""How much larger fine-tuning's learning rate is, so that a few steps move a tiny model; the second where shares of
photos are the scores, which larger steps drive to all or none."""

EXTERNAL = "images"
"""The folder of what is drawn in place of a text-to-image model's images."""

KNOWN = ("tench", "goldfish", "hen")
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")


def in_miniature(recipe: Recipe, cases: Sequence[Case], root: Path, *, own_model: bool = False) -> tuple[Case, ...]:
    """The cases with tiny models, few steps, images and concepts, and of their numbers along an axis the ends.

    What a text-to-image model would image is drawn below `root`. With `own_model` the models stay.
    """
    points = {axis: tuple(dict.fromkeys(case.labels[axis] for case in cases)) for axis in recipe.axes}
    kept = {axis: _ends(found) for axis, found in points.items()}
    if recipe.axes.get(CONCEPT) == "each":
        kept[CONCEPT] = _first(cases)
    return tuple(
        Case(case.labels, _swept(recipe, points, case, _small(case.experiment, root, own_model)))
        for case in cases
        if all(label in kept[axis] for axis, label in case.labels.items())
    )


def tiny_model(name: str) -> str:
    """The tiny model of a model's family.

    >>> tiny_model("vilt:dandelin/vilt-b32-mlm-itm"), tiny_model("open_clip:coca_ViT-L-14/laion2b_s13b_b90k")
    ('tiny:vilt', 'tiny:coca')
    >>> tiny_model("open_clip:ViT-B-32/openai"), tiny_model("open_clip:ViT-L-14/openai")
    ('tiny:clip', 'tiny:clip-large')
    """
    for mark, family in (("medclip:", "medclip"), ("vilt:", "vilt"), ("coca_", "coca"), ("BiomedCLIP", "biomedclip")):
        if mark in name:
            return f"tiny:{family}"
    return "tiny:clip-large" if "ViT-L" in name else "tiny:clip"


def draw_data(experiments: Sequence[Experiment], root: Path) -> dict[str, Path]:
    """Draw what the experiments need, a folder below `root` for each data set; what is there already stays."""
    classes: dict[str, dict[str, None]] = {}
    found: dict[str, Path] = {}
    for experiment in experiments:
        task = experiment.evaluate
        if isinstance(task, Retrieval | Captioning | Localisation):
            found[task.data] = root / task.data
            if not found[task.data].exists():
                if isinstance(task, Localisation):
                    _draw_marked(found[task.data])
                else:
                    # the finer a recall, the smaller a change that it shows; each sentence takes time to write
                    _draw_captioned(found[task.data], SHAPES if isinstance(task, Retrieval) else SHAPES[:4])
        elif isinstance(task, Classification | Likeness):
            if task.novel is not None:
                for name in {task.novel, EXTERNAL} if experiment.images == str(root / EXTERNAL) else {task.novel}:
                    classes.setdefault(name, {}).update(dict.fromkeys(experiment.only))
            if isinstance(task, Classification) and task.known is not None:
                known = FINDINGS if "chexpert" in task.known else KNOWN
                classes.setdefault(task.known, {}).update(dict.fromkeys(known))
    for name, own in classes.items():
        found[name] = root / name
        if not found[name].exists():
            _draw_classes(found[name], tuple(own), seed=1 if name == EXTERNAL else 0)
    found.pop(EXTERNAL, None)
    return found


def _ends(points: Sequence[str]) -> set[str]:
    """All points, or of three numbers and more the first and the last, beside what is no number."""
    numbers = [point for point in points if as_number(point) is not None]
    inner = set(numbers[1:-1])
    return {point for point in points if point not in inner}


def _first(cases: Sequence[Case]) -> set[str]:
    """The first concepts of each file, where each is taught alone."""
    files: dict[str, dict[str, None]] = {}
    for case in cases:
        files.setdefault(case.experiment.concepts, {})[case.labels[CONCEPT]] = None
    return {name for names in files.values() for name in [*names][:CONCEPTS]}


def _swept(recipe: Recipe, points: Mapping[str, Sequence[str]], case: Case, small: Experiment) -> Experiment:
    """The small experiment with what a sweep over a setting that was made small says of it: little, or more."""
    for axis, found in recipe.axes.items():
        for setting in found.settings if isinstance(found, Sweep) else ():
            if setting in SWEPT:
                group, _, name = setting.partition(".")
                change: dict[str, Any] = {name: SWEPT[setting][case.labels[axis] == points[axis][-1]]}
                small = small.model_copy(update={group: replace(getattr(small, group), **change)})
    return small


def _small(experiment: Experiment, root: Path, own_model: bool) -> Experiment:
    inversion = replace(
        experiment.inversion, images=IMAGES, steps=STEPS, size=0, view=0, growth=(), trace_every=1, canvas="pixels"
    )
    names = [one.name for one in experiment.read_concepts() if not experiment.only or one.name in experiment.only]
    task = experiment.evaluate
    if isinstance(task, Captioning):
        # Java takes seconds to start
        task = task.model_copy(update={"java": False, "decoding": replace(task.decoding, longest=6)})
    elif isinstance(task, Localisation):
        saliency = replace(task.saliency, block=0, steps=STEPS, draws=2)
        task = task.model_copy(update={"saliency": saliency, "sam": task.sam and "tiny:sam"})
    faster = FINE if isinstance(task, Classification) else FASTER
    images = experiment.images
    if isinstance(task, Cost) and images == "sdxl":
        images = f"sdxl:{TINY_SDXL}"
    elif images not in ("inverted", *taught_controls()):
        images = str(root / EXTERNAL)
    return experiment.model_copy(
        update={
            "model": experiment.model if own_model else tiny_model(experiment.model),
            "only": tuple(names[:CONCEPTS]),
            "inversion": inversion,
            "images": images,
            "generation": replace(experiment.generation, images=IMAGES, steps=STEPS),
            "evaluate": task,
            "teaching": experiment.teaching
            if experiment.teaching.objective.merges
            else replace(
                experiment.teaching,
                steps=min(experiment.teaching.steps, STEPS),
                epochs=min(experiment.teaching.epochs, 1),
                learning_rate=faster * experiment.teaching.learning_rate,
            ),
        }
    )


def _draw_classes(root: Path, names: Sequence[str], seed: int) -> None:
    shapes = {name: SHAPES[place % len(SHAPES)] for place, name in enumerate(names)}
    write_folder(root, {name: draw_shapes(shape, PHOTOS, SIDE, seed=seed) for name, shape in shapes.items()})


def _draw_captioned(root: Path, shapes: Sequence[str]) -> None:
    with new_folder(root) as target:
        (target / "images").mkdir()
        lines = ["image,caption"]
        for shape in shapes:
            (image,) = draw_shapes(shape, 1, SIDE, seed=1)
            image.save(target / "images" / f"{shape}.png")
            lines += [f"{shape}.png,a drawing of a {shape}.", f"{shape}.png,one {shape} on a plain ground"]
        (target / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _draw_marked(root: Path) -> None:
    """Discs on a plain ground, and where they are."""
    with new_folder(root) as target:
        for kind in ("images", "masks"):
            (target / kind).mkdir()
        for place in range(MARKED):
            box = (8 + 4 * place, 8, 24 + 4 * place, 24)
            for kind, ground, colour in (("images", "grey", "white"), ("masks", "black", "white")):
                image = Image.new("RGB", (2 * SIDE, 2 * SIDE), ground)
                ImageDraw.Draw(image).ellipse(box, fill=colour)
                image.save(target / kind / f"{place:02d}.png")
