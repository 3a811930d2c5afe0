import subprocess
import sys
from dataclasses import replace

import pytest

import molyneux
from helpers.families_vilt import tiny_vilt
from helpers.runs import QUICK, RING, write_photos
from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.errors import ConfigError, ModelError
from molyneux.synthetic import noise_images


def test_importing_the_package_and_naming_settings_loads_no_torch():
    code = (
        "import sys, molyneux; molyneux.Concept, molyneux.InversionConfig, molyneux.TeachingConfig; "
        "molyneux.cite(); sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    assert all(getattr(molyneux, name) is not None for name in molyneux.__all__)
    assert sorted(molyneux.__all__) == dir(molyneux)
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = molyneux.nosuch


def test_three_lines_teach():
    model = ConvModel()
    images = molyneux.invert(model, RING, QUICK)
    lesson = molyneux.TeachingConfig(steps=40, learning_rate=0.03, texts="names")
    taught = molyneux.teach(model, [images], lesson, known=("circle", "square"), replay=())

    texts = model.embed_texts([f"a photo of a {name}." for name in ("ring", "circle", "square")])
    before, after = ((one.embed_images(images.pixels) @ texts.T).mean(dim=0) for one in (model, taught))
    assert after[0] - after[1:].max() > before[0] - before[1:].max()


def test_teaching_takes_the_names_and_images_that_a_whole_run_would(monkeypatch):
    model, seen = ConvModel(), {}
    images = molyneux.invert(model, Concept("tench", "A green fish."), QUICK)
    replay = (images.shown_as(Concept("goldfish", "A thing.")),)

    def replay_images(model, *, taught):
        assert taught == ["tench"]
        return replay

    monkeypatch.setattr("molyneux.pipeline.public.replay_images", replay_images)
    monkeypatch.setattr(
        "molyneux.pipeline.public.fine_tune", lambda model, images, config, **given: seen.update(given) or model
    )
    molyneux.teach(model, [images])
    assert seen["replay"] == replay
    assert "tench" not in seen["known"]
    assert "goldfish" in seen["known"]


def test_a_lesson_that_cannot_be_taught_is_refused_before_replay_images_are_made(monkeypatch):
    monkeypatch.setattr("molyneux.pipeline.public.replay_images", lambda _: pytest.fail("slow work began"))
    model = ConvModel()
    images = [noise_images(RING, 2, 16, seed=0)]
    with pytest.raises(ModelError, match="judges pairs"):
        molyneux.teach(model, images, molyneux.TeachingConfig.paper_matching())
    with pytest.raises(ModelError, match="paper-matching"):
        molyneux.teach(tiny_vilt(), images)

    def refuse():
        raise ModelError("no weights can hold it")

    monkeypatch.setattr(model, "check_remap", refuse)
    with pytest.raises(ModelError, match="no weights can hold it"):
        molyneux.teach(model, images)


def test_replay_images_without_known_names_are_refused():
    images = noise_images(RING, 2, 16, seed=0)
    replay = [noise_images(Concept("tench", "A green fish."), 2, 16, seed=1)]
    for loss in ("bank", "anchors"):
        for known in ((), ("Ring",)):
            with pytest.raises(ConfigError, match="known"):
                molyneux.teach(ConvModel(), [images], molyneux.TeachingConfig(loss=loss), known=known, replay=replay)
    # where replay is turned off they are of no account
    config = molyneux.TeachingConfig(loss="anchors", replay_batch=0, steps=1)
    assert molyneux.teach(ConvModel(), [images], config, known=(), replay=replay).name == "tiny"


def test_a_model_that_judges_pairs_takes_the_same_three_calls(tmp_path):
    photos, model = write_photos(tmp_path), tiny_vilt()
    config = replace(molyneux.InversionConfig.paper_vilt(steps=4), images=2, size=32, view=32, growth=())
    images = molyneux.invert(model, RING, config)
    taught = molyneux.teach(model, [images], molyneux.TeachingConfig.paper_matching(learning_rate=0.01))
    scores = molyneux.evaluate(
        taught, base=model, novel=photos / "novel", known=photos / "known", concepts=["ring"]
    ).as_dict()
    assert scores["concepts"]["ring"]["median_rank"].keys() == {"before", "after"}
    assert scores["protocol"]["score"].startswith("log-probability")


def test_the_paper_is_cited_first():
    assert "2411.15611" in molyneux.cite("anything").split("@")[1]
    assert "MiniLM" in molyneux.cite()
