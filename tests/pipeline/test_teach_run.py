import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from helpers.runs import CROSS, RING, SHORT, Counter, Killed, contents, settings_for, use_tiny, write_photos
from helpers.small_models import ConvModel, load_tiny
from molyneux.backends.load import load as load_real
from molyneux.concepts import Concept
from molyneux.errors import DataError, ModelError, MolyneuxError, OutputError
from molyneux.images.replay import replay_names
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.pipeline.settings import TeachSettings
from molyneux.pipeline.teach_run import read_scores, teach_concepts
from molyneux.records import Mistaken, ShownPhotos, read_record
from molyneux.runs.folder import is_unfinished
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig


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
        "digests.json",
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
    out = teach_concepts(settings_for(tmp_path / "run", None, fresh=True))
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


@pytest.mark.parametrize(("how", "start"), [(KeyboardInterrupt, 1), (Killed, 4)])
@pytest.mark.parametrize("with_photos", [True, False])
def test_an_interrupted_run_ends_as_if_it_had_never_been(tmp_path, photos, how, start, with_photos, monkeypatch):
    given = photos if with_photos else None
    counter = Counter()
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "whole-cache"))
    whole = contents(teach_concepts(settings_for(tmp_path / "whole", given, fresh=True), on_step=counter))
    for end in range(start, counter.calls + 1, 6):
        monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / f"cache-{end}"))
        settings = settings_for(tmp_path / f"run-{end}", given, fresh=True)
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


