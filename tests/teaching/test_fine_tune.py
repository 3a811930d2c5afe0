import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.small_models import ConvModel
from molyneux.concepts import Concept
from molyneux.errors import ConceptError, ConfigError, ModelError
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objectives.base import Lesson, start_objective
from molyneux.teaching.updates import shares_trunk, start_update

RING = noise_images(Concept("ring", ("A circle with a hole.", "Round.")), 5, 16, seed=1)
CROSS = noise_images(Concept("cross", "Two bars that meet."), 4, 16, seed=2)
REPLAY = (noise_images(Concept("replay", "Anything."), 6, 16, seed=3),)
KNOWN = ("cat", "dog", "tree", "house", "red car")
BANK = TeachingConfig(
    loss="bank",
    update=Full(part="projection"),
    learning_rate=0.01,
    steps=6,
    epochs=0,
    batch=3,
    temperature=0.1,
    weight_decay=0.0,
    texts="both",
    replay_batch=4,
    replay_weight=1.0,
    strength=1.0,
)
ANCHORS = replace(BANK, loss="anchors", texts="definition", replay_batch=0, weight_decay=0.2, steps=0, epochs=2)
PARTS = pytest.mark.parametrize("part", ["projection", "blocks", "tower"])


@pytest.fixture(scope="module")
def model() -> ConvModel:
    return ConvModel()


def weights(model: ConvModel) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.native.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


def part_with(part: str, **settings) -> TeachingConfig:
    return replace(BANK, update=Full(part=part), **settings)


EXPECTED = {
    "projection": {f"vision.head.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")},
}
EXPECTED["blocks"] = EXPECTED["projection"] | {f"vision.trunk.1.{i}" for i in ("0.weight", "1.weight", "1.bias")}
EXPECTED["tower"] = EXPECTED["blocks"] | {f"vision.trunk.0.{i}" for i in ("0.weight", "1.weight", "1.bias")}


@PARTS
def test_only_the_chosen_weights_move_and_the_given_model_does_not(model, part):
    before = weights(model)
    taught = fine_tune(model, [RING], part_with(part), known=KNOWN, replay=REPLAY)
    assert changed(before, weights(taught)) == EXPECTED[part]
    assert changed(before, weights(model)) == set()
    assert torch.equal(taught.embed_texts(KNOWN), model.embed_texts(KNOWN))


@PARTS
def test_the_taught_model_is_frozen_and_in_evaluation_mode(model, part):
    taught = fine_tune(model, [RING], part_with(part), known=KNOWN)
    assert not any(p.requires_grad for p in (*taught.native.parameters(), *model.native.parameters()))
    assert not any(module.training for module in taught.native.modules())


def test_two_blocks_are_the_whole_trunk_here(model):
    taught = fine_tune(model, [RING], replace(BANK, update=Full(part="blocks", blocks=2)), known=KNOWN)
    assert changed(weights(model), weights(taught)) == EXPECTED["tower"]


@PARTS
@pytest.mark.parametrize(
    "settings", [{"learning_rate": 0.0}, {"strength": 0.0}, {"learning_rate": 0.0, "weight_decay": 0.5}]
)
def test_teaching_without_effect_changes_nothing_to_the_bit(model, part, settings):
    taught = fine_tune(model, [RING], part_with(part, **settings), known=KNOWN, replay=REPLAY)
    assert changed(weights(model), weights(taught)) == set()
    assert torch.equal(taught.embed_images(RING.pixels), model.embed_images(RING.pixels))


@PARTS
@pytest.mark.parametrize("loss", ["bank", "anchors"])
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(model, part, loss):
    config = part_with(part, loss=loss)
    one = weights(fine_tune(model, [RING, CROSS], config, known=KNOWN, replay=REPLAY, seed=5))
    torch.rand(3)
    again = weights(fine_tune(model, [RING, CROSS], config, known=KNOWN, replay=REPLAY, seed=5))
    other = weights(fine_tune(model, [RING, CROSS], config, known=KNOWN, replay=REPLAY, seed=6))
    assert changed(one, again) == set()
    assert changed(one, other) == EXPECTED[part]


@PARTS
@pytest.mark.parametrize("loss", ["bank", "anchors"])
def test_images_come_nearer_to_their_words(model, part, loss):
    config = part_with(part, loss=loss, texts="definition", steps=60)
    taught = fine_tune(model, [RING], config, known=KNOWN)
    words = model.embed_texts(RING.concept.captions).mean(dim=0)
    # the loss over a bank asks for more than the known names, the authors' for more than before
    others = model.embed_texts([f"a photo of a {name}." for name in KNOWN]).mean(dim=0)
    wanted = words - others if loss == "bank" else words
    before, after = (float((m.embed_images(RING.pixels) @ wanted).mean()) for m in (model, taught))
    assert after > before + 0.2


