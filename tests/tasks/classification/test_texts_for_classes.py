"""Several texts for a class: how they are made, and how their answers become one."""

import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import described_classes
from molyneux.datasets.radiographs import CHEXPERT_CLASSES
from molyneux.errors import ConfigError, DataError, ModelError
from molyneux.tasks.classification.class_texts import class_texts
from molyneux.tasks.classification.descriptions import definition_texts, descriptor_sentence, descriptor_texts
from molyneux.tasks.classification.ensembles import class_columns, ensemble_scores, scores_of_columns
from molyneux.tasks.classification.features import name_embeddings, name_texts, scores_from_features
from molyneux.tasks.classification.labels import LabelSet
from molyneux.tasks.classification.prompt_pools import (
    pool_prompts,
    read_pools,
    sampled_prompts,
)
from molyneux.tasks.classification.prompts import ClassTexts

RULES = ("embeddings", "logits", "max")


def units(count: int, seed: int, width: int = 6) -> torch.Tensor:
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_each_rule_agrees_with_its_loop(sizes, seed):
    images, texts = units(3, seed), [units(size, seed + place + 1) for place, size in enumerate(sizes)]
    found = {rule: ensemble_scores(images, texts, rule) for rule in RULES}
    for row, column in itertools.product(range(3), range(len(sizes))):
        cosines = [float(images[row] @ text) for text in texts[column]]
        assert found["logits"][row, column].item() == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)
        assert found["max"][row, column].item() == pytest.approx(max(cosines), abs=1e-6)
        mean = sum(texts[column]) / len(cosines)
        cosine = torch.nn.functional.cosine_similarity(images[row], mean, dim=0)
        assert found["embeddings"][row, column].item() == pytest.approx(cosine.item(), abs=1e-5)
        length = mean.norm().item()
        assert found["logits"][row, column].item() == pytest.approx(length * cosine.item(), abs=1e-5)


def test_with_one_text_each_the_rules_are_one_and_repeating_it_changes_nothing():
    images, rows = units(4, 0), units(3, 1)
    for rule in RULES:
        torch.testing.assert_close(ensemble_scores(images, list(rows[:, None]), rule), images @ rows.T)
        repeated = [row.expand(5, -1) for row in rows]
        torch.testing.assert_close(ensemble_scores(images, repeated, rule), images @ rows.T)


def test_a_class_without_texts_is_refused():
    with pytest.raises(DataError, match="class 1"):
        ensemble_scores(units(1, 0), [units(1, 1), units(0, 2)])
    with pytest.raises(DataError, match="any class"):
        ensemble_scores(units(1, 0), [])


def test_mean_embeddings_of_a_models_texts_are_what_evaluation_uses():
    model, features = ConvModel(), torch.rand(5, 24)
    prompts, names = ("a photo of a {}.", "one {}"), ("ring", "red cup")
    expected = scores_from_features(model, features, name_embeddings(model, names, prompts))
    texts = name_texts(names, prompts)
    torch.testing.assert_close(scores_of_columns(model, features, class_columns(model, texts)), expected)
    others = scores_of_columns(model, features, class_columns(model, texts, "logits"))
    assert not torch.allclose(others, expected, atol=1e-3)
    with pytest.raises(ModelError, match="tokens"):
        class_columns(model, [["word " * 60]])


@pytest.mark.parametrize(
    ("descriptor", "sentence"),
    [
        ("a red comb", "hen, which is a red comb."),
        ("An egg", "hen, which is An egg."),
        ("used for eggs", "hen, which is used for eggs."),
        ("has feathers", "hen, which has feathers."),
        ("can be white.", "hen, which can be white."),
        ("may fly", "hen, which may fly."),
        ("typically lays eggs", "hen, which typically lays eggs."),
        ("antlers", "hen, which has antlers."),  # 'an' is a word, not a beginning
        ("two  legs", "hen, which has two legs."),
    ],
)
def test_the_descriptors_first_word_chooses_the_verb(descriptor, sentence):
    assert descriptor_sentence("hen", descriptor) == sentence


