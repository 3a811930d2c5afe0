"""Measure a published checkpoint: what teaching from words gains and costs on it, on one page.

    python bench/published.py --model open_clip:ViT-B-32-quickgelu/openai --novel FOLDER --known FOLDER

NOVEL has a folder of photos for each concept, and `concepts.json` (or give --concepts FILE). KNOWN has one for each
known class. Photos are scored among --names, ImageNet's by default. The model is downloaded by the library that it
belongs to. The cost is told first, from one measured step of each kind; --dry-run ends there. What is finished is kept
in --out and not computed again, so an interrupted run goes on when its command is repeated.

It writes OUT/MODEL/README.md with tables, a plot and a verdict on the shipped default, and results.json. Of folders
they name the last part alone. Concepts without photos are left out, and said.

Rows, each for one concept at a time, and where nothing but the last layer moves also for all at once:

- words at the shipped strength and at others, each beside what pretending that known classes are new foretells of it;
- words and inverted images, and images alone, with --images;
- controls: another concept's description, noise images, and the description as prompt;
- ten photos in place of the description, the upper line; those ten are left out of its score;
- the paper's recipe at its learning rates, with --paper. It is scored on every fifth known photo, for the tower moves
  and every photo is seen anew.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from edits.pretend import forecast
from shared import ALONE, HELD_OUT, TOGETHER, Row, interval, mean, photographed, without_first
from torch import Tensor

from molyneux import InversionConfig, SyntheticImages, TeachingConfig, load
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.backends.digest import weights_digest
from molyneux.backends.packs import original_name
from molyneux.concepts import Concept, read_concepts
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.names import read_names, without
from molyneux.datasets.sets import read_set
from molyneux.errors import MolyneuxError
from molyneux.files import slug, write_text
from molyneux.images.config import ReplayConfig
from molyneux.images.replay import replay_images, shipped_set
from molyneux.images.sources import derangement
from molyneux.inversion.invert import invert
from molyneux.pipeline.public import teach
from molyneux.runs.environment import installed
from molyneux.runs.folder import threads
from molyneux.runs.stage import StageFolder, digest
from molyneux.synthetic import description_only, noise_images
from molyneux.tasks.classification.features import PhotoFeatures, name_embeddings, photo_features
from molyneux.tasks.classification.labels import LabelSet, label_set
from molyneux.tasks.classification.open_set import (
    auroc,
    calibration_error,
    false_positives_at,
    harmonic_mean,
    margins,
)
from molyneux.tasks.classification.zero_shot import PhotoScores, score_photos
from molyneux.teaching.descriptions import known_texts
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.edit import known_embeddings

SHIPPED = TeachingConfig().edit.strength
STRENGTHS = tuple(sorted({0.4, 0.6, 0.8, SHIPPED, 1.2, 1.4}))
PAPER_RATES = (1e-5, 2e-5, 3e-5, 5e-5, 1e-4)
PRICE = 0.01
"""False positives at which recalls are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRow(Row):
    """With the measures of an open set."""

    harmonic: float
    """Of the recall and the known accuracy."""
    auroc: float
    """Of the new name's margin: its photos against photos of known classes."""
    fpr95: float
    auroc_open: float
    """Its photos against those of the other concepts, whose names are not there."""
    calibration: float
    """Calibration error on photos of known classes, the new name being there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of a concept's recall by the default and by a control."""

    concept: str
    recall: float


