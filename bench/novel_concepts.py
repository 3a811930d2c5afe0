"""What teaching from descriptions gains and costs: every concept, one at a time and all at once, beside its controls.

    python bench/novel_concepts.py --data ../shared/data --seeds 3
    python bench/novel_concepts.py --data ../shared/data --seeds 1 --no-paper     # Molyneux's default alone

Reads `novel-concepts/` (photos and `concepts.json`) and `imagenet1k-sample/` below --data. Inverted images are
cached in bench/cache by model, settings, concept and seed, rows by all these and Molyneux's code, so that a run can be
continued and its parts shared among processes. Writes results.json, table.md and, with matplotlib,
plot.png into --out.

Rows:

- Molyneux's default, and the same at other strengths, so that it can be compared with others at equal price;
- the same on the images alone, without the text and ConSE anchors, and on these anchors alone;
- the controls: the same on noise, which has no description; on another concept's images and description; and the
  description as prompt, without teaching;
- the same on ten real photos, the upper line; those ten are left out of its score;
- the paper's recipe (`InversionConfig.paper`, `TeachingConfig.paper`) at each learning rate. It moves the whole tower,
  so photos must be embedded anew for each run. It is scored on --paper-known known photos, evenly spread, and compared
  with the same model before teaching on the same photos. Its images have --paper-steps steps; those of --paper-full
  have 5,000 as well, in rows of their own, to show what the other steps would change.

The settings of Molyneux's default were chosen on the six concepts of TUNED; the table gives all twelve and the
other six.
"""

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity

import molyneux
from molyneux import InversionConfig, SyntheticImages, TeachingConfig, load
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.backends.digest import weights_digest
from molyneux.concepts import Concept, read_concepts
from molyneux.datasets.folders import PhotoFolder, read_folder
from molyneux.datasets.imagenet import imagenet_names
from molyneux.datasets.photos import load_batch
from molyneux.files import write_bytes
from molyneux.images.replay import replay_images
from molyneux.images.sources import derangement
from molyneux.inversion.invert import invert
from molyneux.synthetic import noise_images
from molyneux.tasks.classification.features import PhotoFeatures, name_embeddings, photo_features
from molyneux.tasks.classification.labels import LabelSet, label_set
from molyneux.tasks.classification.results import Measurement
from molyneux.tasks.classification.zero_shot import measure, score_photos
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.updates import EmbeddingMap

PAPER_RATES = (1e-5, 2e-5, 3e-5, 5e-5, 1e-4, 2e-4, 3e-4)
KindT = TypeVar("KindT")
HELD_OUT = 10
ROOMS = ("backends", "datasets", "images", "inversion", "tasks", "teaching")
TUNED = ("okapi", "octopus", "kangaroo", "pigeon", "wheelchair", "chandelier")
STRENGTHS = (0.2, 0.4, 0.6, 0.85, 0.88, 1.0)


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
    weights: str
    concepts: tuple[Concept, ...]
    labels: LabelSet
    columns: Tensor
    novel: PhotoFeatures
    known: PhotoFeatures
    replay: tuple[SyntheticImages, ...]
    cache: Path

    def images(self, concept: Concept, config: InversionConfig, seed: int) -> SyntheticImages:
        """Inverted once, then read from the cache."""
        text = repr((self.weights, asdict(config), concept, seed))
        folder = self.cache / hashlib.sha256(text.encode()).hexdigest()[:16]
        if not folder.exists():
            started = time.perf_counter()
            checkpoint = self.cache / f"{folder.name}.pt"
            invert(self.model, concept, config, seed=seed, checkpoint=checkpoint).save(folder)
            say(f"inverted {concept.name}, seed {seed}: {time.perf_counter() - started:.0f} s")
        return SyntheticImages.load(folder)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def row(method: str, concept: str, seed: int, before: Measurement, after: Measurement, together: bool = False) -> Row:
    return Row(
        method=method,
        together=together,
        concept=concept,
        seed=seed,
        recall=number(after.concepts[concept].target_recall),
        recall_before=number(before.concepts[concept].target_recall),
        known_lost=number(before.known_accuracy) - number(after.known_accuracy),
        false_positives=number(after.concepts[concept].false_positive_rate),
    )


