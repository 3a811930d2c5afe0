import json
import os
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from helpers.runs import CROSS, RING, Counter, Killed, contents, settings_for, use_tiny, write_photos
from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.errors import DataError, ModelError, MolyneuxError, OutputError
from molyneux.pipeline.settings import TeachSettings
from molyneux.pipeline.teach_run import read_scores, teach_concepts
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import Full, TeachingConfig


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    use_tiny(monkeypatch, tmp_path / "cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def scores_of(folder: Path):
    return json.loads((folder / "scores.json").read_text())


def test_a_run_leaves_all_that_was_promised_and_nothing_else(tmp_path, photos):
    out = teach_concepts(settings_for(tmp_path / "run", photos), command=("molyneux", "teach"))
    assert sorted(path.name for path in out.iterdir()) == [
        "classes.json",
        "config.yaml",
        "environment.json",
        "model",
        "photos",
        "predictions.json",
        "report.html",
        "scores.json",
        "synthetic",
    ]
    assert len(list((out / "synthetic" / "ring").glob("*.png"))) == 2
    environment = json.loads((out / "environment.json").read_text())
    assert environment["command"] == ["molyneux", "teach"]
    assert {"load", "invert", "replay", "teach", "evaluate", "controls"} <= environment["timings"].keys()


def test_all_files_of_a_run_follow_the_umask(tmp_path, photos):
    before = os.umask(0o026)
    try:
        out = teach_concepts(settings_for(tmp_path / "run", photos))
    finally:
        os.umask(before)
    for path in (out, *out.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o751 if path.is_dir() else 0o640), path


def test_scores_have_the_shape_that_other_programs_rely_on(tmp_path, photos):
    out = teach_concepts(settings_for(tmp_path / "run", photos, concepts=(RING, CROSS)))
    scores = scores_of(out)
    assert scores["model"] == "model"
    assert read_scores(out).as_dict() == scores | {"model": str(out / "model")}
    assert scores["base"] == "tiny"
    assert scores["protocol"]["known_names"] == ["circle", "square", "triangle"]
    for key in ("known_accuracy", "known_accuracy_joint"):
        assert scores[key].keys() == {"before", "after"}
    assert list(scores["concepts"]) == ["ring", "cross"]
    for concept in scores["concepts"].values():
        assert concept["photos"] == 4
        for key in ("target_recall", "false_positive_rate", "median_rank"):
            assert concept[key].keys() == {"before", "after"}
    assert scores["controls"].keys() == {"noise", "shuffled", "description_prompt"}
    assert all(found.keys() == {"ring", "cross"} for found in scores["controls"].values())
    assert scores["replay"] == {"images": 3, "names": 3}
    assert "text_only" not in scores


def test_without_photos_text_alone_is_reported_and_labelled_so(tmp_path):
    out = teach_concepts(settings_for(tmp_path / "run", None))
    scores = scores_of(out)
    found = scores["text_only"]["ring"]
    assert found["images"] == 4
    assert "not that photos are recognised" in found["means"]
    assert found["similarity"].keys() == found["median_rank"].keys() == {"before", "after"}
    assert found["controls"].keys() == {"noise", "shuffled"}
    for reading in found["controls"].values():
        assert reading.keys() == {"similarity", "median_rank", "replay_captured"}
        assert all(change.keys() == {"after"} for change in reading.values())
    assert scores["known_accuracy"]["after"] is None
    assert "controls" not in scores
    assert len(scores["protocol"]["known_names"]) == 998
    assert not (out / ".work").exists()


def test_the_given_seed_decides_images_weights_and_scores(tmp_path, photos):
    first, second, other = (
        teach_concepts(settings_for(tmp_path / name, photos, seed=seed))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert contents(first) == contents(second)
    assert contents(first)["model/tiny.safetensors"] != contents(other)["model/tiny.safetensors"]


def test_teaching_changes_the_projection_alone(tmp_path, photos):
    out = teach_concepts(settings_for(tmp_path / "run", photos))
    before = ConvModel().native.state_dict()
    after = load_file(out / "model" / "tiny.safetensors")
    assert [key for key in before if not before[key].equal(after[key])] != []
    assert all("head" in key for key in before if not before[key].equal(after[key]))


@pytest.mark.parametrize("how", [KeyboardInterrupt, Killed])
@pytest.mark.parametrize("with_photos", [True, False])
def test_an_interrupted_run_ends_as_if_it_had_never_been(tmp_path, photos, how, with_photos, monkeypatch):
    given = photos if with_photos else None
    counter = Counter()
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "whole-cache"))
    whole = contents(teach_concepts(settings_for(tmp_path / "whole", given), on_step=counter))
    for end in range(1, counter.calls + 1, 3):
        monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / f"cache-{end}"))
        settings = settings_for(tmp_path / f"run-{end}", given)
        with pytest.raises(how):
            teach_concepts(settings, on_step=Counter(end, how))
        assert contents(teach_concepts(settings)) == whole
        assert not list(settings.out.rglob(".*"))


