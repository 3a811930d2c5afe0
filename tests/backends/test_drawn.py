"""`drawn` knows its nouns by name and by looks, and novel concepts by description alone; its script is repeatable."""

import importlib.util
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from molyneux.backends.load import load
from molyneux.backends.open_clip import WEIGHTS
from molyneux.datasets.drawn import KNOWN, NOVEL, draw_designs, parse_design
from molyneux.tasks.classification.metrics import target_recall, top1_accuracy

FOLDER = Path(str(resources.files("molyneux"))) / "models" / "drawn"
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_drawn.py"
PROMPT = "a photo of a {}."


@pytest.fixture(scope="module")
def drawn():
    return load("drawn")


@pytest.fixture(scope="module")
def names(drawn):
    return drawn.embed_texts([PROMPT.format(name) for name in KNOWN])


@pytest.fixture(scope="module")
def known(drawn):
    designs = [parse_design(looks) for looks in KNOWN.values() for _ in range(6)]
    return drawn.embed_images(draw_designs(designs, seed=77))


def test_it_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000


def test_it_knows_its_nouns_by_name_and_by_looks(drawn, names, known):
    labels = torch.arange(len(KNOWN)).repeat_interleave(6)
    looks = drawn.embed_texts([f"a {text}." for text in KNOWN.values()])
    assert top1_accuracy(known @ names.T, labels) > 0.9
    assert top1_accuracy(known @ looks.T, labels) > 0.9


def test_novel_concepts_are_known_by_description_and_not_by_name(drawn, names):
    recalls = {"name": [], "description": []}
    for one in NOVEL:
        seen = drawn.embed_images(draw_designs([parse_design(one.looks)] * 20, seed=78))
        for key, text in (("name", PROMPT.format(one.name)), ("description", one.descriptions[0])):
            recalls[key].append(target_recall(seen @ names.T, seen @ drawn.embed_texts([text])[0]))
    assert sum(recalls["name"]) / len(NOVEL) < 0.1
    assert sum(recalls["description"]) / len(NOVEL) > 0.5


def test_images_and_texts_lie_in_cones_of_their_own(names, known):
    assert (known.mean(dim=0) - names.mean(dim=0)).norm() > 0.3


@pytest.fixture(scope="module")
def script():
    if not SCRIPT.is_file():
        pytest.skip("the scripts are not here")
    spec = importlib.util.spec_from_file_location("train_drawn", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_training_shows_no_novel_concept_and_names_none(script):
    random = np.random.default_rng(0)
    novel = [parse_design(one.looks) for one in NOVEL]
    for _ in range(8):
        scenes, names = script.draw_batch(256, random)
        assert not any(one.allows(scene.design) for one in novel for scene in scenes)
        for text in script.caption_scenes(scenes, names, random):
            assert not any(one.name in text.lower() for one in NOVEL)


def test_training_is_repeatable_and_lowers_the_loss(script, tmp_path):
    states = []
    for run in ("first", "second"):
        options = script.Options(out=tmp_path / run, steps=12, batch=32, width=32, layers=1, text_layers=1)
        losses = script.train(options)
        states.append(load_file(tmp_path / run / WEIGHTS))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert sum(losses[-3:]) < sum(losses[:3])
    assert load(tmp_path / "first").temperature == pytest.approx(0.02, rel=0.1)
