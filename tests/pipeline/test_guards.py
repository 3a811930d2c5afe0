"""What one part of a run must pass on to another."""

import pytest

from helpers.runs import REPLAY, settings_for, use_tiny, write_photos
from molyneux.concepts import Concept
from molyneux.images.replay import replay_names
from molyneux.pipeline import teach_run
from molyneux.pipeline.teach_run import read_scores, teach_concepts


@pytest.fixture
def photos(tmp_path, monkeypatch):
    use_tiny(monkeypatch, tmp_path / "cache")
    return write_photos(tmp_path / "photos")


def test_controls_are_taught_at_the_rate_and_strength_of_the_forecast(tmp_path, monkeypatch, photos):
    seen, taught = [], teach_run.fine_tune

    def remembered(model, images, config, **rest):
        seen.append((config.learning_rate, config.strength))
        return taught(model, images, config, **rest)

    monkeypatch.setattr(teach_run, "fine_tune", remembered)
    out = teach_concepts(settings_for(tmp_path / "run", photos, max_forgetting=0.3))
    forecast = read_scores(out).forecast
    assert forecast is not None
    assert seen == [(forecast.learning_rate, forecast.strength)] * 2
    assert forecast.strength != settings_for(tmp_path / "other", photos).teaching.strength


def test_a_run_replays_no_taught_concept(tmp_path, photos):
    del photos
    name = replay_names(REPLAY)[0]
    out = teach_concepts(settings_for(tmp_path / "run", None, concepts=(Concept(name, "A thing that looks so."),)))
    scores = read_scores(out)
    assert scores.replay is not None
    assert scores.replay.names == REPLAY.count - 1


def test_every_run_of_its_own_images_has_both_controls_beside_it(tmp_path, photos):
    scores = read_scores(teach_concepts(settings_for(tmp_path / "run", photos)))
    assert {"noise", "shuffled", "description_prompt"} <= set(scores.controls or {})
