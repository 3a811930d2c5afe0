"""Evaluation against a slow loop over single photos, and the laws that it must keep."""

import json
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from helpers.small_models import ConvModel
from molyneux.datasets.folders import read_folder
from molyneux.datasets.imagenet import imagenet_names, imagenet_wnids
from molyneux.datasets.photos import load_batch
from molyneux.datasets.toy import SHAPES, draw_shapes, write_folder
from molyneux.errors import ConfigError, DataError, ModelError
from molyneux.tasks.classification import features as features_module
from molyneux.tasks.classification.features import name_embeddings, photo_features, scores_from_features
from molyneux.tasks.classification.labels import label_set
from molyneux.tasks.classification.zero_shot import evaluate, measure, score_photos

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data"
KNOWN, NOVEL = SHAPES[:4], SHAPES[4:]


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Path:
    drawn = {kind: draw_shapes(kind, 6, 20, seed=index) for index, kind in enumerate(KNOWN)}
    return write_folder(tmp_path_factory.mktemp("photos") / "known", drawn)


@pytest.fixture(scope="module")
def novel(tmp_path_factory) -> Path:
    drawn = {kind: draw_shapes(kind, 5 + index, 20, seed=9 + index) for index, kind in enumerate(NOVEL)}
    return write_folder(tmp_path_factory.mktemp("photos") / "novel", drawn)


@pytest.fixture
def model() -> ConvModel:
    taught = ConvModel(seed=1, name="taught")
    taught.remap(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))
    return taught


@pytest.fixture
def base() -> ConvModel:
    return ConvModel(seed=1, name="base")


def cosine(model: ConvModel, path: Path, text: str) -> float:
    image = model.embed_images(load_batch([path], model.image_size, model.crop_fraction))
    return float((image @ model.embed_texts([text]).T).detach())


def winner(model: ConvModel, path: Path, names: list[str]) -> str:
    """The best name, asked one photo and one name at a time."""
    return max(names, key=lambda name: cosine(model, path, f"a photo of a {name}."))


def slow_numbers(model: ConvModel, known: Path, novel: Path) -> dict:
    names, others = sorted(KNOWN), sorted(NOVEL)
    known_photos = [(path, path.parent.name) for path in sorted(known.glob("*/*.png"))]
    numbers: dict = {
        "known_accuracy": statistics.mean(winner(model, p, names) == label for p, label in known_photos),
        "known_accuracy_joint": statistics.mean(winner(model, p, names + others) == label for p, label in known_photos),
        "concepts": {},
    }
    for name in others:
        own = sorted((novel / name).glob("*.png"))
        places = []
        for path in own:
            order = sorted([*names, name], key=lambda n: -cosine(model, path, f"a photo of a {n}."))
            places.append(order.index(name))
        numbers["concepts"][name] = {
            "target_recall": statistics.mean(place == 0 for place in places),
            "median_rank": statistics.median(places),
            "false_positive_rate": statistics.mean(winner(model, p, [*names, name]) == name for p, _ in known_photos),
        }
    return numbers


def test_every_number_agrees_with_a_slow_loop(model, base, known, novel):
    found = evaluate(model, novel=novel, known=known, base=base).as_dict()
    for moment, encoder in (("before", base), ("after", model)):
        slow = slow_numbers(encoder, known, novel)
        for metric in ("known_accuracy", "known_accuracy_joint"):
            assert found[metric][moment] == pytest.approx(slow[metric]), metric
        assert list(found["concepts"]) == sorted(NOVEL)
        for name, numbers in slow["concepts"].items():
            for metric, value in numbers.items():
                assert found["concepts"][name][metric][moment] == pytest.approx(value), (name, metric)


