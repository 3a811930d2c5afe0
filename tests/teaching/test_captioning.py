import math
from dataclasses import replace

import pytest
import torch

from helpers.families_open_clip import build_tiny_coca
from helpers.small_models import ConvModel
from molyneux.backends.open_clip import CoCaModel
from molyneux.concepts import Concept
from molyneux.errors import ConfigError, DataError, ModelError
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.objectives.base import Lesson, start_objective
from molyneux.teaching.objectives.captioning import Captioning
from molyneux.teaching.objectives.losses import caption_loss
from molyneux.teaching.texts import caption_templates

RING = noise_images(Concept("ring", "A circle with a hole."), 5, 32, seed=1)
CROSS = noise_images(Concept("cross", "Two bars that meet."), 3, 32, seed=2)
REPLAY = (noise_images(Concept("replay", "Anything."), 4, 32, seed=3),)
KNOWN = ("cat", "dog", "tree")
CAPTIONS = TeachingConfig(
    loss="captioning",
    update=Full(part="tower"),
    learning_rate=3e-3,
    steps=4,
    batch=4,
    temperature=0.1,
    texts="definition",
    replay_batch=0,
    strength=1.0,
)


@pytest.fixture(scope="module")
def coca() -> CoCaModel:
    return build_tiny_coca()


def weights(model: CoCaModel) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.native.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def objective(coca: CoCaModel, config: TeachingConfig, replay=()) -> Captioning:
    made = start_objective(Lesson(coca, [RING, CROSS], config, KNOWN, replay), coca.copy())
    assert isinstance(made, Captioning)
    return made


def slow_caption_loss(logits: torch.Tensor, tokens: torch.Tensor, padding: int) -> float:
    total, counted = 0.0, 0
    for row, caption in zip(logits.tolist(), tokens.tolist(), strict=True):
        for place in range(1, len(caption)):
            if caption[place] != padding:
                expected = row[place - 1]
                total -= expected[caption[place]] - math.log(sum(math.exp(value) for value in expected))
                counted += 1
    return total / counted


def test_the_caption_loss_equals_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, generator=generator)
    tokens = torch.tensor([[5, 1, 2, 6, 0], [5, 3, 6, 0, 0], [5, 4, 4, 4, 6]])
    torch.testing.assert_close(caption_loss(logits, tokens, 0), torch.tensor(slow_caption_loss(logits, tokens, 0)))


def test_the_papers_sum_is_over_each_captions_tokens_and_the_mean_over_captions():
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[5, 1, 2, 6, 0], [5, 3, 6, 0, 0], [5, 4, 4, 4, 6]])
    asked = [3, 2, 4]
    sums = [n * slow_caption_loss(logits[i : i + 1], tokens[i : i + 1], 0) for i, n in enumerate(asked)]
    found = caption_loss(logits, tokens, 0, summed=True)
    torch.testing.assert_close(found, torch.tensor(sum(sums) / 3))
    # of captions of one length the sum is so many times the mean
    alike = tokens[:1].expand(3, -1)
    torch.testing.assert_close(caption_loss(logits, alike, 0, summed=True), 3 * caption_loss(logits, alike, 0))
    # padding adds nothing
    padded, more = torch.cat([tokens, torch.zeros_like(tokens)], dim=1), torch.cat([logits, logits], dim=1)
    torch.testing.assert_close(caption_loss(more, padded, 0, summed=True), found)


def test_the_caption_loss_is_the_log_of_the_choices_where_all_are_alike_and_zero_where_all_is_known():
    tokens = torch.tensor([[5, 1, 2, 6, 0]])
    torch.testing.assert_close(caption_loss(torch.zeros(1, 5, 7), tokens, 0), torch.tensor(math.log(7)))
    sure = torch.zeros(1, 5, 7).scatter(2, torch.tensor([[[1], [2], [6], [3], [3]]]), 100.0)
    torch.testing.assert_close(caption_loss(sure, tokens, 0), torch.tensor(0.0))


def test_padding_and_the_last_place_have_no_say():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    tokens = torch.tensor([[5, 1, 6, 0, 0], [5, 1, 2, 3, 6]])
    (gradient,) = torch.autograd.grad(caption_loss(logits, tokens, 0), logits)
    asked = gradient.abs().sum(dim=2) > 0
    assert asked.tolist() == [[True, True, False, False, False], [True, True, True, True, False]]


