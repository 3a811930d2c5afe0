"""The closed form: what keys and values promise, a slow regression, sums, and answers that no geometry changes."""

from dataclasses import replace

import pytest
import torch
from torch import Generator
from torch.nn.functional import normalize

from helpers.edit_worlds import CONCEPTS, NAMES, WIDTH, random, world
from helpers.small_models import ConvModel
from molyneux.backends.digest import weights_digest
from molyneux.concepts import Concept
from molyneux.errors import ConfigError, ModelError
from molyneux.synthetic import LazyImages, description_only, noise_images
from molyneux.teaching import edit
from molyneux.teaching.config import Edit, TeachingConfig
from molyneux.teaching.edit import New
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.base import Lesson
from molyneux.teaching.objectives.edit import edits_of
from molyneux.teaching.strength import Known


def answers(photos: torch.Tensor, known: Known, new: New, edits: edit.Edits) -> torch.Tensor:
    return (edit.edited(photos, edits).double() @ torch.cat([known.names, new.names]).T).argmax(dim=1)


def recall(known: Known, new: New, photos: torch.Tensor, config: Edit) -> float:
    found = answers(photos.flatten(0, 1), known, new, edit.concept_edits(known, new, config))
    return float((found.view(CONCEPTS, -1) == NAMES + torch.arange(CONCEPTS)[:, None]).double().mean())


def test_a_detector_answers_one_at_its_direction():
    known, new, _, _ = world()
    where = edit.directions(known, new, Edit())
    constant = edit.constant_reader(known, Edit().value_shrinkage)
    found = edit.detectors(where, edit.key_covariance(known, Edit()), known.images, constant)
    assert torch.allclose((found * where).sum(dim=1), torch.ones(CONCEPTS).double())


def test_a_detector_is_the_linear_discriminant_where_images_share_nothing():
    """Of all rows with k . x = 1 it varies least over the covariance: k = S^-1 x / x S^-1 x."""
    spread = random(WIDTH, WIDTH, seed=1)
    matrix, where = spread @ spread.T, normalize(random(1, WIDTH, seed=2), dim=1)
    images = random(40, WIDTH, seed=3)
    images = torch.cat([images, -images])  # of mean 0
    (found,) = edit.detectors(where, matrix, images, random(WIDTH, seed=5))
    across = random(100, WIDTH, seed=4)
    rivals = found + across - (across @ where[0])[:, None] * where[0] / (where[0] @ where[0])
    least = found @ matrix @ found
    assert ((rivals @ where[0] - 1).abs() < 1e-9).all()
    assert torch.einsum("nd,de,ne->n", rivals, matrix, rivals).min() > 0.99 * least


def test_a_value_raises_its_own_name_by_one_and_others_little():
    known, new, _, _ = world()
    found = edit.values(new.names, known.names, 0.1)
    off = new.names - known.names.mean(dim=0)
    assert torch.allclose((found * off).sum(dim=1), torch.ones(CONCEPTS).double())
    others = (known.names - known.names.mean(dim=0)) @ found.T
    plain = off / off.square().sum(dim=1, keepdim=True)
    assert others.square().mean() < ((known.names - known.names.mean(dim=0)) @ plain.T).square().mean()


def test_the_regression_equals_a_slow_loop_and_meets_its_targets_without_a_ridge():
    known, new, _, _ = world()
    found = edit.regressed(new.descriptions, known.descriptions, known.names, 0.7, 0.3)
    gram = torch.tensor(
        [[torch.exp(-(a - b).square().sum() / (2 * 0.7**2)) for b in known.descriptions] for a in known.descriptions]
    )
    weights = torch.linalg.inv(gram.double() + 0.3 * torch.eye(NAMES).double()) @ known.names
    for text, row in zip(new.descriptions, found, strict=True):
        near = torch.stack([torch.exp(-(text - b).square().sum() / (2 * 0.7**2)) for b in known.descriptions])
        assert torch.allclose(row, near @ weights, atol=1e-6)
    exact = edit.regressed(known.descriptions, known.descriptions, known.names, 0.7, 1e-10)
    assert torch.allclose(exact, known.names, atol=1e-4)


def test_an_edit_of_no_strength_changes_nothing():
    known, new, _, _ = world()
    assert not edit.change(edit.concept_edits(known, new, Edit(strength=0.0))).any()


def test_the_strength_scales_the_edit():
    known, new, _, _ = world()
    one, two = (edit.change(edit.concept_edits(known, new, Edit(strength=s, forget_name=0.0))) for s in (0.4, 0.8))
    assert torch.allclose(2 * one, two)


def test_concepts_taught_together_apart_and_in_any_order_are_one_model():
    known, new, _, _ = world()
    whole = edit.change(edit.concept_edits(known, new))
    parts = [
        edit.change(
            edit.concept_edits(known, New(names=new.names[i : i + 1], descriptions=new.descriptions[i : i + 1]))
        )
        for i in range(CONCEPTS)
    ]
    assert torch.allclose(sum(parts[::-1]), whole, atol=1e-10)


