"""How long text to taught model takes, against the paper's setting and against what the machine allows; and how much
memory.

    python bench/speed.py                 # prints the table
    python bench/speed.py --json          # prints the numbers

Everything is a ratio of two times of the same run, on one thread, measured in turns, so that a machine that others use
too slows both; medians are taken. Writes results.json, table.md and, with matplotlib, plot.png into --out.

`text_to_model_ratio` (a): one concept from its text to the taught model by Molyneux's defaults, measured whole,
against `InversionConfig.paper()` with 5,000 steps and `TeachingConfig.paper()`. The paper's steps are not all run: one
is measured in each of the canvas's three sides, and multiplied with the steps that side lasts. Both run on Molyneux's
code; against a plain implementation see (c). What is done once for a model is not in it: texts of known classes are
read in the first round alone, of which a median takes no notice, and `mini` ships its replay images.
`text_only_ratio`: the same against teaching without images (`--images-from none`), which teaches less.
`step_over_limit` (b): one step of Molyneux's default inversion against forward and backward of the frozen tower alone,
same batch and side, as its library computes them, in the faster of the two memory layouts.
`finished_images_ratio` (c): seconds per finished image of a plain implementation (plain_inversion.py, 3,400 steps)
against `InversionConfig.paper(3400)`: the same sides and number of steps. `finished_images_ratio_default`: against
Molyneux's default.
`memory_ratio` (d): largest over smallest peak memory of whole runs (`molyneux teach`, images, teaching, reading,
report; two inversion steps) with 1, 10 and 100 concepts, a process each.
`ray_two_over_one`: time of the same jobs on one Ray worker over that on two, each with one core.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from plain_inversion import STAGES, PlainInversion
from torch import Generator

from molyneux import InversionConfig, TeachingConfig, load, teach
from molyneux.backends.base import DualEncoder, dual_encoder, frozen
from molyneux.backends.options import Running
from molyneux.concepts import Concept
from molyneux.images.jobs import ImageMaker, InversionJob
from molyneux.inversion.invert import invert
from molyneux.pipeline.settings import TeachSettings
from molyneux.pipeline.teach_run import teach_concepts
from molyneux.synthetic import description_only

CONCEPT = Concept(
    "kangaroo",
    "A tall brown animal that stands upright on big hind legs, with short arms, long ears and a thick long tail.",
)
COUNTS = (1, 10, 100)
PARTS = ("step", "time", "memory", "ray")
TARGETS = {
    "text_to_model_ratio": "at least 100",
    "step_over_limit": "at most 1.15",
    "finished_images_ratio": "at least 5",
    "memory_ratio": "at most 1.1",
}
MEANING = {
    "text_to_model_ratio": "(a) text to taught model, the paper's setting over ours",
    "text_only_ratio": "(a) the same, without images",
    "step_over_limit": "(b) an inversion step over the bare pass, forward and backward",
    "finished_images_ratio": "(c) a finished image, plain implementation over ours, same steps",
    "finished_images_ratio_default": "(c) the same over Molyneux's default",
    "memory_ratio": "(d) peak memory of 1, 10 and 100 concepts, largest over smallest",
    "ray_two_over_one": "one Ray worker over two",
}


class Clock:
    """The time of each step of an inversion, without what is done between two steps."""

    def __init__(self, between: Callable[[], object] = lambda: None) -> None:
        self.steps: list[float] = []
        self._between, self._from = between, 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.perf_counter()
        if done > 1:  # the first step has the preparation in it
            self.steps.append(now - self._from)
        self._between()
        self._from = time.perf_counter()

    @property
    def step(self) -> float:
        return statistics.median(self.steps)


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def step_over_limit(model: DualEncoder, repeats: int) -> dict[str, float]:
    """(b): in turns, a step and a bare pass."""
    config = replace(InversionConfig(), steps=repeats + 1)
    bare, side = model.copy(), model.inversion_size
    shape = (config.images, 3, side, side)
    images = torch.rand(shape, generator=Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)
    images.requires_grad_()

    def once() -> None:
        torch.autograd.grad(bare.embed_images(images).sum(), images)

    passes: list[float] = []
    with frozen(bare.native):
        once()
        clock = Clock(lambda: passes.append(timed(once)))
        invert(model, CONCEPT, config, on_step=clock)
    limit = statistics.median(passes)
    return {
        "step_over_limit": clock.step / limit,
        "step_over_limit_fastest": min(clock.steps) / min(passes),
        "step_seconds": clock.step,
        "bare_pass_seconds": limit,
    }


def stages(config: InversionConfig) -> list[tuple[int, int]]:
    """Sides of the canvas, and how many steps each lasts."""
    starts = [round(start * config.steps) for start, _ in config.growth]
    lengths = [after - start for start, after in zip(starts, [*starts[1:], config.steps], strict=True)]
    return [(side, length) for (_, side), length in zip(config.growth, lengths, strict=True)]


def paper_seconds(model: DualEncoder, config: InversionConfig, repeats: int) -> float:
    """Of all steps of the paper's setting, from a few in each stage."""
    total = 0.0
    for side, length in stages(config):
        clock = Clock()
        invert(model, CONCEPT, replace(config, steps=repeats + 1, growth=((0.0, side),)), on_step=clock)
        total += length * clock.step
    return total


