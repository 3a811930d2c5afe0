"""Draw the README's picture: `mini` on real photos, before and after it was taught 'pagoda' from one sentence.

    python scripts/draw_readme_photo.py

Runs `molyneux teach` three times: on the description, on noise and on another concept's images and description (the
two controls). Asks the four models about the photos in docs/photos, among ImageNet's names and 'pagoda'. Writes
docs/recognised.png, and every answer into docs/recognised.json. About two minutes on one core. A finished model
in --work is used again.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import molyneux
from molyneux.cli.main import run
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.photos import load_batch

NAME = "pagoda"
DESCRIPTION = "A tall tower of several storeys, each with its own tiled roof whose corners curve upwards."
PHOTO = "summer-palace.jpg"
OTHERS = ("coffee.jpg", "cat.jpg", "astronaut.jpg", "rocket.jpg")
"""None of these shows the concept: a changed answer is part of the price."""
LESSONS = {"description": (), "noise": ("--control", "noise"), "shuffled": ("--control", "shuffled")}
LABELS = {
    "before": "before",
    "noise": "taught from noise",
    "shuffled": "taught from another sentence",
    "description": "taught from its sentence",
}
DOCS = Path(__file__).parents[1] / "docs"

GREY, ORANGE, INK = "#b9c0c9", "#e07a1f", "#20242a"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one model says about one photo."""

    best: list[tuple[str, float]]
    """The five best names, each with its share of the soft-max over all names at the model's own temperature."""
    rank: int
    """Of the concept's name, counted from 1."""
    share: float
    """Of the concept's name."""


def taught(work: Path, lesson: str) -> str:
    """The folder of the model taught so, now or before."""
    folder = work / lesson
    if not (folder / "report.html").exists():
        arguments = ["teach", NAME, "--description", DESCRIPTION, "--out", str(folder)]
        code = run([*arguments, "--no-fresh", "--no-controls", *LESSONS[lesson]])
        if code:
            raise SystemExit(code)
    return str(folder / "model")


@torch.no_grad()
def answers(model_name: str, photos: list[Path]) -> dict[str, Answer]:
    """The model's answers for each photo, among ImageNet's distinct names and the concept's."""
    model = molyneux.load(model_name)
    names = [*dict.fromkeys(imagenet_names()), NAME]
    texts = model.embed_texts([f"a photo of a {name}." for name in names])
    pixels = load_batch(photos, model.image_size, model.crop_fraction)
    shares = (model.embed_images(pixels) @ texts.T / model.temperature).softmax(dim=1)
    found = {}
    for path, row in zip(photos, shares, strict=True):
        values, places = row.topk(5)
        best = [(names[place], value) for place, value in zip(places.tolist(), values.tolist(), strict=True)]
        found[path.name] = Answer(best=best, rank=int((row > row[-1]).sum()) + 1, share=float(row[-1]))
    return found


def draw(found: dict[str, dict[str, Answer]], out: Path) -> None:
    """The photo with three lists of bars, above the photos that show something else."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.family": "DejaVu Sans", "text.color": INK})
    figure = pyplot.figure(figsize=(11, 5.2), facecolor="white")
    above, below = figure.add_gridspec(
        2, 1, height_ratios=(1.3, 1), hspace=0.3, left=0.02, right=0.985, top=0.9, bottom=0.1
    )
    places = above.subgridspec(1, 4, width_ratios=(1.75, 1.1, 1.1, 1.1), wspace=0.12)
    picture(figure.add_subplot(places[0]), PHOTO)
    before, after = found["before"], found["description"]
    bars(figure.add_subplot(places[1]), "before", before[PHOTO].best)
    bars(figure.add_subplot(places[2]), "after reading one sentence", after[PHOTO].best)
    rows = [(label, found[lesson][PHOTO].share) for lesson, label in LABELS.items()]
    bars(figure.add_subplot(places[3]), f"share of “{NAME}”", rows, chosen=LABELS["description"])
    strip = below.subgridspec(1, len(OTHERS), wspace=0.12)
    for place, name in enumerate(OTHERS):
        axis = figure.add_subplot(strip[place])
        picture(axis, name)
        old, new = before[name].best[0][0], after[name].best[0][0]
        text = f"{old}, before and after" if old == new else f"before: {old}, after: {new}"
        axis.set_title(text, fontsize=10, y=-0.19, color=INK if old == new else ORANGE)
    figure.text(0.02, 0.955, f"“{DESCRIPTION}”", fontsize=11.5, style="italic")
    figure.text(0.02, 0.452, "Photos of other things", fontsize=10, weight="bold")
    figure.savefig(out, dpi=100)
    with Image.open(out) as drawn:
        drawn.convert("RGB").quantize(256).save(out, optimize=True)


def picture(axis: Any, name: str) -> None:
    axis.imshow(Image.open(DOCS / "photos" / name))
    axis.set_axis_off()


def bars(axis: Any, title: str, rows: list[tuple[str, float]], chosen: str = NAME) -> None:
    """One bar a row from the top, all axes from 0 to 1."""
    for place, (label, share) in enumerate(rows):
        axis.barh(-place, share, height=0.3, color=ORANGE if label == chosen else GREY)
        weight = "bold" if label == chosen else "normal"
        axis.text(0, 0.25 - place, label, fontsize=9.5, va="bottom", weight=weight)
        axis.text(share + 0.02, -place, f"{share:.0%}", fontsize=9, va="center")
    axis.set_xlim(0, 1)
    axis.set_ylim(0.1 - max(len(rows), 5), 0.75)
    axis.set_title(title, fontsize=10, loc="left", weight="bold")
    axis.set_axis_off()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="where the taught models are kept; a temporary folder by default")
    parser.add_argument("--out", type=Path, default=DOCS / "recognised.png")
    options = parser.parse_args()
    photos = [DOCS / "photos" / name for name in (PHOTO, *OTHERS)]
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        found = {"before": answers("mini", photos)}
        found |= {lesson: answers(taught(work, lesson), photos) for lesson in LESSONS}
    plain = {model: {photo: asdict(answer) for photo, answer in own.items()} for model, own in found.items()}
    text = json.dumps({"concept": NAME, "description": DESCRIPTION, "answers": plain}, indent=1, ensure_ascii=False)
    options.out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    draw(found, options.out)
    for model, own in found.items():
        print(f"{model}: {NAME} has rank {own[PHOTO].rank} and {own[PHOTO].share:.0%}; it captures", end=" ")
        print(", ".join(name for name in OTHERS if own[name].rank == 1) or "no other photo")


if __name__ == "__main__":
    main()
