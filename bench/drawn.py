"""What teaching gains and costs on `drawn`, a CLIP trained by contrast alone, on scenes drawn afresh.

    python bench/drawn.py --seeds 3                        # all rows
    python bench/drawn.py --split choose --no-paper        # the six concepts on which settings may be chosen

First what the model knows before any lesson, then a row for each way of teaching the novel concepts one at a time: the
default (descriptions alone), other strengths, descriptions with inverted images, those images alone, the controls
(another concept's description, noise, the description as a prompt), ten scenes of the concept itself (the upper line),
and the paper's recipe at some learning rates. Nothing is read from disk. Every number is on scenes that no training
saw: --scenes of each novel concept, a fifth of that of each known noun, drawn by the seed.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from shared import interval
from torch import Tensor

from molyneux import InversionConfig, SyntheticImages, TeachingConfig, load
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.datasets.drawn import KNOWN, NOVEL, NovelConcept, draw_designs, parse_design
from molyneux.images.config import ReplayConfig
from molyneux.images.replay import depicted
from molyneux.images.sources import derangement
from molyneux.inversion.invert import invert, invert_each
from molyneux.synthetic import description_only, noise_images
from molyneux.tasks.classification.metrics import false_positive_rate, target_recall, top1_accuracy
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.texts import NAME_PROMPT

PAPER_RATES = (1e-5, 3e-5, 1e-4, 3e-4)
STRENGTHS = (0.4, 0.6, 0.8, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One concept after one lesson."""

    method: str
    concept: str
    split: str
    seed: int
    recall: float
    known_lost: float
    false_positives: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Fresh scenes: of every known noun with labels, and of each novel concept."""

    known: Tensor
    labels: Tensor
    novel: dict[str, Tensor]

    @classmethod
    def drawn(cls, concepts: Sequence[NovelConcept], count: int, seed: int) -> "Scenes":
        """`count` of each concept, and a fifth of that of each known noun."""
        each = max(1, count // 5)
        known = [parse_design(looks) for looks in KNOWN.values() for _ in range(each)]
        return cls(
            known=draw_designs(known, seed=10_000 + seed),
            labels=torch.arange(len(KNOWN)).repeat_interleave(each),
            novel={
                one.name: draw_designs([parse_design(one.looks)] * count, seed=20_000 + 100 * seed + place)
                for place, one in enumerate(concepts)
            },
        )


@torch.no_grad()
def embedded(model: DualEncoder, images: Tensor) -> Tensor:
    return torch.cat([model.embed_images(part) for part in images.split(256)])


def name_prompts(names: Sequence[str]) -> list[str]:
    return [NAME_PROMPT.format(name) for name in names]


def facts(model: DualEncoder, scenes: Scenes, concepts: Sequence[NovelConcept]) -> dict[str, float]:
    """What the model is like before any lesson."""
    known = embedded(model, scenes.known)
    names, looks = model.embed_texts(name_prompts(list(KNOWN))), model.embed_texts([f"a {v}." for v in KNOWN.values()])
    novel = {name: embedded(model, images) for name, images in scenes.novel.items()}
    pair = (names[scenes.labels] * known).sum(dim=1)
    texts = names @ names.T
    off = ~torch.eye(len(names), dtype=torch.bool)

    def recall(texts: Callable[[NovelConcept], str]) -> float:
        found = [
            target_recall(novel[one.name] @ names.T, novel[one.name] @ model.embed_texts([texts(one)])[0])
            for one in concepts
        ]
        return statistics.fmean(found)

    return {
        "known accuracy by name": top1_accuracy(known @ names.T, scenes.labels),
        "known accuracy by looks": top1_accuracy(known @ looks.T, scenes.labels),
        "novel recall by name": recall(lambda one: NAME_PROMPT.format(one.name)),
        "novel recall by description": recall(lambda one: one.descriptions[0]),
        "chance": 1 / (len(KNOWN) + 1),
        "temperature": model.temperature,
        "gap between the means of images and names": float((known.mean(dim=0) - names.mean(dim=0)).norm()),
        "length of the images' mean": float(known.mean(dim=0).norm()),
        "length of the names' mean": float(names.mean(dim=0).norm()),
        "cosine of an image and its name": float(pair.mean()),
        "cosine of an image and another name": float(
            (known @ names.T).sum().sub(pair.sum()) / (known.shape[0] * (len(names) - 1))
        ),
        "cosine of two names": float(texts[off].mean()),
        "cosine of two images": float((known @ known.T).mean()),
    }


def score(base: DualEncoder, taught: DualEncoder, name: str, text: str, scenes: Scenes) -> tuple[float, float, float]:
    """Recall, known accuracy lost and false positives of a concept asked for by `text`."""
    texts = taught.embed_texts([*name_prompts(list(KNOWN)), text])
    known, novel = embedded(taught, scenes.known) @ texts.T, embedded(taught, scenes.novel[name]) @ texts.T
    before = embedded(base, scenes.known) @ base.embed_texts(name_prompts(list(KNOWN))).T
    lost = top1_accuracy(before, scenes.labels) - top1_accuracy(known[:, :-1], scenes.labels)
    return target_recall(novel[:, :-1], novel[:, -1]), lost, false_positive_rate(known[:, :-1], known[:, -1])


def lessons(
    model: DualEncoder, concepts: Sequence[NovelConcept], seed: int, options: argparse.Namespace
) -> Iterator[tuple[str, list[SyntheticImages], Callable[[SyntheticImages], DualEncoder]]]:
    """For each way of teaching its name, what each concept is taught from, and how."""
    config, paper = TeachingConfig(), paper_inversion(options.paper_steps)
    words = [description_only(one.concept) for one in concepts]
    shown = random_nouns(options.replay, seed)
    replay = invert_each(model, [depicted(name) for name in shown], ReplayConfig().inversion, seed=seed)
    looks = {name: f"a {text}." for name, text in KNOWN.items()}
    taught = partial(fine_tune, model, known=looks, replay=replay, seed=seed)

    def ours(images: SyntheticImages, config: TeachingConfig = config) -> DualEncoder:
        return taught([images], config)

    own = [invert(model, one.concept, InversionConfig(), seed=seed) for one in concepts]
    places = derangement(len(own), seed)
    size = own[0].pixels.shape[-1]
    yield "words (default)", words, ours
    for strength in STRENGTHS:
        edit = replace(config.edit, strength=strength)
        yield f"words, strength {strength:g}", words, partial(ours, config=replace(config, edit=edit))
    yield "words and images", own, ours
    yield "images alone", [replace(one, source_descriptions=()) for one in own], ours
    yield (
        "control: another concept",
        [words[p].shown_as(one.concept) for p, one in zip(places, concepts, strict=True)],
        ours,
    )
    noise = [noise_images(one.concept, 10, size, 1000 * seed + i) for i, one in enumerate(concepts)]
    yield "control: noise", noise, ours
    scenes = [
        SyntheticImages(
            concept=one.concept,
            pixels=draw_designs([parse_design(one.looks)] * 10, seed=30_000 + seed),
            seed=seed,
            source="external",
            depicted=one.name,
        )
        for one in concepts
    ]
    yield "ten scenes instead", [replace(one, source_descriptions=()) for one in scenes], ours
    if options.paper:
        images = [invert(model, one.concept, paper, seed=seed) for one in concepts]
        for rate in PAPER_RATES:
            recipe = TeachingConfig.paper(rate)
            yield (
                f"paper's recipe, {rate:g}",
                images,
                lambda one, recipe=recipe: fine_tune(model, [one], recipe, seed=seed),
            )


def random_nouns(count: int, seed: int) -> list[str]:
    """Nouns whose replay images are made."""
    order = torch.randperm(len(KNOWN), generator=torch.Generator().manual_seed(seed))
    return [list(KNOWN)[place] for place in order[:count]]


def paper_inversion(steps: int) -> InversionConfig:
    """The paper's, its canvas growing by the same factors up to this model's few pixels."""
    return replace(InversionConfig.paper(steps), size=0, view=0, growth=((0.0, 9), (0.18, 18), (0.36, 32)))


def measured(model: DualEncoder, options: argparse.Namespace) -> tuple[dict[str, float], list[Row]]:
    concepts = [one for one in NOVEL if options.split in ("all", one.split)]
    rows, known_facts = [], []
    for seed in range(options.seeds):
        scenes = Scenes.drawn(concepts, options.scenes, seed)
        known_facts.append(facts(model, scenes, concepts))

        def add(method: str, one: NovelConcept, taught: DualEncoder, text: str) -> None:
            recall, lost, false = score(model, taught, one.name, text, scenes)  # noqa: B023 - called at once
            rows.append(
                Row(
                    method=method,
                    concept=one.name,
                    split=one.split,
                    seed=seed,  # noqa: B023
                    recall=recall,
                    known_lost=lost,
                    false_positives=false,
                )
            )

        for one in concepts:
            add("before, by name", one, model, NAME_PROMPT.format(one.name))
            add("control: description as prompt", one, model, one.descriptions[0])
        for method, images, lesson in lessons(model, concepts, seed, options):
            for one, value in zip(concepts, images, strict=True):
                add(method, one, lesson(value), NAME_PROMPT.format(one.name))
            print(f"seed {seed}: {method}", file=sys.stderr, flush=True)
    return {key: statistics.fmean(own[key] for own in known_facts) for key in known_facts[0]}, rows


def table(rows: Sequence[Row]) -> str:
    """Means over concepts and seeds, a line for each way of teaching."""
    lines = [
        "| taught by | target recall | 95 % over concepts | choose / report | known accuracy lost | false positives |",
        "|---|---|---|---|---|---|",
    ]
    for method in dict.fromkeys(one.method for one in rows):
        own = [one for one in rows if one.method == method]
        low, high = interval(own, "recall")
        halves = [[one.recall for one in own if one.split == split] for split in ("choose", "report")]
        split = " / ".join(f"{statistics.fmean(half):.2f}" if half else "-" for half in halves)
        lost, false = (statistics.fmean(getattr(o, key) for o in own) for key in ("known_lost", "false_positives"))
        recall = statistics.fmean(one.recall for one in own)
        lines.append(f"| {method} | {recall:.3f} | {low:.2f} to {high:.2f} | {split} | {lost:+.4f} | {false:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="drawn", help="'drawn', or a folder that scripts/train_drawn.py wrote")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--split", choices=("all", "choose", "report"), default="all")
    parser.add_argument("--replay", type=int, default=ReplayConfig().count, help="known nouns with a replay image")
    parser.add_argument("--paper", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--paper-steps", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="where the facts and all rows go")
    options = parser.parse_args()
    known, rows = measured(dual_encoder(load(options.model), "this benchmark"), options)
    print("\n".join(f"{key}: {value:.3f}" for key, value in known.items()), end="\n\n")
    print(table(rows))
    if options.json:
        content = {"facts": known, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