def test_the_dictionary_is_json_in_the_agreed_shape(model, base, known, novel):
    content = evaluate(model, novel=novel, known=known, base=base).as_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert list(content) == [
        "version",
        "model",
        "base",
        "protocol",
        "known_accuracy",
        "known_accuracy_joint",
        "concepts",
        "known_retention",
    ]
    before, after = content["known_accuracy"].values()
    assert content["known_retention"] == pytest.approx(after / before)
    assert (content["model"], content["base"]) == ("taught", "base")
    assert list(content["known_accuracy"]) == ["before", "after"]
    ring = content["concepts"]["ring"]
    assert list(ring)[:4] == ["target_recall", "false_positive_rate", "median_rank", "photos"]
    assert ring["photos"] == 5
    low, high = ring["target_recall_interval"]["after"]
    assert low <= ring["target_recall"]["after"] <= high
    assert ring["false_positives"]["after"] == pytest.approx(24 * ring["false_positive_rate"]["after"])
    protocol = content["protocol"]
    assert protocol["prompts"] == ["a photo of a {}."]
    assert protocol["known_names"] == sorted(KNOWN)
    assert protocol["counts"] == {"known_names": 4, "novel_names": 2, "known_photos": 24, "novel_photos": 11}
    assert (protocol["image_size"], protocol["crop_fraction"]) == (24, 1.0)


def test_without_a_base_there_is_no_before(model, known, novel):
    content = evaluate(model, novel=novel, known=known).as_dict(predictions=True)
    assert content["base"] is None
    assert list(content["known_accuracy"]) == ["after"]
    assert "before" not in content["predictions"][0]


def test_predictions_say_what_each_model_made_of_each_photo(model, base, known, novel):
    evaluation = evaluate(model, novel=novel, known=known, base=base)
    assert [p.path for p in evaluation.predictions] == sorted(
        path.relative_to(novel).as_posix() for path in novel.glob("*/*.png")
    )
    for prediction in evaluation.predictions:
        names = [*sorted(KNOWN), prediction.concept]
        for opinion, encoder in ((prediction.before, base), (prediction.after, model)):
            cosines = {n: cosine(encoder, novel / prediction.path, f"a photo of a {n}.") for n in names}
            order = sorted(names, key=lambda n: -cosines[n])
            assert [name for name, _ in opinion.top] == order[:3]
            assert [value for _, value in opinion.top] == pytest.approx([cosines[n] for n in order[:3]], abs=1e-5)
            assert opinion.rank == order.index(prediction.concept)
            best_known = max(value for n, value in cosines.items() if n != prediction.concept)
            assert opinion.margin == pytest.approx(cosines[prediction.concept] - best_known, abs=1e-5)
            assert (opinion.margin > 0) == (opinion.rank == 0)


def test_recall_is_the_share_of_its_predictions_that_are_right(model, known, novel):
    evaluation = evaluate(model, novel=novel, known=known)
    for name, scores in evaluation.after.concepts.items():
        right = [p.after.rank == 0 for p in evaluation.predictions if p.concept == name]
        assert scores.target_recall == pytest.approx(statistics.mean(right))


def test_a_model_beside_itself_changes_nothing(model, known, novel):
    evaluation = evaluate(model, novel=novel, known=known, base=model.copy())
    assert evaluation.before == evaluation.after
    assert all(prediction.before == prediction.after for prediction in evaluation.predictions)


def test_shuffled_file_names_permute_the_predictions(model, known, novel, tmp_path):
    turned = tmp_path / "turned"
    moved = {}
    for folder in novel.iterdir():
        (turned / folder.name).mkdir(parents=True)
        paths = sorted(folder.iterdir())
        for index, path in enumerate(paths):
            target = turned / folder.name / f"{len(paths) - index:02d}.png"
            target.write_bytes(path.read_bytes())
            moved[target.relative_to(turned).as_posix()] = path.relative_to(novel).as_posix()
    first, second = (evaluate(model, novel=folder, known=known) for folder in (novel, turned))
    by_path = {prediction.path: prediction.after for prediction in first.predictions}
    for prediction in second.predictions:
        assert prediction.after.rank == by_path[moved[prediction.path]].rank
        assert prediction.after.margin == pytest.approx(by_path[moved[prediction.path]].margin, abs=1e-6)
    for name, scores in second.after.concepts.items():
        assert scores.target_recall == first.after.concepts[name].target_recall
        assert scores.median_rank == first.after.concepts[name].median_rank