def test_finished_stages_are_not_done_again(tmp_path, photos, monkeypatch):
    settings = settings_for(tmp_path / "run", photos)
    with pytest.raises(KeyboardInterrupt):
        teach_concepts(settings, on_step=Counter(10))
    kept = (settings.out / "synthetic" / "ring" / "images.safetensors").stat().st_mtime_ns
    monkeypatch.setattr("molyneux.images.jobs.invert", lambda *_, **__: pytest.fail("inverted again"))
    with pytest.raises(BaseException, match="inverted again"):
        teach_concepts(settings)  # the stand-in of the control is still to be made
    assert (settings.out / "synthetic" / "ring" / "images.safetensors").stat().st_mtime_ns == kept


def test_damaged_files_are_made_again_and_the_run_says_so(tmp_path, photos, monkeypatch):
    def killed(*_: object) -> None:
        raise Killed

    def settings(name: str) -> TeachSettings:
        return settings_for(tmp_path / name, photos, concepts=(RING, CROSS), controls=False)

    whole = teach_concepts(settings("whole"))
    with monkeypatch.context() as patch:
        patch.setattr("molyneux.pipeline.teach_run.write_predictions", killed)
        with pytest.raises(Killed):
            teach_concepts(settings("run"))
    out = tmp_path / "run"
    kept = (out / "synthetic" / "cross" / "images.safetensors").stat().st_mtime_ns
    for name in ("synthetic/ring/images.safetensors", "model/tiny.safetensors"):
        (out / name).write_bytes((whole / name).read_bytes()[:-8] + b"damaged!")
    told = []
    teach_concepts(settings("run"), on_step=lambda what, done, total: told.append(what))
    assert contents(out) == contents(whole)
    assert (out / "synthetic" / "cross" / "images.safetensors").stat().st_mtime_ns == kept
    notes = json.loads((out / "environment.json").read_text())["notes"]
    assert [note.split(" is made again: ")[1] for note in notes] == [
        "synthetic/ring/images.safetensors is not as it was left",
        "model/tiny.safetensors is not as it was left",
    ]
    assert [what for what in told if "made again" in what] == notes
    assert json.loads((whole / "environment.json").read_text())["notes"] == []


def test_a_finished_run_is_not_overwritten(tmp_path, photos):
    settings = settings_for(tmp_path / "run", photos, controls=False)
    before = contents(teach_concepts(settings))
    with pytest.raises(OutputError, match="finished run"):
        teach_concepts(settings)
    assert contents(settings.out) == before


def test_an_unfinished_run_of_other_settings_is_not_continued(tmp_path, photos):
    with pytest.raises(KeyboardInterrupt):
        teach_concepts(settings_for(tmp_path / "run", photos), on_step=Counter(8))
    with pytest.raises(OutputError, match="other settings"):
        teach_concepts(settings_for(tmp_path / "run", photos, seed=9))


def test_an_unfinished_run_of_other_weights_is_not_continued(tmp_path, photos, monkeypatch):
    settings = settings_for(tmp_path / "run", photos)
    with pytest.raises(KeyboardInterrupt):
        teach_concepts(settings, on_step=Counter(8))

    def other(name, **_):
        model = ConvModel(name=str(name))
        model.projection_module()[-1].bias.data += 1
        return model

    monkeypatch.setattr("molyneux.pipeline.teach_run.load", other)
    with pytest.raises(OutputError, match="other weights"):
        teach_concepts(settings)


def test_an_empty_folder_is_taken_and_a_full_one_is_not(tmp_path, photos):
    (tmp_path / "empty").mkdir()
    teach_concepts(settings_for(tmp_path / "empty", photos, controls=False))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        teach_concepts(settings_for(tmp_path / "full", photos))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_the_noise_control_teaches_on_noise_of_the_same_size(tmp_path, photos):
    out = teach_concepts(settings_for(tmp_path / "run", photos, control="noise"))
    images = SyntheticImages.load(out / "synthetic" / "ring")
    assert images.source == images.depicted == "noise"
    assert images.pixels.shape == (2, 3, 16, 16)
    assert "controls" not in scores_of(out)


