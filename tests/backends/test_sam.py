import json

import pytest
import torch
from PIL import Image

from helpers.small_models import ConvModel
from helpers.small_sam import SIDE, tiny_sam, tiny_sam2
from molyneux.backends.hugging_face import quiet
from molyneux.backends.sam import load_segmenter
from molyneux.errors import ModelError

MAKERS = {"sam": tiny_sam, "sam2": tiny_sam2}


@pytest.fixture(scope="module", params=list(MAKERS))
def segmenter(request):
    return MAKERS[request.param]()


@pytest.fixture
def saved(segmenter, tmp_path):
    with quiet():
        segmenter.native.save_pretrained(tmp_path / "sam")
        segmenter._processor.save_pretrained(tmp_path / "sam")
    return tmp_path / "sam"


def image(width: int = 48, height: int = 32) -> Image.Image:
    pixels = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(0))
    return Image.fromarray((255 * pixels).byte().numpy())


def test_masks_have_the_image_s_size_one_for_each_box(segmenter):
    seen = segmenter.look(image())
    assert (seen.size, max(seen.read)) == ((32, 48), SIDE)
    boxes = torch.tensor([[0, 0, 20, 20], [10, 5, 47, 31]])
    masks = segmenter.in_boxes(seen, boxes)
    assert masks.shape == (2, 32, 48)
    assert torch.equal(segmenter.in_boxes(seen, boxes[1:]), masks[1:])
    assert segmenter.at_points(seen, torch.tensor([[3, 4], [20, 30]])).shape == (1, 32, 48)


def test_it_is_what_transformers_processor_and_model_give(segmenter):
    box = [4.0, 6.0, 30.0, 25.0]
    inputs = segmenter._processor(images=image(), input_boxes=[[box]], return_tensors="pt")
    sizes = [inputs[key] for key in ("original_sizes", "reshaped_input_sizes") if key in inputs]
    prompts = {"pixel_values": inputs["pixel_values"], "input_boxes": inputs["input_boxes"].float()}
    with torch.no_grad():
        found = segmenter.native(**prompts, multimask_output=False).pred_masks
    (expected,) = segmenter._processor.post_process_masks(found, *sizes)
    masks = segmenter.in_boxes(segmenter.look(image()), torch.tensor([box]))
    assert torch.equal(masks, expected[:, 0])


def test_a_saved_folder_is_loaded_to_the_same_masks(segmenter, saved):
    again = load_segmenter(str(saved))
    boxes = torch.tensor([[0, 0, 20, 20]])
    masks = [one.in_boxes(one.look(image()), boxes) for one in (segmenter, again)]
    assert torch.equal(*masks)
    assert not any(parameter.requires_grad for parameter in again.native.parameters())
    assert again.name == str(saved)


def test_folders_that_hold_no_sam_are_refused(tmp_path, saved):
    ConvModel().save(tmp_path / "other")
    with pytest.raises(ModelError, match="cannot read the configuration"):
        load_segmenter(str(tmp_path / "other"))
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ModelError, match=r"of type 'clip': expected one of sam, sam2"):
        load_segmenter(str(tmp_path / "other"))
    (weights,) = saved.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        load_segmenter(str(saved))
