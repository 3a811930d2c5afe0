"""What is asked for in an odd place or an odd form is done, or refused in one line."""

import math
import os
import subprocess
import sys

import pytest
import torch

import molyneux
from helpers.families import FAMILIES, sample_images
from molyneux import Concept, InversionConfig, TeachingConfig
from molyneux.arguments import check_finite, check_pixels, check_texts
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.errors import ConfigError, DataError, ModelError
from molyneux.synthetic import SyntheticImages, noise_images
from molyneux.teaching.config import Full
from molyneux.teaching.fine_tune import fine_tune

RING = Concept("ring", "a circle with a round hole.")
KNOWN = ("cross", "bar", "photo")
QUICK = InversionConfig(images=2, steps=2)


def taught(part: str) -> tuple[torch.Tensor, str, torch.Tensor]:
    """All of a short run: loaded, read, inverted, taught, interpolated."""
    model = molyneux.load("tiny:clip")
    read = model.embed_texts(["a ring.", RING.descriptions[0]])
    images = molyneux.invert(model, RING, QUICK)
    noise = noise_images(RING, 2, model.image_size, 0)
    config = TeachingConfig(loss="bank", update=Full(part=part), steps=2, batch=2, replay_batch=0, texts="definition")
    student = fine_tune(model, [noise], config, known=KNOWN)
    half = molyneux.interpolate(model, student, 0.5)
    return images.pixels, weights_digest(fine_tune(half, [images], config, known=KNOWN).native), read


@pytest.mark.parametrize("part", ["tower", "both"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_switched_off_the_same_is_learned(mode, part):
    with mode():
        inside = taught(part)
    outside = taught(part)
    assert torch.equal(inside[0], outside[0])
    assert inside[1] == outside[1]
    assert torch.equal(inside[2], outside[2])


UNTYPED = """
import torch
from helpers.families import FAMILIES
from molyneux import Concept, LoRA, SyntheticImages
from molyneux.errors import ConfigError, DataError
pixels = torch.randint(0, 256, (1, 3, 32, 32)).byte()
for use in (
    FAMILIES["hf clip"]().embed_images,
    FAMILIES["open_clip-coca"]().look,
    lambda pixels: FAMILIES["vilt"]().match_scores(pixels, ["a ring."]),
    lambda pixels: SyntheticImages(concept=Concept("ring", "round"), pixels=pixels, seed=0),
):
    try:
        use(pixels)
    except DataError as error:
        print(error)
try:
    LoRA(targets="q_proj")
except ConfigError as error:
    print(error)
"""


@pytest.mark.slow
def test_bytes_are_refused_where_nothing_else_checks_types():
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    found = subprocess.run([sys.executable, "-c", UNTYPED], capture_output=True, text=True, check=True, env=paths)
    *lines, targets = found.stdout.splitlines()
    assert "targets (teaching.update.targets) are one string" in targets
    assert len(lines) == 4
    assert all("torch.uint8: expected floats in [0, 1], so divide bytes by 255" in line for line in lines)


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (0.0, 255.0), (0.0, float("nan"))])
def test_pixels_on_another_scale_are_refused(low, high):
    model = FAMILIES["hf clip"]()
    pixels = torch.full((1, 3, 32, 32), low)
    pixels[0, 0, 0, 0] = high
    with pytest.raises(DataError, match=r"hold values from .* to .*: expected \[0, 1\]"):
        model.embed_images(pixels)
    with pytest.raises(DataError, match="the images of 'ring' hold values"):
        SyntheticImages(concept=RING, pixels=pixels, seed=0)


def test_pixels_that_are_a_rounding_away_are_none_of_those():
    check_pixels(torch.tensor([[-1e-5, 1 + 1e-5]]).expand(1, 3, 2, 2))
    check_pixels(torch.zeros(0, 3, 2, 2))


@pytest.mark.parametrize("family", ["hf clip", "open_clip-coca", "vilt"])
def test_a_string_is_not_read_letter_by_letter(family):
    model = FAMILIES[family]()
    uses = [model.alignment, model.alignment_each]
    if family == "vilt":
        uses += [model.masked_tokens, lambda texts: model.match_scores(sample_images(model, 1), texts)]
    else:
        uses += [model.embed_texts, model.encode_texts]
    uses += [model.caption_tokens] if family == "open_clip-coca" else []
    for use in uses:
        with pytest.raises(ConfigError, match="the texts are one string, 'a ring'"):
            use("a ring")


def test_a_string_where_several_names_are_expected_is_refused():
    model = FAMILIES["hf clip"]()
    noise = noise_images(RING, 1, model.image_size, 0)
    with pytest.raises(ConfigError, match="the known names are one string"):
        fine_tune(model, [noise], TeachingConfig(), known="cross")
    with pytest.raises(ConfigError, match="the known names are one string"):
        molyneux.teach(model, [noise], known="cross")
    for argument in ("names", "concepts", "prompts"):
        with pytest.raises(ConfigError, match=f"the {argument} are one string"):
            molyneux.evaluate(model, **{argument: "a photo of {}"})
    check_texts(None)
    check_texts(("one",))


def test_what_is_no_number_before_the_first_step_is_not_blamed_on_the_rate():
    check_finite(torch.tensor(1.0), "loss", 0)
    with pytest.raises(ModelError, match="the loss became nan at step 0: nothing was changed yet"):
        check_finite(torch.tensor(math.nan), "loss", 0)
    with pytest.raises(ModelError, match="the loss became inf at step 3: try a smaller learning rate"):
        check_finite(torch.tensor(math.inf), "loss", 3)


def test_weights_that_are_no_numbers_are_refused_when_they_are_read(tmp_path):
    model = FAMILIES["hf clip"]().copy()
    with torch.no_grad():
        next(model.projection_module().parameters())[0, 0] = math.nan
    model.save(tmp_path / "model")
    with pytest.raises(ModelError, match=r"hold values that are no numbers, in 'visual_projection\.weight' for one"):
        load(tmp_path / "model")