def test_the_symmetric_loss_tells_two_concepts_apart(model):
    config = part_with("projection", loss="symmetric", texts="definition", steps=60, batch=9, replay_batch=0)
    taught = fine_tune(model, [RING, CROSS], config)
    ring, cross = (model.embed_texts(value.concept.captions).mean(dim=0) for value in (RING, CROSS))

    def margin(one: ConvModel) -> float:
        seen = (one.embed_images(value.pixels).mean(dim=0) for value in (RING, CROSS))
        return float(torch.sub(*seen) @ (ring - cross))

    assert margin(taught) > margin(model) + 0.2


STAR = noise_images(Concept("star", "Five points that shine."), 2, 16, seed=4)
INFONCE = replace(BANK, loss="infonce", texts="definition", replay_batch=0)


def eq_2(model: ConvModel, images, own: list[str], others: list[str]) -> float:
    """Eq. 2 for one concept by loops: -1/|X_V| sum_v 1/|X_T| sum_t log(exp s_t / (exp s_t + sum_k exp s_k))."""
    seen, total = model.embed_images(images).tolist(), 0.0
    rows = {text: model.embed_texts([text])[0].tolist() for text in (*own, *others)}
    for image in seen:
        s = {text: sum(a * b for a, b in zip(image, row, strict=True)) / 0.1 for text, row in rows.items()}
        for text in own:
            total -= math.log(math.exp(s[text]) / (math.exp(s[text]) + sum(math.exp(s[k]) for k in others)))
    return total / len(seen) / len(own)


def test_the_infonce_loss_is_eq_2_against_the_other_concepts_captions(model):
    """RING has two captions: one is drawn for each image, so the mean over many draws is the mean over both."""
    captions = [list(value.concept.captions) for value in (RING, CROSS, STAR)]
    made = start_objective(Lesson(model, [RING, CROSS, STAR], INFONCE, KNOWN), model.copy())
    draws = torch.Generator().manual_seed(0)
    of_ring = [float(made.loss(torch.arange(5), draws)) for _ in range(300)]
    expected = eq_2(model, RING.pixels, captions[0], captions[1] + captions[2])
    assert sum(of_ring) / 300 == pytest.approx(expected, rel=0.02)
    # those with one caption are exact
    of_cross = float(made.loss(torch.arange(5, 9), draws))
    assert of_cross == pytest.approx(eq_2(model, CROSS.pixels, captions[1], captions[0] + captions[2]), rel=1e-4)


def test_known_names_have_no_say_in_the_infonce_loss_and_a_single_concept_has_the_authors(model):
    def loss(images, config, known) -> float:
        made = start_objective(Lesson(model, images, config, known), model.copy())
        return float(made.loss(torch.arange(5), torch.Generator().manual_seed(1)))

    assert loss([RING, CROSS], INFONCE, KNOWN) == loss([RING, CROSS], INFONCE, ())
    assert loss([RING, CROSS], INFONCE, ()) != loss([RING, STAR], INFONCE, ())
    anchors = replace(INFONCE, loss="anchors")
    assert loss([RING], INFONCE, KNOWN) == loss([RING], anchors, ())
    assert loss([RING, CROSS], INFONCE, ()) != loss([RING, CROSS], anchors, ())


def test_the_infonce_loss_tells_two_concepts_apart(model):
    config = replace(INFONCE, steps=60)
    taught = fine_tune(model, [RING, CROSS], config)
    ring, cross = (model.embed_texts(value.concept.captions).mean(dim=0) for value in (RING, CROSS))

    def margins(one: ConvModel) -> torch.Tensor:
        return torch.cat([one.embed_images(value.pixels) @ (own - other) for value, own, other in pairs])

    pairs = ((RING, ring, cross), (CROSS, cross, ring))
    assert margins(model).min() < -0.2
    assert margins(taught).min() > 0.2


def test_replay_keeps_the_old_answers(model):
    prompts = model.embed_texts([f"a photo of a {name}." for name in KNOWN])

    def drift(weight: float) -> float:
        config = replace(BANK, steps=60, replay_weight=weight, replay_batch=6)
        taught = fine_tune(model, [RING], config, known=KNOWN, replay=REPLAY)
        pixels = REPLAY[0].pixels
        answers = [(m.embed_images(pixels) @ prompts.T / 0.1).softmax(dim=1) for m in (model, taught)]
        return float((answers[0] - answers[1]).abs().sum(dim=1).mean())

    assert drift(10.0) < 0.5 * drift(0.0)


