from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import described_classes
from molyneux.errors import ConfigError, ModelError
from molyneux.synthetic import SyntheticImages, description_only, noise_images
from molyneux.teaching.budget import teach_within
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.base import portions
from molyneux.teaching.text_anchors import (
    TEMPERATURE,
    KnownTexts,
    conse,
    description_embedding,
    text_anchors,
)

KNOWN = ("cat", "dog", "tree", "house", "red car")
RING = Concept("ring", ("A circle with a hole.", "Round."))
CROSS = Concept("cross", "Two bars that meet.")


@pytest.fixture(scope="module")
def model() -> ConvModel:
    return ConvModel()


def inverted(concept: Concept, seed: int) -> SyntheticImages:
    return replace(noise_images(concept, 4, 16, seed), source="inverted", source_descriptions=concept.descriptions)


def directions(count: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, 24, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_words_point_is_what_inversion_aims_at(model):
    (point,) = description_embedding(model, RING.descriptions)
    # the score that inversion climbs is 1 for an image whose embedding lies there
    aim = normalize(sum(model.embed_texts([text])[0] for text in RING.descriptions), dim=0)
    assert torch.allclose(point, aim, atol=1e-6)


def test_consensus_equals_a_slow_loop():
    points, names, keys = directions(3, seed=1), directions(7, seed=2), directions(7, seed=3)
    centre = sum(keys) / 7
    for point, found in zip(points, conse(points, names, keys), strict=True):
        near = [float(torch.cosine_similarity(point - centre, key - centre, dim=0)) for key in keys]
        shares = torch.tensor(near).div(TEMPERATURE).exp()
        blend = sum(share * name for share, name in zip(shares, names, strict=True))
        assert torch.allclose(found, blend / blend.norm(), atol=1e-5)


def test_the_consensus_of_a_name_is_that_name_and_the_order_of_names_is_nothing():
    names = torch.eye(8)
    keys = torch.eye(8).flip(0)
    assert torch.allclose(conse(keys, names, keys), names, atol=1e-4)
    points, order = directions(3, seed=1)[:, :8], torch.randperm(8)
    assert torch.allclose(conse(points, names, keys), conse(points, names[order], keys[order]), atol=1e-6)


def test_points_are_those_of_the_words_and_noise_has_none(model):
    names = model.embed_texts([f"a photo of a {name}." for name in KNOWN])
    images = [inverted(RING, 1), noise_images(CROSS, 4, 16, seed=2), inverted(CROSS, 3).shown_as(RING)]
    rows, owners, weights = text_anchors(model, images, KNOWN, 2.0, 3.0)
    assert owners.tolist() == [0, 0, 2, 2]
    assert weights.tolist() == [2, 3, 2, 3]
    cross = description_embedding(model, CROSS.descriptions)
    assert torch.equal(rows[2:3], cross)  # the shuffled control learns from the other concept's words
    assert torch.equal(rows[3:4], conse(cross, names, names))


def test_a_weight_of_zero_or_no_known_names_leave_points_out(model):
    images = [inverted(RING, 1)]
    assert len(text_anchors(model, images, KNOWN, 0.0, 0.0)[0]) == 0
    assert torch.equal(text_anchors(model, images, KNOWN, 1.0, 0.0)[0], description_embedding(model, RING.descriptions))
    assert text_anchors(model, images, (), 1.0, 1.0)[2].tolist() == [1]


def test_known_names_are_compared_by_descriptions_where_there_are_enough_and_they_can_be_read(model, monkeypatch):
    shipped = described_classes()
    names = ["no such thing", *list(shipped)[:12]]
    described = names[1:]
    found = KnownTexts.of(model, names)
    assert torch.equal(found.names, model.embed_texts([f"a photo of a {name}." for name in described]))
    assert torch.equal(found.keys, model.embed_texts([shipped[name] for name in described]))
    for few in (KnownTexts.of(model, [*KNOWN, *described]), KnownTexts.of(model, ["no such thing"])):
        assert few.keys is few.names

    def refused(text):
        if text in shipped.values():
            raise ModelError(f"{text!r} is too long")

    monkeypatch.setattr(model, "check_text", refused)
    unread = KnownTexts.of(model, names)
    assert unread.keys is unread.names
    assert len(unread.names) == 13


def lesson(**settings) -> TeachingConfig:
    return TeachingConfig(update=Full(part="embedding_map"), steps=5, replay_batch=0, center=0.0, **settings)


def test_with_weight_enough_words_alone_are_learned_from_and_without_images_alone(model):
    def taught(seed: int, words: tuple[str, ...], weight: float) -> torch.Tensor:
        images = replace(inverted(RING, seed), source_descriptions=words)
        changed = fine_tune(model, [images], lesson(text_anchor=weight, conse_anchor=0.0), known=KNOWN)
        return torch.cat([value.flatten() for value in changed.native.state_dict().values()])

    base = torch.cat([value.flatten() for value in model.native.state_dict().values()])
    one, other = taught(1, RING.descriptions, 1e9), taught(2, RING.descriptions, 1e9)
    assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(one, base, atol=1e-4)
    assert torch.equal(taught(1, RING.descriptions, 0.0), taught(1, (), 5.0))
    assert not torch.allclose(taught(1, RING.descriptions, 5.0), taught(1, (), 5.0), atol=1e-5)


def test_a_concept_of_words_alone_leaves_the_sides_of_other_images(model):
    side = model.inversion_size
    images = noise_images(RING, 3, side, seed=1)
    for shown in ([images, description_only(CROSS)], [description_only(CROSS), images]):
        assert torch.equal(torch.cat(list(portions(model, shown))), images.pixels)
    assert list(portions(model, [description_only(CROSS)])) == []


def test_what_has_neither_images_nor_words_that_count_is_refused(model):
    bare = replace(description_only(RING), source_descriptions=())
    replay = (noise_images(Concept("replay", "Anything."), 6, 16, seed=3),)
    unread = replace(lesson(), update=Full(part="projection"))
    for images, config in (
        (bare, lesson()),
        (description_only(RING), unread),
        (description_only(RING), TeachingConfig.paper()),
    ):
        with pytest.raises(ConfigError, match="'ring' has nothing to learn from"):
            fine_tune(model, [images], config, known=KNOWN)
    for images, config in (
        (bare, TeachingConfig()),
        (description_only(RING), TeachingConfig(text_anchor=0.0, conse_anchor=0.0)),
    ):
        with pytest.raises(ConfigError, match="'ring' has nothing to learn from"):
            teach_within(model, [images], config, budget=0.1, known=KNOWN, replay=replay)


def test_the_papers_setting_learns_from_no_words():
    assert TeachingConfig().uses_text_anchors
    assert not replace(TeachingConfig.paper(), update=Full()).uses_text_anchors
