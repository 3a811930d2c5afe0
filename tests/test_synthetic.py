import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from molyneux.concepts import Concept
from molyneux.errors import DataError, OutputError
from molyneux.records import TracePoint
from molyneux.synthetic import SyntheticImages, as_png, description_only, noise_images

RING = Concept("ring", ("A circle with a hole, in “ink”.", "Round."))
PIXELS = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
VALUE = SyntheticImages(
    concept=RING,
    pixels=PIXELS,
    seed=2**62 + 1,
    source="inverted",
    depicted="ring",
    source_descriptions=("A circle.",),
    trace=(TracePoint(step=1, plain=0.1, augmented=1 / 3), TracePoint(step=25, plain=0.7, augmented=0.2)),
    seconds=1.25,
)


def test_what_is_saved_is_loaded_to_the_bit(tmp_path):
    VALUE.save(tmp_path / "ring")
    again = SyntheticImages.load(tmp_path / "ring")
    assert torch.equal(again.pixels, VALUE.pixels)
    assert again.pixels.dtype == VALUE.pixels.dtype
    for field in ("concept", "seed", "source", "depicted", "source_descriptions", "trace", "seconds"):
        assert getattr(again, field) == getattr(VALUE, field)


def test_pixels_that_are_not_contiguous_are_saved_too(tmp_path):
    turned = SyntheticImages(concept=RING, pixels=PIXELS.transpose(2, 3), seed=0)
    turned.save(tmp_path / "ring")
    assert torch.equal(SyntheticImages.load(tmp_path / "ring").pixels, turned.pixels)


def test_there_is_a_png_per_image_half_a_level_away_at_most(tmp_path):
    VALUE.save(tmp_path / "ring")
    files = sorted((tmp_path / "ring").glob("*.png"))
    assert len(files) == len(VALUE) == 3
    for file, image in zip(files, PIXELS, strict=True):
        seen = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
        assert (seen - image).abs().max() <= 0.5 / 255 + 1e-6


def test_descriptions_alone_leave_no_file_of_images(tmp_path):
    description_only(Concept("ring", "A round band.")).save(tmp_path / "ring")
    assert [path.name for path in (tmp_path / "ring").iterdir()] == ["images.json"]
    again = SyntheticImages.load(tmp_path / "ring")
    assert (len(again), again.source, again.source_descriptions) == (0, "none", ("A round band.",))


def test_a_png_is_clamped():
    image = torch.tensor([-1.0, 0.5, 2.0]).view(3, 1, 1)
    assert as_png(image).getpixel((0, 0)) == (0, 128, 255)


def test_saved_images_are_not_written_over(tmp_path):
    VALUE.save(tmp_path / "ring")
    with pytest.raises(OutputError, match="already exists"):
        VALUE.save(tmp_path / "ring")


@pytest.mark.parametrize(
    "damage", ["no-pixels", "no-json", "short-pixels", "bad-json", "no-seed", "odd-trace", "pixels"]
)
def test_a_damaged_folder_is_one_clear_error(tmp_path, damage):
    folder = tmp_path / "ring"
    VALUE.save(folder)
    pixels, about = folder / "images.safetensors", folder / "images.json"
    content = json.loads(about.read_text(encoding="utf-8"))
    if damage == "no-pixels":
        pixels.unlink()
    elif damage == "no-json":
        about.unlink()
    elif damage == "short-pixels":
        pixels.write_bytes(pixels.read_bytes()[:-40])
    elif damage == "bad-json":
        about.write_text("{")
    elif damage == "pixels":
        save_file({"pixels": torch.zeros(3, 8, 8)}, pixels)
    elif damage == "no-seed":
        del content["seed"]
        about.write_text(json.dumps(content))
    else:
        content["trace"] = [{"step": 1}]
        about.write_text(json.dumps(content))
    with pytest.raises(DataError, match="no synthetic images that can be read"):
        SyntheticImages.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", ""), ("name", 3), ("descriptions", []), ("descriptions", [" "]), ("descriptions", [3])],
)
def test_a_folder_whose_concept_is_none_is_one_clear_error(tmp_path, key, value):
    VALUE.save(tmp_path / "ring")
    about = tmp_path / "ring" / "images.json"
    about.write_text(json.dumps(json.loads(about.read_text(encoding="utf-8")) | {key: value}))
    with pytest.raises(DataError, match="no synthetic images that can be read"):
        SyntheticImages.load(tmp_path / "ring")


def test_noise_is_seeded_uniform_and_called_noise():
    noise = noise_images(RING, 4, 32, seed=5)
    assert torch.equal(noise.pixels, noise_images(RING, 4, 32, seed=5).pixels)
    assert not torch.equal(noise.pixels, noise_images(RING, 4, 32, seed=6).pixels)
    assert not torch.equal(noise.pixels[0], noise.pixels[1])
    assert noise.pixels.shape == (4, 3, 32, 32)
    assert noise.pixels.min() >= 0
    assert noise.pixels.max() <= 1
    # uniform on [0, 1]: mean 1/2 and variance 1/12
    torch.testing.assert_close(noise.pixels.mean(), torch.tensor(0.5), atol=0.02, rtol=0.0)
    torch.testing.assert_close(noise.pixels.var(), torch.tensor(1 / 12), atol=0.01, rtol=0.0)
    assert (noise.source, noise.depicted) == ("noise", "noise")


def test_noise_draws_nothing_from_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    noise_images(RING, 1, 4, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_shuffled_control_keeps_the_images_and_says_whose_they_are():
    cross = Concept("cross", "Two bars.")
    shown = VALUE.shown_as(cross)
    assert shown.concept == cross
    assert shown.depicted == "ring"
    assert shown.pixels is VALUE.pixels
    assert shown.shown_as(RING).depicted == "ring"


def test_images_are_counted_indexed_and_shown():
    assert len(VALUE) == len(VALUE.images()) == len(list(VALUE)) == 3
    assert VALUE[1].size == (7, 5)
    assert np.array_equal(np.asarray(VALUE[1]), np.asarray(as_png(PIXELS[1])))
    some = VALUE[1:]
    assert torch.equal(some.pixels, PIXELS[1:])
    assert some.concept == RING
    with pytest.raises(IndexError):
        VALUE[3]
    assert repr(VALUE) == "<3 inverted images of 'ring' of 7 x 5 pixels, seed 4611686018427387905, similarity 0.70>"
    shown = SyntheticImages(concept=Concept("<i>ring", "A & B."), pixels=PIXELS, seed=0)._repr_html_()
    assert shown.count("data:image/png;base64,") == 3
    assert "&lt;i&gt;ring" in shown
    assert "A &amp; B." in shown


def test_the_trace_is_drawn_as_it_is():
    import matplotlib

    matplotlib.use("Agg")
    axes = VALUE.plot()
    assert [list(line.get_xydata()[:, 1]) for line in axes.lines] == [[1 / 3, 0.2], [0.1, 0.7]]
    assert VALUE.plot(axes) is axes
    matplotlib.pyplot.close(axes.figure)
    with pytest.raises(DataError, match="no trace"):
        noise_images(RING, 2, 8, seed=0).plot()
