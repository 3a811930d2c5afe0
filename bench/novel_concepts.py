"""What teaching from words gains and costs: every concept, one at a time and all at once, beside its controls.

    python bench/novel_concepts.py --data ../shared/data --seeds 3
    python bench/novel_concepts.py --data ../shared/data --seeds 1 --no-paper     # Molyneux's default alone

Reads `novel-concepts/` (photos and `concepts.json`) and `imagenet1k-sample/` below --data. Inverted pictures are
cached in bench/cache by model, settings, concept and seed. Writes results.json, table.md and, with matplotlib,
plot.png into --out.

Rows: Molyneux's default; the same on noise and on another concept's pictures; the description as prompt without
teaching; the same teaching on ten real photos (the upper line; those ten are left out of its score); and the
paper's recipe (`InversionConfig.paper`, `TeachingConfig.paper`) at each learning rate. The paper's recipe moves
the whole tower, so its photos must be embedded anew for each run: it is scored on --paper-known known photos,
evenly spread, and compared with the same model before teaching on the same photos.
"""

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from molyneux import InversionConfig, SyntheticImages, TeachingConfig, load
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.concepts import Concept, read_concepts
from molyneux.datasets.folders import PhotoFolder, read_folder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.photos import load_batch
from molyneux.evaluation.features import PhotoFeatures, name_embeddings, photo_features
from molyneux.evaluation.labels import LabelSet, label_set
from molyneux.evaluation.results import Measurement
from molyneux.evaluation.zero_shot import measure, score_photos
from molyneux.inversion.invert import invert
from molyneux.pipeline.pictures import derangement
from molyneux.pipeline.replay import replay_pictures
from molyneux.synthetic import noise_images
from molyneux.teaching.teach import teach

PAPER_RATES = (1e-5, 2e-5, 3e-5, 5e-5, 1e-4, 2e-4, 3e-4)
HELD_OUT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One taught model, scored for one concept."""

    method: str
    together: bool
    concept: str
    seed: int
    recall: float
    recall_before: float
    known_lost: float
    false_positives: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all runs share."""

    model: DualEncoder
    concepts: tuple[Concept, ...]
    labels: LabelSet
    columns: Tensor
    novel: PhotoFeatures
    known: PhotoFeatures
    replay: tuple[SyntheticImages, ...]
    cache: Path

    def pictures(self, concept: Concept, config: InversionConfig, seed: int) -> SyntheticImages:
        """Inverted once, then read from the cache."""
        weights = hashlib.sha256()
        for value in self.model.vision_module().state_dict().values():
            weights.update(value.numpy().tobytes())
        text = repr((weights.hexdigest(), asdict(config), concept, seed))
        folder = self.cache / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not folder.exists():
            started = time.perf_counter()
            checkpoint = self.cache / f"{folder.name}.pt"
            invert(self.model, concept, config, seed=seed, checkpoint=checkpoint).save(folder)
            say(f"inverted {concept.name}, seed {seed}: {time.perf_counter() - started:.0f} s")
        return SyntheticImages.load(folder)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def scored(
    bench: Bench,
    taught: DualEncoder,
    method: str,
    concepts: Sequence[Concept],
    seed: int,
    novel: PhotoFeatures,
    before: Measurement,
) -> list[Row]:
    """One row per taught concept, against `before`, the untaught model; the trunk must be the base model's."""
    after = measure(
        bench.labels, score_photos(taught, bench.labels, bench.columns, known=bench.known, novel=novel), intervals=False
    )
    return [
        Row(
            method=method,
            together=len(concepts) > 1,
            concept=concept.name,
            seed=seed,
            recall=number(after.concepts[concept.name].target_recall),
            recall_before=number(before.concepts[concept.name].target_recall),
            known_lost=number(before.known_accuracy) - number(after.known_accuracy),
            false_positives=number(after.concepts[concept.name].false_positive_rate),
        )
        for concept in concepts
    ]


def number(value: float | None) -> float:
    assert value is not None
    return value


def default_rows(
    bench: Bench, config: TeachingConfig, inversion: InversionConfig, seed: int, photos: Path
) -> list[Row]:
    """Molyneux's default and its controls, each concept alone and all together."""
    own = [bench.pictures(concept, inversion, seed) for concept in bench.concepts]
    size = own[0].pixels.shape[-1]
    places = derangement(len(own), seed)
    shuffled = [own[place].shown_as(c) for place, c in zip(places, bench.concepts, strict=True)]
    noise = [noise_images(c, len(own[0]), size, 1000 * seed + i) for i, c in enumerate(bench.concepts)]
    real = [real_pictures(bench.model, photos, concept) for concept in bench.concepts]
    rest = without_first(bench.novel, HELD_OUT)
    rows: list[Row] = []
    sources = (("ours", own, bench.novel), ("shuffled", shuffled, bench.novel), ("noise", noise, bench.novel))
    for method, pictures, novel in (*sources, ("ten real photos", real, rest)):
        untaught = score_photos(bench.model, bench.labels, bench.columns, known=bench.known, novel=novel)
        before = measure(bench.labels, untaught, intervals=False)
        for lesson in [*([one] for one in pictures), list(pictures)]:
            taught = teach(bench.model, lesson, config, known=imagenet_names(), replay=bench.replay, seed=seed)
            rows += scored(bench, taught, method, [one.concept for one in lesson], seed, novel, before)
    return rows


