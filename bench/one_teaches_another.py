r"""Question 2 of the paper (B.4): are inverted images of use to another model, or only to the one that made them?

    python bench/one_teaches_another.py --models mini drawn --concepts ../shared/data/novel-concepts/concepts.json \
        --novel ../shared/data/novel-concepts --known ../shared/data/imagenet1k-sample

Every model inverts each concept. Every model is then taught each concept from every model's images alone, without the
description, and from two controls: noise, and the maker's images of another concept. Two tables come of it:

- how a model reads images before it is taught: cosine to the description, and the share of images whose own
  description is nearer than those of all other concepts;
- what it learns: target recall, false positives and known accuracy lost, on photos.

Models that live in different worlds need photos of their own: give --novel and --known once for each model. Inverted
images are kept in bench/cache. Writes results.json and table.md into --out.
"""

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from molyneux import InversionConfig, SyntheticImages, TeachingConfig, evaluate, invert, load, teach
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.backends.digest import weights_digest
from molyneux.concepts import Concept, read_concepts
from molyneux.images.replay import replay_images
from molyneux.images.sources import derangement
from molyneux.synthetic import noise_images
from molyneux.teaching.objectives.base import embedded

PRESETS = {"default": TeachingConfig, "paper": TeachingConfig.paper}
NOISE, OTHERS = "control: noise", "control: another concept's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How one model reads another's images of a concept, before it is taught."""

    reader: str
    maker: str
    concept: str
    seed: int
    cosine: float
    nearest: float
    """Share of images that are nearer to their own description than to those of the other concepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What one model learns of a concept from another's images."""

    pupil: str
    maker: str
    images: str
    """Whose images, or which control's."""
    concept: str
    seed: int
    recall: float
    recall_before: float
    false_positives: float
    known_lost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pupil:
    """A model and the photos that it is measured on."""

    name: str
    model: DualEncoder
    novel: Path
    known: Path
    replay: tuple[SyntheticImages, ...]


def read(pupil: Pupil, maker: str, made: Sequence[SyntheticImages], seed: int) -> Iterator[Reading]:
    """How the model reads images of all concepts."""
    texts = torch.cat([described(pupil.model, one.concept) for one in made])
    for place, one in enumerate(made):
        with torch.no_grad():
            cosines = embedded(pupil.model, one) @ texts.T
        yield Reading(
            reader=pupil.name,
            maker=maker,
            concept=one.concept.name,
            seed=seed,
            cosine=float(cosines[:, place].mean()),
            nearest=float((cosines.argmax(dim=1) == place).double().mean()),
        )


def described(model: DualEncoder, concept: Concept) -> torch.Tensor:
    """The mean direction of a concept's descriptions, (1, d)."""
    mean = model.embed_texts(concept.descriptions).mean(dim=0, keepdim=True)
    return mean / mean.norm()


def learn(
    pupil: Pupil, maker: str, images: str, lessons: Sequence[SyntheticImages], config: TeachingConfig, seed: int
) -> Iterator[Learning]:
    """One lesson for each concept, and its scores."""
    for lesson in lessons:
        name = lesson.concept.name
        taught = teach(pupil.model, lesson, config, replay=pupil.replay if config.uses_replay else (), seed=seed)
        scores = evaluate(taught, novel=pupil.novel, known=pupil.known, concepts=[name], base=pupil.model).as_dict()
        found = scores["concepts"][name]
        yield Learning(
            pupil=pupil.name,
            maker=maker,
            images=images,
            concept=name,
            seed=seed,
            recall=found["target_recall"]["after"],
            recall_before=found["target_recall"]["before"],
            false_positives=found["false_positive_rate"]["after"],
            known_lost=scores["known_accuracy"]["before"] - scores["known_accuracy"]["after"],
        )


def images_of(
    pupil: Pupil, concept: Concept, config: InversionConfig, seed: int, cache: Path | None
) -> SyntheticImages:
    """Inverted once, then read from the cache; without their description, so that images alone teach."""
    if cache is None:
        return bare(invert(pupil.model, concept, config, seed=seed))
    text = repr((weights_digest(pupil.model.native), asdict(config), concept, seed))
    folder = cache / hashlib.sha256(text.encode()).hexdigest()[:16]
    if not folder.exists():
        invert(pupil.model, concept, config, seed=seed, checkpoint=cache / f"{folder.name}.pt").save(folder)
        print(f"{pupil.name} inverted {concept.name}, seed {seed}", file=sys.stderr, flush=True)
    return bare(SyntheticImages.load(folder))


def bare(images: SyntheticImages) -> SyntheticImages:
    return replace(images, source_descriptions=())


