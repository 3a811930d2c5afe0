"""What each choice in teaching gains and costs: one table over twelve concepts and three seeds.

    python bench/teaching_quality.py --data ../shared/data
    python bench/teaching_quality.py --only examples --seeds 1      # one group of variants

Every variant differs from Molyneux's default in what its name says, and is taught one concept at a time. A variant
that changes more than the projection is scored on --few known photos, evenly spread, and compared with the same model
before teaching on the same photos. "At price 0.01" is the recall at the strength where neither known accuracy lost nor
false positives exceed 0.01 on average, read off the curve of strengths: what a variant is worth at equal price. Beside
the single concepts: all twelve at once, and one after the other with the earlier ones kept by replay of their own
images. Writes results.json and tables.md into --out, and --page (docs/teaching-quality.md).

Inverted images are cached as in `novel_concepts.py`, whose settings of data, seeds and tuned concepts hold here.
"""

import argparse
import hashlib
import json
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from novel_concepts import TUNED, Bench, by_concept, evenly, interval, kept, mean, number, prepare, row, say, scored

from molyneux import InversionConfig, SyntheticImages, TeachingConfig
from molyneux.backends.base import DualEncoder
from molyneux.concepts import Concept
from molyneux.datasets.folders import read_folder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.images.config import ReplayConfig
from molyneux.images.replay import depicted, load_replay, save_replay
from molyneux.inversion.invert import invert_each
from molyneux.synthetic import noise_images
from molyneux.tasks.classification.features import name_embeddings, photo_features
from molyneux.tasks.classification.labels import label_set
from molyneux.tasks.classification.zero_shot import measure, score_photos
from molyneux.teaching.budget import teach_within
from molyneux.teaching.config import Full, LoRA
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.updates import shares_trunk

BUDGET = 0.01
STRENGTHS = (0.2, 0.4, 0.6, 0.85, 1.0)

PAGE = """# What each choice in teaching gains and costs

Made by `python bench/teaching_quality.py`, whose docstring says how. The model is `mini`; concepts and photos are those
of [numbers.md](numbers.md). The [glossary](glossary.md) defines the terms.

- The first table has one line for each variant of the default. "Recall at price 0.01" is the target recall at the
  strength where neither known accuracy lost nor false positives exceed 0.01. The columns after it are taken at the
  default's strength. "Six not tuned on": the six concepts that no setting was chosen on.
- The second table shows how well the forecast of `--max-forgetting` held.
- The third table shows what happens when concepts are taught one after the other.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way of teaching; what is not said is as by default."""

    group: str
    name: str
    teaching: TeachingConfig = field(default_factory=TeachingConfig)
    inversion: InversionConfig = field(default_factory=InversionConfig)
    nearest: int = 0
    """Negatives are this many known names, nearest to the description; 0 takes all."""
    replay: int = 80
    """Replay images, of the first known classes of the set."""
    neighbours: str = ""
    """Replay of what the text is most like: 'chosen' from the set, 'added' to it, or '' for the set's own order."""
    bank: str = "names"
    """The negatives: 'names', or 'random' words (method of VR-LwF)."""
    source: str = "own"
    """'own' images, 'noise', 'mixed': another seed's images added, or 'told': two more descriptions beside."""


