"""A run folder as the pipeline writes it, by the product's own records, with drawn images and made-up numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageFilter

from molyneux.files import slug
from molyneux.records import (
    CLASSES,
    CONFIG,
    ENVIRONMENT,
    IMAGES,
    PREDICTIONS,
    SCORES,
    Bootstrap,
    Classes,
    ClassResult,
    ConceptResult,
    ConceptTexts,
    CountPair,
    Counts,
    Environment,
    ImagesRecord,
    IntervalPair,
    KeptPrediction,
    Machine,
    ModelFacts,
    Opinion,
    Pair,
    Predictions,
    Protocol,
    RankPair,
    Reading,
    Replay,
    RunSettings,
    ScoringSettings,
    SharePair,
    TeachResult,
    TextOnly,
    TracePoint,
    write_record,
)

OKAPI = (
    "A hoofed animal with a dark brown velvety body, a giraffe-like head with large ears, and white and "
    "black horizontal stripes on its legs and rump."
)


KNOWN = tuple(f"known class {index}" for index in range(1000))


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


def trace(steps: int = 200) -> tuple[TracePoint, ...]:
    return tuple(
        TracePoint(
            step=step,
            plain=float(0.08 + 0.61 * (1 - np.exp(-step / 45))),
            augmented=float(0.07 + 0.4 * (1 - np.exp(-step / 60))),
        )
        for step in range(0, steps + 1, 10)
    )


def scored(
    before: int | None,
    after: int,
    photos: int = 30,
    mistaken: float = 0.002,
    ranks: tuple[float, float] = (214.0, 1.0),
    interval: tuple[float, float] = (0.0, 0.0),
) -> ConceptResult:
    """Counts of photos turned into a concept's numbers; without `before`, a control's."""

    def pair(kind: Any, earlier: Any, later: Any) -> Any:
        return kind(after=later) if before is None else kind(before=earlier, after=later)

    return ConceptResult(
        target_recall=pair(SharePair, (before or 0) / photos, after / photos),
        false_positive_rate=pair(SharePair, 0.0, mistaken),
        median_rank=pair(RankPair, *ranks),
        photos=photos,
        target_recall_interval=pair(IntervalPair, (0.0, 0.0), interval),
        false_positives=pair(CountPair, 0, round(1000 * mistaken)),
    )


def predictions(name: str, count: int) -> tuple[KeptPrediction, ...]:
    """Photos in no order of improvement: photo i moves by (7 i mod count) hundredths."""
    found = []
    for index in range(count):
        gain = (7 * index) % count
        right = gain > count // 2
        top = (("hartebeest", 0.24), ("gazelle", 0.21), ("bison", 0.17))
        found.append(
            KeptPrediction(
                path=f"{name}/{index:02d}.jpg",
                concept=name,
                before=Opinion(
                    top=(("hartebeest", 0.25), ("gazelle", 0.22), ("ox", 0.19)), rank=180 - index, margin=-0.1
                ),
                after=Opinion(
                    top=((name, 0.2 + gain / 100), *top[:2]) if right else top,
                    rank=0 if right else 60 - gain,
                    margin=-0.1 + gain / 100,
                ),
                thumbnail=f"photos/{slug(name)}/{index:02d}.jpg",
            )
        )
    return tuple(found)


def text_only() -> TextOnly:
    return TextOnly(
        similarity=Pair(before=0.21, after=0.38),
        median_rank=RankPair(before=412.0, after=3.0),
        replay_captured=SharePair(before=0.0, after=0.01),
        images=4,
        replay_images=120,
        means="read on fresh images",
        controls={
            "noise": Reading(
                similarity=Pair(after=0.22), median_rank=RankPair(after=90.0), replay_captured=SharePair(after=0.0)
            )
        },
    )


def result(names: list[str], **changed: Any) -> TeachResult:
    """A scored run's numbers."""
    outcomes = [(0, 13), (1, 27), (0, 0), (3, 6), (2, 11), (0, 24)]
    concepts = {name: scored(*outcomes[i % 6], mistaken=0.002 + 0.001 * (i % 3)) for i, name in enumerate(names)}
    concepts[names[0]] = scored(*outcomes[0], interval=(0.27, 0.61))
    given: dict[str, Any] = {
        "version": 1,
        "model": "model",
        "base": "mini",
        "protocol": Protocol(
            prompts=("a photo of a {}.", "{}"),
            templates=None,
            ensemble="embeddings",
            class_names="OpenAI's names",
            described={},
            naming="known and novel names alike stand in the prompts",
            score="cosine",
            known_names=KNOWN,
            novel_names=tuple(names),
            label_sets={"target_recall": "known names and this one", "known_accuracy_joint": "all names"},
            counts=Counts(known_names=1000, novel_names=len(names), known_photos=1000, novel_photos=30 * len(names)),
            known_folder="imagenet-sample",
            novel_folder="novel-concepts",
            image_size=224,
            crop_fraction=0.875,
            photo_fit="crop",
            preprocessing="the middle 224 x 224",
            interval=Bootstrap(kind="bootstrap over photos", level=0.95, resamples=1000, seed=0),
        ),
        "known_accuracy": SharePair(before=0.712, after=0.71),
        "known_accuracy_joint": SharePair(before=0.712, after=0.708),
        "concepts": concepts,
        "known_retention": 0.997,
        "controls": {
            "noise": {name: scored(None, 1, 30, 0.004, (214.0, 96.0)) for name in names},
            "shuffled": {name: scored(None, 3, 30, 0.001, (214.0, 71.0)) for name in names},
            "description_prompt": {name: scored(None, 5, 30, 0.011, (214.0, 12.0)) for name in names},
        },
        "replay": Replay(images=120, names=120),
        "descriptions": False,
    }
    return TeachResult(**(given | changed))