def real_pictures(model: DualEncoder, photos: Path, concept: Concept) -> SyntheticImages:
    """The first ten photos of a concept, as they would be looked at."""
    paths = read_folder(photos, only=[concept.name]).paths[:HELD_OUT]
    pixels = load_batch(paths, model.image_size, model.crop_fraction)
    return SyntheticImages(concept=concept, pixels=pixels, seed=0, source="photos", pictured=concept.name)


def without_first(features: PhotoFeatures, count: int) -> PhotoFeatures:
    """The photos but the first `count` of each class."""
    kept = torch.cat([(features.labels == label).nonzero()[count:, 0] for label in range(len(features.names))])
    return PhotoFeatures(
        root=features.root,
        names=features.names,
        labels=features.labels[kept],
        paths=tuple(features.paths[i] for i in kept.tolist()),
        features=features.features[kept],
        image_size=features.image_size,
        crop_fraction=features.crop_fraction,
    )


def prompt_rows(bench: Bench) -> list[Row]:
    """The description as prompt, without teaching."""
    described = {concept.name: concept.descriptions[0] for concept in bench.concepts}
    columns = name_embeddings(bench.model, bench.labels.all, described=described)
    plain = measure(
        bench.labels, score_photos(bench.model, bench.labels, bench.columns, known=bench.known, novel=bench.novel)
    )
    asked = measure(
        bench.labels, score_photos(bench.model, bench.labels, columns, known=bench.known, novel=bench.novel)
    )
    return [
        Row(
            method="description as prompt",
            together=False,
            concept=name,
            seed=0,
            recall=number(asked.concepts[name].target_recall),
            recall_before=number(plain.concepts[name].target_recall),
            known_lost=0.0,
            false_positives=number(asked.concepts[name].false_positive_rate),
        )
        for name in bench.labels.novel
    ]


