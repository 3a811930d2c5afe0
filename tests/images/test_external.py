"""Teaching on images that inversion did not make: their source is kept, and told in the report."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.runs import CROSS, RING, SHORT, contents, settings_for, use_tiny, write_photos
from helpers.small_models import load_tiny
from helpers.tiny_sdxl import save_tiny_sdxl
from molyneux.backends import diffusion
from molyneux.backends.digest import weights_digest
from molyneux.backends.options import Generation
from molyneux.datasets.photos import load_batch
from molyneux.datasets.toy import draw_shapes, write_folder
from molyneux.errors import ConfigError, DataError, ModelError
from molyneux.images import jobs
from molyneux.images.choices import source_of
from molyneux.images.external import generated, generator_name
from molyneux.inversion.config import InversionConfig
from molyneux.pipeline import teach_run as run
from molyneux.pipeline.settings import InvertSettings
from molyneux.pipeline.teach_run import teach_concepts
from molyneux.synthetic import SyntheticImages
from molyneux.teaching.config import TeachingConfig
from molyneux.teaching.fine_tune import fine_tune


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tmp_path):
    use_tiny(monkeypatch, tmp_path / "cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    drawn = {kind: draw_shapes(kind, 3, 30, seed=8) for kind in ("ring", "cross", "stripes")}
    return write_folder(tmp_path_factory.mktemp("images"), drawn)


def test_a_folders_images_are_taught_on_as_they_are(tmp_path, photos, images):
    out = teach_concepts(settings_for(tmp_path / "run", photos, concepts=(RING, CROSS), images_from=str(images)))
    model = load_tiny("tiny")
    for concept in (RING, CROSS):
        made = SyntheticImages.load(out / "synthetic" / concept.slug)
        files = sorted((images / concept.name).iterdir())
        expected = load_batch(files, model.image_size, model.crop_fraction)
        torch.testing.assert_close(made.pixels, expected, rtol=0, atol=0)
        assert (made.source, made.depicted) == ("external", concept.name)
    page = (out / "report.html").read_text()
    assert "3 images from a folder of external images; inversion made none of them." in page
    assert "Taught on external images" in page
    assert "from words alone" not in page
    assert set(json.loads((out / "scores.json").read_text())["controls"]) == {
        "noise",
        "shuffled",
        "description_prompt",
    }


def after_the_first_concept(what: str, done: int, total: int) -> None:
    if "cross" in what:
        raise KeyboardInterrupt


def test_generated_images_are_made_once_and_name_their_maker(tmp_path, monkeypatch):
    name = str(save_tiny_sdxl(tmp_path / "some-sdxl"))
    settings = settings_for(
        tmp_path / "run",
        None,
        concepts=(RING, CROSS),
        images_from=f"sdxl:{name}",
        generation=Generation(images=2, steps=1),
        controls=False,
    )
    out = teach_concepts(settings)
    ring, cross = (SyntheticImages.load(out / "synthetic" / concept.slug) for concept in (RING, CROSS))
    assert ring.pixels.shape == (2, 3, 24, 24)
    assert (ring.source, ring.origin) == ("generated", name)
    assert not torch.equal(ring.pixels, cross.pixels)
    page = (out / "report.html").read_text()
    assert f"2 images generated from the description by {name}" in page
    assert "computed from the description alone" not in page
    alone = settings_for(tmp_path / "alone", None, concepts=(CROSS,), images_from=f"sdxl:{name}")
    made = generated(load_tiny("tiny"), replace(alone, generation=settings.generation).image_request)
    torch.testing.assert_close(made[0]().pixels, cross.pixels, rtol=0, atol=0)
    again = replace(settings, out=tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        teach_concepts(again, on_step=after_the_first_concept)
    generate, made_of = diffusion.ImageGenerator.generate, []
    monkeypatch.setattr(
        diffusion.ImageGenerator,
        "generate",
        lambda self, texts, *rest, **named: made_of.append(texts) or generate(self, texts, *rest, **named),
    )
    assert contents(teach_concepts(again)) == contents(out)
    assert made_of == [CROSS.descriptions]


@pytest.mark.parametrize("concepts", [(RING,), (RING, CROSS)])
def test_words_alone_teach_without_a_image_and_so_do_their_controls(tmp_path, monkeypatch, photos, concepts):
    monkeypatch.setattr(jobs, "invert", None)  # no image of a concept is inverted
    settings = settings_for(tmp_path / "run", photos, concepts=concepts, teaching=TeachingConfig())
    out = teach_concepts(settings)
    made = SyntheticImages.load(out / "synthetic" / RING.slug)
    assert (made.source, len(made), made.source_descriptions) == ("none", 0, RING.descriptions)
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores["controls"]) == {"noise", "shuffled", "description_prompt"}
    page = (out / "report.html").read_text()
    assert "Taught from its description alone" in page or len(concepts) > 1
    assert "No image was made: an edit was computed from the description." in page
    assert "The lesson" in page
    assert "The images" not in page
    assert "no synthetic images" not in page
    assert "The synthetic images are computed" not in page
    assert "trace_every" not in page
    assert "edit.strength" in page
    assert "weight_decay" not in page
    assert "no trace was kept" not in page
    assert weights_digest(load_tiny(out / "model").native) != weights_digest(load_tiny("tiny").native)
    alone = settings_for(tmp_path / "alone", None, concepts=concepts, teaching=TeachingConfig())
    assert "text_only" not in json.loads((teach_concepts(alone) / "scores.json").read_text())


def test_a_folder_that_is_called_words_is_a_folder(tmp_path, monkeypatch, photos, images):
    monkeypatch.chdir(tmp_path)
    assert source_of("none") == "none"
    (tmp_path / "none").symlink_to(images)
    assert source_of("none") == "external"
    out = teach_concepts(settings_for(tmp_path / "run", None, images_from="none", controls=False))
    assert SyntheticImages.load(out / "synthetic" / RING.slug).source == "external"


def test_a_control_has_words_only_where_the_run_has(tmp_path, monkeypatch, photos, images):
    seen = []

    def told(model, shown, *rest, **named):
        seen.extend((one.source, bool(one.source_descriptions)) for one in shown)
        return fine_tune(model, shown, *rest, **named)

    monkeypatch.setattr(run, "fine_tune", told)
    for name, source, expected in (
        ("external", str(images), [("external", False), ("noise", False), ("inverted", False)]),
        ("own", None, [("inverted", True), ("noise", False), ("inverted", True)]),
        ("none", "none", [("none", True), ("noise", False), ("none", True)]),
    ):
        seen.clear()
        given = {"teaching": TeachingConfig()} if source == "none" else {}
        teach_concepts(settings_for(tmp_path / name, photos, images_from=source, **given))
        assert seen == expected


def test_what_cannot_be_taught_on_is_refused_before_anything_is_written(tmp_path, photos, images, monkeypatch):
    def refused(error, words, **changed):
        with pytest.raises(error, match=words):
            teach_concepts(settings_for(tmp_path / "run", photos, **changed))
        assert not (tmp_path / "run").exists()

    refused(DataError, "would be taught on and is scored on", images_from=str(photos / "novel"))
    refused(DataError, "no sub-folder for any of 'ring'", images_from=str(photos / "known"))
    refused(DataError, "nowhere", images_from=str(tmp_path / "nowhere"))
    some = write_folder(tmp_path / "some", {"ring": draw_shapes("ring", 1, 30, seed=8)})
    refused(DataError, "has no folder for 'cross'", images_from=str(some), concepts=(RING, CROSS))
    refused(ModelError, "is no text-to-image model", images_from=f"sdxl:{tmp_path}")
    for teaching in (TeachingConfig.paper(), TeachingConfig(loss="bank")):
        refused(ConfigError, "--images-from none leaves nothing to teach from", images_from="none", teaching=teaching)
    monkeypatch.setattr(diffusion, "find_spec", lambda _: None)
    refused(ModelError, r"molyneux\[sdxl\]", images_from="sdxl")
    with pytest.raises(ConfigError, match="leave --images-from out"):
        settings_for(tmp_path / "run", photos, images_from=str(images), control="noise")


def test_a_folder_that_is_called_like_the_generator_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert source_of("sdxl") == "generated"
    request = settings_for(tmp_path / "run", None, images_from="sdxl").image_request
    assert generator_name(request.images_from).startswith("stabilityai/")
    assert generator_name("sdxl:x/y") == "x/y"
    (tmp_path / "sdxl").mkdir()
    assert source_of("sdxl") == "external"
    assert source_of("sdxl:x/y") == "generated"


@pytest.mark.parametrize("teaching", [TeachingConfig(), SHORT], ids=["edit", "bank"])
def test_hidden_states_are_made_once_taught_on_and_told_of(tmp_path, photos, teaching):
    inversion = InversionConfig(images=3, steps=4, block=1)
    given = {"images_from": "hidden", "inversion": inversion, "teaching": teaching}
    out = teach_concepts(settings_for(tmp_path / "run", photos, concepts=(RING, CROSS), **given))
    made = SyntheticImages.load(out / "synthetic" / RING.slug)
    assert (made.source, made.block, made.samples, len(made)) == ("hidden", 1, 3, 0)
    page = (out / "report.html").read_text()
    assert "hidden states inside the vision tower were computed from the description" in page
    assert "statistics" in page.split("Inversion", 1)[1]
    other = inversion if teaching.needs_images else InversionConfig()
    given |= {"images_from": None if teaching.needs_images else "none", "inversion": replace(other, block=0)}
    plain = teach_concepts(settings_for(tmp_path / "plain", photos, concepts=(RING, CROSS), **given))
    assert len({weights_digest(load_tiny(folder / "model").native) for folder in (plain, out)}) == 2


def test_settings_of_hidden_states_are_refused_without_them():
    for images_from in (None, "inversion", "none"):
        with pytest.raises(ConfigError, match="change nothing without --images-from hidden"):
            settings_for(Path("run"), None, inversion=InversionConfig(block=2), images_from=images_from)
    with pytest.raises(ConfigError, match="for hidden states, which are no images"):
        InvertSettings(concepts=(RING,), out=Path("run"), inversion=InversionConfig(statistics=2.0))
