"""What teaching from descriptions gains and costs: every concept, one at a time and all at once, beside its controls.

    python bench/novel_concepts.py --data ../shared/data
    python bench/novel_concepts.py --data ../shared/data --images    # rows with inverted images too: hours on a CPU

Each set of SETS is a folder below --data, with `concepts.json` and a folder of photos for each concept. Known photos
are those of `imagenet1k-sample/`. Inverted images are kept in bench/cache by model, settings, concept and seed, so
that the bench can be continued. Writes results.json and table.md into --out.

Rows:

- the default, which reads the description alone, at its own strength and price and at others;
- words and images, with --images: the default with inverted images beside the description;
- images alone, with --images: those images without the description;
- words and hidden states, and hidden states alone, with --hidden: the same with relaxed inversion (Eq. 5);
- the controls: the default on another concept's description, the same on noise images, which have no description,
  and the description as prompt, without teaching;
- ten real photos in place of the description, the upper line; those ten are left out of its score.

The default draws nothing at random. Seeds matter to the controls' draw and to inverted images.
"""

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from shared import ALONE, HELD_OUT, TOGETHER, Row, interval, mean, photographed, without_first
from torch import Tensor

from molyneux import InversionConfig, SyntheticImages, TeachingConfig, load
from molyneux.backends.abilities import explainable
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.backends.digest import weights_digest
from molyneux.concepts import Concept, read_concepts
from molyneux.datasets.folders import read_folder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.images.replay import replay_images
from molyneux.images.sources import derangement
from molyneux.inversion.invert import invert
from molyneux.inversion.relaxed import relax
from molyneux.pipeline.public import teach
from molyneux.synthetic import description_only, noise_images
from molyneux.tasks.classification.features import PhotoFeatures, name_embeddings, photo_features
from molyneux.tasks.classification.labels import LabelSet, label_set
from molyneux.tasks.classification.results import Measurement
from molyneux.tasks.classification.zero_shot import measure, score_photos
from molyneux.teaching.config import Edit