def test_a_run_that_is_killed_after_its_card_was_written_has_nothing_to_make_again(tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.pipeline.teach_run.load", load_real)
    settings = settings_for(tmp_path / "run", None, model="tiny:clip", teaching=TeachingConfig())

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("molyneux.runs.folder.RunFolder.finish", killed)
        with pytest.raises(Killed):
            teach_concepts(settings)
    told = (settings.out / "model" / "README.md").read_bytes()
    out = teach_concepts(settings)
    assert json.loads((out / "environment.json").read_text())["notes"] == []
    assert (out / "model" / "README.md").read_bytes() == told


def test_a_run_that_is_killed_while_it_clears_up_is_finished_by_who_comes_next(tmp_path, photos, monkeypatch):
    whole = contents(teach_concepts(settings_for(tmp_path / "whole", photos)))
    settings = settings_for(tmp_path / "run", photos)

    def killed(folder: Path) -> None:
        (settings.out / ".work" / "evaluate.json").unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("molyneux.runs.folder.write_digests", killed)
        patch.setattr("molyneux.runs.folder.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            teach_concepts(settings)
    assert is_unfinished(settings.out)
    with pytest.raises(OutputError, match="already holds a finished run"):
        teach_concepts(settings)
    assert contents(settings.out) == whole
    assert not list(settings.out.rglob(".*"))


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
        tmp_path / "run",
        photos,
        controls=False,
        teaching=TeachingConfig(loss="bank", steps=2),
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


def test_photos_to_look_at_have_the_answers_of_every_model(tmp_path, photos):
    (tmp_path / "shown" / "ring").mkdir(parents=True)
    for name, source in (("ring/a.png", "novel/ring"), ("b.png", "known/circle")):
        shutil.copy(sorted((photos / source).iterdir())[0], tmp_path / "shown" / name)
    (tmp_path / "shown" / "credits.json").write_text('{"b.png": "a drawing"}')
    out = tmp_path / "run"
    teach_concepts(settings_for(out, photos, show=tmp_path / "shown"))
    found = read_record(ShownPhotos, out / "shown.json")
    assert [(one.photo, one.shows, one.credit) for one in found.photos] == [
        ("ring/a.png", "ring", ""),
        ("b.png", None, "a drawing"),
    ]
    names = ("circle", "square", "triangle", "ring")
    for when, model in (("before", load_tiny("tiny")), ("after", load_tiny(out / "model"))):
        for one in found.photos:
            best = model.recognise(tmp_path / "shown" / one.photo, names)[0].after.best
            answers = getattr(one, when)
            assert [name for name, _, _ in answers.best] == [answer.name for answer in best]
            assert answers.best[0][2] == pytest.approx(best[0].probability)
            rank = [answer.name for answer in best].index("ring") + 1
            assert answers.concepts["ring"].rank == rank
    assert found.photos[0].controls.keys() == {"noise", "shuffled"}
    assert (out / found.photos[0].thumbnail).is_file()
    assert "Photos to look at" in (out / "report.html").read_text()
    assert yaml.safe_load((out / "config.yaml").read_text())["show"] == str(tmp_path / "shown")


def test_known_photos_that_are_mistaken_are_kept_one_by_one(tmp_path, photos):
    out = tmp_path / "run"
    lesson = replace(SHORT, learning_rate=0.0)
    teach_concepts(settings_for(out, photos, concepts=(CROSS,), teaching=lesson, controls=False))
    scores = json.loads((out / "scores.json").read_text())["concepts"]["cross"]
    found = read_record(Mistaken, out / "mistaken.json").root["cross"]
    assert len(found) == scores["false_positives"]["after"] > 0
    assert [one.margin for one in found] == sorted((one.margin for one in found), reverse=True)
    model = load_tiny("tiny")
    for one in found:
        assert one.path.startswith(one.label)
        assert one.before is True
        names = ("circle", "square", "triangle", "cross")
        assert model.recognise(photos / "known" / one.path, names)[0].name == "cross"
        assert (out / one.thumbnail).is_file()
    assert "False positives" in (out / "report.html").read_text()


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', "{"])
def test_credits_that_are_no_credits_are_refused(tmp_path, photos, content):
    folder = shutil.copytree(photos / "novel", tmp_path / "shown")
    (folder / "credits.json").write_text(content)
    with pytest.raises(DataError, match="credits"):
        teach_concepts(settings_for(tmp_path / "run", photos, show=folder))
    assert not (tmp_path / "run").exists()


def test_the_taught_folder_says_what_it_is(tmp_path, photos, monkeypatch):
    monkeypatch.setattr("molyneux.pipeline.teach_run.load", load_real)
    out = teach_concepts(settings_for(tmp_path / "run", photos, model="tiny:clip", concepts=(CROSS,)))
    text = (out / "model" / "README.md").read_text()
    recall = scores_of(out)["concepts"]["cross"]["target_recall"]
    assert f"| cross | target recall | {100 * recall['before']:.1f} % | {100 * recall['after']:.1f} % |" in text
    assert "A plus sign." in text
    again = load_real(out / "model")
    assert (again.concepts, again.base) == ((CROSS,), "tiny:clip")


@pytest.fixture
def short_sighted(monkeypatch):
    """The model reads fewer words than the stand-in of the control 'shuffled' has."""
    monkeypatch.setattr("helpers.small_models.LONGEST", 19)


def test_a_control_whose_own_text_is_too_long_for_the_model_is_left_out_and_said(tmp_path, photos, short_sighted):
    out = teach_concepts(settings_for(tmp_path / "run", photos))
    assert scores_of(out)["controls"].keys() == {"noise", "description_prompt"}
    notes = json.loads((out / "environment.json").read_text())["notes"]
    assert [note for note in notes if "the control 'shuffled' is left out: the text has 20" in note]
    assert "is left out" in (out / "report.html").read_text()
    words = teach_concepts(settings_for(tmp_path / "words", None, fresh=True))
    assert scores_of(words)["text_only"]["ring"]["controls"].keys() == {"noise"}


def test_with_several_concepts_no_stand_in_is_needed(tmp_path, photos, short_sighted):
    out = teach_concepts(settings_for(tmp_path / "run", photos, concepts=(RING, CROSS)))
    assert "shuffled" in scores_of(out)["controls"]


def test_a_control_that_was_asked_for_and_cannot_run_is_refused_at_once(tmp_path, photos, short_sighted):
    with pytest.raises(ModelError, match="the text has 20"):
        teach_concepts(settings_for(tmp_path / "run", photos, control="shuffled"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["of scoring", "of negatives", "of replay", "of the concept"])
def test_every_text_of_a_run_is_checked_before_anything_is_made(tmp_path, monkeypatch, kind):
    settings = settings_for(tmp_path / "run", None, fresh=True)
    unreadable = {
        "of scoring": "a photo of a tench.",
        "of negatives": "a photo of a goldfish.",
        "of replay": f"a photo of a {replay_names(settings.replay)[0]}.",
        "of the concept": "a photo of a ring.",
    }[kind]

    def check(model: ConvModel, text: str) -> None:
        if text == unreadable:
            raise ModelError(f"the text is {text!r}")

    monkeypatch.setattr(ConvModel, "check_text", check)
    with pytest.raises(ModelError, match="the text is"):
        teach_concepts(settings)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def other_threads():
    """Another number of threads, for the test alone."""
    before = torch.get_num_threads()

    def change() -> int:
        torch.set_num_threads(before + 1)
        return before

    yield change
    torch.set_num_threads(before)


def test_a_run_is_continued_on_as_many_threads_as_it_began_with(tmp_path, photos, other_threads):
    settings = settings_for(tmp_path / "run", photos)
    with pytest.raises(KeyboardInterrupt):
        teach_concepts(settings, on_step=Counter(3))
    begun = other_threads()
    with pytest.raises(OutputError, match=f"on {begun} threads, and this process has {begun + 1}.*={begun}, or"):
        teach_concepts(settings)
    torch.set_num_threads(begun)
    out = teach_concepts(settings)
    assert json.loads((out / "environment.json").read_text())["machine"]["threads"] == begun


def test_images_begun_on_another_number_of_threads_are_begun_again(tmp_path, other_threads):
    model, path = ConvModel(), tmp_path / "images.pt"
    with pytest.raises(KeyboardInterrupt):
        invert(model, RING, InversionConfig(images=1, steps=60), checkpoint=path, on_step=Stop(30))
    steps = []
    other_threads()
    invert(
        model, RING, InversionConfig(images=1, steps=60), checkpoint=path, on_step=lambda done, _: steps.append(done)
    )
    assert steps[0] == 1


class Stop:
    """Ends an inversion after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, done: int, total: int) -> None:
        if done == self.step:
            raise KeyboardInterrupt


def test_a_run_that_ended_in_an_error_gives_its_folder_to_the_corrected_command(tmp_path, photos, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise ModelError("the loss became nan")

    wrong = settings_for(tmp_path / "run", photos, controls=False, teaching=replace(SHORT, learning_rate=9.0))
    with monkeypatch.context() as patch:
        patch.setattr("molyneux.pipeline.teach_run.fine_tune", fails)
        with pytest.raises(ModelError):
            teach_concepts(wrong)
    made = (tmp_path / "run" / "synthetic" / "ring" / "images.safetensors").stat().st_mtime_ns
    out = teach_concepts(settings_for(tmp_path / "run", photos, controls=False))
    assert (out / "synthetic" / "ring" / "images.safetensors").stat().st_mtime_ns == made
    assert contents(out) == contents(teach_concepts(settings_for(tmp_path / "whole", photos, controls=False)))
