"""Photos of several shapes become the very pixels that each model's own library makes of them."""

import numpy as np
import open_clip
import pytest
import torch
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from molyneux.backends.hugging_face_preprocess import check_followed, image_preprocessing, resizes_with_torch
from molyneux.backends.open_clip.names import _published_rules
from molyneux.backends.open_clip.preprocess import preprocessing
from molyneux.errors import ModelError
from molyneux.framing import square

SHAPES = [(300, 203), (203, 300), (64, 64), (500, 41), (40, 31), (225, 224), (31, 640), (1000, 667)]


def photo(shape: tuple[int, int]) -> Image.Image:
    """Noise over a gradient, so that a pixel's shift and another interpolation both show."""
    random = np.random.default_rng(sum(shape))
    ramp = np.linspace(0, 160, shape[0])[None, :, None] + random.integers(0, 96, (shape[1], shape[0], 3))
    return Image.fromarray(ramp.astype(np.uint8))


def levels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def configuration(size: object, **preprocess: object) -> dict[str, object]:
    colours = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    return {"model_cfg": {"vision_cfg": {"image_size": size}}, "preprocess_cfg": colours | preprocess}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("fill", [0, 127])
def test_pixels_are_those_of_open_clips_own_transform(shape, mode, interpolation, fill):
    how = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "resize_mode": mode, "interpolation": interpolation}
    rules = preprocessing(configuration(64, **how, fill_color=fill))
    expected = image_transform_v2(PreprocessCfg(size=64, **how, fill_color=fill), is_train=False)(photo(shape))
    found = rules.normalized(levels(square(photo(shape), rules.size, 1.0, rules.framing)))
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=0.0)


def test_what_a_configuration_leaves_out_is_what_open_clip_takes():
    rules = preprocessing(configuration([64, 64], mean=0.5, std=[0.1, 0.2, 0.3]))
    cfg = PreprocessCfg(size=64, mean=0.5, std=[0.1, 0.2, 0.3])
    expected = image_transform_v2(cfg, is_train=False)(photo((90, 70)))
    found = rules.normalized(levels(square(photo((90, 70)), 64, 1.0, rules.framing)))
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize(
    "how",
    [
        {"resize_mode": "widest"},
        {"interpolation": "sinc"},
        {"mode": "L"},
        {"fill_color": [1, 2]},
        {"fill_color": "red"},
        {"mean": [0.5, 0.5]},
        {"mean": 0},  # open_clip takes OpenAI's for it
        {"mean": [0, 0, float("nan")]},
        {"std": None},
        {"std": [1, 0, 1]},
    ],
)
def test_rules_that_open_clip_does_not_know_are_refused(how):
    with pytest.raises(ModelError, match=rf"preprocess_cfg says {next(iter(how))} = "):
        preprocessing(configuration(64, **how))


def test_images_that_are_not_square_are_refused():
    with pytest.raises(ModelError, match=r"reads images of \[64, 32\]: expected squares"):
        preprocessing(configuration([64, 32]))


def test_a_weights_file_of_an_architecture_that_was_published_in_two_ways_is_refused():
    with pytest.raises(ModelError, match="'ViT-H-14' resize images in several ways"):
        _published_rules("ViT-H-14")
    assert _published_rules("ViT-B-16-SigLIP")["resize_mode"] == "squash"


PROCESSORS = {
    "clip": (transformers.CLIPImageProcessor, {"size": {"shortest_edge": 64}, "crop_size": 64}),
    "clip with a margin": (transformers.CLIPImageProcessor, {"size": {"shortest_edge": 73}, "crop_size": 64}),
    "clip, bilinear": (
        transformers.CLIPImageProcessor,
        {"size": {"shortest_edge": 64}, "crop_size": 64, "resample": 2},
    ),
    "siglip": (transformers.SiglipImageProcessor, {"size": {"height": 64, "width": 64}}),
    "siglip, bilinear": (transformers.SiglipImageProcessor, {"size": {"height": 64, "width": 64}, "resample": 2}),
    "vit": (transformers.ViTImageProcessor, {"size": {"height": 64, "width": 64}}),
    "convnext": (transformers.ConvNextImageProcessor, {"size": {"shortest_edge": 64}, "crop_pct": 0.9}),
    "large convnext": (transformers.ConvNextImageProcessor, {"size": {"shortest_edge": 384}}),
}
WITH_PILLOW = {"clip": "CLIPImageProcessorPil", "siglip": "SiglipImageProcessorPil", "vit": "ViTImageProcessorPil"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("pillow", [False, True])
def test_pixels_are_those_of_transformers_own_processor(name, shape, pillow):
    make, settings = PROCESSORS[name]
    if pillow:
        make = getattr(transformers, WITH_PILLOW.get(name, ""), None)
        if make is None:
            pytest.skip("this release has no other processor of the kind")
    processor = make(**settings)
    rules = image_preprocessing(processor.to_dict(), by_torch=resizes_with_torch(processor))
    expected = torch.as_tensor(np.asarray(processor([photo(shape)], return_tensors="np")["pixel_values"]))
    found = rules.normalized(levels(square(photo(shape), rules.size, rules.crop, rules.framing)))
    torch.testing.assert_close(found, expected.float(), atol=2e-5, rtol=0.0)


def test_a_processor_with_another_interpolation_is_refused():
    settings = transformers.CLIPImageProcessor(resample=0).to_dict()
    with pytest.raises(ModelError, match=r"resample is .*: expected 2 \(bilinear\) or 3 \(bicubic\)"):
        image_preprocessing(settings)
    with pytest.raises(ModelError, match="does not make square images"):
        image_preprocessing(transformers.CLIPImageProcessor(do_pad=True, pad_size={"height": 8, "width": 8}).to_dict())


FOLLOWED = {
    "clip": (transformers.CLIPImageProcessor, {"size": 64, "crop_size": 64}),
    "efficientnet, as some say": (
        transformers.EfficientNetImageProcessor,
        {"size": {"height": 64, "width": 64}, "resample": 2, "include_top": False},
    ),
}
ITS_OWN = {
    "levit": (transformers.LevitImageProcessor, {"size": 64, "crop_size": 64}),
    "poolformer": (transformers.PoolFormerImageProcessor, {"size": 64, "crop_size": 48}),
    "efficientnet": (
        transformers.EfficientNetImageProcessor,
        {"size": {"height": 64, "width": 64}, "resample": 2, "include_top": True},
    ),
    "two edges": (
        transformers.CLIPImageProcessor,
        {"size": {"shortest_edge": 64, "longest_edge": 80}, "crop_size": 64},
    ),
}


@pytest.mark.parametrize("name", [*FOLLOWED, *ITS_OWN])
def test_a_processor_that_does_more_than_its_settings_say_is_refused(name):
    make, settings = (FOLLOWED | ITS_OWN)[name]
    processor = make(**settings)
    rules = image_preprocessing(processor.to_dict(), by_torch=resizes_with_torch(processor))
    if name in FOLLOWED:
        check_followed(processor, rules)
        return
    with pytest.raises(ModelError, match=rf"{make.__name__} prepares photos in a way of its own"):
        check_followed(processor, rules)


def test_every_published_way_of_preparing_images_is_known():
    for name in open_clip.list_models():
        for tag in open_clip.list_pretrained_tags_by_model(name):
            rules = open_clip.get_pretrained_cfg(name, tag)
            preprocessing({"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": rules})
