"""Drawn scenes: the same from the same seed, of the stated colours and places; novel concepts are novel."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molyneux.datasets.drawn import KNOWN, NOVEL, Design, draw_designs, parse_design
from molyneux.datasets.drawn.captions import AFTER, PHRASES, caption_scenes, describe, nonsense
from molyneux.datasets.drawn.designs import COLOURS, FILLINGS, SHAPES, Part, completed, random_design
from molyneux.datasets.drawn.scenes import Scene, place, render
from molyneux.errors import DataError

LOOKS = [*KNOWN.values(), *(one.looks for one in NOVEL)]
parts = st.builds(Part, st.sampled_from(SHAPES), st.sampled_from([None, *FILLINGS]), st.sampled_from([None, *COLOURS]))


def scene(text: str, size: int = 64, **where: float) -> torch.Tensor:
    """One image of a design in the middle, without tilt or noise worth mentioning."""
    place = {"reach": 0.4, "across": 0.5, "down": 0.5} | where
    return render([Scene(design=parse_design(text), **place)], np.random.default_rng(0), size)[0]


def like(image: torch.Tensor, colour: str) -> torch.Tensor:
    """Where an image has about this colour."""
    return (image - torch.tensor(COLOURS[colour])[:, None, None]).abs().amax(dim=0) < 0.25


def test_there_are_enough_nouns_and_concepts_each_of_its_own_looks():
    assert len(KNOWN) >= 40
    assert [one.split for one in NOVEL].count("choose") == [one.split for one in NOVEL].count("report") == 6
    assert len(set(LOOKS)) == len(LOOKS)
    assert not set(KNOWN) & {one.name for one in NOVEL}


def test_no_known_noun_fits_a_novel_concept_or_the_other_way_round():
    for one in NOVEL:
        novel = parse_design(one.looks)
        for looks in KNOWN.values():
            known = parse_design(looks)
            assert not novel.allows(known)
            assert not known.allows(novel)


def test_descriptions_use_words_of_the_captions_and_not_the_name():
    words = {word for phrases in (*PHRASES.values(), *AFTER.values()) for phrase in phrases for word in phrase.split()}
    random = np.random.default_rng(0)
    captions = caption_scenes(*_scenes(random, 3000), random)
    words |= {word.removesuffix(".") for text in captions for word in text.lower().split()}
    for one in NOVEL:
        for text in one.descriptions:
            assert one.name not in text.lower()
            assert not set(re.findall(r"[a-z]+", text.lower())) - words


def _scenes(random: np.random.Generator, count: int) -> tuple[list[Scene], list[None]]:
    return place([random_design(random) for _ in range(count)], random), [None] * count


def test_the_same_seed_draws_the_same_and_another_does_not():
    designs = [parse_design(looks) for looks in LOOKS]
    first, second = draw_designs(designs, seed=1), draw_designs(designs, seed=1)
    assert torch.equal(first, second)
    assert first.shape == (len(LOOKS), 3, 32, 32)
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first - draw_designs(designs, seed=2)).abs().mean() > 0.05


@given(first=parts, second=parts, seed=st.integers(0, 1000))
def test_a_completed_design_fits_the_open_one_and_its_parts_differ_in_colour_where_they_may(first, second, seed):
    design = Design("over", (first, second))
    found = completed(design, np.random.default_rng(seed))
    assert design.allows(found)
    assert all(part.filling and part.colour for part in found.parts)
    if None in (first.colour, second.colour):
        assert found.parts[0].colour != found.parts[1].colour


def test_parts_side_by_side_are_alike_in_both_orders_and_no_others_are():
    one, other = Part("circle"), Part("star", "solid", "red")
    assert Design("beside", (one, other)).allows(Design("beside", (other, one)))
    assert not Design("over", (one, other)).allows(Design("over", (other, one)))
    assert not Design("over", (one, other)).allows(Design("in", (one, other)))
    assert not Design("one", (other,)).allows(Design("one", (replace(other, colour=None),)))


@pytest.mark.parametrize("text", ["circle red", "blurred circle", "red circles over", "", "two red circles over bar"])
def test_what_is_no_design_is_refused(text):
    with pytest.raises(DataError):
        parse_design(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_solid_shape_has_its_colour_and_a_hollow_one_is_empty(shape):
    solid, hollow = scene(f"solid red {shape}"), scene(f"hollow red {shape}")
    assert 0.06 < like(solid, "red").float().mean() < 0.66
    assert like(hollow, "red").float().mean() < 0.85 * like(solid, "red").float().mean()


def test_a_circle_covers_pi_quarters_of_its_square():
    circle, square = (like(scene(f"solid red {shape}", 128), "red").sum().item() for shape in ("circle", "square"))
    assert circle / square == pytest.approx(np.pi / 4 * (0.98 / 0.86) ** 2, abs=0.03)


def test_parts_lie_where_the_layout_says():
    image = scene("solid red circle over solid white square")
    assert like(image, "red")[:32].sum() > 5 * like(image, "red")[32:].sum()
    assert like(image, "white")[32:].sum() > 5 * like(image, "white")[:32].sum()
    inner = scene("solid red circle in solid white square")
    assert like(inner, "red")[24:40, 24:40].float().mean() > 0.8
    assert like(inner, "white").sum() > like(inner, "red").sum()
    left = scene("solid red star", reach=0.25, across=0.3)
    assert like(left, "red")[:, 40:].sum() == 0


def test_a_full_description_says_each_filling_and_colour_that_is_fixed():
    random = np.random.default_rng(0)
    for looks in LOOKS:
        design = parse_design(looks)
        for _ in range(20):
            text = describe(design, random, said=1.0)
            for part in design.parts:
                said = [part.shape, part.colour or "", *([part.filling] if part.filling not in (None, "solid") else [])]
                for word in said:
                    options = (*PHRASES.get(word, (word,)), *AFTER.get(word, ()))
                    assert any(option in text for option in options), (text, word)


def test_captions_use_the_noun_or_say_what_is_seen():
    random = np.random.default_rng(0)
    scenes = place([parse_design("striped green circle")] * 200, random)
    texts = [text.lower() for text in caption_scenes(scenes, ["melon"] * 200, random)]
    named = [text for text in texts if "melon" in text]
    assert 80 < len(named) < 160
    assert all(re.search("circle|disc|ball", text) for text in texts if text not in named)
    assert not any("melon" in text for text in caption_scenes(scenes, [None] * 200, random))
    assert len(set(texts)) > 120


def test_nonsense_is_no_word_of_the_world():
    random = np.random.default_rng(0)
    words = {nonsense(random) for _ in range(3000)}
    assert not words & {*KNOWN, *(one.name for one in NOVEL), *SHAPES, *FILLINGS, *COLOURS}