def scored(bench: Bench, model: DualEncoder, novel: PhotoFeatures) -> Measurement:
    """The model on all photos; its trunk must be the base model's."""
    scores = score_photos(model, bench.labels, bench.columns, known=bench.known, novel=novel)
    return measure(bench.labels, scores, intervals=False)


def number(value: float | None) -> float:
    assert value is not None
    return value


def default_rows(
    bench: Bench, config: TeachingConfig, inversion: InversionConfig, seed: int, photos: Path
) -> list[Row]:
    """Molyneux's default and its controls, each concept alone and all together."""
    own = [bench.images(concept, inversion, seed) for concept in bench.concepts]
    size = own[0].pixels.shape[-1]
    places = derangement(len(own), seed)
    shuffled = [own[place].shown_as(c) for place, c in zip(places, bench.concepts, strict=True)]
    noise = [noise_images(c, len(own[0]), size, 1000 * seed + i) for i, c in enumerate(bench.concepts)]
    real = [real_images(bench.model, photos, concept) for concept in bench.concepts]
    rest = without_first(bench.novel, HELD_OUT)
    rows: list[Row] = []
    without_descriptions = replace(config, text_anchor=0.0, conse_anchor=0.0)
    anchors = replace(config, text_anchor=1e6, conse_anchor=1e6)
    sources = (
        ("ours", own, config, bench.novel),
        ("images alone", own, without_descriptions, bench.novel),
        ("anchors alone", own, anchors, bench.novel),
        ("shuffled", shuffled, config, bench.novel),
        ("noise", noise, config, bench.novel),
        ("ten real photos", real, config, rest),
    )
    for method, images, settings, novel in sources:
        before = scored(bench, bench.model, novel)
        for lesson in [*([one] for one in images), list(images)]:
            names = [one.concept.name for one in lesson]
            whole = replace(settings, strength=1.0)
            full = fine_tune(bench.model, lesson, whole, known=imagenet_names(), replay=bench.replay, seed=seed)
            others = [x for x in STRENGTHS if x != config.strength]
            strengths = others if method == "ours" and len(lesson) == 1 else []
            for share in (config.strength, *strengths):
                after = scored(bench, interpolate(bench.model, full, share), novel)
                label = method if share == config.strength else f"{method}, strength {share:g}"
                rows += [row(label, name, seed, before, after, together=len(lesson) > 1) for name in names]
    return rows


def real_images(model: DualEncoder, photos: Path, concept: Concept) -> SyntheticImages:
    """The first ten photos of a concept, as they would be looked at."""
    paths = read_folder(photos, only=[concept.name]).paths[:HELD_OUT]
    pixels = load_batch(paths, model.image_size, model.crop_fraction)
    return SyntheticImages(concept=concept, pixels=pixels, seed=0, source="photos", depicted=concept.name)


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
    return [row("description as prompt", name, 0, plain, asked) for name in bench.labels.novel]


def paper_rows(
    bench: Bench,
    concept: Concept,
    inversion: InversionConfig,
    seed: int,
    rates: Sequence[float],
    data: Path,
    some: PhotoFolder,
) -> list[Row]:
    """The paper's recipe on one concept: the whole tower moves, so photos are embedded for every run."""
    images = bench.images(concept, inversion, seed)
    own = read_folder(data / "novel-concepts", only=[concept.name])
    labels = label_set(names=imagenet_names(), concepts=[concept.name])
    columns = name_embeddings(bench.model, labels.all)

    def judged(model: DualEncoder) -> Measurement:
        known, novel = photo_features(model, some), photo_features(model, own)
        return measure(labels, score_photos(model, labels, columns, known=known, novel=novel), intervals=False)

    before = judged(bench.model)
    rows = []
    for rate in rates:
        taught = fine_tune(bench.model, [images], TeachingConfig.paper(rate), known=(), seed=seed)
        rows.append(row(f"paper, {inversion.steps} steps, {rate:g}", concept.name, seed, before, judged(taught)))
    say(f"paper's recipe on {concept.name}, seed {seed}, {inversion.steps} steps: {len(rates)} rates")
    return rows