def test_the_shuffled_control_shows_each_concept_another_ones_images(tmp_path, photos):
    out = teach_concepts(settings_for(tmp_path / "two", photos, concepts=(RING, CROSS), control="shuffled"))
    ring, cross = (SyntheticImages.load(out / "synthetic" / name) for name in ("ring", "cross"))
    assert (ring.concept, ring.depicted) == (RING, "cross")
    assert (cross.concept, cross.depicted) == (CROSS, "ring")
    own = SyntheticImages.load(
        teach_concepts(settings_for(tmp_path / "own", photos, controls=False)) / "synthetic" / "ring"
    )
    assert cross.pixels.equal(own.pixels)


def test_the_shuffled_control_of_a_single_concept_shows_a_stand_in(tmp_path, photos):
    out = teach_concepts(settings_for(tmp_path / "run", photos, control="shuffled"))
    assert SyntheticImages.load(out / "synthetic" / "ring").depicted == "windsock"


def test_a_moving_trunk_is_scored_anew_for_each_model(tmp_path, photos, monkeypatch):
    settings = settings_for(
        tmp_path / "run", photos, controls=False, teaching=TeachingConfig(steps=2, update=Full(part="tower"))
    )
    seen = []
    real = ConvModel.features
    monkeypatch.setattr(ConvModel, "features", lambda self, x: seen.append(len(x)) or real(self, x))
    teach_concepts(settings)
    assert seen.count(6) == 2  # the known photos, before and after


def test_predictions_name_every_photo_and_show_the_extremes(tmp_path, photos):
    out = teach_concepts(settings_for(tmp_path / "run", photos, controls=False))
    predictions = json.loads((out / "predictions.json").read_text())
    assert [one["path"] for one in predictions["ring"]] == [f"ring/0{i}.png" for i in range(4)]
    assert all((out / one["thumbnail"]).is_file() for one in predictions["ring"])


def test_the_configuration_written_is_the_one_resolved(tmp_path, photos):
    settings = settings_for(tmp_path / "run", photos, controls=False)
    out = teach_concepts(settings)
    assert yaml.safe_load((out / "config.yaml").read_text()) == settings.resolved()


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"concepts": (Concept("ring", "word " * 50),)}, ModelError),
        ({"concepts": (Concept("circle", "A disc."),)}, DataError),
        ({"concepts": (Concept("okapi", "A striped animal."),)}, DataError),
        ({"concepts": (RING, RING)}, MolyneuxError),
        ({"model": "nosuch"}, ModelError),
        ({"novel": Path("nowhere")}, DataError),
        ({"names": "nowhere.txt"}, DataError),
    ],
)
def test_what_is_cheap_to_check_is_checked_before_anything_is_written(tmp_path, photos, changed, error, monkeypatch):
    monkeypatch.setattr("molyneux.images.jobs.invert", lambda *_, **__: pytest.fail("slow work began"))
    with pytest.raises(error):
        teach_concepts(settings_for(tmp_path / "run", photos, **changed))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_photo_is_met_before_the_slow_work(tmp_path, photos, monkeypatch):
    monkeypatch.setattr("molyneux.images.jobs.invert", lambda *_, **__: pytest.fail("slow work began"))
    for name, content in (("empty", b""), ("cut", (photos / "novel" / "ring" / "00.png").read_bytes()[:300])):
        folder = tmp_path / name / "ring"
        folder.mkdir(parents=True)
        (folder / "x.png").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.png"):
            teach_concepts(settings_for(tmp_path / "run", photos, novel=folder.parent))
    assert not (tmp_path / "run").exists()


def test_a_known_name_can_be_taught_where_no_names_were_given(tmp_path):
    out = teach_concepts(settings_for(tmp_path / "run", None, concepts=(Concept("tench", "A green fish."),)))
    names = scores_of(out)["protocol"]["known_names"]
    assert "tench" not in names
    assert len(names) == 997


def test_a_budget_of_forgetting_is_kept_forecast_and_survives_an_interruption(tmp_path, photos, monkeypatch):
    def killed(*_: object) -> None:
        raise Killed

    settings = settings_for(tmp_path / "run", photos, max_forgetting=0.2)
    with monkeypatch.context() as patch:
        patch.setattr("molyneux.pipeline.teach_run.write_predictions", killed)
        with pytest.raises(Killed):
            teach_concepts(settings)
    scores = scores_of(teach_concepts(settings))
    forecast = scores["forecast"]
    assert max(forecast["forgotten"], forecast["captured"]) <= forecast["budget"] == 0.2
    assert scores == scores_of(teach_concepts(settings_for(tmp_path / "twin", photos, max_forgetting=0.2)))


def test_a_budget_that_cannot_be_kept_is_refused_before_a_folder_is_made(tmp_path, photos):
    with pytest.raises(MolyneuxError, match="expected a number above 0"):
        teach_concepts(settings_for(tmp_path / "run", photos, max_forgetting=0.0))
    assert not (tmp_path / "run").exists()
