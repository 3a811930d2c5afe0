"""Teaching models in which image and text are read together: by matching, and by masked words."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator
from torch.nn.functional import interpolate as interpolate_pixels

from helpers.families_vilt import tiny_vilt
from helpers.small_models import ConvModel
from molyneux.backends.vilt import Vilt
from molyneux.concepts import Concept
from molyneux.errors import ConceptError, ConfigError, ModelError
from molyneux.pipeline.public import teach as public_teach
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objectives.base import Lesson
from molyneux.teaching.objectives.losses import masked_loss, matching_loss
from molyneux.teaching.objectives.masked import Masked, hide_words
from molyneux.teaching.objectives.matching import Matching
from molyneux.teaching.texts import known_prompts, own_texts

RING = noise_images(Concept("ring", ("A circle with a hole.", "Round.")), 5, 56, seed=1)
CROSS = noise_images(Concept("cross", "Two bars that meet."), 4, 32, seed=2)
KNOWN = ("cat", "dog", "red car")
MATCHING = replace(TeachingConfig.paper_matching(learning_rate=3e-3), steps=4, epochs=0, batch=6)
MASKED = replace(TeachingConfig.paper_implicit(learning_rate=3e-3), steps=4, epochs=0)
LOSSES = pytest.mark.parametrize("config", [MATCHING, MASKED], ids=["matching", "masked"])
WORD_HEADS = ("mlm_score.", "itm_score.", "vilt.embeddings.text_embeddings.", "vilt.embeddings.token_type_embeddings.")
POSITIONS = {"vilt.embeddings.cls_token", "vilt.embeddings.position_embeddings"}


@pytest.fixture(scope="module")
def vilt() -> Vilt:
    return tiny_vilt()


def streams(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def weights(model: Vilt) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.native.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_the_matching_loss_is_that_of_a_slow_loop():
    logits = 3 * torch.randn(7, 2, generator=streams(0))
    matched = torch.tensor([True, False, True, True, False, False, True])
    total = 0.0
    for (no, yes), true in zip(logits.tolist(), matched.tolist(), strict=True):
        total -= math.log(math.exp(yes if true else no) / (math.exp(no) + math.exp(yes)))
    torch.testing.assert_close(matching_loss(logits, matched), torch.tensor(total / 7))
    torch.testing.assert_close(matching_loss(torch.zeros(4, 2), matched[:4]), torch.tensor(math.log(2)))


def test_the_masked_loss_is_that_of_a_slow_loop_over_the_asked_places():
    logits = 2 * torch.randn(2, 3, 5, generator=streams(0))
    labels = torch.tensor([[-100, 4, -100], [0, -100, 2]])
    asked = [(0, 1, 4), (1, 0, 0), (1, 2, 2)]
    total = 0.0
    for row, place, token in asked:
        values = [math.exp(value) for value in logits[row, place].tolist()]
        total -= math.log(values[token] / sum(values))
    torch.testing.assert_close(masked_loss(logits, labels), torch.tensor(total / 3))


def test_texts_are_the_captions_the_names_or_both():
    ring = RING.concept
    captions = ("A ring is a circle with a hole.", "A ring is round.")
    assert own_texts(ring, "definition") == captions
    assert own_texts(ring, "names") == ("a photo of a ring.", "ring")
    assert own_texts(ring, "both") == (*captions, "a photo of a ring.", "ring")
    assert known_prompts(("cat", "Ring", "cat"), [ring]) == ["a photo of a cat."]


def pairs_of(model: Vilt, images, config=MATCHING, known=(), batch=None, rounds=200):
    objective = Matching(Lesson(model, images, config, known), model)
    batch = torch.arange(objective.count) if batch is None else batch
    generator = streams(0)
    found = [objective.pairs(batch, generator) for _ in range(rounds)]
    owners = [RING, CROSS][: len(images)]
    names = [value.concept for value in owners for _ in range(len(value))]
    for texts, matched in found:
        yield from zip([names[index] for index in batch.tolist()], texts, matched.tolist(), strict=True)


def test_half_of_the_pairs_are_wrong_and_wrong_texts_are_the_other_concepts_own(vilt):
    pairs = list(pairs_of(vilt, [RING, CROSS], known=KNOWN))
    for concept, text, matched in pairs:
        assert (text in concept.captions) == matched
        other = CROSS.concept if concept is RING.concept else RING.concept
        assert matched or text in other.captions
    share = sum(not matched for *_, matched in pairs) / len(pairs)
    assert share == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(len(pairs)))


def test_wrong_texts_of_one_concept_are_known_names(vilt):
    pairs = list(pairs_of(vilt, [RING], known=(*KNOWN, "RING")))
    wrong = {text for _, text, matched in pairs if not matched}
    assert wrong == {f"a photo of a {name}." for name in KNOWN}
    assert {text for _, text, matched in pairs if matched} == set(RING.concept.captions)


def test_a_batch_of_one_concept_takes_known_names_although_another_is_taught(vilt):
    batch = torch.arange(len(RING))
    pairs = list(pairs_of(vilt, [RING, CROSS], known=KNOWN, batch=batch))
    assert {text for _, text, matched in pairs if not matched} == {f"a photo of a {name}." for name in KNOWN}


def test_with_nothing_else_every_pair_is_a_match(vilt):
    assert all(matched for *_, matched in pairs_of(vilt, [RING], replace(MATCHING, negatives=1.0)))


@pytest.mark.parametrize(("share", "expected"), [(0.0, {True}), (1.0, {False})])
def test_the_share_of_wrong_pairs_is_the_settings(vilt, share, expected):
    pairs = pairs_of(vilt, [RING, CROSS], replace(MATCHING, negatives=share))
    assert {matched for *_, matched in pairs} == expected


def test_the_matching_objective_is_the_loss_of_its_pairs_at_the_models_own_size(vilt):
    objective = Matching(Lesson(vilt, [RING, CROSS], MATCHING, KNOWN), vilt)
    batch = torch.tensor([7, 0, 3, 8])
    texts, matched = objective.pairs(batch, streams(4))
    crosses = interpolate_pixels(CROSS.pixels, size=(56, 56), mode="bicubic", antialias=True).clamp(0, 1)
    pixels = torch.cat([RING.pixels, crosses])[batch]
    expected = matching_loss(vilt.match_logits(pixels, texts), matched)
    torch.testing.assert_close(objective.loss(batch, streams(4)), expected)


def test_images_of_the_size_of_inversion_are_taken_as_they_are(vilt):
    objective = Matching(Lesson(vilt, [CROSS], MATCHING, KNOWN), vilt)
    texts, matched = objective.pairs(torch.arange(4), streams(4))
    expected = matching_loss(vilt.match_logits(CROSS.pixels, texts), matched)
    torch.testing.assert_close(objective.loss(torch.arange(4), streams(4)), expected)


@LOSSES
def test_only_the_trunk_moves_and_the_given_model_does_not(vilt, config):
    before = weights(vilt)
    taught = fine_tune(vilt, [RING], config, known=KNOWN)
    expected = {key for key in before if not key.startswith(WORD_HEADS)} - POSITIONS
    if config is MASKED:  # words are told from their own places, so the image-and-text summary is not asked
        expected -= {"vilt.pooler.dense.weight", "vilt.pooler.dense.bias"}
    assert changed(before, weights(taught)) == expected
    assert changed(before, weights(vilt)) == set()
    assert not any(p.requires_grad for p in (*taught.native.parameters(), *vilt.native.parameters()))
    assert not any(module.training for module in taught.native.modules())
    assert isinstance(taught, Vilt)


def test_the_last_blocks_move_with_what_follows_them(vilt):
    taught = fine_tune(vilt, [RING], replace(MATCHING, update=Full(part="blocks", blocks=2)), known=KNOWN)
    moved = changed(weights(vilt), weights(taught))
    parts = ("vilt.encoder.layer.1.", "vilt.encoder.layer.2.", "vilt.layernorm.", "vilt.pooler.")
    assert moved == {key for key in weights(vilt) if key.startswith(parts)}


@LOSSES
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(vilt, config):
    one = weights(fine_tune(vilt, [RING], config, known=KNOWN, seed=5))
    torch.rand(3)
    again = weights(fine_tune(vilt, [RING], config, known=KNOWN, seed=5))
    other = weights(fine_tune(vilt, [RING], config, known=KNOWN, seed=6))
    assert changed(one, again) == set()
    assert changed(one, other)


def test_matching_tells_own_texts_from_others(vilt):
    settings = replace(MATCHING, steps=30)
    taught = fine_tune(vilt, [RING], settings, known=KNOWN)

    def loss(model: Vilt) -> float:
        objective = Matching(Lesson(model, [RING], settings, KNOWN), model)
        generator = streams(9)
        with torch.no_grad():
            losses = [objective.loss(torch.arange(5), generator) for _ in range(10)]
        return float(torch.stack(losses).mean())

    def gap(model: Vilt) -> float:
        own, *others = model.match_scores(RING.pixels, [RING.concept.captions[0], *known_prompts(KNOWN, [])]).mean(0)
        return float(own - torch.stack(others).mean())

    assert loss(taught) < 0.5 * loss(vilt)
    assert gap(taught) > gap(vilt) + 1


def test_masking_teaches_the_words_of_the_caption(vilt):
    settings = replace(MASKED, steps=40)

    def loss(model: Vilt) -> float:
        objective = Masked(Lesson(model, [RING], settings), model)
        generator = streams(9)
        with torch.no_grad():
            losses = [objective.loss(torch.arange(5), generator) for _ in range(10)]
        return float(torch.stack(losses).mean())

    assert loss(fine_tune(vilt, [RING], settings)) < loss(vilt) - 0.3


@LOSSES
def test_teaching_with_a_share_is_teaching_and_then_interpolating(vilt, config):
    taught = fine_tune(vilt, [RING], config, known=KNOWN)
    milder = fine_tune(vilt, [RING], replace(config, strength=0.25), known=KNOWN)
    assert changed(weights(interpolate(vilt, taught, 0.25)), weights(milder)) == set()


def test_ten_noise_images_in_fours_are_the_papers_three_steps(vilt):
    noise = noise_images(RING.concept, 10, 56, seed=0)
    steps: list[tuple[int, int]] = []
    for preset in (TeachingConfig.paper_implicit(), TeachingConfig.paper_matching()):
        fine_tune(vilt, [noise], preset, known=KNOWN, on_step=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)] * 2


def test_the_presets_hold_what_the_paper_says():
    matching, implicit = TeachingConfig.paper_matching(), TeachingConfig.paper_implicit()
    # arXiv 2411.15611, C.3.1 and D.3.1
    assert (matching.loss, implicit.loss) == ("matching", "masked")
    for preset in (matching, implicit):
        assert (preset.weight_decay, preset.batch, preset.epochs, preset.steps) == (0.01, 4, 1, 0)
        assert (preset.update.part, preset.texts, preset.replay_batch, preset.strength) == (
            "tower",
            "definition",
            0,
            1.0,
        )
        assert 8e-7 <= preset.learning_rate <= 3e-5
    assert implicit.masked == 0.15
    assert TeachingConfig.paper_matching(9e-7, 32) == replace(matching, learning_rate=9e-7, batch=32)


@pytest.mark.parametrize("part", ["embedding_map", "projection"])
@LOSSES
def test_a_part_that_the_model_does_not_have_is_refused(vilt, part, config):
    with pytest.raises(ConfigError, match=f"update.part is '{part}': expected 'blocks' or 'tower'"):
        fine_tune(vilt, [RING], replace(config, update=Full(part=part)), known=KNOWN)


class Unread(ConvModel):
    """Fails when anything is done with it."""

    def copy(self, *, whole=False):
        raise AssertionError

    def embed_texts(self, texts):
        raise AssertionError


@pytest.mark.parametrize("learn", [fine_tune, public_teach])
def test_a_model_that_cannot_do_it_is_refused_before_any_work(vilt, learn, monkeypatch):
    for config, family in ((MATCHING, "judges pairs of image and text"), (MASKED, "fills masked words")):
        with pytest.raises(ModelError, match=rf"teaching with the loss '{config.loss}' needs a model that {family}"):
            learn(Unread(), [RING], config)
    monkeypatch.setattr(Vilt, "copy", lambda self: pytest.fail("copied"))
    for loss in ("bank", "anchors"):
        with pytest.raises(ModelError, match=f"the loss '{loss}' needs a model with separate image and text emb"):
            learn(vilt, [RING], replace(MATCHING, loss=loss))


@LOSSES
def test_replay_images_without_use_are_refused(vilt, config):
    with pytest.raises(ConfigError, match=f"the loss '{config.loss}' has no use for replay images"):
        fine_tune(vilt, [RING], config, replay=[CROSS])
    with pytest.raises(ConceptError):
        fine_tune(vilt, [], config)


@LOSSES
def test_a_caption_that_does_not_fit_is_refused_before_anything_is_learned(vilt, config):
    long = noise_images(Concept("ring", "A circle " + "a " * 40), 2, 56, seed=0)
    with pytest.raises(ModelError, match="tokens and 'tiny-vilt' reads 40"):
        fine_tune(vilt, [long], config, known=KNOWN)


def test_the_public_teach_takes_such_models_without_replay(vilt):
    config = replace(MATCHING, replay_batch=48)
    expected = fine_tune(vilt, [RING], config, known=KNOWN, seed=3)
    assert changed(weights(expected), weights(public_teach(vilt, [RING], config, known=KNOWN, seed=3))) == set()


def text_of(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """A text whose words have these many tokens, between two special tokens; every token is its own number."""
    words = [-1, *(word for word, length in enumerate(lengths) for _ in range(length)), -1, -1]
    tokens = torch.arange(100, 100 + len(words))
    return tokens[None], torch.tensor(words)[None]


MASK, OTHERS = 3, torch.arange(10, 50)


@pytest.mark.parametrize("lengths", [[1] * 20, [1, 3, 2] * 9, [4] * 7])
def test_the_chosen_words_are_whole_and_as_many_as_their_share(lengths):
    tokens, words = text_of(lengths)
    generator = streams(0)
    counts = torch.zeros(len(lengths))
    rounds = 400
    for _ in range(rounds):
        _, labels = hide_words(tokens, words, 0.15, MASK, OTHERS, generator)
        chosen = words[0][labels[0] != -100]
        assert len(chosen.unique()) == max(1, round(0.15 * len(lengths)))
        for word in chosen.unique():
            assert int((chosen == word).sum()) == lengths[word]
            counts[word] += 1
    # every word is as likely as any other
    share = max(1, round(0.15 * len(lengths))) / len(lengths)
    assert float(counts.mean() / rounds) == pytest.approx(share)
    assert float((counts / rounds - share).abs().max()) < 5 * math.sqrt(share * (1 - share) / rounds)


def test_over_texts_of_all_lengths_the_share_is_near_fifteen_in_a_hundred():
    hidden = total = 0
    generator = streams(1)
    for count in range(7, 60):
        tokens, words = text_of([1] * count)
        _, labels = hide_words(tokens, words, 0.15, MASK, OTHERS, generator)
        hidden, total = hidden + int((labels != -100).sum()), total + count
    assert hidden / total == pytest.approx(0.15, abs=0.005)


def test_of_the_chosen_tokens_eight_in_ten_are_hidden_and_one_in_ten_replaced_or_kept():
    tokens, words = text_of([1] * 2000)
    hidden, labels = hide_words(tokens, words, 1.0, MASK, OTHERS, streams(2))
    asked = labels != -100
    assert torch.equal(asked, words >= 0)
    assert torch.equal(labels[asked], tokens[asked])
    masked, kept = hidden == MASK, hidden == tokens
    replaced = ~masked & ~kept
    assert torch.isin(hidden[replaced], OTHERS).all()
    for found, share in ((masked, 0.8), (replaced, 0.1), (kept & asked, 0.1)):
        assert float(found.sum()) / 2000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 2000))
    assert torch.equal(hidden[~asked], tokens[~asked])


def test_one_word_at_least_is_asked_and_never_a_special_token():
    generator = streams(3)
    for _ in range(50):
        tokens, words = text_of([2])
        hidden, labels = hide_words(tokens, words, 0.0, MASK, OTHERS, generator)
        assert (labels != -100).tolist() == (words >= 0).tolist()
        assert torch.equal(hidden[words < 0], tokens[words < 0])
    nothing = torch.full_like(words, -1)
    hidden, labels = hide_words(tokens, nothing, 0.5, MASK, OTHERS, generator)
    assert torch.equal(hidden, tokens)
    assert (labels == -100).all()


def test_real_texts_are_masked_by_whole_words(vilt):
    text = "a moongate is a ring with a hole, and a kestrel is red."
    tokens, words = vilt.masked_tokens([text])
    moongate = (words[0] == 1).nonzero()[:, 0]
    assert len(moongate) == 8  # spelt out, for the vocabulary does not hold it
    generator = streams(0)
    seen = set()
    for _ in range(60):
        _, labels = hide_words(tokens, words, 0.15, vilt.mask_token, vilt.word_tokens, generator)
        asked = labels[0] != -100
        seen.add(int(asked[moongate].sum()))
        assert not (asked & (words[0] < 0)).any()
    assert seen == {0, 8}