def kept(bench: Bench, kind: type[KindT], script: str, parts: object, make: Callable[[], list[KindT]]) -> list[KindT]:
    """Values computed once for these parts and the code below them, then read from the cache, so that a run goes on."""
    text = repr((bench.weights, code_digest(script), parts))
    path = bench.cache / f"{kind.__name__.lower()}s-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        write_bytes(path, json.dumps([asdict(one) for one in make()]).encode())
    return [kind(**one) for one in json.loads(path.read_text())]


@cache
def code_digest(script: str) -> str:
    """Of a benchmark and all of Molyneux that its numbers come from."""
    code, root = hashlib.sha256(), Path(molyneux.__file__).parent
    for path in (Path(script), *sorted(one for room in ROOMS for one in (root / room).rglob("*.py"))):
        code.update(path.read_bytes())
    return code.hexdigest()


def similarity(bench: Bench, concepts: Sequence[Concept], config: InversionConfig, seed: int) -> float:
    """Mean cosine, over concepts, of the images' mean feature to the real photos', both less the known mean."""
    centre = bench.known.features.mean(dim=0)
    found = []
    for concept in concepts:
        pixels = bench.images(concept, config, seed).pixels
        with torch.no_grad():
            own = bench.model.features(pixels).mean(dim=0)
        real = bench.novel.only([concept.name]).features.mean(dim=0)
        found.append(float(cosine_similarity(own - centre, real - centre, dim=0)))
    return statistics.fmean(found)


