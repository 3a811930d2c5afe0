"""What a text tower has read of known classes is kept, and nothing depends on whether it was."""

import pytest
import torch

import molyneux
from helpers.runs import CROSS, RING, Counter, settings_for
from molyneux.backends.load import load
from molyneux.backends.long_text import TEXTS_AT_ONCE
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import described_classes, imagenet_names
from molyneux.errors import ModelError
from molyneux.pipeline.known_texts import load_known_texts
from molyneux.pipeline.teach_run import teach_concepts
from molyneux.synthetic import description_only, noise_images
from molyneux.tasks.classification.prompts import PromptConfig
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.descriptions import known_texts
from molyneux.teaching.fine_tune import fine_tune

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


def test_what_other_threads_have_read_is_read_again(cache, monkeypatch):
    load_known_texts(fresh(), (), TeachingConfig())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    again = fresh()
    load_known_texts(again, (), TeachingConfig())
    assert again.read
    assert len(list(cache.iterdir())) == 2


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


@pytest.mark.parametrize("spoiled", [False, True])
def test_an_interrupted_reading_goes_on_where_it_was_and_ends_the_same(cache, spoiled):
    load_known_texts(fresh(), (), TeachingConfig())
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        load_known_texts(fresh(), (), TeachingConfig(), on_step=Counter(6))
    (part,) = cache.iterdir()
    assert part.suffix == ".part"
    if spoiled:
        part.write_bytes(part.read_bytes()[:-1] + b"?")
    again, told = fresh(), []
    load_known_texts(again, (), TeachingConfig(), on_step=lambda *step: told.append(step))
    assert len(again.read) == len(set(TEXTS)) - (0 if spoiled else 6 * TEXTS_AT_ONCE)
    assert told[0][1] == TEXTS_AT_ONCE * (1 if spoiled else 7)
    assert [one.name for one in cache.iterdir()] == [path.name]
    assert path.read_bytes() == whole


def test_a_lesson_looks_known_texts_up_once(cache, monkeypatch):
    model, found = fresh(), []
    told = known_texts
    for place in ("molyneux.pipeline.known_texts", "molyneux.teaching.objectives.edit"):
        monkeypatch.setattr(f"{place}.known_texts", lambda one, names: found.append(names) or told(one, names))
    images = [noise_images(Concept(name, name), 2, 32, seed=0) for name in ("tench", "hen")]
    taught = molyneux.teach(model, RING, replay=images)
    assert [isinstance(names, dict) for names in found] == [False, True]
    once = fine_tune(model, [description_only(RING)], known=imagenet_names(), replay=images)
    assert torch.equal(taught.packs[0].key, once.packs[0].key)


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


@pytest.mark.parametrize("templates", ["one", "photo"])
def test_a_second_run_reads_its_own_concept_alone(monkeypatch, tmp_path, templates):
    kind, read = type(load("tiny:clip")), []
    once = kind._embed_fitting
    monkeypatch.setattr(kind, "_embed_fitting", lambda model, texts: read.extend(texts) or once(model, texts))
    scores = []
    for number, concept in enumerate((RING, CROSS, RING)):
        read.clear()
        quick = {"model": "tiny:clip", "teaching": TeachingConfig(), "prompt_config": PromptConfig(templates=templates)}
        out = teach_concepts(settings_for(tmp_path / f"run {number}", None, concepts=(concept,), **quick))
        scores.append((out / "scores.json").read_bytes())
        if number == 0:
            assert len(set(read)) > (1900 if templates == "one" else 2900)
        else:
            assert 0 < len(read) < 20
            assert all(concept.name in text or text in concept.descriptions for text in read)
    assert scores[2] == scores[0]