def write_run(
    folder: Path,
    concepts: dict[str, list[str]] | None = None,
    *,
    scores: TeachResult | None = None,
    with_predictions: bool = True,
    control: str | None = None,
    images: int = 10,
) -> Path:
    """Write a whole run; `scores` replaces the default scores."""
    concepts = {"okapi": [OKAPI]} if concepts is None else concepts
    folder.mkdir(parents=True, exist_ok=True)
    settings = RunSettings(
        version=1,
        model="mini",
        device="cpu",
        precision="fp32",
        long_text="error",
        seed=0,
        control=control,
        concepts=tuple(ConceptTexts(name=name, descriptions=tuple(texts)) for name, texts in concepts.items()),
        images_from=None,
        generation=None,
        inversion={"images": 10, "steps": 200, "learning_rate": 0.03, "priors": {"statistics": 0.5}},
        teaching={"update": "head", "steps": 20, "learning_rate": 0.0003, "replay": 120},
        replay=None,
        evaluation=ScoringSettings(
            novel="novel-concepts",
            known="imagenet-sample",
            names=None,
            class_names="openai",
            templates="one",
            ensemble="embeddings",
            controls=True,
        ),
        adapter_only=False,
        fresh=True,
    )
    (folder / CONFIG).write_text(yaml.safe_dump(settings.as_dict(), sort_keys=False), encoding="utf-8")
    environment = Environment(
        version=1,
        versions={"molyneux": "0.1.0", "python": "3.11.9", "torch": "2.14.1", "open_clip": "3.3.0"},
        machine=Machine(system="Linux", processor="x86_64", cores=2, device="cpu"),
        timings={"load": 3.1, "invert": 41.0, "replay": 0.0, "teach": 4.2, "evaluate": 12.0},
        weights={"mini": "sha256:0123"},
        model=ModelFacts(parameters=28_000_000, image_size=224),
        notes=(),
        command=("molyneux", "teach", *concepts, *(("--control", control) if control else ())),
    )
    write_record(folder / ENVIRONMENT, environment)
    for number, (name, texts) in enumerate(concepts.items()):
        target = folder / "synthetic" / slug(name)
        target.mkdir(parents=True)
        about = ImagesRecord(
            version=1,
            name=name,
            descriptions=tuple(texts),
            block=None,
            seed=1234 + number,
            source="noise" if control == "noise" else "inverted",
            depicted="noise" if control == "noise" else name,
            source_descriptions=tuple(texts),
            origin="",
            seconds=41.0,
            trace=trace(),
        )
        write_record(target / IMAGES, about)
        for index in range(images):
            drawn(100 * number + index).save(target / f"{index:02d}.png")
    write_record(folder / SCORES, scores or result(list(concepts)))
    known = {name: ClassResult(photos=1, accuracy=SharePair(before=1.0, after=1.0)) for name in KNOWN}
    write_record(folder / CLASSES, Classes(known))
    if with_predictions:
        found = {name: predictions(name, 30) for name in concepts}
        for number, photos in enumerate(found.values()):
            for index, photo in enumerate(photos):
                path = folder / str(photo.thumbnail)
                path.parent.mkdir(parents=True, exist_ok=True)
                drawn(5000 + 100 * number + index, 48).save(path)
        write_record(folder / PREDICTIONS, Predictions(found))
    return folder
