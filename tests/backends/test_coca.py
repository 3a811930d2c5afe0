import pytest
import torch

from helpers.families_open_clip import COCA, TRANSFORMER, VIT, build_random, build_tiny_coca
from molyneux.backends.open_clip import CoCaModel, build
from molyneux.errors import ModelError

TEXTS = ["a ring.", "a photo of two dark bars that meet"]


@pytest.fixture(scope="module")
def coca() -> CoCaModel:
    return build_tiny_coca()


def sample_images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def vendors(coca: CoCaModel, images: torch.Tensor, tokens: torch.Tensor, **more) -> dict[str, torch.Tensor]:
    mean, std = (torch.tensor(COCA["preprocess_cfg"][key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        return coca.native((images - mean) / std, tokens, **more)


def test_logits_are_the_vendors_at_each_place(coca):
    images, tokens = sample_images(), coca.caption_tokens(TEXTS)
    logits = coca.caption_logits(images, tokens)
    assert logits.shape == (*tokens.shape, 49408)
    unshifted = vendors(coca, images, tokens, output_labels=False)["logits"]
    torch.testing.assert_close(logits, unshifted, atol=1e-5, rtol=0.0)
    # with labels the vendor leaves out the last place, so that its i-th label belongs to its i-th logits
    shifted = vendors(coca, images, tokens)
    torch.testing.assert_close(logits[:, :-1], shifted["logits"], atol=1e-5, rtol=0.0)
    assert torch.equal(shifted["labels"], tokens[:, 1:])


def test_logits_are_those_of_the_tokens_padded_to_the_models_length(coca):
    """As the vendor's training does it, where places of padding are not counted."""
    images, tokens = sample_images(), coca.caption_tokens(TEXTS)
    whole = coca._tokenizer(TEXTS)
    assert whole.shape == (2, 24)
    assert tokens.shape[1] < 24
    padded = vendors(coca, images, whole, output_labels=False)["logits"][:, : tokens.shape[1]]
    torch.testing.assert_close(coca.caption_logits(images, tokens), padded, atol=1e-5, rtol=0.0)


def test_no_place_sees_what_comes_after_it(coca):
    images, tokens = sample_images(), coca.caption_tokens(TEXTS)
    whole = coca.caption_logits(images, tokens)
    for place in range(1, tokens.shape[1] + 1):
        beginning = coca.caption_logits(images, tokens[:, :place])
        torch.testing.assert_close(beginning, whole[:, :place], atol=1e-5, rtol=0.0)


def test_logits_depend_on_the_image_and_pass_gradients_to_it(coca):
    images, tokens = sample_images().requires_grad_(), coca.caption_tokens(TEXTS)
    logits = coca.caption_logits(images, tokens)
    assert not torch.allclose(logits, coca.caption_logits(images.flip(0), tokens), atol=1e-3)
    logits[0, 1, :10].sum().backward()
    assert images.grad[0].abs().sum() > 0
    assert not images.grad[1].any()


def test_a_look_is_the_embedding_and_what_the_decoder_reads(coca):
    embedded, memory = coca.look(sample_images())
    assert torch.equal(embedded, coca.embed_images(sample_images()))
    assert memory.shape == (2, 4, 16)  # five queries, one of which is pooled
    tokens = coca.caption_tokens(TEXTS)
    assert torch.equal(coca.next_logits(memory, tokens), coca.caption_logits(sample_images(), tokens))


def test_tokens_are_start_text_end_and_padding(coca):
    start, end, padding = coca.caption_specials
    assert (start, end, padding) == (49406, 49407, 0)
    tokens = coca.caption_tokens(TEXTS)
    assert (tokens[:, 0] == start).all()
    assert (tokens == end).sum(dim=1).tolist() == [1, 1]
    assert tokens[0].tolist().index(end) < tokens[1].tolist().index(end) == tokens.shape[1] - 1
    assert (tokens[0, tokens[0].tolist().index(end) + 1 :] == padding).all()


def test_tokens_become_the_text_again(coca):
    for text, row in zip(["a ring .", TEXTS[1]], coca.caption_tokens(TEXTS), strict=True):
        assert coca.caption_text(row) == text
    start, end, padding = coca.caption_specials
    assert coca.caption_text(torch.tensor([start, end, 320, 320])) == ""
    assert coca.caption_text(torch.tensor([start, 320, padding])) == "a"


def test_a_caption_that_is_too_long_is_refused(coca):
    assert coca.caption_length == 24
    with pytest.raises(ModelError, match="has 32 tokens and 'tiny-coca' reads 24"):
        coca.caption_tokens(["a " * 30])


def test_random_weights_are_numbers(coca):
    assert all(value.isfinite().all() for value in coca.native.state_dict().values())
    assert 0.1 < coca.decoder_module().text_projection.std() < 0.5


@pytest.mark.parametrize("tower", ["vision_cfg", "text_cfg"])
def test_towers_that_hand_no_tokens_to_a_decoder_are_refused(tower):
    model_config = dict(COCA["model_cfg"])
    if tower == "vision_cfg":
        model_config["vision_cfg"] = {"layers": [1, 1, 1, 1], "width": 4, "image_size": 64, "patch_size": None}
        with pytest.raises(ModelError, match="another vision tower"):
            build("odd", {**COCA, "model_cfg": model_config})
    else:
        model_config["text_cfg"] = VIT["model_cfg"]["text_cfg"]
        with pytest.raises(ModelError, match="hands no tokens"):
            build("odd", {**COCA, "model_cfg": model_config})


def test_a_coca_without_attention_pooling_is_one_too():
    description = {**COCA, "model_cfg": {**COCA["model_cfg"], "vision_cfg": {**TRANSFORMER, "output_tokens": True}}}
    coca = build_random("plain-coca", description)
    assert isinstance(coca, CoCaModel)
    tokens = coca.caption_tokens(TEXTS)
    expected = vendors(coca, sample_images(), tokens, output_labels=False)["logits"]
    torch.testing.assert_close(coca.caption_logits(sample_images(), tokens), expected, atol=1e-5, rtol=0.0)