def interval(values: dict[str, list[float]], resamples: int = 2000) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean over concepts, each with its values over seeds: both are drawn anew."""
    generator = torch.Generator().manual_seed(0)
    tables = [torch.tensor(own) for own in values.values()]
    means = []
    for _ in range(resamples):
        chosen = torch.randint(len(tables), (len(tables),), generator=generator).tolist()
        drawn = [tables[i][torch.randint(len(tables[i]), (len(tables[i]),), generator=generator)] for i in chosen]
        means.append(torch.stack([one.mean() for one in drawn]).mean())
    low, high = torch.stack(means).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def by_concept(rows: Sequence[Row], field: str = "recall") -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in rows:
        found.setdefault(one.concept, []).append(getattr(one, field))
    return found


def table(rows: Sequence[Row]) -> str:
    """Means over concepts and seeds, a line per method, with the recall of the concepts that nothing was tuned on."""
    lines = [
        "| taught on | concepts | target recall | 95 % over concepts and seeds | recall, the six not tuned on "
        "| known accuracy lost | false positives | runs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((one.method, one.together) for one in rows):
        own = [one for one in rows if (one.method, one.together) == key]
        low, high = interval(by_concept(own))
        fresh = [one for one in own if one.concept not in TUNED]
        lines.append(
            f"| {key[0]} | {'all at once' if key[1] else 'one at a time'} | {mean(own, 'recall'):.3f} "
            f"| {low:.2f} to {high:.2f} | {mean(fresh, 'recall'):.3f} | {mean(own, 'known_lost'):+.4f} "
            f"| {mean(own, 'false_positives'):.4f} | {len(own)} |"
        )
    return "\n".join(lines)


def gap_table(rows: Sequence[Row]) -> str:
    """How much more recall than with each control, concept by concept and seed by seed."""
    lines = ["| ours less | gap in target recall | 95 % over concepts and seeds |", "|---|---|---|"]
    alone = {(one.method, one.concept, one.seed): one.recall for one in rows if not one.together}
    for control in ("images alone", "anchors alone", "shuffled", "noise", "description as prompt"):
        gaps: dict[str, list[float]] = {}
        for (method, concept, seed), recall in alone.items():
            other = alone.get((control, concept, 0 if control == "description as prompt" else seed))
            if method == "ours" and other is not None:
                gaps.setdefault(concept, []).append(recall - other)
        if gaps:
            low, high = interval(gaps)
            gap = statistics.fmean(value for own in gaps.values() for value in own)
            lines.append(f"| {control} | {gap:+.3f} | {low:+.2f} to {high:+.2f} |")
    return "\n".join(lines)


def concept_table(rows: Sequence[Row], methods: Sequence[str]) -> str:
    """Target recall of each concept taught alone, mean over seeds."""
    lines = ["| concept | before | " + " | ".join(methods) + " |", "|---" * (len(methods) + 2) + "|"]
    alone = [one for one in rows if not one.together]
    for name in dict.fromkeys(one.concept for one in alone):
        own = [one for one in alone if one.concept == name]
        cells = [f"{mean([r for r in own if r.method == m], 'recall'):.2f}" for m in methods]
        lines.append(f"| {name} | {mean(own[:1], 'recall_before'):.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean(rows: Sequence[Row], field: str) -> float:
    return statistics.fmean(getattr(one, field) for one in rows) if rows else float("nan")


def plot(rows: Sequence[Row], path: Path) -> None:
    """Target recall against both prices, concepts taught one at a time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    alone = [one for one in rows if not one.together]
    few = {one.concept for one in alone if one.method.startswith("paper, 5000 steps")}
    some = [one for one in alone if not one.method.startswith("paper, 5000 steps")]
    panels = [("all concepts", some, "known_lost"), ("all concepts", some, "false_positives")]
    if few:
        panels.append((" and ".join(sorted(few)), [one for one in alone if one.concept in few], "known_lost"))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 4.2), sharey=True)
    labels = {"known_lost": "known accuracy lost", "false_positives": "false positives"}
    for axis, (title, own, price) in zip(axes, panels, strict=True):
        groups: dict[str, list[Row]] = {}
        for one in own:
            groups.setdefault(one.method, []).append(one)
        curves: dict[str, list[tuple[float, float]]] = {}
        for method, found in groups.items():
            point = (mean(found, price), mean(found, "recall"))
            if method.startswith(("paper", "ours")):
                name = method.rsplit(",", 1)[0] + ", rates" if method.startswith("paper") else "ours, strengths"
                curves.setdefault(name, []).append(point)
            if not method.startswith(("paper", "ours,")):
                axis.plot(*point, "D" if method == "ours" else "s", label=method)
        for name, points in curves.items():
            axis.plot(*zip(*sorted(points), strict=True), "o-", ms=3, label=name)
        axis.axvline(0.01, color="0.8", lw=1)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(labels[price])
        axis.set_xlim(right=0.06)
    axes[0].set_ylabel("target recall")
    axes[-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    parser.add_argument("--cache", type=Path, default=Path("bench/cache"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-seeds", type=int, default=3)
    parser.add_argument("--paper-steps", type=int, default=100)
    parser.add_argument("--paper-full", nargs="*", default=["kangaroo", "sunflower"], metavar="CONCEPT")
    parser.add_argument("--paper-known", type=int, default=200)
    parser.add_argument("--paper", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = prepare(options.data, options.cache)
    inversion, config = InversionConfig(), TeachingConfig()
    rows = prompt_rows(bench)
    novel = options.data / "novel-concepts"
    for seed in range(options.seeds):
        settings = (asdict(config), asdict(inversion), seed)
        rows += kept(bench, Row, __file__, settings, partial(default_rows, bench, config, inversion, seed, novel))
        say(table(rows))
    similar = "similarity of features to those of real photos"
    notes = {f"{similar}, ours": similarity(bench, bench.concepts, inversion, 0)}
    if options.paper:
        some = evenly(read_folder(options.data / "imagenet1k-sample"), options.paper_known)
        full = tuple(concept for concept in bench.concepts if concept.name in options.paper_full)
        lessons = [(bench.concepts, InversionConfig.paper(options.paper_steps), options.paper_seeds)]
        if full:
            lessons.append((full, InversionConfig.paper(), 1))
        for concepts, paper, seeds in lessons:
            for seed in range(seeds):
                for concept in concepts:
                    make = partial(paper_rows, bench, concept, paper, seed, PAPER_RATES, options.data, some)
                    parts = (asdict(paper), concept, seed, PAPER_RATES, options.paper_known)
                    rows += kept(bench, Row, __file__, parts, make)
            key = f"{similar}, paper, {paper.steps} steps, {len(concepts)} concepts"
            notes[key] = similarity(bench, concepts, paper, 0)
    write(options.out, rows, notes, vars(options))
    print((options.out / ("results.json" if options.json else "table.md")).read_text(encoding="utf-8"))


def evenly(folder: PhotoFolder, count: int) -> PhotoFolder:
    """About that many of a folder's photos, evenly spread."""
    step = max(1, len(folder.photos) // count)
    return PhotoFolder(root=folder.root, names=folder.names, photos=folder.photos[::step])


def prepare(data: Path, cache: Path) -> Bench:
    remember()
    model = dual_encoder(load("mini"), "this benchmark")
    concepts = read_concepts(data / "novel-concepts" / "concepts.json")
    labels = label_set(names=imagenet_names(), concepts=[concept.name for concept in concepts])
    weights = weights_digest(model.native)
    return Bench(
        model=model,
        weights=weights,
        concepts=concepts,
        labels=labels,
        columns=name_embeddings(model, labels.all),
        novel=seen(model, weights, read_folder(data / "novel-concepts"), cache),
        known=seen(model, weights, read_folder(data / "imagenet1k-sample"), cache),
        replay=replay_images(model),
        cache=cache,
    )


def remember() -> None:
    """From here on, lessons in the shared space look at the same images with the same tower once."""
    read, kept = EmbeddingMap.read, {}

    def remembered(self: EmbeddingMap, pixels: Tensor) -> Tensor:
        content = hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
        key = (content, weights_digest(self._student.vision_module()))
        if key not in kept:
            kept[key] = read(self, pixels)
        return kept[key]

    EmbeddingMap.read = remembered


def seen(model: DualEncoder, weights: str, folder: PhotoFolder, cache: Path) -> PhotoFeatures:
    """A folder's photos below the projection, from the cache where they are there already."""
    sizes = [path.stat().st_size for path in folder.paths]
    text = repr((weights, folder.relative_paths, sizes, model.image_size, model.crop_fraction))
    path = cache / f"photos-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        save_file({"features": photo_features(model, folder).features}, path)
    return PhotoFeatures(
        root=folder.root,
        names=folder.names,
        labels=torch.tensor([photo.label for photo in folder.photos]),
        paths=folder.relative_paths,
        features=load_file(path)["features"],
        image_size=model.image_size,
        crop_fraction=model.crop_fraction,
    )


def write(out: Path, rows: Sequence[Row], notes: dict[str, float], options: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    settings = {key: str(value) for key, value in options.items() if key not in ("data", "out", "cache")}
    (out / "results.json").write_text(
        json.dumps({"options": settings, "notes": notes, "rows": [asdict(one) for one in rows]}, indent=1)
    )
    methods = ["description as prompt", "ours", "images alone", "anchors alone", "shuffled", "noise", "ten real photos"]
    lines = [
        table(rows),
        "",
        gap_table(rows),
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
