"""The default lesson, with no setting of its own, on `drawn`: a CLIP trained by contrast alone.

For each concept the truth is known, for its scenes are drawn. `bench/drawn.py` measures more.
"""

from dataclasses import dataclass
from statistics import fmean

import pytest
import torch

from molyneux import Concept, load
from molyneux.backends.base import DualEncoder, dual_encoder
from molyneux.datasets.drawn import KNOWN, NOVEL, draw_designs, parse_design
from molyneux.images.config import ReplayConfig
from molyneux.images.replay import depicted
from molyneux.inversion.invert import invert_each
from molyneux.synthetic import SyntheticImages, description_only, noise_images
from molyneux.tasks.classification.metrics import target_recall, top1_accuracy
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.texts import NAME_PROMPT

pytestmark = pytest.mark.slow
SCENES = 40


@dataclass(frozen=True)
class Drawn:
    model: DualEncoder
    replay: list[SyntheticImages]
    known: torch.Tensor
    labels: torch.Tensor

    def taught(self, images: SyntheticImages) -> DualEncoder:
        looks = {name: f"A {text}." for name, text in KNOWN.items()}
        return fine_tune(self.model, [images], known=looks, replay=self.replay)

    def names(self, *more: str) -> torch.Tensor:
        return self.model.embed_texts([NAME_PROMPT.format(name) for name in (*KNOWN, *more)])

    def recall(self, model: DualEncoder, name: str, looks: str) -> float:
        seen = model.embed_images(draw_designs([parse_design(looks)] * SCENES, seed=5)) @ self.names(name).T
        return target_recall(seen[:, :-1], seen[:, -1])

    def known_accuracy(self, model: DualEncoder) -> float:
        return top1_accuracy(model.embed_images(self.known) @ self.names().T, self.labels)


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    model = dual_encoder(load("drawn"), "this test")
    replay = invert_each(model, [depicted(name) for name in list(KNOWN)[::3]], ReplayConfig().inversion, seed=0)
    known = draw_designs([parse_design(looks) for looks in KNOWN.values() for _ in range(4)], seed=6)
    return Drawn(model, list(replay), known, torch.arange(len(KNOWN)).repeat_interleave(4))


def test_names_are_learnt_from_words_alone_and_from_nothing_else(drawn):
    found: dict[str, list[float]] = {"before": [], "words": [], "another": [], "noise": []}
    lost = []
    for place, one in enumerate(NOVEL):
        other = NOVEL[(place + 5) % len(NOVEL)]
        lessons = {
            "words": description_only(one.concept),
            "another": description_only(Concept(other.name, other.descriptions)).shown_as(one.concept),
            "noise": noise_images(one.concept, 10, 32, place),
        }
        taught = {name: drawn.taught(images) for name, images in lessons.items()}
        for name, model in {"before": drawn.model, **taught}.items():
            found[name].append(drawn.recall(model, one.name, one.looks))
        lost.append(drawn.known_accuracy(drawn.model) - drawn.known_accuracy(taught["words"]))
    means = {name: fmean(values) for name, values in found.items()}
    assert means["words"] > 0.8
    assert max(means["before"], means["another"], means["noise"]) < 0.15
    # the default asks for a price of .01; four scenes of each known class measure it coarsely
    assert fmean(lost) < 0.015