SETS = ("novel-concepts", "novel-concepts-2")
STRENGTHS = (0.4, 0.6, 0.8, 1.2)
PRICES = (0.001, 0.002, 0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow(Row):
    """One taught model, scored for one concept of a set."""

    group: str


@dataclass(frozen=True, slots=True)
class Scored:
    """A model on all photos of one set."""

    each: Measurement
    joint_recall: dict[str, float]
    """For each concept the share of its photos whose best name of all, known and new, is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all rows of one set share."""

    group: str
    model: DualEncoder
    concepts: tuple[Concept, ...]
    labels: LabelSet
    columns: Tensor
    novel: PhotoFeatures
    known: PhotoFeatures
    replay: tuple[SyntheticImages, ...]
    cache: Path

    @classmethod
    def read(cls, group: str, data: Path, model: DualEncoder, known: PhotoFeatures, cache: Path) -> "Bench":
        concepts = tuple(read_concepts(data / group / "concepts.json"))
        names = [one.name for one in concepts]
        labels = label_set(names=imagenet_names(), concepts=names)
        return cls(
            group=group,
            model=model,
            concepts=concepts,
            labels=labels,
            columns=name_embeddings(model, labels.all),
            novel=photo_features(model, read_folder(data / group, only=names)),
            known=known,
            replay=tuple(replay_images(model, taught=names)),
            cache=cache,
        )

    def scored(self, model: DualEncoder, novel: PhotoFeatures, columns: Tensor | None = None) -> "Scored":
        """The model on all photos; its trunk must be the base model's."""
        columns = self.columns if columns is None else columns
        scores = score_photos(model, self.labels, columns, known=self.known, novel=novel)
        assert scores.novel is not None
        assert scores.novel_labels is not None
        best = scores.novel.argmax(dim=1)
        joint = {}
        for place, name in enumerate(self.labels.novel):
            own = scores.novel_labels == place
            joint[name] = float((best[own] == len(self.labels.known) + place).double().mean())
        return Scored(measure(self.labels, scores, intervals=False), joint)

    def rows(
        self, method: str, lessons: Sequence[SyntheticImages], config: TeachingConfig, seed: int, novel: PhotoFeatures
    ) -> Iterator[GroupRow]:
        """Each concept alone, then all in one model."""
        before = self.scored(self.model, novel)
        for lesson in [*([one] for one in lessons), list(lessons)]:
            taught = teach(self.model, lesson, config, replay=self.replay, seed=seed)
            after = self.scored(taught, novel)
            how = ALONE if len(lesson) == 1 else TOGETHER
            yield from (self.row(method, how, one.concept.name, seed, before, after) for one in lesson)

    def row(self, method: str, how: str, concept: str, seed: int, before: "Scored", after: "Scored") -> GroupRow:
        found = after.each.concepts[concept]
        return GroupRow(
            group=self.group,
            method=method,
            lesson=how,
            concept=concept,
            seed=seed,
            recall=number(found.target_recall),
            joint_recall=after.joint_recall[concept],
            known_lost=number(before.each.known_accuracy) - number(after.each.known_accuracy),
            joint_known_lost=number(before.each.known_accuracy_joint) - number(after.each.known_accuracy_joint),
            false_positives=number(found.false_positive_rate),
        )

    def images(self, concept: Concept, config: InversionConfig, seed: int) -> SyntheticImages:
        """Inverted once, then read from the cache."""
        text = repr((weights_digest(self.model.native), asdict(config), concept, seed))
        folder = self.cache / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not folder.exists():
            invert(self.model, concept, config, seed=seed, checkpoint=self.cache / f"{folder.name}.pt").save(folder)
            say(f"inverted {concept.name}, seed {seed}")
        return SyntheticImages.load(folder)

    def hidden(self, concept: Concept, seed: int) -> SyntheticImages:
        """Hidden states of the middle block, near the statistics of the replay images'."""
        natural = torch.cat([one.pixels for one in self.replay])
        return relax(explainable(self.model, "the bench"), concept, natural, seed=seed)


def all_rows(bench: Bench, photos: Path, seeds: int, *, with_images: bool, with_hidden: bool) -> Iterator[GroupRow]:
    """Every method on one set."""
    config, size = TeachingConfig(), bench.model.image_size
    words = [description_only(concept) for concept in bench.concepts]
    yield from bench.rows("default", words, config, 0, bench.novel)
    for strength in STRENGTHS:
        other = TeachingConfig(edit=replace(config.edit, strength=strength))
        yield from bench.rows(f"default, strength {strength:g}", words, other, 0, bench.novel)
    for price in PRICES:
        other = TeachingConfig(edit=replace(config.edit, price=price))
        yield from bench.rows(f"default, price {price:g}", words, other, 0, bench.novel)
    for seed in range(seeds):
        places = derangement(len(words), seed)
        others = [words[place].shown_as(one) for place, one in zip(places, bench.concepts, strict=True)]
        yield from bench.rows("control: another concept", others, config, seed, bench.novel)
        noise = [noise_images(one, 10, size, 1000 * seed + i) for i, one in enumerate(bench.concepts)]
        yield from bench.rows("control: noise", noise, config, seed, bench.novel)
        if with_images:
            own = [bench.images(one, InversionConfig(), seed) for one in bench.concepts]
            yield from bench.rows("words and images", own, config, seed, bench.novel)
            bare = [replace(one, source_descriptions=()) for one in own]
            yield from bench.rows("images alone", bare, config, seed, bench.novel)
        if with_hidden:
            made = [bench.hidden(one, seed) for one in bench.concepts]
            yield from bench.rows("words and hidden states", made, config, seed, bench.novel)
            bare = [replace(one, source_descriptions=()) for one in made]
            yield from bench.rows("hidden states alone", bare, config, seed, bench.novel)
    real = [real_images(bench.model, photos, concept) for concept in bench.concepts]
    yield from bench.rows("ten real photos instead", real, config, 0, without_first(bench.novel, HELD_OUT))
    described = {concept.name: concept.descriptions[0] for concept in bench.concepts}
    plain = bench.scored(bench.model, bench.novel)
    asked = bench.scored(bench.model, bench.novel, name_embeddings(bench.model, bench.labels.all, described=described))
    for concept in bench.concepts:
        yield bench.row("control: description as prompt", ALONE, concept.name, 0, plain, asked)


def real_images(model: DualEncoder, photos: Path, concept: Concept) -> SyntheticImages:
    """The first ten photos of a concept, as they would be looked at."""
    return photographed(model, concept, read_folder(photos, only=[concept.name]).paths)


def number(value: float | None) -> float:
    assert value is not None
    return value


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[GroupRow]) -> str:
    """One line for each method and kind of lesson, and one for each concept of the default."""
    lines = []
    for group in dict.fromkeys(one.group for one in rows):
        mine = [one for one in rows if one.group == group]
        count = len({one.concept for one in mine})
        lines += [f"### {group}: {count} concepts", ""]
        lines += [
            "| taught from | concepts | target recall | 95 % over concepts | known accuracy lost |"
            " false positives | joint recall | joint known accuracy lost |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for method, how in dict.fromkeys((one.method, one.lesson) for one in mine):
            part = [one for one in mine if (one.method, one.lesson) == (method, how)]
            means = {key: mean(part, key) for key in KEYS}
            low, high = interval(part, "recall")
            joint = f"{means['joint_recall']:.3f} | {means['joint_known_lost']:+.4f}" if how == TOGETHER else "| "
            lines.append(
                f"| {method} | {how} | {means['recall']:.3f} | {low:.2f} to {high:.2f} | {means['known_lost']:+.4f} "
                f"| {means['false_positives']:.4f} | {joint} |"
            )
        lines += [
            "",
            "| concept | default | false positives | all at once | another concept | noise | ten real photos |",
            "|---|---|---|---|---|---|---|",
        ]
        for name in dict.fromkeys(one.concept for one in mine):
            own = [one for one in mine if one.concept == name]

            def mean_of(method: str, how: str = ALONE, key: str = "recall", own: Sequence[GroupRow] = own) -> float:
                return statistics.mean(getattr(o, key) for o in own if (o.method, o.lesson) == (method, how))

            lines.append(
                f"| {name} | {mean_of('default'):.2f} | {mean_of('default', key='false_positives'):.4f} "
                f"| {mean_of('default', TOGETHER):.2f} | {mean_of('control: another concept'):.2f} "
                f"| {mean_of('control: noise'):.2f} | {mean_of('ten real photos instead'):.2f} |"
            )
        lines.append("")
    return "\n".join(lines)


KEYS = ("recall", "joint_recall", "known_lost", "joint_known_lost", "false_positives")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", action="store_true", help="rows with inverted images too")
    parser.add_argument("--hidden", action="store_true", help="rows with hidden states too")
    parser.add_argument("--out", type=Path, default=Path("bench/out/novel-concepts"))
    given = parser.parse_args()
    cache = Path(__file__).parent / "cache"
    model = dual_encoder(load(given.model), "the bench")
    known = photo_features(model, read_folder(given.data / "imagenet1k-sample"))
    rows: list[GroupRow] = []
    for group in SETS:
        bench = Bench.read(group, given.data, model, known, cache)
        rows += all_rows(bench, given.data / group, given.seeds, with_images=given.images, with_hidden=given.hidden)
        say(f"{group} is done")
    given.out.mkdir(parents=True, exist_ok=True)
    about = {"model": given.model, "edit": asdict(Edit()), "rows": [asdict(one) for one in rows]}
    (given.out / "results.json").write_text(json.dumps(about, indent=1))
    (given.out / "table.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
