import subprocess
import sys

import pytest
from runs import QUICK, RING

import molyneux
from molyneux.concepts import Concept
from small_models import ConvModel


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
    pictures = molyneux.invert(model, RING, QUICK)
    lesson = molyneux.TeachingConfig(steps=40, learning_rate=0.03, texts="names")
    taught = molyneux.teach(model, [pictures], lesson, known=("circle", "square"), replay=())

    texts = model.embed_texts([f"a photo of a {name}." for name in ("ring", "circle", "square")])
    before, after = ((one.embed_images(pictures.pixels) @ texts.T).mean(dim=0) for one in (model, taught))
    assert after[0] - after[1:].max() > before[0] - before[1:].max()


def test_teaching_takes_the_names_and_pictures_that_a_whole_run_would(monkeypatch):
    model, seen = ConvModel(), {}
    pictures = molyneux.invert(model, Concept("tench", "A green fish."), QUICK)
    replay = tuple(pictures.shown_as(Concept(name, "A thing.")) for name in ("tench", "goldfish"))
    monkeypatch.setattr("molyneux.pipeline.public.replay_pictures", lambda _: replay)
    monkeypatch.setattr(
        "molyneux.pipeline.public.teach_with", lambda model, pictures, config, **given: seen.update(given) or model
    )
    molyneux.teach(model, [pictures])
    assert [one.concept.name for one in seen["replay"]] == ["goldfish"]
    assert "tench" not in seen["known"]
    assert "goldfish" in seen["known"]


def test_the_paper_is_cited_first():
    assert "2411.15611" in molyneux.cite("anything").split("@")[1]
    assert "MiniLM" in molyneux.cite()