def compare(
    pupils: Sequence[Pupil],
    concepts: Sequence[Concept],
    inversion: InversionConfig,
    config: TeachingConfig,
    seeds: int,
    cache: Path | None = None,
) -> tuple[list[Reading], list[Learning]]:
    """Every model's images, read and learned from by every model."""
    readings: list[Reading] = []
    learned: list[Learning] = []
    for seed in range(seeds):
        made = {one.name: [images_of(one, concept, inversion, seed, cache) for concept in concepts] for one in pupils}
        places = derangement(len(concepts), seed)
        for pupil in pupils:
            noise = [
                bare(noise_images(one, inversion.images, pupil.model.image_size, 1000 * seed + place))
                for place, one in enumerate(concepts)
            ]
            learned += learn(pupil, "", NOISE, noise, config, seed)
            for maker, images in made.items():
                readings += read(pupil, maker, images, seed)
                whose = "its own" if maker == pupil.name else f"of {maker}"
                learned += learn(pupil, maker, whose, images, config, seed)
                others = [images[place].shown_as(one) for place, one in zip(places, concepts, strict=True)]
                learned += learn(pupil, maker, OTHERS, others, config, seed)
    return readings, learned


def table(readings: Sequence[Reading], learned: Sequence[Learning]) -> str:
    """Both tables, means over concepts and seeds."""
    lines = ["| read by | images of | cosine to the description | own description is nearest |", "|---|---|---|---|"]
    for reader, maker in dict.fromkeys((one.reader, one.maker) for one in readings):
        part = [one for one in readings if (one.reader, one.maker) == (reader, maker)]
        lines.append(f"| {reader} | {maker} | {mean(part, 'cosine'):.3f} | {mean(part, 'nearest'):.2f} |")
    lines += [
        "",
        "| taught | images | made by | recall before | recall | false positives | known accuracy lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for pupil, images, maker in dict.fromkeys((one.pupil, one.images, one.maker) for one in learned):
        rows = [one for one in learned if (one.pupil, one.images, one.maker) == (pupil, images, maker)]
        lines.append(
            f"| {pupil} | {images} | {maker} | {mean(rows, 'recall_before'):.3f} | {mean(rows, 'recall'):.3f} "
            f"| {mean(rows, 'false_positives'):.4f} | {mean(rows, 'known_lost'):+.4f} |"
        )
    return "\n".join(lines)


def mean(rows: Sequence[Reading | Learning], key: str) -> float:
    return statistics.mean(getattr(one, key) for one in rows)


def one_for_each(given: Sequence[Path], models: Sequence[str], flag: str) -> Mapping[str, Path]:
    """A folder for each model: one for all, or as many as there are models."""
    if len(given) not in (1, len(models)):
        raise SystemExit(f"{flag} has {len(given)} folders: expected one, or one for each of {len(models)} models")
    return dict(zip(models, given if len(given) > 1 else list(given) * len(models), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="two or more, as `molyneux.load` takes them")
    parser.add_argument("--concepts", type=Path, required=True, help="a concept file")
    parser.add_argument("--novel", type=Path, nargs="+", required=True, help="photos of the concepts")
    parser.add_argument("--known", type=Path, nargs="+", required=True, help="photos of known classes")
    parser.add_argument("--preset", choices=PRESETS, default="default", help="of teaching")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--steps", type=int, default=InversionConfig().steps)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / "cache")
    parser.add_argument("--out", type=Path, default=Path("bench/out/one-teaches-another"))
    given = parser.parse_args(arguments)
    concepts = tuple(read_concepts(given.concepts))
    novel, known = (one_for_each(getattr(given, key), given.models, f"--{key}") for key in ("novel", "known"))
    config, pupils = PRESETS[given.preset](), []
    for name in given.models:
        model = dual_encoder(load(name), "the bench")
        replay = tuple(replay_images(model, taught=[one.name for one in concepts])) if config.uses_replay else ()
        pupils.append(Pupil(name=name, model=model, novel=novel[name], known=known[name], replay=replay))
    inversion = InversionConfig(images=given.images, steps=given.steps)
    readings, learned = compare(pupils, concepts, inversion, config, given.seeds, given.cache)
    given.out.mkdir(parents=True, exist_ok=True)
    about = {"models": given.models, "preset": given.preset, "inversion": asdict(inversion)}
    rows = {"readings": [asdict(one) for one in readings], "learned": [asdict(one) for one in learned]}
    (given.out / "results.json").write_text(json.dumps(about | rows, indent=1))
    (given.out / "table.md").write_text(table(readings, learned) + "\n")
    print(table(readings, learned))


if __name__ == "__main__":
    main()