KEYS = ("recall", "false_positives", "known_lost", "harmonic", "auroc", "fpr95", "auroc_open", "calibration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A model, and what it is scored on."""

    model: DualEncoder
    concepts: tuple[Concept, ...]
    labels: LabelSet
    novel: PhotoFolder
    known: PhotoFolder
    folder: StageFolder
    about: dict[str, Any]
    """What decides every result."""

    @property
    def replay(self) -> tuple[SyntheticImages, ...]:
        return tuple(replay_images(self.model, taught=self.labels.novel, on_step=say_step))

    def features(self, model: DualEncoder, every: int = 1) -> tuple[PhotoFeatures, PhotoFeatures]:
        """Of the novel and of the known photos, or of every so many of the latter."""
        known = replace(self.known, photos=self.known.photos[::every])
        return photo_features(model, self.novel, say_step), photo_features(model, known, say_step)

    def rows(self, method: str, seed: int, compute: Callable[[], Iterator[FullRow]], **about: Any) -> list[FullRow]:
        """The rows, computed unless they are there."""
        inputs = self.about | about | {"method": method, "seed": seed}
        found = self.folder.value(f"{method}/{seed}", inputs, lambda: [asdict(row) for row in compute()])
        say(f"{method}, seed {seed}: done")
        return [FullRow(**row) for row in found]


def score(
    bench: Bench, model: DualEncoder, columns: Tensor, seen: tuple[PhotoFeatures, PhotoFeatures]
) -> tuple[PhotoScores, Tensor]:
    """Scores of all photos, and the soft-max's probabilities on the known ones."""
    novel, known = seen
    scores = score_photos(model, bench.labels, columns, known=known, novel=novel)
    assert scores.known is not None
    return scores, scores.known / model.temperature


def measured(
    bench: Bench,
    method: str,
    lesson: str,
    seed: int,
    concepts: Sequence[Concept],
    before: tuple[PhotoScores, Tensor],
    after: tuple[PhotoScores, Tensor],
) -> Iterator[FullRow]:
    """A row for each concept of a taught model."""
    count, names = len(bench.labels.known), [one.name for one in concepts]
    (old, _), (new, logits) = before, after
    assert old.known is not None
    assert old.known_labels is not None
    assert new.known is not None
    assert new.novel is not None
    assert new.novel_labels is not None
    places = [bench.labels.novel.index(name) for name in names]
    columns = [*range(count), *(count + place for place in places)]
    right = partial(share_right, labels=old.known_labels)
    accuracy = right(new.known[:, :count])
    for place, name in zip(places, names, strict=True):
        own = new.novel_labels == place
        column = count + place
        known, novel = (
            margins(new.known[:, :count], new.known[:, column]),
            margins(new.novel[:, :count], new.novel[:, column]),
        )
        best = new.novel[own][:, columns].argmax(dim=1)
        joined = [*range(count), column]
        recall = float((novel[own] > 0).double().mean())
        yield FullRow(
            method=method,
            lesson=lesson,
            concept=name,
            seed=seed,
            recall=recall,
            false_positives=float((known > 0).double().mean()),
            known_lost=right(old.known[:, :count]) - accuracy,
            joint_recall=float((best == columns.index(column)).double().mean()),
            joint_known_lost=right(old.known[:, columns]) - right(new.known[:, columns]),
            harmonic=harmonic_mean(recall, accuracy),
            auroc=auroc(novel[own], known),
            fpr95=false_positives_at(novel[own], known),
            auroc_open=auroc(novel[own], novel[~own]) if (~own).any() else float("nan"),
            calibration=calibration_error(logits[:, joined].softmax(dim=1), old.known_labels),
        )


def share_right(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(dim=1) == labels).double().mean())


def edited_rows(
    bench: Bench,
    method: str,
    lessons: Sequence[SyntheticImages],
    config: TeachingConfig,
    seed: int,
    seen: tuple[PhotoFeatures, PhotoFeatures],
    replay: Sequence[SyntheticImages],
) -> Iterator[FullRow]:
    """Each concept alone, then all in one model; the trunk stays, so photos are seen once."""
    before = score(bench, bench.model, name_embeddings(bench.model, bench.labels.all), seen)
    for lesson in [*([one] for one in lessons), *([list(lessons)] if len(lessons) > 1 else [])]:
        taught = teach(bench.model, lesson, config, known=bench.labels.known, replay=replay, seed=seed)
        after = score(bench, taught, name_embeddings(taught, bench.labels.all), seen)
        how = ALONE if len(lesson) == 1 else TOGETHER
        yield from measured(bench, method, how, seed, [one.concept for one in lesson], before, after)