def test_names_without_descriptors_stand_alone_and_strays_are_refused():
    assert descriptor_texts(["Hen", "cup"], {"hen": ["two legs"]}) == [["Hen, which has two legs."], ["cup."]]
    with pytest.raises(ConfigError, match="'dog', which is none of the 1 names"):
        descriptor_texts(["hen"], {"dog": ["four legs"]})


def test_the_papers_baseline_defines_the_novel_names_or_all():
    novel = [Concept("moongate", "A round archway."), Concept("gyroscope", ("A wheel.", "A spinning disc."))]
    defined = [
        ["A moongate is a round archway."],
        ["A gyroscope is a wheel.", "A gyroscope is a spinning disc."],
    ]
    assert definition_texts(["hen"], novel) == [["a photo of a hen."], *defined]
    assert definition_texts(["hen"], novel, prompts=("{}", "one {}")) == [["hen", "one hen"], *defined]
    both = definition_texts(["Hen"], novel, naming="symmetric", descriptions={"hen": "A bird."})
    assert both == [["A Hen is a bird."], *defined]
    with pytest.raises(ConfigError, match="1 of 2 known names have no description, the first is 'cup'"):
        definition_texts(["hen", "cup"], novel, naming="symmetric", descriptions={"hen": "A bird."})
    with pytest.raises(ConfigError, match="'dog'"):
        definition_texts(["hen"], novel, naming="symmetric", descriptions={"dog": "A pet.", "hen": "A bird."})


SIZES = {
    "Atelectasis": (3, 7, 10),
    "Cardiomegaly": (1, 15, 1),
    "Consolidation": (4, 6, 8),
    "Edema": (6, 3, 1),
    "Pleural Effusion": (6, 3, 3),
}
"""How many words MedCLIP has for each part."""


def drawn_pools() -> dict[str, dict[str, list[str]]]:
    """Pools of MedCLIP's sizes with other words; the last class has its place before its kind."""
    parts = {"Pleural Effusion": ("severity", "location", "subtype")}
    return {
        name: {
            part: [f"{part}{number}" for number in range(size)]
            for part, size in zip(parts.get(name, ("severity", "subtype", "location")), sizes, strict=True)
        }
        for name, sizes in SIZES.items()
    }


def test_pools_multiply():
    pools = drawn_pools()
    prompts = sampled_prompts(pools, count=None)
    assert [len(own) for own in prompts.values()] == [210, 15, 192, 18, 54]
    assert all(len(set(own)) == len(own) for own in prompts.values())
    assert prompts["Atelectasis"][:2] == ["severity0 subtype0 location0", "severity0 subtype0 location1"]
    assert prompts["Pleural Effusion"][-1] == "severity5 location2 subtype2"
    assert pool_prompts({"severity": ["", "mild"], "kind": ["edema", "edema"], "place": [""]}) == [
        "edema", "edema", "mild edema", "mild edema"
    ]  # fmt: skip


def test_draws_are_without_replacement_and_each_class_draws_for_itself():
    pools = drawn_pools()
    drawn = sampled_prompts(pools, count=16, seed=3)
    assert [len(own) for own in drawn.values()] == [16, 15, 16, 16, 16]
    for name, own in drawn.items():
        assert len(set(own)) == len(own)
        assert set(own) <= set(pool_prompts(pools[name]))
    assert sampled_prompts({"Edema": pools["Edema"]}, count=16, seed=3)["Edema"] == drawn["Edema"]
    assert sampled_prompts(pools, count=16, seed=4) != drawn
    for count in (0, -1):
        with pytest.raises(ConfigError, match="at least 1"):
            sampled_prompts(pools, count=count)
    with pytest.raises(ConfigError, match="no prompts for 'Edema'"):
        sampled_prompts({"Edema": {"kind": []}})