def plain_seconds(model: DualEncoder, repeats: int) -> float:
    """Of all steps of one image by the plain implementation, from a few in each stage."""
    target = model.embed_texts(CONCEPT.descriptions)[0]
    total = 0.0
    for side, length in STAGES:
        job = PlainInversion(model.copy(), target, side, Generator().manual_seed(0))
        total += length * statistics.median([timed(job.step) for _ in range(repeats + 1)][1:])
    return total


def text_to_model(model: DualEncoder, rounds: int, repeats: int) -> dict[str, float]:
    """(a) and (c): in turns, Molyneux's default whole, and samples of the paper's setting and of a plain one."""
    ours, teaching, theirs, their_teaching, same, plain, bare = ([] for _ in range(7))  # type: ignore[var-annotated]
    paper = InversionConfig.paper()
    plain_steps = sum(length for _, length in STAGES)
    alike = replace(InversionConfig.paper(plain_steps), growth=((0.0, 64), (900 / 3400, 128), (1800 / 3400, 224)))
    for turn in range(rounds):
        theirs.append(paper_seconds(model, paper, repeats))
        started = time.perf_counter()
        images = invert(model, CONCEPT)
        ours.append(time.perf_counter() - started)
        teaching.append(timed(lambda: teach(model, [images])))  # noqa: B023
        bare.append(timed(lambda: teach(model, [description_only(CONCEPT)])))
        their_teaching.append(timed(lambda: teach(model, [images], TeachingConfig.paper(), known=())))  # noqa: B023
        plain.append(plain_seconds(model, max(2, repeats // 2)))
        same.append(paper_seconds(model, alike, repeats) / alike.images)
        say(f"round {turn + 1} of {rounds}: {ours[-1] + teaching[-1]:.1f} s against {theirs[-1]:.0f} s")
    middle = statistics.median
    whole = [own + lesson for own, lesson in zip(ours, teaching, strict=True)]
    paper_whole = [own + lesson for own, lesson in zip(theirs, their_teaching, strict=True)]
    images = InversionConfig().images
    return {
        "text_to_model_ratio": middle([p / o for p, o in zip(paper_whole, whole, strict=True)]),
        "text_only_ratio": middle([p / w for p, w in zip(paper_whole, bare, strict=True)]),
        "text_to_model_seconds": middle(whole),
        "text_only_seconds": middle(bare),
        "inversion_seconds": middle(ours),
        "teaching_seconds": middle(teaching),
        "paper_seconds": middle(paper_whole),
        "finished_images_ratio": middle([p / s for p, s in zip(plain, same, strict=True)]),
        "finished_images_ratio_default": middle([images * p / o for p, o in zip(plain, ours, strict=True)]),
        "plain_seconds_per_image": middle(plain),
        "same_steps_seconds_per_image": middle(same),
        "default_seconds_per_image": middle(ours) / images,
    }


def run_many(count: int) -> None:
    """A whole run with this many concepts, and its peak memory in MiB on stdout."""
    torch.set_num_threads(1)
    concepts = tuple(Concept(f"thing {number}", CONCEPT.descriptions) for number in range(count))
    with tempfile.TemporaryDirectory() as folder:
        teach_concepts(
            TeachSettings(
                concepts=concepts,
                out=Path(folder) / "run",
                inversion=InversionConfig(steps=2),
                controls=False,
            )
        )
    print(peak_mib())


def peak_mib() -> float:
    """The most memory that this process ever held, in MiB.

    Linux counts in `ru_maxrss` what the process held before it became this program, which is its parent's memory.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return (
            next(float(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
        )
    scale = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def memory() -> dict[str, float]:
    """(d): a process for each number of concepts."""
    found = {}
    for count in COUNTS:
        command = [sys.executable, __file__, "--memory-of", str(count)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[f"memory_{count}_mib"] = float(printed.split()[-1])
        say(f"peak memory with {count} concepts: {found[f'memory_{count}_mib']:.0f} MiB")
    return {"memory_ratio": max(found.values()) / min(found.values())} | found


def ray_ratio(model: DualEncoder, steps: int) -> dict[str, Any]:
    """Four jobs on a cluster of one core, and of two; workers have loaded the model before the clock starts."""
    if len(os.sched_getaffinity(0)) < 2:
        return {"ray_two_over_one": "not computed: this process may use one core"}
    try:
        import ray
    except ImportError:
        return {"ray_two_over_one": "not computed: ray is not installed (the extra 'ray' has it)"}
    image_maker = ImageMaker(model=model, name="mini", running=Running(), executor="ray")
    seconds = {}
    for workers in (1, 2):
        ray.init(num_cpus=workers, log_to_driver=False, include_dashboard=False, configure_logging=False)
        with tempfile.TemporaryDirectory() as folder:

            def jobs(steps: int, count: int, root: Path = Path(folder)) -> list[InversionJob]:
                config = InversionConfig(steps=steps)
                return [
                    InversionJob(
                        concept=CONCEPT, config=config, seed=seed, folder=root / f"{steps}-{seed}", work=root / "work"
                    )
                    for seed in range(count)
                ]

            image_maker(jobs(1, 4 * workers))
            seconds[workers] = timed(lambda: image_maker(jobs(steps, 4)))
        ray.shutdown()
    return {"ray_two_over_one": seconds[1] / seconds[2], "ray_one_seconds": seconds[1], "ray_two_seconds": seconds[2]}


def table(found: dict[str, Any]) -> str:
    """The ratios and their targets, then the times behind them."""
    lines = ["| | measured | target |", "|---|---|---|"]
    for key, meaning in MEANING.items():
        value = found[key]
        written = value if isinstance(value, str) else f"{value:.3g}" if value >= 100 else f"{value:.2f}"
        lines.append(f"| {meaning} | {written} | {TARGETS.get(key, '')} |")
    lines += ["", "| behind them | |", "|---|---|"]
    lines += [f"| {key.replace('_', ' ')} | {value:.4g} |" for key, value in found.items() if key not in MEANING]
    return "\n".join(lines)


def plot(found: dict[str, Any], path: Path) -> None:
    """Times on the left, memory on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6))
    bars = {
        "ours, text to model": found["text_to_model_seconds"],
        "paper's setting, text to model": found["paper_seconds"],
        "ours, an image": found["default_seconds_per_image"],
        "paper's 3,400 steps, an image": found["same_steps_seconds_per_image"],
        "plain implementation, an image": found["plain_seconds_per_image"],
    }
    left.barh(list(bars), list(bars.values()))
    left.set_xscale("log")
    left.set_xlabel("seconds on one core")
    left.invert_yaxis()
    peaks = [found[f"memory_{count}_mib"] for count in COUNTS]
    right.plot(COUNTS, peaks, "o-")
    right.set_xscale("log")
    right.set_ylim(0, 1.2 * max(peaks))
    right.set_xlabel("concepts")
    right.set_ylabel("peak memory in MiB")
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench/results/speed"))
    parser.add_argument("--rounds", type=int, default=3, help="of (a) and (c)")
    parser.add_argument("--repeats", type=int, default=6, help="steps of each stage in a round")
    parser.add_argument("--steps", type=int, default=40, help="steps of (b)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--only", nargs="*", default=[], choices=PARTS, help="measure these, and keep the other results"
    )
    parser.add_argument("--memory-of", type=int, metavar="CONCEPTS", help="only run that many, and print the peak")
    options = parser.parse_args()
    if options.memory_of:
        run_many(options.memory_of)
        return
    torch.set_num_threads(1)
    model = dual_encoder(load("mini"), "this benchmark")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: step_over_limit(model, options.steps),
        "time": lambda: text_to_model(model, options.rounds, options.repeats),
        "memory": memory,
        "ray": lambda: ray_ratio(model, 25),
    }
    results = options.out / "results.json"
    found: dict[str, Any] = json.loads(results.read_text()) if options.only and results.exists() else {}
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.only or PARTS:
        found |= parts[part]()
        results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        say(f"measured: {part}")
    if not MEANING.keys() <= found.keys():
        return
    (options.out / "table.md").write_text(table(found) + "\n", encoding="utf-8")
    try:
        plot(found, options.out / "plot.png")
    except ImportError:
        say("plot.png is not drawn: matplotlib is not installed (the extra 'bench' has it)")
    print((options.out / ("results.json" if options.json else "table.md")).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