def paper_rows(
    bench: Bench, inversion: InversionConfig, seed: int, rates: Sequence[float], data: Path, known_photos: int
) -> list[Row]:
    """The paper's recipe on each concept alone: the whole tower moves, so photos are embedded for every run."""
    novel_folder, known_folder = read_folder(data / "novel-concepts"), read_folder(data / "imagenet1k-sample")
    step = max(1, len(known_folder.photos) // known_photos)
    some = PhotoFolder(root=known_folder.root, names=known_folder.names, photos=known_folder.photos[::step])
    rows: list[Row] = []
    base_known = photo_features(bench.model, some)
    for concept in bench.concepts:
        pictures = bench.pictures(concept, inversion, seed)
        own = read_folder(novel_folder.root, only=[concept.name])
        labels = label_set(names=imagenet_names(), concepts=[concept.name])
        columns = name_embeddings(bench.model, labels.all)
        base = measure(
            labels,
            score_photos(bench.model, labels, columns, known=base_known, novel=bench.novel.only([concept.name])),
            intervals=False,
        )
        for rate in rates:
            taught = teach(bench.model, [pictures], TeachingConfig.paper(rate), known=(), seed=seed)
            seen = score_photos(
                taught, labels, columns, known=photo_features(taught, some), novel=photo_features(taught, own)
            )
            after = measure(labels, seen, intervals=False)
            rows.append(
                Row(
                    method=f"paper, {rate:g}",
                    together=False,
                    concept=concept.name,
                    seed=seed,
                    recall=number(after.concepts[concept.name].target_recall),
                    recall_before=number(base.concepts[concept.name].target_recall),
                    known_lost=number(base.known_accuracy) - number(after.known_accuracy),
                    false_positives=number(after.concepts[concept.name].false_positive_rate),
                )
            )
        say(f"paper's recipe on {concept.name}, seed {seed}: {len(rates)} rates")
    return rows


def similarity(bench: Bench, config: InversionConfig, seed: int) -> float:
    """Mean cosine, over concepts, of the pictures' mean feature to the real photos', both less the known mean."""
    centre = bench.known.features.mean(dim=0)
    found = []
    for concept in bench.concepts:
        pixels = bench.pictures(concept, config, seed).pixels
        with torch.no_grad():
            own = bench.model.features(pixels).mean(dim=0)
        real = bench.novel.only([concept.name]).features.mean(dim=0)
        found.append(float(cosine_similarity(own - centre, real - centre, dim=0)))
    return statistics.fmean(found)


def interval(values: Sequence[float], resamples: int = 2000) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean."""
    table = torch.tensor(values)
    picked = torch.randint(len(table), (resamples, len(table)), generator=torch.Generator().manual_seed(0))
    low, high = table[picked].mean(dim=1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def table(rows: Sequence[Row]) -> str:
    """Means over concepts and seeds, a line per method; the interval is over concepts (each its mean over seeds)."""
    lines = [
        "| taught on | concepts | target recall | 95 % over concepts | known accuracy lost | false positives | runs |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row.method, row.together) for row in rows):
        own = [row for row in rows if (row.method, row.together) == key]
        by_concept: dict[str, list[float]] = {}
        for row in own:
            by_concept.setdefault(row.concept, []).append(row.recall)
        low, high = interval([statistics.fmean(values) for values in by_concept.values()])
        lines.append(
            f"| {key[0]} | {'all at once' if key[1] else 'one at a time'} | {mean(own, 'recall'):.3f} "
            f"| {low:.2f} to {high:.2f} | {mean(own, 'known_lost'):+.4f} "
            f"| {mean(own, 'false_positives'):.4f} | {len(own)} |"
        )
    return "\n".join(lines)


def concept_table(rows: Sequence[Row], methods: Sequence[str]) -> str:
    """Target recall of each concept taught alone, mean over seeds."""
    lines = ["| concept | before | " + " | ".join(methods) + " |", "|---" * (len(methods) + 2) + "|"]
    alone = [row for row in rows if not row.together]
    for name in dict.fromkeys(row.concept for row in alone):
        own = [row for row in alone if row.concept == name]
        cells = [f"{mean([r for r in own if r.method == m], 'recall'):.2f}" for m in methods]
        lines.append(f"| {name} | {mean(own[:1], 'recall_before'):.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean(rows: Sequence[Row], field: str) -> float:
    return statistics.fmean(getattr(row, field) for row in rows) if rows else float("nan")


def plot(rows: Sequence[Row], path: Path) -> None:
    """Target recall against both prices."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    alone = [row for row in rows if not row.together]
    groups = dict.fromkeys(row.method for row in alone)
    for axis, price, label in zip(
        axes, ("known_lost", "false_positives"), ("known accuracy lost", "false positives"), strict=True
    ):
        curve = [m for m in groups if m.startswith("paper")]
        points = [[mean([r for r in alone if r.method == m], f) for f in (price, "recall")] for m in curve]
        if points:
            axis.plot(*zip(*points, strict=True), "o-", color="0.5", label="paper's recipe, learning rates")
        for method in (m for m in groups if not m.startswith("paper")):
            own = [row for row in alone if row.method == method]
            axis.plot(mean(own, price), mean(own, "recall"), "D" if method == "ours" else "s", label=method)
        axis.axvline(0.01, color="0.8", lw=1)
        axis.set_xlabel(label)
    axes[0].set_ylabel("target recall")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--cache", type=Path, default=Path("bench/cache"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-seeds", type=int, default=1)
    parser.add_argument("--paper-steps", type=int, default=100)
    parser.add_argument("--paper-known", type=int, default=200)
    parser.add_argument("--paper", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = prepare(options.data, options.cache)
    inversion, config = InversionConfig(), TeachingConfig()
    rows = prompt_rows(bench)
    for seed in range(options.seeds):
        rows += default_rows(bench, config, inversion, seed, options.data / "novel-concepts")
        say(table(rows))
    notes = {"similarity of features, ours": similarity(bench, inversion, 0)}
    if options.paper:
        paper = InversionConfig.paper(options.paper_steps)
        for seed in range(options.paper_seeds):
            rows += paper_rows(bench, paper, seed, PAPER_RATES, options.data, options.paper_known)
        notes["similarity of features, paper"] = similarity(bench, paper, 0)
    write(options.out, rows, notes, vars(options))
    print((options.out / ("results.json" if options.json else "table.md")).read_text(encoding="utf-8"))


def prepare(data: Path, cache: Path) -> Bench:
    model = dual_encoder(load("mini"), "this benchmark")
    concepts = read_concepts(data / "novel-concepts" / "concepts.json")
    labels = label_set(names=imagenet_names(), concepts=[concept.name for concept in concepts])
    return Bench(
        model=model,
        concepts=concepts,
        labels=labels,
        columns=name_embeddings(model, labels.all),
        novel=photo_features(model, read_folder(data / "novel-concepts")),
        known=photo_features(model, read_folder(data / "imagenet1k-sample")),
        replay=replay_pictures(model),
        cache=cache,
    )


def write(out: Path, rows: Sequence[Row], notes: dict[str, float], options: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    settings = {key: str(value) for key, value in options.items() if key not in ("data", "out", "cache")}
    (out / "results.json").write_text(
        json.dumps({"options": settings, "notes": notes, "rows": [asdict(row) for row in rows]}, indent=1)
    )
    methods = [m for m in dict.fromkeys(row.method for row in rows) if not m.startswith("paper")]
    lines = [
        table(rows),
        "",
        concept_table(rows, methods),
        "",
        *(f"- {key}: {value:.3f}" for key, value in notes.items()),
    ]
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        plot(rows, out / "plot.png")
    except ImportError:
        say("plot.png is not drawn: matplotlib is not installed (the extra 'bench' has it)")


if __name__ == "__main__":
    main()