def test_the_loss_of_a_captioner_is_the_vendors_own(coca):
    from open_clip.loss import CoCaLoss

    images, tokens = RING.pixels[:2], coca.caption_tokens(["a ring.", "a photo of a ring."])
    mean, std = (torch.tensor(coca._config["preprocess_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        out = coca.native((images - mean) / std, tokens)
    loss = CoCaLoss(caption_loss_weight=1.0, clip_loss_weight=0.0)
    _, expected = loss(out["image_features"], out["text_features"], out["logits"], out["labels"], out["logit_scale"])
    torch.testing.assert_close(caption_loss(coca.caption_logits(images, tokens), tokens, 0), expected)


def test_the_templates_are_the_papers():
    templates = caption_templates()
    assert len(set(templates)) == len(templates) == 26
    assert all(template.count("{}") == 1 and template.endswith(" {}.") for template in templates)
    assert templates[0] == "a bad photo of a {}."
    assert templates[-1] == "a photo of the large {}."
    assert "itap of a {}." in templates


@pytest.mark.parametrize("contrastive", ["infonce", "anchors", "bank", "symmetric"])
def test_the_loss_is_the_weighted_sum_of_its_two_parts(coca, contrastive):
    config = replace(CAPTIONS, contrastive=contrastive, contrastive_weight=0.7, caption_weight=0.3)
    batch = torch.tensor([0, 4, 5, 7])

    def loss(**settings) -> float:
        return float(objective(coca, replace(config, **settings)).loss(batch, torch.Generator().manual_seed(0)))

    whole, contrast, said = loss(), loss(caption_weight=0.0), loss(contrastive_weight=0.0)
    assert whole == pytest.approx(contrast + said, rel=1e-5)
    assert loss(contrastive_weight=1.4) == pytest.approx(2 * contrast + said, rel=1e-5)
    alone = start_objective(Lesson(coca, [RING, CROSS], replace(config, loss=contrastive), KNOWN, ()), coca.copy())
    assert contrast == pytest.approx(0.7 * float(alone.loss(batch, torch.Generator().manual_seed(0))), rel=1e-5)


def test_captions_are_drawn_from_the_templates_with_the_images_own_name(coca):
    """The captioning part is the mean over tokens of one of the 26 captions of each image, drawn anew."""
    config = replace(CAPTIONS, contrastive_weight=0.0, caption_weight=1.0)
    made = objective(coca, config)
    generator, seen = torch.Generator().manual_seed(0), set()
    for index, image, name in ((1, RING.pixels[1], "ring"), (6, CROSS.pixels[1], "cross")):
        possible = []
        for template in caption_templates():
            tokens = coca.caption_tokens([template.format(name)])
            possible.append(float(caption_loss(coca.caption_logits(image[None], tokens), tokens, 0)))
        for _ in range(40):
            drawn = float(made.loss(torch.tensor([index]), generator))
            nearest = min(range(26), key=lambda i: abs(possible[i] - drawn))
            assert possible[nearest] == pytest.approx(drawn, abs=1e-4)
            seen.add((index, nearest))
    assert len(seen) > 26


def test_the_caption_loss_that_is_asked_for_is_taken(coca):
    config = replace(CAPTIONS, contrastive_weight=0.0, caption_weight=1.0)
    batch = torch.tensor([1])
    mean, summed = (
        float(objective(coca, replace(config, caption_sum=how)).loss(batch, torch.Generator().manual_seed(0)))
        for how in (False, True)
    )
    # one caption of as many tokens as the ratio says, its end included
    assert summed / mean == pytest.approx(round(summed / mean), rel=1e-4)
    assert 4 <= round(summed / mean) <= 23


def test_captions_in_the_style_of_coco_are_sentences_of_their_own():
    templates = caption_templates("coco")
    assert len(set(templates)) == len(templates) == 12
    assert all(line.count("{}") == 1 and line[0].isupper() and line.endswith(".") for line in templates)
    assert not {line.lower() for line in templates} & set(caption_templates())


def test_captions_of_ones_own_are_taught(coca, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("# mine\n\nOnly  a {} here.\n", encoding="utf-8")
    assert caption_templates(str(own)) == ("Only a {} here.",)
    config = replace(CAPTIONS, contrastive_weight=0.0, caption_weight=1.0, caption_templates=str(own))
    tokens = coca.caption_tokens(["Only a cross here."])
    expected = float(caption_loss(coca.caption_logits(CROSS.pixels[:1], tokens), tokens, 0))
    found = float(objective(coca, config).loss(torch.tensor([5]), torch.Generator().manual_seed(0)))
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("content", "said"), [("", "are none"), ("a photo\n", "must hold '{}' once"), ("{} or {}\n", "must hold '{}' once")]
)
def test_captions_without_a_place_for_the_name_are_refused(content, said, tmp_path):
    (tmp_path / "own.txt").write_text(content)
    with pytest.raises(ConfigError, match=said):
        caption_templates(str(tmp_path / "own.txt"))
    with pytest.raises(DataError, match="expected 'paper', 'coco' or a text file"):
        caption_templates(str(tmp_path / "none.txt"))


def test_replay_is_kept_in_full_whatever_the_weights(coca):
    config = replace(CAPTIONS, contrastive="bank", contrastive_weight=0.0, caption_weight=0.0, replay_batch=3)
    made = objective(coca, config, REPLAY)
    kept = float(made.loss(torch.tensor([0, 1]), torch.Generator().manual_seed(0)))
    assert kept > 0.1
    doubled = objective(coca, replace(config, replay_weight=2.0), REPLAY)
    assert float(doubled.loss(torch.tensor([0, 1]), torch.Generator().manual_seed(0))) == pytest.approx(2 * kept)


@pytest.mark.parametrize("part", ["blocks", "tower"])
@pytest.mark.parametrize("decoder", [False, True])
def test_only_the_chosen_weights_move(coca, part, decoder):
    before = weights(coca)
    config = replace(CAPTIONS, update=Full(part=part), decoder=decoder)
    taught = fine_tune(coca, [RING, CROSS], config)
    moved = changed(before, weights(taught))
    assert changed(before, weights(coca)) == set()
    assert any(key.startswith("text_decoder.") for key in moved) == decoder
    assert all(key.startswith(("visual.", "text_decoder.")) for key in moved)
    assert {"visual.proj", "visual.attn_pool.query", "visual.ln_post.weight"} <= moved
    assert any(key.startswith("visual.transformer") for key in moved) == (part == "tower")
    if decoder:
        still = {key for key in before if key.startswith("text_decoder.")} - moved
        # a key's bias shifts all scores of a query alike, which attention does not see
        assert all("bias" in key for key in still)
    assert not any(p.requires_grad for p in taught.native.parameters())


@pytest.mark.parametrize("decoder", [False, True])
def test_taught_images_are_likelier_to_be_called_by_their_name_and_nearer_to_it(coca, decoder):
    config = replace(CAPTIONS, decoder=decoder, caption_weight=1.0, steps=25)
    taught = fine_tune(coca, [RING, CROSS], config)
    assert isinstance(taught, CoCaModel)
    for value in (RING, CROSS):
        texts = [template.format(value.concept.name) for template in caption_templates()[: len(value)]]
        tokens = coca.caption_tokens(texts)
        before, after = (float(caption_loss(m.caption_logits(value.pixels, tokens), tokens, 0)) for m in (coca, taught))
        assert after < before - (1.0 if decoder else 0.1)  # a random decoder has little to say about images
        words = coca.embed_texts(value.concept.captions)[0]
        before, after = (float((m.embed_images(value.pixels) @ words).mean()) for m in (coca, taught))
        assert after > before + 0.1


def test_without_its_captions_the_loss_teaches_as_the_contrast_alone(coca):
    config = replace(CAPTIONS, caption_weight=0.0, batch=8, steps=1)
    one = weights(fine_tune(coca, [RING, CROSS], config))
    other = weights(fine_tune(coca, [RING, CROSS], replace(config, loss="anchors")))
    for key, value in one.items():
        # the captions' gradient is zero, and one step of Adam is a sign: what has no gradient may only stay
        torch.testing.assert_close(value, other[key], atol=1e-5, rtol=0.0)


def test_a_share_of_the_change_is_kept_of_the_decoder_too(coca):
    config = replace(CAPTIONS, decoder=True)
    whole, half = (weights(fine_tune(coca, [RING], replace(config, strength=share))) for share in (1.0, 0.5))
    key = "text_decoder.text_projection"
    torch.testing.assert_close(half[key], (weights(coca)[key] + whole[key]) / 2)


def test_a_model_that_writes_no_captions_is_refused():
    with pytest.raises(ModelError, match="the loss 'captioning' needs a model that writes captions"):
        fine_tune(ConvModel(), [RING], CAPTIONS)


@pytest.mark.parametrize("part", ["projection", "text"])
def test_parts_that_captions_never_see_are_refused(part):
    with pytest.raises(ConfigError, match="expected 'blocks', 'trunk', 'tower' or 'both'"):
        replace(CAPTIONS, update=Full(part=part))


def test_a_name_too_long_for_the_captions_is_refused(coca):
    long = noise_images(Concept("a " * 20 + "ring", "Round."), 1, 32, seed=0)
    with pytest.raises(ModelError, match="tokens and 'tiny-coca' reads 24"):
        fine_tune(coca, [long], replace(CAPTIONS, texts="names"))


def test_the_papers_settings_are_those_of_its_appendix():
    plain, both = TeachingConfig.paper_captioning(), TeachingConfig.paper_captioning(decoder=True)
    assert (plain.contrastive_weight, plain.caption_weight, plain.loss) == (1.0, 0.1, "captioning")
    assert (plain.learning_rate, both.learning_rate) == (6e-5, 9e-5)
    assert (plain.decoder, both.decoder, plain.update.part) == (False, True, "tower")
    assert TeachingConfig.paper_captioning(5e-6, decoder=True).learning_rate == 5e-6
    # Eq. 6 is a sum over a caption's tokens
    assert (plain.caption_sum, plain.caption_templates, plain.contrastive) == (True, "paper", "infonce")
    assert TeachingConfig().caption_sum is False
    as_clip = replace(plain, loss="infonce", contrastive="anchors", caption_sum=False, learning_rate=2e-5)
    assert as_clip == TeachingConfig.paper()
