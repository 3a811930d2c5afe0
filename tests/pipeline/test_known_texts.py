"""What a text tower has read of known classes is kept, and nothing depends on whether it was."""

from dataclasses import replace

import pytest
import torch

from molyneux.backends.load import load
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import described_classes, imagenet_names
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.synthetic import description_only, noise_images
from molyneux.teaching.config import TeachingConfig

IMAGES = [description_only(Concept("ring", "A circle with a hole."))]
NAMES = imagenet_names()[:30]
TEXTS = [described_classes()[name] for name in NAMES]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "texts"


def fresh():
    model = load("tiny:clip")
    model.long_text = "truncate"
    model.read = []
    once = model._embed_fitting

    def counted(texts):
        model.read += texts
        return once(texts)

    model._embed_fitting = counted
    return model


def test_what_was_read_once_is_not_read_again_and_is_the_same_to_the_bit(cache):
    first, second = fresh(), fresh()
    load_known_texts(first, IMAGES, NAMES, TeachingConfig())
    assert len(list(cache.iterdir())) == 1
    assert len(first.read) == len(set(TEXTS))
    load_known_texts(second, IMAGES, NAMES, TeachingConfig())
    assert second.read == []
    assert torch.equal(second.embed_texts(TEXTS), first.embed_texts(TEXTS))
    assert second.read == []


def test_a_file_that_cannot_be_used_is_written_anew(cache):
    load_known_texts(fresh(), IMAGES, NAMES, TeachingConfig())
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-7]):
        path.write_bytes(damaged)
        model = fresh()
        load_known_texts(model, IMAGES, NAMES, TeachingConfig())
        assert model.read
        assert path.read_bytes() == whole


def test_other_weights_other_rules_or_other_names_do_not_share_what_was_read(cache):
    load_known_texts(fresh(), IMAGES, NAMES, TeachingConfig())
    other, averaged = fresh(), fresh()
    next(other.native.parameters()).data.add_(1.0)
    averaged.long_text = "mean"
    for model, names in ((other, NAMES), (averaged, NAMES), (fresh(), NAMES[:20])):
        load_known_texts(model, IMAGES, names, TeachingConfig())
        assert model.read
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize(
    ("names", "config"),
    [
        (NAMES, TeachingConfig.paper()),
        (NAMES, replace(TeachingConfig(), conse_anchor=0.0)),
        (("no such name", *NAMES[:5]), TeachingConfig()),
        ((), TeachingConfig()),
    ],
)
def test_nothing_is_read_that_is_not_compared_with(cache, names, config):
    model = fresh()
    load_known_texts(model, IMAGES, names, config)
    assert model.read == []
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(cache):
    cache.parent.mkdir()
    cache.write_text("in the way")
    model = fresh()
    load_known_texts(model, IMAGES, NAMES, TeachingConfig())
    assert len(model.read) == len(set(TEXTS))


def test_nothing_is_read_for_images_without_words(cache):
    model = fresh()
    load_known_texts(model, [noise_images(IMAGES[0].concept, 2, 16, seed=1)], NAMES, TeachingConfig())
    assert model.read == []
    assert not cache.exists()
