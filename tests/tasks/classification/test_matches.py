"""A model that judges pairs, scored by the same contract as one with embeddings."""

import statistics
from pathlib import Path

import pytest
import torch
from torch.nn.functional import log_softmax

from helpers.families_vilt import tiny_vilt
from helpers.small_models import ConvModel
from molyneux.backends.vilt import Vilt
from molyneux.datasets.folders import read_folder
from molyneux.datasets.photos import load_batch
from molyneux.datasets.toy import draw_shapes, write_folder
from molyneux.errors import ConfigError, ModelError
from molyneux.tasks.classification.features import name_texts
from molyneux.tasks.classification.matches import match_names, match_photos
from molyneux.tasks.classification.zero_shot import evaluate

KNOWN, NOVEL = ("circle", "cross"), ("house", "ring")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for folder, kinds in (("known", ("circle", "cross")), ("novel", ("square", "ring"))):
        names = {"square": "house"}
        drawn = {names.get(kind, kind): draw_shapes(kind, 3, 60, seed=index) for index, kind in enumerate(kinds)}
        write_folder(root / folder, drawn)
    return root


@pytest.fixture(scope="module")
def base() -> Vilt:
    return tiny_vilt()


@pytest.fixture(scope="module")
def model(base) -> Vilt:
    twin = base.copy()
    with torch.no_grad():
        twin.native.vilt.pooler.dense.weight.mul_(1.5)
        twin.native.vilt.embeddings.patch_embeddings.projection.weight.mul_(2.0)
    return twin


def fit(model: Vilt, path: Path, text: str) -> float:
    """The log-probability of a match, asked for one pair."""
    logits = model.match_logits(load_batch([path], model.image_size, model.crop_fraction, model.photo_fit), [text])
    return float(log_softmax(logits, dim=1)[0, 1])


def test_every_number_agrees_with_pairs_judged_one_by_one(model, base, photos):
    found = evaluate(model, base=base, novel=photos / "novel", known=photos / "known")
    content = found.as_dict()
    for moment, judge in (("before", base), ("after", model)):
        own = {
            path: {name: fit(judge, path, f"a photo of a {name}.") for name in (*KNOWN, *NOVEL)}
            for path in sorted(photos.glob("*/*/*.png"))
        }
        known = {path: scores for path, scores in own.items() if path.parts[-3] == "known"}
        right = [max(KNOWN, key=scores.get) == path.parent.name for path, scores in known.items()]
        assert content["known_accuracy"][moment] == pytest.approx(statistics.mean(right))
        joint = [max((*KNOWN, *NOVEL), key=scores.get) == path.parent.name for path, scores in known.items()]
        assert content["known_accuracy_joint"][moment] == pytest.approx(statistics.mean(joint))
        for name in NOVEL:
            numbers = content["concepts"][name]
            taken = [scores[name] > max(scores[other] for other in KNOWN) for scores in known.values()]
            assert numbers["false_positive_rate"][moment] == pytest.approx(statistics.mean(taken))
            mine = [scores for path, scores in own.items() if path.parent.name == name]
            places = [sum(scores[other] >= scores[name] for other in KNOWN) for scores in mine]
            assert numbers["median_rank"][moment] == statistics.median(places)
            assert numbers["target_recall"][moment] == pytest.approx(statistics.mean(p == 0 for p in places))
        for prediction in found.predictions:
            opinion = prediction.before if moment == "before" else prediction.after
            scores = own[photos / "novel" / prediction.path]
            best = max(scores[other] for other in KNOWN)
            assert opinion.margin == pytest.approx(scores[prediction.concept] - best, abs=1e-5)
    assert found.before != found.after


def test_the_protocol_says_what_a_score_is(model, photos):
    protocol = evaluate(model, known=photos / "known").as_dict()["protocol"]
    assert protocol["prompts"] == ["a photo of a {}."]
    assert protocol["score"].startswith("log-probability")
    assert protocol["image_size"] == 56
    other = evaluate(ConvModel(), known=photos / "known").as_dict()["protocol"]
    assert other["score"].startswith("cosine")


def test_several_prompts_are_averaged_and_a_description_stands_alone(model, photos):
    folder = read_folder(photos / "known")
    texts = name_texts(["ring", "cross"], ("{}", "a photo of a {}."), {"cross": "Two bars that meet."})
    found = match_photos(model, folder, texts)
    assert found.shape == (6, 2)
    for row in (0, 5):
        path = folder.paths[row]
        mean = (fit(model, path, "ring") + fit(model, path, "a photo of a ring.")) / 2
        expected = torch.tensor([mean, fit(model, path, "Two bars that meet.")])
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=0.0)
    assert match_photos(model, folder, []).shape == (6, 0)


def test_patches_of_a_photo_are_embedded_once_for_all_names(model, photos):
    seen: list[int] = []
    layer = model.native.vilt.embeddings.patch_embeddings
    handle = layer.register_forward_hook(lambda *call: seen.append(len(call[2])))
    evaluate(model, novel=photos / "novel", known=photos / "known", prompts=("{}", "a photo of a {}."))
    handle.remove()
    assert sum(seen) == 12


def test_how_photos_are_batched_changes_nothing(model, photos, monkeypatch):
    folder, texts = read_folder(photos / "novel"), name_texts(["ring", "cross"])
    whole = match_photos(model, folder, texts)
    monkeypatch.setattr("molyneux.tasks.classification.matches._PHOTOS_AT_ONCE", 2)
    told = []
    parts = match_photos(model, folder, texts, lambda *step: told.append(step), "these")
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0.0)
    assert told == [("these", 2, 6), ("these", 4, 6), ("these", 6, 6)]


def test_the_best_of_several_texts_is_not_what_pairs_are_judged_by(model, photos):
    with pytest.raises(ConfigError, match="leave the ensemble 'max' out"):
        evaluate(model, known=photos / "known", ensemble="max")


def test_models_of_two_kinds_and_features_are_refused(model, photos):
    with pytest.raises(ModelError, match="cannot stand side by side"):
        evaluate(model, base=ConvModel(), known=photos / "known")
    with pytest.raises(ModelError, match="cannot stand side by side"):
        evaluate(ConvModel(), base=model, known=photos / "known")


def test_a_name_that_does_not_fit_and_a_diverged_model_are_named(model, photos):
    with pytest.raises(ModelError, match="reads 40"):
        evaluate(model, known=photos / "known", names=[*KNOWN, "ring " * 40])
    broken = model.copy()
    broken.native.itm_score["fc"].weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="values that are no numbers"):
        match_names(broken, torch.rand(1, 3, 56, 56), [["ring"]])


def test_the_model_stays_as_it_was(model, photos):
    before = {key: value.clone() for key, value in model.native.state_dict().items()}
    evaluate(model, known=photos / "known")
    assert all(torch.equal(value, before[key]) for key, value in model.native.state_dict().items())