def paper_rows(
    bench: Bench, rate: float, steps: int, seed: int, images: Sequence[SyntheticImages]
) -> Iterator[FullRow]:
    """The paper's recipe on each concept; the tower moves, so every photo is seen again."""
    old = bench.features(bench.model, every=5)
    before = score(bench, bench.model, name_embeddings(bench.model, bench.labels.all), old)
    for one in images:
        taught = fine_tune(bench.model, [one], TeachingConfig.paper(rate), seed=seed)
        after = score(bench, taught, name_embeddings(taught, bench.labels.all), bench.features(taught, every=5))
        yield from measured(bench, f"paper, {steps} steps, rate {rate:g}", ALONE, seed, [one.concept], before, after)


def paper_inversion(model: DualEncoder, steps: int) -> InversionConfig:
    """The paper's, its canvas growing by the same factors up to this model's side."""
    side = model.image_size
    growth = tuple((at, max(1, round(side * pixels / 224))) for at, pixels in InversionConfig.paper(steps).growth)
    return replace(InversionConfig.paper(steps), size=0, view=0, growth=growth)


def label(strength: float) -> str:
    """What the rows taught from words alone are called."""
    return "words, the default" if strength == SHIPPED else f"words, strength {strength:g}"


def all_rows(bench: Bench, options: argparse.Namespace) -> list[FullRow]:
    """Every method, each from its record where it is finished."""
    seen, replay, config = bench.features(bench.model), bench.replay, TeachingConfig()
    words = [description_only(concept) for concept in bench.concepts]
    found: list[FullRow] = []

    def edits(
        method: str, lessons: Sequence[SyntheticImages], config: TeachingConfig, seed: int = 0, **about: Any
    ) -> None:
        own = partial(edited_rows, bench, method, lessons, config, seed, about.pop("seen", seen), replay)
        found.extend(bench.rows(method, seed, own, teaching=asdict(config), **about))

    for strength in STRENGTHS:
        edits(label(strength), words, replace(config, edit=replace(config.edit, strength=strength)))
    for seed in range(options.seeds):
        if len(words) > 1:
            places = derangement(len(words), seed)
            edits(
                "control: another concept",
                [words[place].shown_as(one) for place, one in zip(places, bench.concepts, strict=True)],
                config,
                seed,
            )
        size = bench.model.image_size
        noise = [noise_images(one, 10, size, 1000 * seed + place) for place, one in enumerate(bench.concepts)]
        edits("control: noise", noise, config, seed)
        if options.images:
            inversion = replace(InversionConfig(), images=options.count, steps=options.steps or InversionConfig().steps)
            own = [inverted(bench, one, inversion, seed) for one in bench.concepts]
            edits("words and images", own, config, seed, inversion=asdict(inversion))
            bare = [replace(one, source_descriptions=()) for one in own]
            edits("images alone", bare, config, seed, inversion=asdict(inversion))
        if options.paper:
            inversion = replace(paper_inversion(bench.model, options.paper_steps), images=options.count)
            made = [inverted(bench, one, inversion, seed) for one in bench.concepts]
            for rate in PAPER_RATES:
                rows = partial(paper_rows, bench, rate, options.paper_steps, seed, made)
                found += bench.rows(f"paper, rate {rate:g}", seed, rows, inversion=asdict(inversion))
    photos = [ten_photos(bench, one) for one in bench.concepts]
    edits("ten photos instead", photos, config, seen=(without_first(seen[0], HELD_OUT), seen[1]))
    found += bench.rows("control: description as prompt", 0, partial(prompt_rows, bench, seen))
    return found


def foretold(bench: Bench, replay: Sequence[SyntheticImages]) -> list[dict[str, float]]:
    """What pretending that known classes are new foretells of each strength, without a photo.

    Empty where no replay image is of a known name.
    """
    texts = list(known_texts(bench.model, bench.labels.known))
    shown = [one for one in replay if one.concept.name in texts]
    if len(shown) < 2:
        return []
    classes = torch.tensor([texts.index(one.concept.name) for one in shown for _ in range(len(one))])
    edit = TeachingConfig().edit

    def compute() -> list[dict[str, float]]:
        with torch.no_grad():
            known = known_embeddings(bench.model, bench.labels.known, (), shown)
            found = [(one, forecast(known, classes, replace(edit, strength=one))) for one in STRENGTHS]
        return [
            {"strength": one, "recall": float(told.recall.mean()), "price": float(told.price.mean())}
            for one, told in found
        ]

    return list(bench.folder.value("forecast", bench.about | {"strengths": list(STRENGTHS)}, compute))


