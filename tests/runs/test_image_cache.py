"""Replay images are looked at once for a model, and a lesson is the same to the bit whether they were kept."""

from dataclasses import replace

import pytest
import torch

import molyneux.runs.image_cache as image_cache
from helpers.families_open_clip import VIT, build_random
from molyneux.backends.digest import weights_digest
from molyneux.backends.packs import remove
from molyneux.concepts import Concept
from molyneux.images.replay import depicted
from molyneux.runs.image_cache import embedded_once
from molyneux.synthetic import SyntheticImages, description_only
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import fine_tune

KNOWN = {"dog": "an animal that barks", "cat": "an animal that purrs", "cup": "a thing to drink from"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def model():
    return build_random("tiny", VIT)


def looks(model, monkeypatch) -> list[int]:
    """How many images the model is shown, batch by batch, from now on."""
    seen: list[int] = []
    whole = type(model).features
    monkeypatch.setattr(type(model), "features", lambda self, images: seen.append(len(images)) or whole(self, images))
    return seen


def batch(model, seed: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(seed))


def replay(model) -> list[SyntheticImages]:
    return [
        SyntheticImages(concept=depicted(name), pixels=batch(model, place), seed=0, depicted=name)
        for place, name in enumerate(KNOWN)
    ]


def lesson(model, name: str):
    concept = Concept(name, f"a {name} with a hole")
    return fine_tune(model, [description_only(concept)], TeachingConfig(), known=KNOWN, replay=replay(model))


def test_a_second_lesson_looks_at_no_replay_image_and_teaches_the_same_to_the_bit(model, cache, monkeypatch):
    seen = looks(model, monkeypatch)
    first = lesson(model, "ring")
    assert sum(seen) == 6
    assert len(list(cache.iterdir())) == 1
    del seen[:]
    assert weights_digest(lesson(model, "ring").native) == weights_digest(first.native)
    # a model with packs is taught as the one without them, whose images these are
    both = lesson(first, "moongate")
    assert not seen
    assert weights_digest(remove(both, ["ring", "moongate"]).native) == weights_digest(model.native)
    for path in cache.iterdir():
        path.unlink()
    assert weights_digest(lesson(first, "moongate").native) == weights_digest(both.native)
    assert sum(seen) == 6


@pytest.mark.parametrize("damage", ["cut", "a bit", "empty"])
def test_a_damaged_file_is_made_again(model, cache, monkeypatch, damage):
    right = embedded_once(model, [batch(model, 0)])
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-3], "a bit": whole[:-1] + bytes([whole[-1] ^ 1]), "empty": b""}[damage])
    seen = looks(model, monkeypatch)
    assert torch.equal(embedded_once(model, [batch(model, 0)]), right)
    assert seen == [2]
    assert path.read_bytes() == whole


def test_other_pixels_weights_colours_and_precisions_are_seen_anew(model, cache, monkeypatch):
    given = [batch(model, 0)]
    first = embedded_once(model, given)
    assert torch.equal(first, model.embed_images(given[0]))
    assert not torch.equal(embedded_once(model, [batch(model, 1)]), first)
    other = model.copy()
    with torch.no_grad():
        next(other.vision_module().parameters()).add_(1e-3)
    assert torch.equal(embedded_once(other, given), other.embed_images(given[0]))
    brighter = model.copy()
    brighter._rules = replace(brighter._rules, mean=(0.1, 0.2, 0.3))
    assert torch.equal(embedded_once(brighter, given), brighter.embed_images(given[0]))
    half = model.copy()
    half.precision = "bf16"
    assert torch.equal(embedded_once(half, given), half.embed_images(given[0]))
    seen = looks(model, monkeypatch)
    threads = torch.get_num_threads()
    monkeypatch.setattr(image_cache.torch, "get_num_threads", lambda: threads + 1)
    embedded_once(model, given)
    assert seen == [2]
    # the same images in other company round otherwise
    embedded_once(model, [batch(model, 0)[:1], batch(model, 0)[1:]])
    assert seen == [2, 1, 1]


def test_a_cache_that_cannot_be_written_only_costs_time(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "file"))
    given = [batch(model, 0)]
    assert torch.equal(embedded_once(model, given), model.embed_images(given[0]))
