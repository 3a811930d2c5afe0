import math
from dataclasses import fields, replace

import pytest

from molyneux.errors import ConfigError
from molyneux.inversion.config import InversionConfig


def test_the_paper_preset_holds_what_the_paper_says():
    paper = InversionConfig.paper()
    # arXiv 2411.15611, C.1
    assert paper.steps == 5000
    assert paper.canvas == "pixels"
    assert paper.color == "rgb"
    assert paper.size == paper.view == 224
    assert paper.learning_rate == 0.1
    assert paper.schedule == "cosine"
    assert paper.affine_probability == 0.5
    assert (paper.rotation, paper.translation, paper.scale) == (30.0, 0.1, (0.7, 1.0))
    # Eq. 3: the cosine with each caption
    assert (paper.similarity, paper.descriptions) == ("cosine", "each")
    assert (paper.total_variation, paper.variation_norm) == (0.005, "frobenius")
    assert paper.batch_norm == paper.noise == paper.color_shift == 0.0
    assert [(round(share * 5000), side) for share, side in paper.growth] == [(0, 64), (900, 128), (1800, 224)]


def test_the_authors_preset_holds_what_their_script_does():
    authors = InversionConfig.authors_code()
    assert authors.steps == 3000
    assert (authors.schedule, authors.learning_rate) == ("restarts", 0.1)
    assert (authors.scale, authors.translation, authors.shift) == ((0.7, 1.2), 0.1, "view")
    assert (authors.similarity, authors.descriptions) == ("distance", "turns")
    assert authors.gradient_clip == 1.0
    assert (authors.total_variation, authors.variation_norm) == (0.005, "frobenius")
    # it counts steps from 1, and grows before its steps 900 and 1800
    assert [(round(share * 3000), side) for share, side in authors.growth] == [(0, 64), (899, 128), (1799, 224)]


def test_the_preset_for_vilt_differs_from_the_papers_in_its_start_and_its_views_alone():
    vilt = InversionConfig.paper_vilt()
    # arXiv 2411.15611, C.3.1
    assert (vilt.start, vilt.affine_probability, vilt.joint) == ("normal", 0.0, 0.0)
    assert replace(vilt, start="uniform", affine_probability=0.5) == InversionConfig.paper()
    assert InversionConfig.paper_vilt(steps=100) == replace(
        InversionConfig.paper(100), start="normal", affine_probability=0.0
    )


def test_a_preset_with_fewer_steps_keeps_its_shares_of_the_run():
    assert InversionConfig.paper(steps=100).growth == InversionConfig.paper().growth
    assert InversionConfig.paper(steps=7).trace_every == 1


@pytest.mark.parametrize("name", [f.name for f in fields(InversionConfig) if f.type is float or f.type == "float"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_a_number_that_is_none_or_below_zero_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"inversion\.{name} is "):
        replace(InversionConfig(), **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", 0),
        ("steps", 0),
        ("steps", -5),
        ("trace_every", 0),
        ("size", 8),
        ("size", -224),
        ("view", 15),
        ("affine_probability", 1.5),
        ("scale", (0.0, 1.0)),
        ("scale", (1.2, 0.7)),
        ("scale", (0.7, math.inf)),
        ("scale", (math.nan, 1.0)),
        ("growth", ((0.1, 64),)),
        ("growth", ((0.0, 64), (0.0, 128))),
        ("growth", ((0.0, 64), (0.5, 128), (0.2, 224))),
        ("growth", ((0.0, 64), (1.0, 128))),
        ("growth", ((0.0, 2),)),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=rf"inversion\.{name} is .*expected"):
        replace(InversionConfig(), **{name: value})