def prompt_rows(bench: Bench, seen: tuple[PhotoFeatures, PhotoFeatures]) -> Iterator[FullRow]:
    described = {one.name: one.descriptions[0] for one in bench.concepts}
    before = score(bench, bench.model, name_embeddings(bench.model, bench.labels.all), seen)
    asked = score(bench, bench.model, name_embeddings(bench.model, bench.labels.all, described=described), seen)
    for one in bench.concepts:
        yield from measured(bench, "control: description as prompt", ALONE, 0, [one], before, asked)


def inverted(bench: Bench, concept: Concept, config: InversionConfig, seed: int) -> SyntheticImages:
    """Inverted once, then read; an interrupted inversion goes on from its checkpoint."""
    name = f"{slug(concept.name)}-{seed}-{digest(asdict(config))}"
    folder, checkpoint = bench.folder.root / "images" / name, bench.folder.root / "images" / f"{name}.pt"
    if not folder.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        told = partial(say_step, f"inverting {concept.name}")
        invert(bench.model, concept, config, seed=seed, checkpoint=checkpoint, on_step=told).save(folder)
    return SyntheticImages.load(folder)


def ten_photos(bench: Bench, concept: Concept) -> SyntheticImages:
    """The first ten photos of a concept, in place of its description."""
    place = [name.casefold() for name in bench.novel.names].index(concept.name.casefold())
    paths = [photo.path for photo in bench.novel.photos if photo.label == place]
    return photographed(bench.model, concept, paths)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_LAST = [0.0]


def say_step(what: str, done: int, total: int) -> None:
    """One line every ten seconds."""
    if time.monotonic() - _LAST[0] > 10:
        _LAST[0] = time.monotonic()
        say(f"  {what}: {done} of {total}")


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cost(bench: Bench, options: argparse.Namespace) -> list[tuple[str, float]]:
    """What each part will take, in seconds, from one measured step of each kind; finished parts are not subtracted."""
    model, config = bench.model, InversionConfig()
    texts = [f"{place} {bench.concepts[0].descriptions[0]}" for place in range(8)]
    text = seconds(lambda: model.encode_texts(texts)) / len(texts)
    photos = [photo.path for photo in bench.known.photos[:8]]
    photo = seconds(lambda: photo_features(model, replace(bench.known, photos=bench.known.photos[:8]))) / len(photos)
    one = replace(config, images=1, steps=2)
    step = seconds(lambda: invert(model, bench.concepts[0], one, seed=0)) / 2
    known, novel, concepts = len(bench.known.photos), len(bench.novel.photos), len(bench.concepts)
    replay = ReplayConfig()
    lesson = seconds(lambda: short_lesson(bench, texts)) - text * (2 * len(texts) + 2) - photo * 2
    edits = len(STRENGTHS) + 1 + options.seeds * (4 if options.images else 2)
    parts = [
        ("reading known names and descriptions", text * 2 * len(bench.labels.known)),
        ("looking at the photos", photo * (known + novel)),
        ("edits", max(0.0, lesson) * edits * (concepts + 1)),
    ]
    if shipped_set(original_name(model), replay) is None:
        parts.append(("replay images, once for this model", step * replay.count * replay.inversion.steps))
    if options.images:
        steps = options.steps or config.steps
        parts.append(("inverted images", step * options.count * steps * concepts * options.seeds))
    if options.paper:
        lessons = concepts * options.seeds * len(PAPER_RATES)
        parts.append(("the paper's inversion", step * options.count * options.paper_steps * concepts * options.seeds))
        parts.append(("photos seen by the paper's models", lessons * photo * (known / 5 + novel)))
    return parts


def short_lesson(bench: Bench, texts: Sequence[str]) -> None:
    """An edit beside a few known names, with two images of noise for the replay."""
    size = bench.model.image_size
    seen = [noise_images(Concept(f"noise {place}", "Noise."), 1, size, place) for place in range(2)]
    known = {f"a known thing {place}": text for place, text in enumerate(texts)}
    fine_tune(bench.model, [description_only(bench.concepts[0])], TeachingConfig(), known=known, replay=seen)