def test_what_was_read_is_recognised_and_what_was_known_still_is():
    known, new, seen, photos = world()
    edits = edit.concept_edits(known, new)
    before = edit.Edits(0 * edits.keys, 0 * edits.values)
    labels = torch.arange(NAMES).repeat_interleave(5)
    known_before = float((answers(seen, known, new, before) == labels).double().mean())
    known_after = float((answers(seen, known, new, edits) == labels).double().mean())
    assert recall(known, new, photos, Edit()) > 0.3
    assert recall(known, new, photos, Edit(strength=0.0)) < 0.1
    assert known_after > known_before - 0.1


def test_another_concepts_description_teaches_nothing():
    known, new, _, photos = world()
    shuffled = New(names=new.names, descriptions=new.descriptions.roll(1, dims=0))
    assert recall(known, shuffled, photos, Edit()) < 0.1


def cone(rows: torch.Tensor, scale: float, gap: float, rotation: torch.Tensor) -> torch.Tensor:
    """Unit rows moved into a cone and turned: two more dimensions hold a constant, on which images and texts differ."""
    constant = torch.tensor([gap, (1 - gap**2) ** 0.5]).double() * (1 - scale**2) ** 0.5
    return torch.cat([scale * rows, constant.expand(*rows.shape[:-1], 2)], dim=-1) @ rotation


def twin(seed: int) -> list[torch.Tensor]:
    """The answers of a model that ranks all names as its twins do, after teaching, by its own geometry."""
    known, new, seen, photos = world()
    draw = torch.rand(3, generator=Generator().manual_seed(seed)).double().tolist()
    gap, of_images, of_texts = 0.95 * draw[0], 0.3 + 0.5 * draw[1], 0.3 + 0.5 * draw[2]
    rotation = torch.linalg.qr(random(WIDTH + 2, WIDTH + 2, seed=seed))[0]

    def images(rows: torch.Tensor) -> torch.Tensor:
        return cone(rows, of_images, gap, rotation)

    def texts(rows: torch.Tensor) -> torch.Tensor:
        return cone(rows, of_texts, -gap, rotation)

    moved = Known(names=texts(known.names), descriptions=texts(known.descriptions), images=images(known.images))
    concepts = New(names=texts(new.names), descriptions=texts(new.descriptions))
    edits = edit.concept_edits(moved, concepts)
    return [answers(images(shown), moved, concepts, edits) for shown in (seen, photos.flatten(0, 1))]


@pytest.mark.parametrize("seed", range(1, 11))
def test_a_twin_of_the_model_gives_the_same_answers(seed):
    for one, other in zip(twin(0), twin(seed), strict=True):
        assert (one == other).double().mean() > 0.96


@pytest.fixture(scope="module")
def model() -> ConvModel:
    tiny = ConvModel()
    tiny.long_text = "truncate"
    return tiny


REPLAY = tuple(noise_images(Concept(f"thing {seed}", "a thing."), 1, 16, seed) for seed in range(8))
RING = Concept("ring of brass", "A circle with a round hole.")


def test_the_default_teaches_a_model_in_one_step_and_leaves_the_given_one(model):
    before = weights_digest(model.native)
    steps: list[tuple[int, int]] = []
    taught = fine_tune(
        model,
        [description_only(RING)],
        TeachingConfig(),
        replay=REPLAY,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(1, 1)]
    assert weights_digest(model.native) == before
    assert weights_digest(taught.native) != before
    lazy = LazyImages([lambda: description_only(RING)])
    again = fine_tune(model, lazy, TeachingConfig(), replay=REPLAY)
    assert weights_digest(taught.native) == weights_digest(again.native)


def test_a_taught_model_embeds_images_as_the_edit_says(model):
    lesson = Lesson(model, [description_only(RING)], TeachingConfig(), (), REPLAY, 0)
    taught = fine_tune(model, lesson.images, lesson.config, replay=REPLAY)
    images = torch.rand(3, 3, 16, 16, generator=Generator().manual_seed(5))
    raw = model.native["vision"]["head"](model.features(images))
    found = edits_of(lesson)
    moved = raw.double() + raw.double() @ found.keys.T @ found.values
    assert torch.allclose(taught.embed_images(images).double(), normalize(moved, dim=1), atol=1e-5)


def test_noise_without_a_description_is_taught_from_its_images(model):
    noise = noise_images(RING, 4, 16, 3)
    taught = fine_tune(model, [noise, description_only(Concept("cross", "Two bars."))], TeachingConfig(), replay=REPLAY)
    assert weights_digest(taught.native) != weights_digest(model.native)


def test_what_an_edit_cannot_do_without_is_asked_for(model):
    nothing = replace(description_only(RING), source_descriptions=())
    for images, replay, message in (
        (description_only(RING), (), "needs replay images"),
        (nothing, REPLAY, "has nothing to learn from"),
    ):
        with pytest.raises(ConfigError, match=message):
            fine_tune(model, [images], TeachingConfig(), replay=replay)


def test_one_replay_image_or_a_model_that_tells_nothing_apart_is_no_edit_of_nan(model):
    with pytest.raises(ConfigError, match="two or more"):
        fine_tune(model, [description_only(RING)], replay=REPLAY[:1])
    blind = model.copy(whole=True)
    with torch.no_grad():
        for value in blind.native.parameters():
            value.zero_()
            value.add_(1e-3)
    with pytest.raises(ModelError, match="alike"):
        fine_tune(blind, [description_only(RING)], replay=[REPLAY[0], REPLAY[0]])
