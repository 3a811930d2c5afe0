"""Break one thing at a time and see whether a test notices.

    python scripts/mutate.py                 # all mutations
    python scripts/mutate.py --room teaching # those of one room
    python scripts/mutate.py --list

Each mutation replaces a piece of source text in a copy of the tree and runs the tests that guard it. A mutation is
caught if a test fails. The last table counts, for each room, how many were caught. Exit code 1 if any survived.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = (
    "src",
    "tests",
    "docs",
    "examples",
    "scripts",
    "bench",
    "README.md",
    "CONTRIBUTING.md",
    "Makefile",
    "pyproject.toml",
)
LONGEST = 900
"""Seconds after which a mutated run counts as caught: it no longer ends."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of one file, and the tests that should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def room(self) -> str:
        return self.file.split("/")[0].removesuffix(".py")


MUTATIONS = (
    Mutation(
        "inversion: rate divided by ten",
        "inversion/config.py",
        "learning_rate: float = 0.06",
        "learning_rate: float = 0.006",
        ("tests/inversion/test_defaults.py",),
    ),
    Mutation(
        "inversion: no joint term",
        "inversion/invert.py",
        "loss = -scores.mean() - config.joint * together",
        "loss = -scores.mean()",
        ("tests/inversion/test_defaults.py",),
    ),
    Mutation(
        "inversion: joint weight 0 by default",
        "inversion/config.py",
        "joint: float = 2.0",
        "joint: float = 0.0",
        ("tests/inversion/test_defaults.py",),
    ),
    Mutation(
        "inversion: noise that does not fall",
        "inversion/invert.py",
        "config.noise * (1 - self.step / config.steps)",
        "config.noise",
        ("tests/inversion/test_defaults.py",),
    ),
    Mutation(
        "inversion: colour deviations all 1",
        "inversion/canvas.py",
        "torch.tensor([1.0, 0.35, 0.15])",
        "torch.tensor([1.0, 1.0, 1.0])",
        ("tests/inversion/test_defaults.py",),
    ),
    Mutation(
        "inversion: no batch-norm prior",
        "inversion/invert.py",
        "loss = loss + config.batch_norm * statistics_distance(seen, self.expected)",
        "pass",
        ("tests/inversion",),
    ),
    Mutation(
        "inversion: views never moved",
        "inversion/views.py",
        "if u[0] < config.affine_probability else _IDENTITY",
        "if False else _IDENTITY",
        ("tests/inversion",),
    ),
    Mutation(
        "teaching: no regression",
        "teaching/edit.py",
        "    total = normalize(regression, dim=1) + weight * description + config.name * name",
        "    total = weight * description + config.name * name",
        ("tests/teaching/test_defaults.py",),
    ),
    Mutation(
        "teaching: no description beside the regression",
        "teaching/edit.py",
        "    weight = description_weight(known, config)",
        "    weight = 0.0",
        ("tests/teaching/test_defaults.py",),
    ),
    Mutation(
        "teaching: keys answer to what all images share",
        "teaching/edit.py",
        "    rows = rows - common_answer(rows, images)[:, None] * constant",
        "    pass",
        (
            "tests/teaching/test_defaults.py",
            "tests/teaching/test_edit.py",
        ),
    ),
    Mutation(
        "teaching: keys that are not whitened",
        "teaching/edit.py",
        "    rows = torch.linalg.solve(covariance, directions.T).T",
        "    rows = directions",
        ("tests/teaching/test_edit.py",),
    ),
    Mutation(
        "teaching: values that raise all names",
        "teaching/edit.py",
        "    off = names.double() - known_names.double().mean(dim=0)\n    rows = torch.linalg",
        "    off = names.double()\n    rows = torch.linalg",
        ("tests/teaching/test_edit.py",),
    ),
    Mutation(
        "teaching: the name's own score stays",
        "teaching/config.py",
        "    forget_name: float = 0.9",
        "    forget_name: float = 0.0",
        ("tests/teaching",),
    ),
    Mutation(
        "teaching: the price has no part in the strength",
        "teaching/strength.py",
        "    place, forget = max(1, round(config.price * len(against.seen)))",
        "    place, forget = max(1, round(0.5 * len(against.seen)))",
        ("tests/teaching/test_defaults.py",),
    ),
    Mutation(
        "teaching: no replay term",
        "teaching/objectives/contrastive.py",
        "self.contrastive_loss(embedded, batch, generator) + self.replay_loss(generator)",
        "self.contrastive_loss(embedded, batch, generator)",
        ("tests/teaching/test_fine_tune.py",),
    ),
    Mutation(
        "teaching: the strength is not kept",
        "teaching/fine_tune.py",
        "return student if config.strength == 1 else",
        "return student if True else",
        ("tests/teaching/test_fine_tune.py",),
    ),
    Mutation(
        "teaching: a concept's own name among its negatives",
        "teaching/objectives/contrastive.py",
        "return self.columns != (self.known + owners.to(self.columns.device))[:, None]",
        "return (self.columns != -1).expand(len(owners), -1)",
        ("tests/teaching/test_fine_tune.py", "tests/teaching/test_losses.py"),
    ),
    Mutation(
        "images: fresh images of the taught seed",
        "images/sources.py",
        "seed=request.seed + 1)",
        "seed=request.seed)",
        ("tests/images/test_defaults.py",),
    ),
    Mutation(
        "images: replay of the taught concept",
        "images/replay.py",
        "kept = without([one.concept.name for one in found], taught)",
        "kept = without([one.concept.name for one in found], ())",
        ("tests/images/test_defaults.py",),
    ),
    Mutation(
        "images: one noise for all concepts",
        "images/sources.py",
        "_noise_seed(request.seed, index)",
        "_noise_seed(request.seed, 0)",
        ("tests/images/test_defaults.py",),
    ),
    Mutation(
        "images: a shuffle that leaves all in place",
        "images/sources.py",
        "places[item] = order[(index + 1) % count]",
        "places[item] = item",
        ("tests/images/test_sources.py",),
    ),
    Mutation(
        "pipeline: controls with other settings",
        "pipeline/teach_run.py",
        "        config = self.settings.teaching\n",
        "        config = type(self.settings.teaching)()\n",
        ("tests/pipeline/test_guards.py",),
    ),
    Mutation(
        "runs: other weights continue a run",
        "runs/folder.py",
        "if self.weights.setdefault(name, found) != found:",
        "if False:",
        ("tests/pipeline", "tests/runs"),
    ),
    Mutation(
        "runs: a damaged file is taken as it is",
        "runs/stage.py",
        "return kept is not None and kept == self._present(stage)",
        "return kept is not None",
        ("tests/runs", "tests/pipeline/test_teach_run.py"),
    ),
    Mutation(
        "tasks: recall counts ties as hits",
        "tasks/classification/metrics.py",
        "return target > known.max(dim=1).values",
        "return target >= known.max(dim=1).values",
        ("tests/tasks/classification/test_metrics.py",),
    ),
    Mutation(
        "tasks: median rank from the upper middle",
        "tasks/classification/metrics.py",
        "(ordered[(len(ranks) - 1) // 2] + ordered[len(ranks) // 2]) / 2",
        "ordered[len(ranks) // 2]",
        ("tests/tasks/classification/test_metrics.py",),
    ),
    Mutation(
        "tasks: overlap counted once",
        "tasks/localisation/metrics.py",
        "_count(predicted | true)",
        "_count(true)",
        ("tests/tasks/localisation/test_segmentation_metrics.py",),
    ),
    Mutation(
        "report: templates do not escape",
        "report/pages.py",
        "autoescape=True",
        "autoescape=False",
        ("tests/report",),
    ),
    Mutation(
        "report: figures do not escape",
        "report/figures.py",
        "{escape(words)}",
        "{words}",
        ("tests/report",),
    ),
    Mutation(
        "datasets: photos without their margin",
        "datasets/photos.py",
        "shorter = max(size, round(size / crop))",
        "shorter = size",
        ("tests/datasets/test_photos.py",),
    ),
    Mutation(
        "backends: pickles may run code",
        "backends/checkpoints.py",
        'torch.load(source, weights_only=True, map_location="cpu")',
        'torch.load(source, weights_only=False, map_location="cpu")',
        ("tests/backends",),
    ),
    Mutation(
        "recipes: the paper's numbers of another row",
        "recipes/table.py",
        "recipe.expected(case.labels, column.title)",
        "recipe.expected(cases[0].labels, column.title)",
        ("tests/recipes",),
    ),
    Mutation(
        "files: names become paths",
        "files.py",
        'plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()',
        "return text",
        ("tests/test_files.py",),
    ),
)


