import subprocess
import sys

import pytest
from runs import QUICK, RING, SHORT
from tiny_model import TinyModel

import molyneux


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


def test_three_lines_teach(monkeypatch, tmp_path):
    monkeypatch.setattr("molyneux.pipeline.public.replay_pictures", lambda _: ())
    model = TinyModel()
    pictures = molyneux.invert(model, RING, QUICK)
    taught = molyneux.teach(model, [pictures], SHORT)
    before, after = (
        (one.embed_images(pictures.pixels) @ one.embed_texts(["a photo of a ring."]).T).mean()
        for one in (model, taught)
    )
    assert after > before


def test_the_paper_is_cited_first():
    assert "2411.15611" in molyneux.cite("anything").split("@")[1]
    assert "MiniLM" in molyneux.cite()