def table(rows: Sequence[FullRow]) -> str:
    """One line for each method, one concept at a time; then all at once."""
    lines = [
        "| taught from | target recall | 95 % over concepts | false positives | known accuracy lost | harmonic mean "
        "| AUROC | FPR95 | AUROC, open set | calibration error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method and row.lesson == ALONE]
        low, high = interval(own, "recall")
        cells = [
            f"{mean(own, key):.4f}" if key in ("false_positives", "known_lost") else f"{mean(own, key):.3f}"
            for key in KEYS
        ]
        lines.append(f"| {method} | {cells[0]} | {low:.2f} to {high:.2f} | {' | '.join(cells[1:])} |")
    together = [row for row in rows if row.lesson == TOGETHER]
    if together:
        lines += [
            "",
            "All concepts in one model:",
            "",
            "| taught from | joint recall | joint known accuracy lost |",
            "|---|---|---|",
        ]
        for method in dict.fromkeys(row.method for row in together):
            own = [row for row in together if row.method == method]
            lines.append(f"| {method} | {mean(own, 'joint_recall'):.3f} | {mean(own, 'joint_known_lost'):+.4f} |")
    return "\n".join(lines)


def curve(rows: Sequence[FullRow]) -> list[tuple[float, float, float]]:
    """Strength, false positives and recall of the default at each strength, one concept at a time."""
    found = []
    for strength in STRENGTHS:
        own = [row for row in rows if row.method == label(strength) and row.lesson == ALONE]
        found.append((strength, mean(own, "false_positives"), mean(own, "recall")))
    return found


def plot(rows: Sequence[FullRow], path: Path) -> None:
    """Recall against false positives: a line through the strengths, a mark for everything else."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    points = curve(rows)
    axes.plot([100 * p[1] for p in points], [p[2] for p in points], "o-", color="#e07a1f", label="words, by strength")
    for strength, false, recall in points:
        axes.annotate(f"{strength:g}", (100 * false, recall), textcoords="offset points", xytext=(5, -11), fontsize=8)
    marks = iter("s^vDPX*<>hdp" * 3)
    for method in dict.fromkeys(row.method for row in rows if not row.method.startswith("words, ")):
        own = [row for row in rows if row.method == method and row.lesson == ALONE]
        axes.plot(100 * mean(own, "false_positives"), mean(own, "recall"), next(marks), linestyle="", label=method)
    axes.set_xlabel("false positives on photos of known classes, per cent")
    axes.set_ylabel("target recall")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def forecast_table(rows: Sequence[FullRow], told: Sequence[dict[str, float]]) -> list[str]:
    """What was foretold of each strength beside what was measured."""
    if not told:
        return ["None: no replay image is of a known name."]
    lines = [
        "| strength | recall, foretold | recall, measured | false positives, foretold | false positives, measured |",
        "|---|---|---|---|---|",
    ]
    for one, (strength, false, recall) in zip(told, curve(rows), strict=True):
        lines.append(f"| {strength:g} | {one['recall']:.3f} | {recall:.3f} | {one['price']:.4f} | {false:.4f} |")
    return lines


def verdict(rows: Sequence[FullRow], told: Sequence[dict[str, float]], photos: int) -> list[str]:
    """What the numbers say of the shipped default, as sentences; `photos` of known classes were scored."""
    default = [row for row in rows if row.method == label(SHIPPED) and row.lesson == ALONE]
    recall, false, lost = (mean(default, key) for key in ("recall", "false_positives", "known_lost"))
    lines = [
        f"At the shipped strength {SHIPPED:g} a name is found in {recall:.0%} of its photos, at {false:.2%} false "
        f"positives and {lost:.2%} of known accuracy lost."
    ]
    for one in told:
        if one["strength"] == SHIPPED:
            lines.append(
                f"Pretending that known classes are new foretold a recall of {one['recall']:.0%} at {one['price']:.2%} "
                "false positives, without a photo."
            )
    for method in dict.fromkeys(row.method for row in rows if row.method.startswith("control")):
        own = [row for row in rows if row.method == method and row.lesson == ALONE]
        lines.append(f"{method.capitalize()} reaches {mean(own, 'recall'):.0%}: the default {compared(default, own)}.")
    within = [point for point in curve(rows) if point[1] <= PRICE]
    if within:
        strength, false, recall = max(within, key=lambda point: point[2])
        best = "the shipped strength" if strength == SHIPPED else f"strength {strength:g}, not the shipped one,"
        lines.append(
            f"Of the strengths tried with at most {PRICE:.0%} false positives, {best} has the highest recall: "
            f"{recall:.0%}, at {false:.2%}."
        )
    else:
        strength, false, recall = min(curve(rows), key=lambda point: point[1])
        lines.append(
            f"No strength tried has at most {PRICE:.0%} false positives; {strength:g} has the fewest, {false:.2%}, "
            f"with a recall of {recall:.0%}."
        )
    if photos * PRICE < 10:
        lines.append(
            f"Only {photos} photos of known classes were scored, so {PRICE:.0%} of them is {photos * PRICE:g}: take "
            "1,000 or more to compare strengths."
        )
    return lines


def compared(default: Sequence[FullRow], own: Sequence[FullRow]) -> str:
    """The default's recall less a control's, concept by concept."""
    names = sorted({row.concept for row in default})
    found = [
        Difference(
            concept=name,
            recall=mean([row for row in default if row.concept == name], "recall")
            - mean([row for row in own if row.concept == name], "recall"),
        )
        for name in names
    ]
    low, high = interval(found, "recall")
    clear = "is above it" if low > 0 and len(names) > 1 else "is NOT clearly above it"
    return f"{clear} (difference {mean(found, 'recall'):+.2f}, {low:+.2f} to {high:+.2f} over {len(names)} concept(s))"


def page(bench: Bench, rows: Sequence[FullRow], told: Sequence[dict[str, float]], command: str) -> str:
    parts = [
        f"# {bench.about['model']}",
        "",
        f"Measured by `{command}`.",
        "",
        "## Verdict on the shipped default",
        "",
        *(f"- {line}" for line in verdict(rows, told, len(bench.known.photos))),
        "",
        "## Recall and price",
        "",
        "![Target recall against false positives](curve.png)",
        "",
        table(rows),
        "",
        "## What pretending foretold",
        "",
        *forecast_table(rows, told),
        "",
        "## Concept by concept",
        "",
        "| concept | recall | false positives | AUROC | photos |",
        "|---|---|---|---|---|",
    ]
    for one in bench.concepts:
        own = [r for r in rows if r.concept == one.name and r.method == "words, the default" and r.lesson == ALONE]
        place = [n.casefold() for n in bench.novel.names].index(one.name.casefold())
        photos = sum(photo.label == place for photo in bench.novel.photos)
        recall, false, area = (mean(own, key) for key in ("recall", "false_positives", "auroc"))
        parts.append(f"| {one.name} | {recall:.2f} | {false:.4f} | {area:.3f} | {photos} |")
    about = {key: value for key, value in bench.about.items() if key != "concepts"}
    parts += ["", "## Made with", "", *(f"- {key}: {value}" for key, value in about.items())]
    parts += [
        "",
        "## What the numbers are",
        "",
        "- Target recall: the share of a concept's photos whose best name, among all known ones and its own, is its "
        "own; joint recall: among those of the other concepts, too. Each is a mean over concepts, and the interval is "
        "a bootstrap over them.",
        "- False positives: the share of photos of known classes whose best name is the concept's. Known accuracy "
        "lost: how much less often their best known name is right than before, a negative number being a gain. The "
        "harmonic mean is that of target recall and known accuracy.",
        "- Margins are the new name's score less the best known name's. AUROC and FPR95 compare the margins of a "
        "concept's photos with those of photos of known classes; in the open set, with those of the other concepts, "
        "whose names are not there. The calibration error is that on photos of known classes, in 15 bins.",
        f"- {HELD_OUT} photos of each concept stand in place of its description in one row, and are not scored there. "
        "The paper's rows, where there are any, are scored on every fifth photo of known classes.",
        "- Foretold: every class with a replay image is taught as if it were new. Its recall is that on these images "
        "without what the model learned of its name, its price that on stand-ins made of texts and images.",
        f"- Controls and images have {bench.about['seeds']} seed(s).",
    ]
    return "\n".join(parts) + "\n"


def read_bench(name: str, options: argparse.Namespace) -> Bench:
    """Load the model and list the photos.

    Raises:
        MolyneuxError: if the model, a folder or the concepts cannot be read.
    """
    model = dual_encoder(load(name, device=options.device), "this benchmark")
    wanted = options.concepts or Path(options.novel) / "concepts.json"
    concepts = tuple(read_concepts(wanted))
    novel, known = read_set(options.novel, only=[one.name for one in concepts]), read_set(options.known)
    shown = {novel.names[photo.label].casefold() for photo in novel.photos}
    bare = [one.name for one in concepts if one.name.casefold() not in shown]
    concepts = tuple(one for one in concepts if one.name.casefold() in shown)
    if bare:
        say(f"left out, for want of photos: {', '.join(bare)}")
    names = [one.name for one in concepts]
    labels = label_set(names=without(read_names(options.names), names), concepts=names)
    about = {
        "model": without_folders(name),
        "weights": weights_digest(model.native),
        "molyneux": installed("molyneux"),
        "device": model.device.type,
        "threads": threads(),
        "seeds": options.seeds,
        "names": f"{len(labels.known)} of {without_folders(options.names)}",
        "known photos": len(known.photos),
        "novel photos": len(novel.photos),
        "concepts": {one.name: list(one.descriptions) for one in concepts},
    }
    folder = StageFolder(Path(options.out) / slug(name), say_step)
    folder.root.mkdir(parents=True, exist_ok=True)
    return Bench(model=model, concepts=concepts, labels=labels, novel=novel, known=known, folder=folder, about=about)


def without_folders(word: str) -> str:
    """A word of the command; of a path the last part, for what is sent in tells nothing of the machine."""
    loader, colon, rest = word.rpartition(":")
    path = Path(rest)
    return f"{loader}{colon}{path.name}" if path.is_absolute() or (os.sep in rest and path.exists()) else word


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, help="as `molyneux teach --model`; again for more")
    parser.add_argument("--novel", required=True, help="a folder with a folder of photos for each concept")
    parser.add_argument("--known", required=True, help="a folder with a folder of photos for each known class")
    parser.add_argument("--concepts", type=Path, help="names and descriptions; NOVEL/concepts.json by default")
    parser.add_argument(
        "--names", default="imagenet-1k", help="known names: 'imagenet-1k', or a file with a name a line"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", action="store_true", help="rows with inverted images")
    parser.add_argument("--count", type=int, default=10, help="images of a concept")
    parser.add_argument("--steps", type=int, default=0, help="of the inversion; its default if 0")
    parser.add_argument("--paper", action="store_true", help="rows with the paper's recipe")
    parser.add_argument("--paper-steps", type=int, default=5000)
    parser.add_argument("--dry-run", action="store_true", help="tell the cost, and end")
    parser.add_argument("--out", type=Path, default=Path("bench/out/published"))
    options = parser.parse_args(arguments)
    given = shlex.join(map(without_folders, sys.argv[1:] if arguments is None else arguments))
    for name in options.model:
        bench = read_bench(name, options)
        parts = cost(bench, options)
        total = sum(part for _, part in parts)
        say(f"{name}: about {total / 60:.1f} minutes on {bench.model.device}")
        for what, part in parts:
            say(f"  {part / 60:6.1f} min  {what}")
        if options.dry_run:
            continue
        rows = all_rows(bench, options)
        told = foretold(bench, bench.replay)
        root = bench.folder.root
        plot(rows, root / "curve.png")
        content = {"about": bench.about, "foretold": told, "rows": [asdict(row) for row in rows]}
        write_text(root / "results.json", json.dumps(content, indent=1) + "\n")
        write_text(root / "README.md", page(bench, rows, told, f"python bench/published.py {given}"))
        lines = verdict(rows, told, len(bench.known.photos))
        print("\n".join([f"{name}:", *(f"- {line}" for line in lines), f"page: {root / 'README.md'}"]))


if __name__ == "__main__":
    try:
        main()
    except MolyneuxError as error:
        say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted: the same command goes on from here")
        sys.exit(130)
