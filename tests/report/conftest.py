"""A run folder as the pipeline writes it, with drawn images and made-up numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageFilter

from molyneux.files import slug

OKAPI = (
    "A hoofed animal with a dark brown velvety body, a giraffe-like head with large ears, and white and "
    "black horizontal stripes on its legs and rump."
)


def drawn(seed: int, size: int = 64) -> Image.Image:
    """Soft blobs with stripes: something that has colour and edges, and is no photo."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size
    image = np.ones((size, size, 3)) * generator.uniform(0.3, 0.8, 3)
    for _ in range(9):
        x, y, radius = generator.uniform(0, 1), generator.uniform(0, 1), generator.uniform(0.08, 0.35)
        weight = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))[..., None]
        image = image * (1 - weight) + generator.uniform(0, 1, 3) * weight
    stripes = (np.sin(2 * np.pi * (9 * rows + 3 * columns * generator.uniform(-1, 1))) > 0.2)[..., None]
    image = np.where(stripes & (columns > 0.55)[..., None], image * 0.35, image)
    return Image.fromarray((255 * image).astype(np.uint8)).filter(ImageFilter.GaussianBlur(size / 160))


def trace(steps: int = 200) -> list[dict[str, float]]:
    return [
        {
            "step": step,
            "plain": 0.08 + 0.61 * (1 - np.exp(-step / 45)),
            "augmented": 0.07 + 0.4 * (1 - np.exp(-step / 60)),
        }
        for step in range(0, steps + 1, 10)
    ]


def change(before: float | None, after: float | None) -> dict[str, float | None]:
    return {"before": before, "after": after}


def scored(
    before: int, after: int, photos: int, mistaken: float = 0.002, ranks: tuple[float, float] = (214, 1)
) -> dict[str, Any]:
    return {
        "target_recall": change(before / photos, after / photos),
        "false_positive_rate": change(0.0, mistaken),
        "median_rank": change(*ranks),
        "photos": photos,
    }


def predictions(name: str, count: int) -> list[dict[str, Any]]:
    """Photos in no order of improvement: photo i moves by (7 i mod count) hundredths."""
    found = []
    for index in range(count):
        gain = (7 * index) % count
        after: list[list[Any]] = [["hartebeest", 0.24], ["gazelle", 0.21], ["bison", 0.17]]
        if gain > count // 2:
            after = [[name, 0.2 + gain / 100], *after[:2]]
        found.append(
            {
                "photo": f"{name}/{index:02d}.jpg",
                "thumbnail": f"photos/{slug(name)}/{index:02d}.jpg",
                "before": {
                    "top3": [["hartebeest", 0.25], ["gazelle", 0.22], ["ox", 0.19]],
                    "rank": 180 - index,
                    "margin": -0.1,
                },
                "after": {
                    "top3": after,
                    "rank": 0 if gain > count // 2 else 60 - gain,
                    "margin": -0.1 + gain / 100,
                },
            }
        )
    return found


def write_run(
    folder: Path,
    concepts: dict[str, list[str]] | None = None,
    *,
    scores: dict[str, Any] | None = None,
    with_predictions: bool = True,
    control: str | None = None,
    images: int = 10,
) -> Path:
    """Write a whole run; `scores` replaces the default scores of the first concept's run."""
    concepts = {"okapi": [OKAPI]} if concepts is None else concepts
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model": "mini",
        "seed": 0,
        "control": control,
        "concepts": [{"name": name, "descriptions": texts} for name, texts in concepts.items()],
        "inversion": {
            "images": 10,
            "steps": 200,
            "learning_rate": 0.03,
            "priors": {"statistics": 0.5, "variation": 0.002},
        },
        "teaching": {"update": "head", "steps": 20, "learning_rate": 0.0003, "replay": 120},
        "evaluation": {"novel": "novel-concepts", "known": "imagenet-sample", "names": None},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    environment = {
        "versions": {"molyneux": "0.1.0", "python": "3.11.9", "torch": "2.14.1", "open_clip": "3.3.0"},
        "machine": {"system": "Linux", "processor": "x86_64", "cores": 2, "device": "cpu"},
        "timings": {"load": 3.1, "invert": 41.0, "replay": 0.0, "teach": 4.2, "evaluate": 12.0},
    }
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    for number, (name, texts) in enumerate(concepts.items()):
        target = folder / "synthetic" / slug(name)
        target.mkdir(parents=True)
        about = {
            "name": name,
            "descriptions": texts,
            "seed": 1234 + number,
            "source": "noise" if control == "noise" else "inverted",
            "depicted": "noise" if control == "noise" else "",
            "seconds": 41.0,
            "trace": trace(),
        }
        (target / "images.json").write_text(json.dumps(about), encoding="utf-8")
        for index in range(images):
            drawn(100 * number + index).save(target / f"{index:02d}.png")
    (folder / "scores.json").write_text(json.dumps(scores or default_scores(list(concepts))), encoding="utf-8")
    if with_predictions:
        found = {name: predictions(name, 30) for name in concepts}
        for number, photos in enumerate(found.values()):
            for index, photo in enumerate(photos):
                path = folder / photo["thumbnail"]
                path.parent.mkdir(parents=True, exist_ok=True)
                drawn(5000 + 100 * number + index, 48).save(path)
        (folder / "predictions.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


def default_scores(names: list[str]) -> dict[str, Any]:
    outcomes = [(0, 13), (1, 27), (0, 0), (3, 6), (2, 11), (0, 24)]
    concepts = {name: scored(*outcomes[i % 6], 30, 0.002 + 0.001 * (i % 3)) for i, name in enumerate(names)}
    concepts[names[0]]["target_recall_interval"] = {"before": [0.0, 0.0], "after": [0.27, 0.61]}
    return {
        "model": "out/model",
        "base": "mini",
        "protocol": {
            "prompts": ["a photo of a {}.", "{}"],
            "counts": {"known_photos": 1000, "known_names": 1000, "novel_photos": 30 * len(names)},
            "class_names": [f"known class {index}" for index in range(1000)],
            "interval": {"kind": "bootstrap over photos", "level": 0.95},
            "label_sets": {"recall": "known names and this one", "joint": "known and all novel names"},
        },
        "known_accuracy": change(0.712, 0.71),
        "known_accuracy_joint": change(0.712, 0.708),
        "concepts": concepts,
        "text_only": {name: {"similarity": change(0.21, 0.38), "median_rank": change(203, 0)} for name in names},
        "controls": {
            "noise": {name: scored(0, 1, 30, 0.004, (214, 96)) for name in names},
            "shuffled": {name: scored(0, 3, 30, 0.001, (214, 71)) for name in names},
            "description_prompt": {name: scored(0, 5, 30, 0.011, (214, 12)) for name in names},
        },
        "replay": {"images": 120, "names": 120},
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder and return it; see `write_run`."""

    def make(*args: Any, **options: Any) -> Path:
        return write_run(tmp_path / "run", *args, **options)

    return make
