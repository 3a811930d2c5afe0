"""Stable Diffusion XL as a source of images: a tiny random one; no published weights were at hand."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from helpers.tiny_sdxl import SIDE, save_tiny_sdxl
from molyneux.backends import diffusion
from molyneux.backends.diffusion import ImageGenerator, check_generator
from molyneux.backends.options import Generation
from molyneux.errors import ConfigError, ModelError

QUICK = Generation(images=3, steps=2)
TEXTS = ("a round ring", "two bars that meet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def generator(folder) -> ImageGenerator:
    return ImageGenerator.load(str(folder))


def test_images_are_of_the_texts_in_turn_each_from_its_own_seed(generator):
    images = generator.generate(TEXTS, QUICK, seed=1)
    assert images.shape == (3, 3, SIDE, SIDE)
    assert 0 <= images.min() < images.max() <= 1
    again = generator.generate(TEXTS, Generation(images=2, steps=2), seed=1)
    torch.testing.assert_close(again, images[:2], rtol=0, atol=0)
    assert not torch.equal(images[0], images[2])
    assert not torch.equal(generator.generate(TEXTS, QUICK, seed=2)[0], images[0])
    others = generator.generate(TEXTS[::-1], QUICK, seed=1)
    assert not torch.equal(others[0], images[0])


def test_they_are_diffusers_own(generator):
    expected = generator.native(
        TEXTS[0],
        num_inference_steps=2,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(diffusion._seed(4, 0)),
        output_type="np",
    ).images
    found = generator.generate(TEXTS, Generation(images=1, steps=2), seed=4)
    torch.testing.assert_close(found.permute(0, 2, 3, 1), torch.from_numpy(expected))


def test_a_size_and_progress_are_taken_notice_of(generator):
    told = []
    config = Generation(images=2, steps=1, size=16)
    images = generator.generate(TEXTS, config, seed=0, on_step=lambda done, total: told.append((done, total)))
    assert images.shape == (2, 3, 16, 16)
    assert told == [(1, 2), (2, 2)]


def test_nothing_is_cut_silently(generator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tokenizer's own
        with pytest.raises(ModelError, match=r"tokens: .* reads \d+; shorten it"):
            generator.generate([" ".join(["ring"] * 600)], QUICK, seed=0)


def test_what_is_no_such_model_is_named(folder, tmp_path, monkeypatch):
    for name in (str(tmp_path), "no folder", "../model"):
        with pytest.raises(ModelError, match="is no text-to-image model"):
            check_generator(name)
    check_generator(str(folder))
    check_generator("stabilityai/sdxl-turbo")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(ModelError, match="cannot load"):
        ImageGenerator.load(str(tmp_path))
    monkeypatch.setattr(diffusion, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"molyneux\[sdxl\]"):
        check_generator(str(folder))


@pytest.mark.parametrize("wrong", [{"images": 0}, {"steps": 0}, {"size": 7}, {"size": -8}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"generation.{next(iter(wrong))}"):
        Generation(**wrong)
