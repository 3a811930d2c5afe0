import sys

import pytest

from helpers.runs import REPLAY, Counter
from helpers.small_models import ConvModel
from molyneux.backends.digest import weights_digest
from molyneux.datasets.imagenet import imagenet_names
from molyneux.errors import ConfigError, DataError
from molyneux.images.config import ReplayConfig
from molyneux.images.replay import (
    FILE,
    cache_folder,
    load_replay,
    replay_images,
    replay_names,
    shipped_set,
)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(one, other):
    return [(a.concept, a.seed) for a in one] == [(b.concept, b.seed) for b in other] and all(
        a.pixels.equal(b.pixels) for a, b in zip(one, other, strict=True)
    )


def test_the_set_is_made_once_and_then_read(cache, monkeypatch):
    made = replay_images(ConvModel(), REPLAY)
    assert [one.concept.name for one in made] == list(replay_names(REPLAY))
    assert len(list(cache.rglob(FILE))) == 1
    monkeypatch.setattr("molyneux.images.replay.invert_each", lambda *_, **__: pytest.fail("made again"))
    assert same(replay_images(ConvModel(), REPLAY), made)


def test_what_is_taught_is_not_among_them(cache):
    first, *others = replay_names(REPLAY)
    found = replay_images(ConvModel(), REPLAY, taught=[first.upper()])
    assert [one.concept.name for one in found] == others


def test_an_interrupted_making_goes_on_to_the_same_images(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        replay_images(ConvModel(), REPLAY, on_step=Counter(2))
    resumed = replay_images(ConvModel(), REPLAY)
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path / "other"))
    assert same(replay_images(ConvModel(), REPLAY), resumed)


def test_other_weights_and_other_settings_have_sets_of_their_own(cache):
    replay_images(ConvModel(), REPLAY)
    other = ConvModel()
    other.projection_module()[-1].bias.data += 1
    assert weights_digest(other.native) != weights_digest(ConvModel().native)
    replay_images(other, REPLAY)
    replay_images(ConvModel(), ReplayConfig(count=1, inversion=REPLAY.inversion))
    assert len(list(cache.rglob(FILE))) == 3


def test_a_corrupt_set_is_one_clear_error(cache):
    replay_images(ConvModel(), REPLAY)
    path = next(cache.rglob(FILE))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"replay\.safetensors cannot be read"):
        load_replay(path)


def test_the_classes_are_distinct_and_the_same_for_the_same_seed():
    names = replay_names(ReplayConfig(count=993))
    assert len(set(names)) == 993
    assert set(names) <= set(imagenet_names())
    assert replay_names(ReplayConfig(count=5)) == names[:5]


@pytest.mark.parametrize("count", [0, 994])
def test_a_count_that_cannot_be_had_is_refused(count):
    with pytest.raises(ConfigError, match="count is"):
        ReplayConfig(count=count)


def test_only_the_default_set_of_mini_is_shipped():
    assert shipped_set("tiny", ReplayConfig()) is None
    assert shipped_set("mini", REPLAY) is None


def test_the_cache_folder_can_be_chosen(cache):
    assert cache_folder() == cache


@pytest.mark.skipif(sys.platform != "linux", reason="the user's cache folder is another one here")
def test_without_a_choice_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("MOLYNEUX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "molyneux"