def test_batching_changes_nothing(model, known, novel, monkeypatch):
    whole = evaluate(model, novel=novel, known=known)
    monkeypatch.setattr(features_module, "_TEXTS_AT_ONCE", 1)
    monkeypatch.setattr(features_module, "_ROWS_AT_ONCE", 2)
    every = features_module.batches
    monkeypatch.setattr(features_module, "batches", lambda *given, **named: every(*given, count=3, **named))
    parts = evaluate(model, novel=novel, known=known)
    assert parts.after == whole.after
    for one, other in zip(parts.predictions, whole.predictions, strict=True):
        assert one.after.margin == pytest.approx(other.after.margin, abs=1e-6)


def test_features_computed_once_serve_many_models(model, base, known, novel):
    seen_known, seen_novel = (photo_features(model, read_folder(folder)) for folder in (known, novel))
    before = model.images_seen
    from_features = evaluate(model, novel=seen_novel, known=seen_known, base=base)
    assert (model.images_seen, base.images_seen) == (before, 0)
    shared = evaluate(model, novel=novel, known=known, base=base, shared_trunk=True)
    assert base.images_seen == 0
    apart = evaluate(model, novel=novel, known=known, base=base)
    assert base.images_seen == 35
    assert from_features.as_dict() == shared.as_dict() == apart.as_dict()


def test_shared_texts_are_embedded_once(model, base, known, novel):
    shared = evaluate(model, novel=novel, known=known, base=base, shared_texts=True)
    assert base.texts_seen == []
    assert shared.as_dict() == evaluate(model, novel=novel, known=known, base=base).as_dict()


def test_the_pieces_give_what_evaluate_gives(model, known, novel):
    seen_known, seen_novel = (photo_features(model, read_folder(folder)) for folder in (known, novel))
    labels = label_set(known=seen_known.names, novel=seen_novel.names)
    columns = name_embeddings(model, labels.all)
    scores = score_photos(model, labels, columns, known=seen_known, novel=seen_novel)
    assert measure(labels, scores) == evaluate(model, novel=novel, known=known).after
    assert measure(labels, scores, intervals=False).concepts["ring"].target_recall_interval is None
    assert scores_from_features(model, seen_novel.features, columns).shape == (11, 6)


def test_without_known_photos_their_numbers_are_none_with_a_reason(model, novel):
    content = evaluate(model, novel=novel, names=["tench", "cat"]).as_dict()
    nothing = {"after": None, "reason": "not computed: no known photos"}
    assert content["known_accuracy"] == content["known_accuracy_joint"] == nothing
    assert content["concepts"]["ring"]["false_positive_rate"] == nothing
    assert content["concepts"]["ring"]["target_recall"]["after"] is not None


def test_without_novel_photos_their_numbers_are_none_with_a_reason(model, known):
    content = evaluate(model, known=known, concepts=["ring"]).as_dict(predictions=True)
    ring = content["concepts"]["ring"]
    nothing = {"after": None, "reason": "not computed: no novel photos"}
    assert ring["target_recall"] == ring["median_rank"] == nothing
    assert ring["false_positive_rate"]["after"] is not None
    assert (ring["photos"], content["predictions"]) == (0, [])
    assert evaluate(model, known=known).as_dict()["concepts"] == {}


def test_a_novel_name_without_rivals_has_no_recall(model, novel):
    ring = evaluate(model, novel=novel).as_dict(predictions=True)["concepts"]["ring"]
    assert ring["target_recall"] == {"after": None, "reason": "not computed: no known names"}


def test_only_the_chosen_concepts_are_scored(model, known, novel):
    chosen = evaluate(model, known=known, novel=novel, concepts=["Stripes", "moongate"])
    assert chosen.protocol.novel_names == ("Stripes", "moongate")
    assert chosen.after.concepts["Stripes"].photos == 6
    assert chosen.after.concepts["moongate"].photos == 0
    seen = photo_features(model, read_folder(novel))
    assert evaluate(model, known=known, novel=seen, concepts=["Stripes", "moongate"]).after == chosen.after
    with pytest.raises(DataError, match="moongate"):
        evaluate(model, known=known, novel=novel, concepts=["moongate"])
    with pytest.raises(DataError, match="moongate"):
        evaluate(model, known=known, novel=seen, concepts=["moongate"])


