import json
import sys
from pathlib import Path

import pytest
from command import Command, check_refused
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "captioning"))

from small_captioner import build_letters

from molyneux.captioning.config import CaptioningConfig
from molyneux.captioning.decode import write_captions
from molyneux.datasets.photos import load_batch
from molyneux.pipeline import captions
from small_models import load_tiny

SHORT = "--captioning.longest=8"


@pytest.fixture(scope="module")
def coca():
    return build_letters(seed=1)


@pytest.fixture
def molyneux(capsys, monkeypatch, coca):
    monkeypatch.setattr(captions, "load", lambda name: load_tiny("tiny") if name == "tiny" else coca)
    return Command(capsys)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for name in ("b.png", "a.jpg", "more/c.png", ".hidden/d.png", ".e.png"):
        (root / name).parent.mkdir(exist_ok=True)
        Image.effect_noise((20, 24), len(name) * 9).convert("RGB").save(root / name)
    (root / "notes.txt").write_text("none")
    return root


@pytest.mark.parametrize("method", ["beam", "greedy", "top_p"])
def test_each_photo_gets_the_caption_that_the_library_writes(molyneux, coca, photos, monkeypatch, method):
    every = captions.batches
    monkeypatch.setattr(captions, "batches", lambda *given, fit: every(*given, 2, fit=fit))
    flags = (f"--captioning.method={method}", SHORT, "--seed=5", "--quiet")
    ended = molyneux("caption", "--model=letters", "--images", photos, *flags, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["model"] == "letters"
    names = ["a.jpg", "b.png", "more/c.png"]
    assert list(found["captions"]) == names
    images = load_batch([photos / name for name in names], coca.image_size, coca.crop_fraction, coca.photo_fit)
    expected = write_captions(coca, images, CaptioningConfig(method=method, longest=8), seed=5)
    assert list(found["captions"].values()) == expected
    lines = molyneux("caption", "--model=letters", "--images", photos, *flags).out.splitlines()
    assert lines == [f"{name}: {text}" for name, text in zip(names, expected, strict=True)]


def test_progress_is_told(molyneux, photos):
    ended = molyneux("caption", "--model=letters", "--images", photos, SHORT)
    assert ended.err.splitlines()[-1] == "captions: 3 of 3"


def test_what_cannot_be_captioned_is_one_clear_error(molyneux, photos, tmp_path):
    def check(*words: str, model: str = "letters", images: Path = photos, flags: tuple[str, ...] = (SHORT,)) -> None:
        check_refused(molyneux("caption", "--model", model, "--images", images, "--quiet", *flags), *words)

    check("writes captions (CoCa)", "'tiny'", model="tiny")
    check("nowhere", "not there", images=tmp_path / "nowhere")
    check("has no photos", images=tmp_path)
    check("captioning.longest is 40", "12 tokens", flags=("--captioning.longest=40",))
    check("captioning.top_p is 2", flags=("--captioning.top-p=2",))
    (tmp_path / "x.png").write_bytes(b"none")
    check("x.png", "no JPEG, PNG or WebP", images=tmp_path)
    check("is a file", images=tmp_path / "x.png")
