"""Templates, class names and rules: what stands for a class, said with the numbers it gave."""

import json

import open_clip
import pytest
import torch

from helpers.small_models import ConvModel
from molyneux.datasets.imagenet import imagenet_names, imagenet_wnids
from molyneux.datasets.photos import load_batch
from molyneux.datasets.toy import draw_shapes, write_folder
from molyneux.errors import ConfigError, DataError
from molyneux.tasks.classification.prompts import TEMPLATES, check_prompts, read_templates, templates_name
from molyneux.tasks.classification.zero_shot import evaluate

PROMPTS = ("a photo of a {}.", "the {}", "one drawn {} here")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_folder(root / "known", {kind: draw_shapes(kind, 6, 20, seed=n) for n, kind in enumerate(("ring", "cross"))})
    write_folder(root / "novel", {"stripes": draw_shapes("stripes", 5, 20, seed=9)})
    return root


def test_openais_templates_are_those_that_open_clip_carries():
    assert read_templates("openai-80") == tuple(one("{}") for one in open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert read_templates("openai-7") == tuple(one("{}") for one in open_clip.SIMPLE_IMAGENET_TEMPLATES)
    assert set(read_templates("openai-7")) < set(read_templates("openai-80"))


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_named_set_can_be_asked_with_and_is_recognised(name):
    prompts = read_templates(name)
    assert check_prompts(prompts) == prompts
    assert len(set(prompts)) == len(prompts)
    assert templates_name(prompts) == name


def test_templates_come_from_a_file_a_line_each(tmp_path):
    path = tmp_path / "templates.txt"
    path.write_text("# mine\n\na  drawing of a {}\n{}\n", encoding="utf-8-sig")
    assert read_templates(str(path)) == ("a drawing of a {}", "{}")
    path.write_text("a drawing\n")
    with pytest.raises(ConfigError, match=r"'a drawing' must hold"):
        read_templates(str(path))
    path.write_text("# nothing else\n")
    with pytest.raises(ConfigError, match=r"no prompt given"):
        read_templates(str(path))
    with pytest.raises(DataError, match=r"nowhere.*expected one, photo, name, openai-7, openai-80 or a text file"):
        read_templates(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("rule", ["embeddings", "logits", "max"])
def test_evaluation_scores_as_a_loop_over_photos_names_and_texts_does(photos, rule):
    model, described = ConvModel(seed=1), {"Stripes": ["many lines", "lines side by side"], "ring": "a round band"}
    found = evaluate(
        model,
        known=photos / "known",
        novel=photos / "novel",
        prompts=PROMPTS,
        described=described,
        ensemble=rule,
    )
    texts = {
        "cross": [prompt.format("cross") for prompt in PROMPTS],
        "ring": ["a round band"],
        "stripes": ["many lines", "lines side by side"],
    }
    for one in found.predictions:
        image = model.embed_images(load_batch([photos / "novel" / one.path], 24, 1.0))[0]
        for name, score in one.after.top:
            rows = torch.stack([model.embed_texts([text])[0] for text in texts[name]])
            mean = rows.mean(dim=0)
            expected = {
                "embeddings": image @ mean / mean.norm(),
                "logits": sum(image @ row for row in rows) / len(rows),
                "max": max(image @ row for row in rows),
            }[rule]
            assert score == pytest.approx(float(expected), abs=1e-5)


def test_each_class_has_its_own_accuracy_and_they_average_to_the_whole(photos):
    model, base = ConvModel(seed=3, name="taught"), ConvModel(seed=5, name="base")
    found = evaluate(model, base=base, known=photos / "known")
    classes = found.as_dict(classes=True)["classes"]
    assert {name: one["photos"] for name, one in classes.items()} == {"cross": 6, "ring": 6}
    for when in ("before", "after"):
        mean = sum(one["accuracy"][when] for one in classes.values()) / 2
        assert mean == pytest.approx(found.as_dict()["known_accuracy"][when])
    assert "classes" not in found.as_dict()
    assert evaluate(model, novel=photos / "novel", names=["ring"]).classes == {}


def test_retention_is_a_share_of_what_was_known(photos):
    model = ConvModel(seed=3)
    assert evaluate(model, known=photos / "known").retention is None
    assert evaluate(model, novel=photos / "novel", names=["ring"], base=model).retention is None
    assert evaluate(model, known=photos / "known", base=model).retention == 1.0


def test_the_protocol_says_how_the_numbers_came_about(photos):
    def said(**options):
        protocol = evaluate(ConvModel(), known=photos / "known", novel=photos / "novel", **options).protocol
        assert json.loads(json.dumps(protocol.as_dict())) == protocol.as_dict()
        return protocol.as_dict()

    plain = said()
    assert (plain["templates"], plain["ensemble"]) == ("one", "embeddings")
    assert plain["preprocessing"] == "shorter side to 24, bicubic, then the middle 24 x 24"
    assert plain["naming"].startswith("known and novel names alike")
    assert said(prompts=PROMPTS)["templates"] is None
    assert "WordNet" in said(class_names="wordnet")["class_names"]
    assert said(ensemble="max")["score"].startswith("best of the cosines")
    texts = {"ring": "a", "cross": ["b", "c"], "stripes": "d"}
    whole = said(described=texts)
    assert whole["naming"].startswith("symmetric")
    assert whole["described"] == texts
    assert said(described={"ring": "a"})["naming"].startswith("1 of 3 names")
    with pytest.raises(ConfigError, match="no text is given for 'ring'"):
        said(described={"ring": []})


def test_a_wordnet_id_goes_by_the_chosen_names(tmp_path):
    place = imagenet_names("wordnet").index("steel arch bridge")
    folder = write_folder(tmp_path / "known", {imagenet_wnids()[place]: draw_shapes("ring", 2, 20, seed=0)})
    named = {kind: evaluate(ConvModel(), known=folder, class_names=kind) for kind in ("openai", "wordnet")}
    assert named["openai"].protocol.known_names == ("through arch bridge",)
    assert named["wordnet"].protocol.known_names == ("steel arch bridge",)