def main() -> int:
    """Apply the chosen mutations one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", help="only mutations of this room")
    parser.add_argument("--list", action="store_true", help="name the mutations and end")
    options = parser.parse_args()
    chosen = [one for one in MUTATIONS if options.room in (None, one.room)]
    if options.list or not chosen:
        print("\n".join(f"{one.room:12} {one.name}" for one in chosen) or f"no mutation of {options.room!r}")
        return 0 if chosen else 2
    caught: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for part in TREE:
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, root / part)
        if not passes(root, sorted({test for one in chosen for test in one.tests})):
            print("the tests fail before anything is changed: mend them first")
            return 2
        for one in chosen:
            found = is_caught(root, one)
            caught[one.room].append(found)
            print(f"{'caught' if found else 'SURVIVED':9} {one.name}", flush=True)
    print()
    for room, results in sorted(caught.items()):
        print(f"{room:12} {sum(results)} of {len(results)} caught")
    return 0 if all(all(results) for results in caught.values()) else 1


def is_caught(root: Path, mutation: Mutation) -> bool:
    """Whether a test fails with the mutation in place; the file is put back."""
    path = root / "src" / "molyneux" / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        count = text.count(mutation.old)
        raise SystemExit(f"{mutation.name}: expected {mutation.old!r} once in {mutation.file}, found it {count} times")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        return not passes(root, mutation.tests)
    finally:
        path.write_text(text, encoding="utf-8")


def passes(root: Path, tests: "tuple[str, ...] | list[str]") -> bool:
    """Whether these tests pass in this tree."""
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode not in (0, 1):
        raise SystemExit(
            f"pytest could not run {tests}:\n{ended.stdout.decode()[-2000:]}{ended.stderr.decode()[-2000:]}"
        )
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
