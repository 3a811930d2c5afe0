import json

import numpy as np
import pytest
import torch
from PIL import Image

from molyneux.errors import DataError
from molyneux.tasks.classification.results import bootstrap
from molyneux.tasks.localisation.page import Panel, Shown, draw_gallery, is_gallery, overlaid, write_gallery
from molyneux.tasks.localisation.record import (
    Chance,
    HeatSpreads,
    LocaliseProtocol,
    LocaliseResult,
    MaskSpreads,
    Seen,
    Spread,
    Stages,
)

IMAGE = Image.new("RGB", (9, 6), (40, 90, 200))
MASK = torch.zeros(6, 9, dtype=torch.bool)
MASK[1:5, 2:7] = True


def found(mean: float) -> Seen:
    spread = Spread(mean=mean, interval=(mean - 0.1, mean + 0.1))
    heat = HeatSpreads(energy_ratio=spread, pointing=spread)
    of = Stages(heat=heat, mask=MaskSpreads(dice=spread, iou=spread, contour_dice=spread, slice_dice=spread))
    return Seen(text=of, gibberish=of, text_minus_gibberish=of)


@pytest.fixture
def scores() -> LocaliseResult:
    return LocaliseResult(
        version=1,
        model="mini",
        base=None,
        chance=Chance(energy_ratio=1.0, pointing=0.125),
        protocol=LocaliseProtocol(
            set="a folder",
            images=2,
            marked_images=3,
            left_out=0,
            texts=("a <ring>",),
            gibberish="blorp",
            saliency={},
            blocks={"after": (1, 1)},
            masks={},
            sam="not computed: no SAM given",
            image="squeezed",
            metrics={},
            interval=bootstrap("bootstrap over images"),
        ),
        after=found(0.5),
        controls={"noise": found(0.25)},
    )


def test_a_mask_is_red_with_a_border_and_the_rest_is_grey():
    pixels = np.asarray(overlaid(IMAGE, MASK)).astype(int)
    outside = pixels[~MASK.numpy()]
    assert (outside == outside[:, :1]).all()
    assert tuple(pixels[1, 2]) == (255, 30, 30)
    assert pixels[2, 3, 0] > pixels[2, 3, 1]
    assert tuple(pixels[2, 3]) != (255, 30, 30)


def test_heat_leaves_cold_places_grey_and_makes_hot_ones_bright():
    heat = torch.zeros(6, 9)
    heat[3, 4] = 1.0
    pixels = np.asarray(overlaid(IMAGE, heat)).astype(int)
    assert len(np.unique(pixels[0])) == 1
    assert pixels[3, 4].sum() > pixels[0, 0].sum()


def test_the_page_holds_its_images_and_shows_controls(tmp_path, scores):
    shown = [Shown("a/b", ("a <ring>",), IMAGE, (Panel("marked", MASK), Panel("heat", MASK.float())))]
    page = write_gallery(tmp_path, scores, shown).read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    assert len(list((tmp_path / "gallery").glob("*.png"))) == 3
    assert "a &lt;ring&gt;" in page
    assert "<ring>" not in page
    assert "0.250 (0.150 to 0.350)" in page
    assert "taught on noise" in page
    assert "a pointing share of 0.125" in page
    assert "http:" not in page
    assert "https:" not in page


def test_the_page_is_drawn_anew_from_its_folder_or_what_is_wrong_is_said(tmp_path, scores):
    assert not is_gallery(tmp_path)
    shown = [Shown("a/b", ("a <ring>",), IMAGE, (Panel("marked", MASK),))]
    page = write_gallery(tmp_path, scores, shown)
    assert is_gallery(tmp_path)
    before = page.read_bytes()
    page.unlink()
    assert draw_gallery(tmp_path).read_bytes() == before
    next((tmp_path / "gallery").glob("*.png")).unlink()
    with pytest.raises(DataError, match="no image that can be read"):
        draw_gallery(tmp_path)
    assert page.read_bytes() == before
    damaged = {key: value for key, value in scores.as_dict().items() if key != "chance"}
    write_gallery(tmp_path, scores, shown)
    (tmp_path / "scores.json").write_text(json.dumps(damaged))
    with pytest.raises(DataError, match=r"scores\.json: chance: expected a value, got nothing"):
        draw_gallery(tmp_path)
    (tmp_path / "scores.json").unlink()
    with pytest.raises(DataError, match=r"cannot read .*scores\.json"):
        draw_gallery(tmp_path)