def test_pools_are_read_from_json_and_from_a_python_file_that_is_not_run(tmp_path):
    pools = drawn_pools()
    (tmp_path / "pools.json").write_text(json.dumps(pools))
    source = f"import no_such_module\nraise SystemExit\nCHEXPERT_CLASS_PROMPTS = {pools!r}\n"
    (tmp_path / "constants.py").write_text(source)
    for name in ("pools.json", "constants.py"):
        found = read_pools(tmp_path / name)
        assert found == pools
        assert list(found["Pleural Effusion"]) == ["severity", "location", "subtype"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", "{"),
        ("a.json", "{}"),
        ("a.json", '{"Edema": ["mild"]}'),
        ("a.json", '{"Edema": {"severity": "mild"}}'),
        ("a.json", '{"Edema": {"severity": [1]}}'),
        ("a.py", "X = 1"),
        ("a.py", "CHEXPERT_CLASS_PROMPTS = open('/etc/passwd')"),
        ("a.py", "CHEXPERT_CLASS_PROMPTS ="),
    ],
)
def test_files_without_pools_are_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"pools"):
        read_pools(tmp_path / name)


LABELS = LabelSet(known=("hen", "cup / mug"), novel=("moongate",))
DESCRIBED = {"Moongate": ["A round archway."], "hen": "A bird.", "cup / mug": ["A bowl with an ear.", "It holds tea."]}


@pytest.fixture
def descriptions(tmp_path):
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps(DESCRIBED))
    return path


def test_descriptions_take_the_place_of_names_in_three_forms(descriptions):
    def texts(naming, ensemble="embeddings"):
        return class_texts(ClassTexts(descriptions=descriptions, naming=naming), LABELS, ("{}",), ensemble)

    defined = {"moongate": ["A moongate is a round archway."]}
    assert texts("asymmetric") == defined
    known = {"hen": ["A hen is a bird."], "cup / mug": ["A cup / mug is a bowl with an ear."]}
    assert texts("symmetric") == known | defined
    assert texts("descriptors", "logits") == {
        "hen": ["hen, which is A bird."],
        "cup / mug": ["cup / mug, which is A bowl with an ear.", "cup / mug, which has It holds tea."],
        "moongate": ["moongate, which is A round archway."],
    }
    with pytest.raises(ConfigError, match="set the ensemble 'logits'"):
        texts("descriptors")
    assert class_texts(ClassTexts(), LABELS, ("{}",), "max") == {}


def test_descriptions_that_do_not_fit_the_names_are_named(descriptions):
    def texts(content, naming):
        descriptions.write_text(json.dumps(content))
        return class_texts(ClassTexts(descriptions=descriptions, naming=naming), LABELS, ("{}",), "logits")

    with pytest.raises(ConfigError, match="'dog', which is none of the 3 names"):
        texts(DESCRIBED | {"dog": "A pet."}, "asymmetric")
    with pytest.raises(ConfigError, match="no description of the new name 'moongate'"):
        texts({"hen": "A bird."}, "asymmetric")
    with pytest.raises(ConfigError, match="1 of 2 known names have no description"):
        texts({"hen": "A bird.", "moongate": "A gate."}, "symmetric")
    assert texts({"hen": "A bird."}, "descriptors")["moongate"] == ["moongate."]


def test_imagenets_classes_are_described_where_the_file_does_not(descriptions):
    labels = LabelSet(known=("goldfish", "tench"), novel=("moongate",))
    descriptions.write_text(json.dumps({"moongate": "A gate.", "tench": "A fish."}))
    wanted = ClassTexts(descriptions=descriptions, naming="symmetric")
    found = class_texts(wanted, labels, ("{}",), "embeddings")
    sentence = described_classes()["goldfish"]
    assert found["goldfish"] == [f"A goldfish is {sentence[0].lower()}{sentence[1:]}"]
    assert found["tench"] == ["A tench is a fish."]


def test_prompts_from_pools_are_drawn_for_each_class(tmp_path):
    path = tmp_path / "pools.json"
    path.write_text(json.dumps(drawn_pools()))
    labels = LabelSet(known=CHEXPERT_CLASSES, novel=("lung cancer",))
    drawn = class_texts(ClassTexts(pools=path, pool_prompts=3, pool_seed=1), labels, ("{}",), "max")
    assert drawn == sampled_prompts(drawn_pools(), 3, seed=1)
    with pytest.raises(ConfigError, match="give one of"):
        ClassTexts(pools=path, descriptions=path)
    with pytest.raises(ConfigError, match="'Atelectasis', which is none of the 3 names"):
        class_texts(ClassTexts(pools=path), LABELS, ("{}",), "max")
