"""What a run's evidence rests on: fresh images were not taught on, and replay holds no taught concept."""

import torch

from helpers.runs import QUICK, REPLAY, RING, settings_for, use_tiny
from helpers.small_models import load_tiny
from molyneux.backends.options import Running
from molyneux.images import replay
from molyneux.images.jobs import ImageMaker
from molyneux.images.replay import replay_images, replay_names
from molyneux.images.sources import fresh_images, run_images
from molyneux.runs.folder import open_run


def test_fresh_images_are_of_another_seed_than_those_that_are_taught_on(tmp_path, monkeypatch):
    use_tiny(monkeypatch, tmp_path / "cache")
    request = settings_for(tmp_path / "run", None).image_request
    folder = open_run(tmp_path / "run", {}, {})
    maker = ImageMaker(model=load_tiny("tiny"), name="tiny", running=Running(), folder=folder)
    own = run_images(maker, request, folder.root / "synthetic", folder.work)[0]
    fresh = fresh_images(maker, request, QUICK.images, folder.work)[0]
    assert fresh.concept == own.concept == RING
    assert fresh.seed != own.seed
    assert not torch.allclose(fresh.pixels, own.pixels, atol=1e-2)


def test_replay_keeps_no_image_of_a_taught_concept(tmp_path, monkeypatch):
    use_tiny(monkeypatch, tmp_path / "cache")
    names = replay_names(REPLAY)
    model = load_tiny("tiny")
    everything = replay_images(model, REPLAY)
    kept = replay_images(model, REPLAY, taught=[names[1].upper()])
    assert [one.concept.name for one in everything] == list(names)
    assert [one.concept.name for one in kept] == [names[0], names[2]]
    assert replay.FILE in {path.name for path in (tmp_path / "cache").rglob("*")}
