"""What a text tower has read of known classes is kept, and nothing depends on whether it was."""

import pytest
import torch

from molyneux.backends.load import load
from molyneux.datasets.imagenet import described_classes
from molyneux.errors import ModelError
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.descriptions import known_texts

TEXTS = [text for name, words in described_classes().items() for text in (f"a photo of a {name}.", words)]


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
    load_known_texts(first, (), TeachingConfig())
    assert len(list(cache.iterdir())) == 1
    assert len(first.read) == len(set(TEXTS))
    load_known_texts(second, (), TeachingConfig())
    assert second.read == []
    assert torch.equal(second.embed_texts(TEXTS), first.embed_texts(TEXTS))
    assert second.read == []


def test_a_file_that_cannot_be_used_is_written_anew(cache):
    load_known_texts(fresh(), (), TeachingConfig())
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    spoiled = bytearray(whole)
    spoiled[-5] ^= 1
    for damaged in (b"", whole[:-7], bytes(spoiled)):
        path.write_bytes(damaged)
        model = fresh()
        load_known_texts(model, (), TeachingConfig())
        assert model.read
        assert path.read_bytes() == whole


def test_other_weights_or_other_rules_do_not_share_what_was_read(cache):
    load_known_texts(fresh(), (), TeachingConfig())
    other, averaged = fresh(), fresh()
    next(iter(other.text_modules()[0].parameters())).data.add_(1.0)
    averaged.long_text = "mean"
    for model in (other, averaged):
        load_known_texts(model, (), TeachingConfig())
        assert model.read
    assert len(list(cache.iterdir())) == 3


def test_a_model_whose_vision_alone_was_taught_has_nothing_to_read_again(cache):
    load_known_texts(fresh(), (), TeachingConfig())
    taught = fresh()
    next(taught.vision_module().parameters()).data.add_(1.0)
    load_known_texts(taught, (), TeachingConfig())
    assert taught.read == []


def test_nothing_is_read_that_is_not_compared_with(cache):
    model = fresh()
    load_known_texts(model, (), TeachingConfig.paper())
    assert model.read == []
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(cache):
    cache.parent.mkdir()
    cache.write_text("in the way")
    model = fresh()
    load_known_texts(model, (), TeachingConfig())
    assert len(model.read) == len(set(TEXTS))


def refuse_descriptions(text):
    if "photo" not in text:
        raise ModelError("too long")


def test_a_model_that_reads_too_little_for_descriptions_compares_names(cache):
    model = fresh()
    model.check_text = refuse_descriptions
    assert {len(set(pair)) for pair in known_texts(model).values()} == {1}
    load_known_texts(model, (), TeachingConfig())
    assert set(model.read) == {prompt for prompt, _ in known_texts(model).values()}


def test_names_of_another_list_are_read_beside_imagenets():
    found = known_texts(fresh(), ["left atrium", "right atrium", "tench"])
    assert found["left atrium"] == ("a photo of a left atrium.",) * 2
    assert found["tench"][1] != found["tench"][0]
    assert len(found) == len(described_classes()) + 2


def test_names_that_have_descriptions_are_compared_alone_if_they_are_enough():
    many = list(described_classes())[:25]
    assert list(known_texts(fresh(), [*many, "left atrium"])) == many
    assert len(known_texts(fresh(), [*many[:19], "left atrium"])) == len(described_classes()) + 1


def test_reading_is_told_as_it_goes_and_not_where_nothing_is_read(cache):
    told = []
    load_known_texts(fresh(), (), TeachingConfig(), on_step=lambda *step: told.append(step))
    assert told[0][1] < told[-1][1] == told[-1][2] == len(set(TEXTS))
    assert "once for this model" in told[0][0]
    told.clear()
    load_known_texts(fresh(), (), TeachingConfig(), on_step=lambda *step: told.append(step))
    assert told == []


def test_a_mapping_brings_its_own_descriptions():
    texts = known_texts(fresh(), {"hoop": "A hollow circle.", "frame": "A hollow square."})
    assert texts == {
        "hoop": ("a photo of a hoop.", "A hollow circle."),
        "frame": ("a photo of a frame.", "A hollow square."),
    }
