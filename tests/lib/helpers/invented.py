"""One invented entry of each kind, added as CONTRIBUTING.md says: a row in a table, and what the row names.

`tests/test_choices.py` runs this file in a process of its own, so that the rows are there before anything reads them.
"""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from molyneux.backends import families
from molyneux.images.choices import CONTROLS, SOURCES, ControlKind, SourceKind
from molyneux.teaching.choices import OBJECTIVES, ObjectiveKind

if __name__ == "__main__":  # collecting doctests imports this file too, and must add nothing
    OBJECTIVES["pull"] = ObjectiveKind(implementation="invented:Pull", contrastive=True, uses_replay=False)
    CONTROLS["grey"] = ControlKind(
        phrase="plain grey",
        label="Taught on plain grey",
        short="… on grey",
        heading="On grey",
        images="invented:grey",
    )
    SOURCES["drawn"] = SourceKind(
        label="Taught on drawings",
        about="{count} drawn by a program.",
        flag="drawn",
        help="drawings of rings",
        images="invented:drawn",
    )
    families.FAMILIES += (
        families.Family(
            name="Invented",
            loader="invented:NAME",
            abilities=("embeds",),
            token_limit=30,
            image_size=(24,),
            weights="random",
            tested="itself",
            implementation="invented:ConvModel",
            mark="tiny.json",
        ),
    )
    for room in ("teaching.objectives", "images", "backends"):
        sys.modules[f"molyneux.{room}.invented"] = sys.modules[__name__]

import torch
from torch import nn

from helpers.command import QUICK
from helpers.runs import RING, write_photos
from helpers.small_models import ConvModel, load_tiny
from molyneux.synthetic import LazyImages, SyntheticImages
from molyneux.teaching.objectives.base import Objective, shown
from molyneux.teaching.updates import start_update

SIDE = 24
PULLED = tuple(flag for flag in QUICK if not flag.startswith("--teaching.loss"))


class Pull(Objective):
    """One minus the cosine of each image and its concept's name."""

    def __init__(self, lesson, student):
        self._update = start_update(student, lesson.config.update, lesson.seed)
        self._inputs = self._update.read(shown(student, lesson.images))
        self._texts = student.embed_texts([one.concept.name for one in lesson.images for _ in range(len(one))])

    @property
    def count(self) -> int:
        return len(self._inputs)

    def parameters(self) -> list[nn.Parameter]:
        return self._update.parameters()

    def loss(self, batch, generator):
        del generator
        return 1 - (self._update.embed(self._inputs[batch]) * self._texts[batch]).sum(dim=1).mean()

    def finish(self) -> None:
        self._update.finish()


def grey(image_maker, request, own, work, on_step=None) -> LazyImages:
    del image_maker, own, work, on_step
    return LazyImages(made(request.concepts, "noise", torch.full((2, 3, SIDE, SIDE), 0.5)))


def drawn(model, request, on_step=None) -> list[Callable[[], SyntheticImages]]:
    del model, on_step
    return made(request.concepts, "drawn", torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9)))


def made(concepts, source, pixels) -> list[Callable[[], SyntheticImages]]:
    name = concepts[0].name
    return [lambda: SyntheticImages(concept=concepts[0], pixels=pixels, seed=0, source=source, depicted=name)]


def load_named(rest: str) -> ConvModel:
    assert rest == "NAME"
    return ConvModel(name=f"invented:{rest}")


load_folder = load_tiny


def main(root: Path) -> None:
    """Use the entries from the command line, and print what came of it as JSON."""
    from molyneux.cli.main import run

    def molyneux(*arguments: object) -> str:
        with redirect_stdout(StringIO()) as printed:
            assert run([str(argument) for argument in arguments]) == 0
        return printed.getvalue()

    photos = write_photos(root / "photos")
    teach = (
        *("teach", RING.name, "--description", RING.descriptions[0], "--model", "invented:NAME", "--quiet", *PULLED),
        *("--novel", photos / "novel", "--known", photos / "known", "--names", photos / "names.txt"),
        *("--teaching.loss", "pull"),
    )
    scores = json.loads(molyneux(*teach, "--images-from", "drawn", "--out", root / "run", "--json"))
    molyneux(*teach, "--control", "grey", "--out", root / "control")
    report = (root / "run" / "report.html").read_text(encoding="utf-8")
    about = json.loads((root / "run" / "synthetic" / RING.slug / "images.json").read_text(encoding="utf-8"))
    control = SyntheticImages.load(root / "control" / "synthetic" / RING.slug)
    found = {
        "help": " ".join(molyneux("teach", "--help-all").split()),
        "families": list(json.loads(molyneux("list", "models", "--json"))),
        "model": json.loads(molyneux("evaluate", "--model", root / "run" / "model", *teach[-8:-2], "--json"))["model"],
        "controls": list(scores["controls"]),
        "source": about["source"],
        "control": control.pixels.unique().tolist(),
        "report": report,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