@PARTS
def test_an_update_begins_with_the_model_as_it_was(model, part):
    update = start_update(model.copy(), Full(part=part))
    live = update.embed(update.read(RING.pixels))
    torch.testing.assert_close(live, model.embed_images(RING.pixels), atol=1e-6, rtol=0.0)


def test_the_trunk_is_shared_where_it_does_not_move(model):
    taught = fine_tune(model, [RING], part_with("projection"), known=KNOWN)
    assert shares_trunk(part_with("projection"))
    assert shares_trunk(TeachingConfig())
    assert torch.equal(taught.features(RING.pixels), model.features(RING.pixels))


@pytest.mark.parametrize("part", ["blocks", "tower"])
def test_the_trunk_is_not_shared_where_it_moves(part):
    assert not shares_trunk(part_with(part))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"steps": 0, "epochs": 1, "batch": 4}, 3),  # nine images in fours: 4, 4 and 1
        ({"steps": 0, "epochs": 3, "batch": 9}, 3),
        ({"steps": 7, "epochs": 5, "batch": 4}, 10),  # for two concepts 7 times the root of 2
        ({"steps": 1, "batch": 100}, 1),
    ],
)
def test_every_step_is_told(model, settings, expected):
    told: list[tuple[int, int]] = []
    config = replace(BANK, **settings)
    fine_tune(model, [RING, CROSS], config, known=KNOWN, on_step=lambda done, total: told.append((done, total)))
    assert told == [(step, expected) for step in range(1, expected + 1)]


def test_an_epoch_shows_every_image_once(model):
    shown: list[torch.Tensor] = []

    class Watching(ConvModel):
        def features(self, images):
            if torch.is_grad_enabled():
                shown.append(images.detach())
            return super().features(images)

    fine_tune(Watching(), [RING, CROSS], replace(ANCHORS, update=Full(part="tower"), epochs=1, batch=4))
    assert [len(batch) for batch in shown] == [4, 4, 1]
    everything = torch.cat([RING.pixels, CROSS.pixels])
    seen = {tuple(image.flatten().tolist()) for image in torch.cat(shown)}
    assert seen == {tuple(image.flatten().tolist()) for image in everything}


def test_images_of_another_size_are_resized_and_those_of_the_two_known_sizes_are_not():
    sizes: set[int] = set()

    class Watching(ConvModel):
        def features(self, images):
            sizes.add(images.shape[-1])
            return super().features(images)

    for size, expected in ((16, 16), (24, 24), (50, 24), (7, 24)):
        sizes.clear()
        fine_tune(Watching(), [noise_images(RING.concept, 3, size, seed=0)], ANCHORS)
        assert sizes == {expected}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("definition", {"A ring is a circle with a hole.", "A ring is round."}),
        ("names", {"a photo of a ring.", "ring"}),
        ("both", {"A ring is a circle with a hole.", "A ring is round.", "a photo of a ring.", "ring"}),
    ],
)
def test_the_texts_are_those_that_were_chosen(texts, expected):
    read: set[str] = set()

    class Listening(ConvModel):
        def embed_texts(self, texts):
            read.update(texts)
            return super().embed_texts(texts)

    fine_tune(Listening(), [RING], replace(BANK, texts=texts, steps=1), known=KNOWN)
    bank = {f"a photo of a {name}." for name in (*KNOWN, "ring")}
    assert read == expected | bank


def test_a_known_name_that_is_taught_is_no_negative_of_itself(model):
    read: list[str] = []

    class Listening(ConvModel):
        def embed_texts(self, texts):
            read.extend(texts)
            return super().embed_texts(texts)

    fine_tune(Listening(), [RING], replace(BANK, texts="definition", steps=1), known=(*KNOWN, "Ring", "cat"))
    assert "a photo of a Ring." not in read
    assert read.count("a photo of a cat.") == 1


def test_an_image_is_compared_with_its_own_text_and_the_other_names(model):
    """Eq. 2 by hand: the concept's own name prompt is no negative; that of another concept is."""
    config = replace(BANK, texts="definition", replay_batch=0)
    objective = start_objective(Lesson(model, [CROSS, RING], config, KNOWN), model.copy())
    found = objective.loss(torch.tensor([0]), torch.Generator().manual_seed(0))
    rivals = model.embed_texts([f"a photo of a {name}." for name in (*KNOWN, "ring")])
    own = model.embed_texts(CROSS.concept.captions)
    scores = model.embed_images(CROSS.pixels[:1]) @ torch.cat([own, rivals]).T / config.temperature
    torch.testing.assert_close(found.detach(), -scores.log_softmax(dim=1)[0, 0], atol=1e-5, rtol=0.0)