def test_more_names_can_only_lower_known_accuracy_and_recall(model, known, novel):
    few = evaluate(model, known=known, novel=novel).after
    many = evaluate(model, known=known, novel=novel, names=[*KNOWN, "cat", "dog", "tench", "cup"]).after
    assert many.known_accuracy <= few.known_accuracy
    for name, scores in many.concepts.items():
        assert scores.target_recall <= few.concepts[name].target_recall
        assert scores.median_rank >= few.concepts[name].median_rank


def test_the_given_names_must_hold_the_folders_classes(model, known, novel):
    with pytest.raises(DataError, match="class 'square' is not among the 3 names"):
        evaluate(model, known=known, names=["circle", "cross", "triangle"])
    assert evaluate(model, known=known, names=[kind.upper() for kind in KNOWN]).protocol.counts.known_photos == 24


def test_a_novel_name_may_not_be_known(model, known, novel):
    with pytest.raises(DataError, match="'ring' is among the known names"):
        evaluate(model, known=known, novel=novel, names=[*KNOWN, "Ring"])


def test_repeated_names_count_once_and_either_photo_is_right(model, tmp_path):
    twins = [wnid for wnid, name in zip(imagenet_wnids(), imagenet_names(), strict=True) if name == "missile"]
    drawn = draw_shapes("cross", 2, 20, seed=0)
    folder = write_folder(tmp_path / "known", dict.fromkeys(twins, drawn) | {"n01440764": drawn})
    evaluation = evaluate(model, known=folder, names=imagenet_names())
    assert len(twins) == 2
    assert (len(evaluation.protocol.known_names), evaluation.protocol.counts.known_photos) == (998, 6)
    small = evaluate(model, known=folder)
    assert small.protocol.known_names == ("tench", "missile")
    missiles = 2 * statistics.mean(
        winner(model, path, ["tench", "missile"]) == "missile" for path in (folder / twins[0]).iterdir()
    )
    assert small.after.known_accuracy == pytest.approx((2 * missiles + (2 - missiles)) / 6)


def test_by_index_photos_of_the_second_class_of_a_name_are_never_right(model, tmp_path):
    names = imagenet_names()
    twins = [wnid for wnid, name in zip(imagenet_wnids(), names, strict=True) if name == "missile"]
    drawn = {twin: draw_shapes(shape, 6, 20, seed=3) for twin, shape in zip(twins, ("ring", "square"), strict=True)}
    folder = write_folder(tmp_path / "known", drawn | {"n01440764": draw_shapes("cross", 6, 20, seed=0)})
    rows = ["n01440764", *twins]
    columns = ["tench", "missile", "missile"]

    def right(path: Path) -> bool:
        scores = torch.tensor([cosine(model, path, f"a photo of a {name}.") for name in columns])
        return rows[int(scores.argmax())] == path.parent.name

    found = evaluate(model, known=folder, same_names="index")
    photos = sorted(folder.glob("*/*.png"))
    assert found.after.known_accuracy == statistics.mean(right(path) for path in photos)
    assert found.after.known_accuracy_joint == found.after.known_accuracy
    assert "the first is always the answer" in found.protocol.same_names
    merged = evaluate(model, known=folder)
    assert merged.after.known_accuracy > found.after.known_accuracy
    assert "one class" in merged.protocol.same_names
    seen = photo_features(model, read_folder(folder))
    assert evaluate(model, known=seen, same_names="index").after == found.after
    assert evaluate(model, known=seen.only(["missile"]), same_names="index").after.known_accuracy == 0.5
    assert evaluate(model, known=read_folder(folder).only(["missile"]), same_names="index").after.known_accuracy == 0.5


def test_where_no_name_is_shared_both_ways_are_one(model, known, novel):
    merged, index = (evaluate(model, known=known, novel=novel, same_names=kind) for kind in ("merged", "index"))
    assert merged.as_dict() == index.as_dict()