def variants() -> Iterator[Variant]:
    """All that is compared, in the order of the table."""
    default = TeachingConfig()
    yield Variant(group="default", name="default")
    yield Variant(group="default", name="noise images (control)", source="noise")
    for texts in ("definition", "names"):
        yield Variant(group="examples", name=f"texts: {texts} alone", teaching=replace(default, texts=texts))
    yield Variant(group="examples", name="twice the images", source="mixed")
    yield Variant(group="examples", name="three descriptions in place of one", source="told")
    yield Variant(group="examples", name="no mixtures of images", teaching=replace(default, mixup=False))
    anchors = {
        "the images alone": (0.0, 0.0),
        "without the ConSE anchor": (default.text_anchor, 0.0),
        "without the text anchor": (0.0, default.conse_anchor),
        "the text anchor alone": (1e6, 0.0),
        "the ConSE anchor alone": (0.0, 1e6),
        "both anchors, no images": (1e6, 1e6),
    }
    for name, (text, conse) in anchors.items():
        changed = replace(default, text_anchor=text, conse_anchor=conse)
        yield Variant(group="anchors", name=name, teaching=changed)
    for center in (0.0, 2.0):
        changed = replace(default, center=center)
        yield Variant(group="examples", name=f"centring {center:g}", teaching=changed)
    yield Variant(group="negatives", name="authors' loss, no bank", teaching=replace(default, loss="anchors"))
    for nearest in (20, 100):
        yield Variant(group="negatives", name=f"the {nearest} names nearest to the description", nearest=nearest)
    yield Variant(
        group="negatives",
        name="random words, without the ConSE anchor",
        bank="random",
        teaching=replace(default, conse_anchor=0.0),
    )
    for temperature in (0.02, 0.1):
        changed = replace(default, temperature=temperature)
        yield Variant(group="negatives", name=f"temperature {temperature:g}", teaching=changed)
    yield Variant(group="replay", name="no replay", teaching=replace(default, replay_batch=0, center=0.0))
    yield Variant(group="replay", name="20 replay images", replay=20)
    yield Variant(group="replay", name="the 20 of them nearest to the description", replay=20, neighbours="chosen")
    yield Variant(group="replay", name="20 images of nearest known classes added", replay=100, neighbours="added")
    for weight in (0.3, 3.0):
        yield Variant(group="replay", name=f"replay weight {weight:g}", teaching=replace(default, replay_weight=weight))
    for decay in ("coupled", "decoupled"):
        changed = replace(default, decay=decay, weight_decay=0.2 if decay == "coupled" else 20.0)
        yield Variant(group="optimiser", name=f"decay {decay}, {changed.weight_decay:g}", teaching=changed)
    for rate, steps in ((3e-4, 20), (1.2e-3, 20), (6e-4, 10), (6e-4, 60)):
        changed = replace(default, learning_rate=rate, steps=steps)
        yield Variant(group="optimiser", name=f"rate {rate:g}, {steps} steps", teaching=changed)
    projection = replace(default, update=Full(part="projection"), learning_rate=1e-4)
    yield Variant(group="what moves", name="projection, rate 1e-4", teaching=projection)
    small = replace(default, steps=8, batch=10, replay_batch=16, learning_rate=1e-4)
    for part in ("blocks", "tower"):
        moved = replace(small, update=Full(part=part), learning_rate=3e-5)
        yield Variant(group="what moves", name=f"{part}, rate 3e-5, 8 steps of 10 + 16", teaching=moved)
    held = replace(small, update=Full(part="blocks"), learning_rate=3e-5, decay="start", weight_decay=1.0)
    yield Variant(group="what moves", name="blocks with decay to the start (L2-SP)", teaching=held)
    low = replace(small, update=LoRA(rank=8), learning_rate=3e-4)
    yield Variant(group="what moves", name="LoRA of rank 8, rate 3e-4, 8 steps", teaching=low)
    ours = InversionConfig()
    plain = replace(
        ours,
        canvas="pixels",
        color="rgb",
        learning_rate=0.1,
        joint=0.0,
        batch_norm=0.0,
        noise=0.0,
        color_shift=0.0,
        affine_probability=0.5,
        total_variation=0.005,
        variation_norm="frobenius",
    )
    yield Variant(group="images", name="plain pixels, the paper's shape at 128 px, 100 steps", inversion=plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One lesson at one strength."""

    variant: str
    concept: str
    seed: int
    strength: float
    recall: float
    known_lost: float
    false_positives: float


def points(bench: Bench, variant: Variant, seeds: Sequence[int], data: Path, few: int) -> list[Point]:
    """Every concept, seed and strength; those of a seed are computed once for this code, then read from the cache."""
    found = []
    for seed in seeds:
        make = partial(computed, bench, variant, seed, data, few)
        found += kept(bench, Point, __file__, (asdict(variant), seed, few), make)
    return found


def computed(bench: Bench, variant: Variant, seed: int, data: Path, few: int) -> list[Point]:
    """Every concept and strength."""
    found = []
    shared = shares_trunk(variant.teaching)
    for place, concept in enumerate(bench.concepts):
        own = images(bench, variant, place, seed)
        known = known_names(bench, variant, concept.descriptions[0])
        replay = replayed(bench, variant, concept) if variant.teaching.replay_batch else ()
        config = replace(variant.teaching, strength=1.0)
        full = fine_tune(bench.model, [own], config, known=known, replay=replay, seed=seed)
        judge = judged(bench, concept.name, data, few, shared)
        before = judge(bench.model)
        for strength in STRENGTHS if shared else STRENGTHS[1::2] + STRENGTHS[-1:]:
            one = row(variant.name, concept.name, seed, before, judge(interpolate(bench.model, full, strength)))
            found.append(
                Point(
                    variant=variant.name,
                    concept=concept.name,
                    seed=seed,
                    strength=strength,
                    recall=one.recall,
                    known_lost=one.known_lost,
                    false_positives=one.false_positives,
                )
            )
    return found


def images(bench: Bench, variant: Variant, place: int, seed: int) -> SyntheticImages:
    concept = bench.concepts[place]
    own = bench.images(concept, variant.inversion, seed)
    if variant.source == "noise":
        return noise_images(concept, len(own), own.pixels.shape[-1], 1000 * seed + place)
    if variant.source == "mixed":
        more = bench.images(concept, variant.inversion, (seed + 1) % 3)
        return replace(own, pixels=torch.cat([own.pixels, more.pixels]))
    if variant.source == "told":
        more = json.loads((Path(__file__).parent / "paraphrases.json").read_text())[concept.name]
        told = Concept(concept.name, (*concept.descriptions, *more))
        return replace(own, concept=told, source_descriptions=told.descriptions)
    return own


def replayed(bench: Bench, variant: Variant, concept: Concept) -> tuple[SyntheticImages, ...]:
    """The replay images, the most alike first where the variant asks for neighbours."""
    if not variant.neighbours:
        return bench.replay[: variant.replay]
    if variant.neighbours == "chosen":
        texts = bench.model.embed_texts([one.concept.descriptions[0] for one in bench.replay])
        order = (texts @ bench.model.embed_texts(concept.descriptions)[0]).argsort(descending=True)
        return tuple(bench.replay[i] for i in order[: variant.replay].tolist())
    names = [name for name in nearest(bench, concept.descriptions[0], 25) if "/" not in name][:20]
    config = ReplayConfig()
    digest = hashlib.sha256(repr((bench.weights, asdict(config.inversion), names)).encode()).hexdigest()[:16]
    path = bench.cache / f"replay-{digest}.safetensors"
    if not path.exists():
        made = invert_each(bench.model, [depicted(name) for name in names], config.inversion, seed=config.seed)
        save_replay(made, path, config)
        say(f"inverted 20 neighbours of {concept.name}")
    return (*load_replay(path), *bench.replay)[: variant.replay]


def known_names(bench: Bench, variant: Variant, text: str) -> tuple[str, ...]:
    if variant.bank == "random":
        words = sorted({word for name in imagenet_names() for word in name.split()})
        return tuple(" ".join(random.Random(i).sample(words, 3)) for i in range(1000))
    return nearest(bench, text, variant.nearest) if variant.nearest else imagenet_names()


def nearest(bench: Bench, text: str, count: int) -> tuple[str, ...]:
    """The known names that a text is most like."""
    names = bench.labels.known
    near = (bench.columns[: len(names)] @ bench.model.embed_texts([text])[0].cpu()).topk(count).indices
    return tuple(names[i] for i in near.tolist())


def judged(bench: Bench, name: str, data: Path, few: int, shared: bool) -> Callable:
    """What scores a model for one concept: from cached features, or, where the trunk moves, from fewer photos anew."""
    if shared:
        return lambda model: scored(bench, model, bench.novel)
    some = evenly(read_folder(data / "imagenet1k-sample"), few)
    own = read_folder(data / "novel-concepts", only=[name])
    labels = label_set(names=imagenet_names(), concepts=[name])
    columns = name_embeddings(bench.model, labels.all)

    def score(model: DualEncoder):
        known, novel = photo_features(model, some), photo_features(model, own)
        return measure(labels, score_photos(model, labels, columns, known=known, novel=novel), intervals=False)

    return score


def at_budget(own: Sequence[Point]) -> float:
    """Mean recall at the largest strength whose mean price is in the budget, on straight lines between strengths."""
    curve = [(0.0, 0.0, 0.0, 0.0)]
    for strength in sorted({one.strength for one in own}):
        some = [one for one in own if one.strength == strength]
        curve.append((strength, mean(some, "recall"), mean(some, "known_lost"), mean(some, "false_positives")))
    best = 0.0
    for (_, recall, lost, false), (_, recall2, lost2, false2) in pairwise(curve):
        share = 1.0
        for one, two in ((lost, lost2), (false, false2)):
            if two > BUDGET:
                share = min(share, max(0.0, (BUDGET - one) / (two - one)))
        best = max(best, recall + share * (recall2 - recall))
        if share < 1:
            break
    return best


def table(found: Sequence[Point], groups: dict[str, str], kept: float) -> str:
    lines = [
        "| group | variant | recall at price 0.01 | the same, the six not tuned on | recall "
        "| 95 % over concepts and seeds | known accuracy lost | false positives | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one.variant for one in found):
        own = [one for one in found if one.variant == name]
        default = [one for one in own if one.strength == kept]
        low, high = interval(by_concept(default))
        fresh = [one for one in own if one.concept not in TUNED]
        cells = [
            groups[name],
            name,
            f"{at_budget(own):.3f}",
            f"{at_budget(fresh):.3f}",
            f"{mean(default, 'recall'):.3f}",
            f"{low:.2f} to {high:.2f}",
            f"{mean(default, 'known_lost'):+.4f}",
            f"{mean(default, 'false_positives'):.4f}",
            str(len({one.seed for one in own})),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def forecasts(bench: Bench, seeds: Sequence[int]) -> str:
    """How well the forecast of `--max-forgetting` held."""
    lines = [
        "| budget | forecast: known accuracy lost | known accuracy lost | forecast: false positives | false positives "
        "| recall | runs within the budget |",
        "|---|---|---|---|---|---|---|",
    ]
    for budget in (0.005, 0.01, 0.02):
        rows = []
        for seed in seeds:
            before = scored(bench, bench.model, bench.novel)
            for concept in bench.concepts:
                own = bench.images(concept, InversionConfig(), seed)
                taught, forecast = teach_within(
                    bench.model, [own], budget=budget, known=imagenet_names(), replay=bench.replay, seed=seed
                )
                one = row("forecast", concept.name, seed, before, scored(bench, taught, bench.novel))
                rows.append((forecast, one))
        kept = [max(one.known_lost, one.false_positives) <= budget for _, one in rows]
        lines.append(
            f"| {budget:g} | {statistics.fmean(f.forgotten for f, _ in rows):.4f} "
            f"| {statistics.fmean(one.known_lost for _, one in rows):+.4f} "
            f"| {statistics.fmean(f.captured for f, _ in rows):.4f} "
            f"| {statistics.fmean(one.false_positives for _, one in rows):.4f} "
            f"| {statistics.fmean(one.recall for _, one in rows):.3f} | {sum(kept)} of {len(kept)} |"
        )
    return "\n".join(lines)


def many(bench: Bench, seeds: Sequence[int]) -> str:
    """Twelve concepts at once, and one after the other: joint accuracy over all 1,010 names after each step."""
    lines = [
        "| taught so far | known accuracy | known accuracy, joint | recall of all so far, joint "
        "| recall of the first |",
        "|---|---|---|---|---|",
    ]
    kept: dict[int, list[tuple[float, ...]]] = {}
    for seed in seeds:
        model, replay = bench.model, list(bench.replay)
        for step, concept in enumerate(bench.concepts):
            own = bench.images(concept, InversionConfig(), seed)
            earlier = tuple(one.name for one in bench.concepts[:step])
            known = (*imagenet_names(), *earlier)
            model = fine_tune(model, [own], known=known, replay=replay, seed=seed)
            replay.append(own)
            kept.setdefault(step, []).append(joint(bench, model, bench.concepts[: step + 1]))
        together = [bench.images(concept, InversionConfig(), seed) for concept in bench.concepts]
        at_once = fine_tune(bench.model, together, known=imagenet_names(), replay=bench.replay, seed=seed)
        kept.setdefault(-1, []).append(joint(bench, at_once, bench.concepts))
    kept[-2] = [joint(bench, bench.model, bench.concepts)]
    labels = {-1: "all twelve at once", -2: "none"}
    for step in (-2, *range(len(bench.concepts)), -1):
        numbers = [statistics.fmean(values) for values in zip(*kept[step], strict=True)]
        label = labels.get(step) or f"{step + 1}: + {bench.concepts[step].name}"
        lines.append(f"| {label} | " + " | ".join(f"{value:.3f}" for value in numbers) + " |")
    return "\n".join(lines)


def joint(bench: Bench, model: DualEncoder, taught: Sequence) -> tuple[float, ...]:
    """Known accuracy alone and among all names; recall of the taught among all names, and of the first."""
    scores = score_photos(model, bench.labels, bench.columns, known=bench.known, novel=bench.novel)
    found = measure(bench.labels, scores, intervals=False)
    assert scores.novel is not None
    assert scores.novel_labels is not None
    hits = scores.novel.argmax(dim=1) == len(bench.labels.known) + scores.novel_labels
    own = {name: hits[scores.novel_labels == place].float().mean() for place, name in enumerate(bench.labels.novel)}
    recalls = [float(own[one.name]) for one in taught]
    return (
        number(found.known_accuracy),
        number(found.known_accuracy_joint),
        statistics.fmean(recalls),
        recalls[0],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("bench/cache"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/teaching-quality"))
    parser.add_argument("--page", type=Path, help="write the tables with an introduction here")
    parser.add_argument("--only", nargs="*", default=[], metavar="GROUP")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--few", type=int, default=100)
    options = parser.parse_args()
    bench = prepare(options.data, options.cache)
    seeds = range(options.seeds)
    options.out.mkdir(parents=True, exist_ok=True)
    groups = {one.name: one.group for one in variants()}
    found: list[Point] = []
    for variant in variants():
        if options.only and variant.group not in options.only:
            continue
        own = seeds if variant.group not in ("images", "what moves") else seeds[:1]
        new = points(bench, variant, own, options.data, options.few)
        found += new
        say(f"{variant.group}, {variant.name}: {at_budget(new):.3f} at the price of {BUDGET:g}")
    parts = [table(found, groups, TeachingConfig().strength)] if found else []
    if not options.only or "forecast" in options.only:
        parts.append(forecasts(bench, seeds))
    if not options.only or "many" in options.only:
        parts.append(many(bench, seeds))
    (options.out / "results.json").write_text(json.dumps([asdict(one) for one in found], indent=1))
    text = "\n\n".join(parts) + "\n"
    (options.out / "tables.md").write_text(text, encoding="utf-8")
    if options.page:
        options.page.write_text(f"{PAGE}\n{text}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