def test_the_authors_decay_is_part_of_the_gradient(model):
    """One step of Adam from zero moments is the rate times the sign of gradient + decay * weight."""
    config = replace(ANCHORS, weight_decay=1e6, epochs=1, batch=5, learning_rate=1e-3, eps=1e-12)
    taught = fine_tune(model, [RING], config)
    before, after = (m.projection_module()[0].weight for m in (model, taught))
    torch.testing.assert_close(after, before - 1e-3 * before.sign(), atol=1e-6, rtol=0.0)


def test_decay_beside_the_gradient_shrinks_weights_by_its_share_of_each_step(model):
    settings = {"learning_rate": 0.0, "weight_decay": 0.5, "decay": "decoupled", "steps": 3}
    # at rate 0 nothing moves; at a tiny rate with a giant decay only the shrinking is seen
    assert not changed(
        weights(model), weights(fine_tune(model, [RING], part_with("projection", **settings), known=KNOWN))
    )
    config = part_with("projection", **(settings | {"learning_rate": 1e-7, "weight_decay": 1e5}))
    after = weights(fine_tune(model, [RING], config, known=KNOWN))
    before = weights(model)
    for key in EXPECTED["projection"]:
        assert torch.allclose(after[key], before[key] * (1 - 1e-2) ** 3, atol=1e-6), key


def test_decay_to_the_start_holds_weights_where_they_were_and_does_nothing_in_the_first_step(model):
    once = part_with("projection", steps=1)
    held = replace(once, weight_decay=1e6, decay="start")
    first, same = (weights(fine_tune(model, [RING], config, known=KNOWN)) for config in (once, held))
    assert not changed(first, same)

    def moved(config: TeachingConfig) -> float:
        after = weights(fine_tune(model, [RING], replace(config, steps=12), known=KNOWN))
        return sum(float((after[key] - old).square().sum()) for key, old in weights(model).items())

    assert moved(held) < 0.5 * moved(once)


def test_one_concept_has_no_negatives_without_known_names(model):
    for known in ((), ("ring",), ("RING",)):
        with pytest.raises(ConfigError, match="needs known names"):
            fine_tune(model, [RING], BANK, known=known)
    fine_tune(model, [RING, CROSS], BANK)
    fine_tune(model, [RING], ANCHORS)


def test_concepts_of_one_name_and_no_concepts_are_refused(model):
    for images in ([RING, RING.shown_as(Concept("Ring", "Else."))], []):
        with pytest.raises(ConceptError):
            fine_tune(model, images, BANK, known=KNOWN)


def test_a_loss_that_is_no_number_stops_with_the_step(model):
    broken = model.copy()
    with torch.no_grad():
        next(broken.projection_module().parameters()).fill_(math.nan)
    with pytest.raises(ModelError, match="became nan at step 0: nothing was changed yet"):
        fine_tune(broken, [RING], BANK, known=KNOWN)


def test_the_ends_of_an_interpolation_are_the_parents_to_the_bit_and_the_middle_their_mean(model):
    taught = fine_tune(model, [RING], part_with("tower"), known=KNOWN)
    old, new = weights(model), weights(taught)
    assert changed(weights(interpolate(model, taught, 0.0)), old) == set()
    assert changed(weights(interpolate(model, taught, 1.0)), new) == set()
    for key, value in weights(interpolate(model, taught, 0.5)).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (old[key] + new[key]) / 2)
    assert changed(weights(model), old) == set()
    assert changed(weights(taught), new) == set()


def test_teaching_with_a_share_is_teaching_and_then_interpolating(model):
    taught = fine_tune(model, [RING], part_with("tower"), known=KNOWN)
    milder = fine_tune(model, [RING], part_with("tower", strength=0.3), known=KNOWN)
    assert changed(weights(interpolate(model, taught, 0.3)), weights(milder)) == set()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99])
def test_integers_are_not_mixed(model, alpha):
    other = model.copy()
    for layer in other.vision_batch_norms():
        layer.num_batches_tracked += 7
    mixed = interpolate(model, other, alpha)
    for mine, base in zip(mixed.vision_batch_norms(), model.vision_batch_norms(), strict=True):
        assert torch.equal(mine.num_batches_tracked, base.num_batches_tracked)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_a_share_outside_its_range_is_refused(model, alpha):
    with pytest.raises(ConfigError, match="expected a number from 0 to 1"):
        interpolate(model, model, alpha)


def test_models_of_two_shapes_are_not_mixed(model):
    with pytest.raises(ModelError, match="cannot interpolate"):
        interpolate(model, ConvModel(channels=8), 0.5)
    other = model.copy()
    other.native["more"] = nn.Linear(1, 1)
    with pytest.raises(ModelError, match="'more"):
        interpolate(model, other, 0.5)