def test_a_description_can_stand_for_a_novel_name(model, known, novel):
    text = "A circle with a hole."
    evaluation = evaluate(model, known=known, novel=novel, described={"Ring": text})
    path = novel / evaluation.predictions[0].path
    scores = dict(evaluation.predictions[0].after.top)
    expected = cosine(model, path, text)
    best = max(cosine(model, path, f"a photo of a {name}.") for name in KNOWN)
    assert evaluation.predictions[0].after.margin == pytest.approx(expected - best, abs=1e-5)
    assert scores.get("ring", expected) == pytest.approx(expected, abs=1e-5)
    protocol = evaluation.protocol.as_dict()
    assert protocol["described"] == {"ring": text}
    assert protocol["naming"].startswith("asymmetric")
    with pytest.raises(ConfigError, match="'okapi'"):
        evaluate(model, known=known, novel=novel, described={"okapi": text})


def test_several_prompts_make_one_mean_direction(model):
    prompts = ("a photo of a {}.", "{}")
    rows = model.embed_texts(["a photo of a ring.", "ring"])
    mean = rows.mean(dim=0)
    torch.testing.assert_close(name_embeddings(model, ["ring"], prompts)[0], mean / mean.norm())
    assert name_embeddings(model, [], prompts).shape == (0, 8)


@pytest.mark.parametrize("prompts", [(), ("a photo",), ("{} and {}",)])
def test_prompts_must_hold_the_name_once(model, known, prompts):
    with pytest.raises(ConfigError, match="prompt"):
        evaluate(model, known=known, prompts=prompts)
    assert model.images_seen == 0


def test_a_name_with_braces_is_taken_as_it_is(model):
    name_embeddings(model, ["{odd} {}"])
    assert model.texts_seen == ["a photo of a {odd} {}."]


def test_a_diverged_model_is_named(model, known):
    model.projection_module()[-1].weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="'taught' scores photos with values that are no numbers"):
        evaluate(model, known=known)


def test_progress_is_told_up_to_the_last_photo(model, known, novel):
    told = []
    evaluate(model, known=known, novel=novel, on_step=lambda *step: told.append(step))
    assert told == [("known photos", 24, 24), ("novel photos", 11, 11)]


def test_evaluation_leaves_the_model_as_it_was(model, known):
    layer = model.projection_module()[-1].requires_grad_().train()
    before = layer.weight.clone()
    features = photo_features(model, read_folder(known)).features
    evaluate(model, known=known)
    assert layer.training
    assert layer.weight.requires_grad
    assert not features.is_inference()
    torch.testing.assert_close(layer.weight, before, rtol=0, atol=0)


def test_a_broken_photo_is_named(model, known, tmp_path):
    (tmp_path / "novel" / "ring").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "novel" / "ring" / "a.png")
    (tmp_path / "novel" / "ring" / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.png"):
        evaluate(model, known=known, novel=tmp_path / "novel")


@pytest.mark.real_data
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample data is not beside the project")
def test_the_sample_photos_can_be_scored(model):
    novel = SAMPLES / "novel-concepts"
    evaluation = evaluate(model, novel=novel, names=imagenet_names(), concepts=["okapi"])
    assert evaluation.protocol.counts.novel_photos == 30
    assert 0 <= evaluation.after.concepts["okapi"].median_rank <= 998


def test_an_evaluation_shows_itself(model, base, known, novel, monkeypatch):
    found = evaluate(model, novel=novel, known=known, base=base)
    old, new = found.before.concepts[NOVEL[0]], found.after.concepts[NOVEL[0]]
    assert [" ".join(line.split()[:3]) for line in str(found).splitlines()[1:3]] == [
        f"{NOVEL[0]} target recall",
        f"{NOVEL[0]} false positives",
    ]
    assert f"{100 * old.target_recall:.1f} % → {100 * new.target_recall:.1f} %" in str(found)
    assert repr(found) == str(found)
    assert found.to_dict(predictions=True) == found.as_dict(predictions=True)
    shown = found._repr_html_()
    assert shown.count("<tr>") == 2 + 2 * len(NOVEL)
    rows = []
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda given: rows.extend(given) or "frame"))
    assert found.to_pandas() == "frame"
    assert [(row["when"], row["concept"]) for row in rows] == [
        (when, name) for when in ("before", "after") for name in NOVEL
    ]
    assert rows[-1]["target_recall"] == found.after.concepts[NOVEL[-1]].target_recall
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        found.to_pandas()
