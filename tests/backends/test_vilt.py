import json
import logging
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import log_softmax

from helpers.families_medclip import tokenizer, write_vocabulary
from helpers.families_vilt import FAMILIES
from molyneux.backends.abilities import captioner, log_match
from molyneux.backends.base import dual_encoder
from molyneux.backends.checkpoints import PICKLED, SAFE
from molyneux.backends.load import load
from molyneux.backends.vilt import Vilt, _Heads, build, load_folder, load_named
from molyneux.concepts import Concept
from molyneux.errors import ModelError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert, invert_each
from molyneux.teaching.interpolate import interpolate

pytestmark = pytest.mark.usefixtures("foreign_folders")

TEXTS = ["a ring.", "a dark mass on the lung", "two bars that meet, in a photo."]
RING = Concept("ring", ("A circle with a hole.", "Round."))
DECODER, WORDS = "mlm_score.decoder.weight", "vilt.embeddings.text_embeddings.word_embeddings.weight"
STALE = "vilt.embeddings.text_embeddings.position_ids"


@pytest.fixture(scope="module")
def vilt() -> Vilt:
    return FAMILIES["vilt"]()


@pytest.fixture(scope="module")
def saved(vilt, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    vilt.save(folder)
    return folder


@pytest.fixture
def mine(saved, tmp_path) -> Path:
    """A copy of the saved folder to be damaged."""
    return shutil.copytree(saved, tmp_path / "mine")


def sample_images(count: int = 3, size: int = 56) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def weights(model: Vilt) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.native.state_dict().items()}


def untied(model: Vilt) -> Vilt:
    """The same with a word head of its own."""
    twin = model.copy()
    decoder = twin.native.mlm_score.decoder
    decoder.weight = nn.Parameter(decoder.weight.flip(0).clone(), requires_grad=False)
    return twin


def test_transformers_itself_loads_what_was_saved(vilt, saved):
    from transformers import BertTokenizerFast, ViltForMaskedLM, ViltImageProcessor, ViltModel

    words = BertTokenizerFast.from_pretrained(saved)
    encoded = words(TEXTS, padding=True, return_tensors="pt")
    images = (sample_images() - 0.5) / 0.5
    body, report = ViltModel.from_pretrained(saved, output_loading_info=True)
    assert not report["missing_keys"]
    masked, report = ViltForMaskedLM.from_pretrained(saved, output_loading_info=True)
    assert not report["missing_keys"]
    assert set(report["unexpected_keys"]) == {"itm_score.fc.weight", "itm_score.fc.bias"}
    state = load_file(saved / SAFE)
    with torch.no_grad():
        pooled = body.eval()(**encoded, pixel_values=images).pooler_output
        logits = pooled @ state["itm_score.fc.weight"].T + state["itm_score.fc.bias"]
        filled = masked.eval()(**encoded, pixel_values=images).logits
    # transformers shuffles the patches, so sums are taken in another order
    torch.testing.assert_close(vilt.match_logits(sample_images(), TEXTS), logits, atol=1e-5, rtol=0.0)
    own = vilt.masked_logits(sample_images(), encoded["input_ids"])
    torch.testing.assert_close(own, filled, atol=1e-5, rtol=1e-5)
    processor = ViltImageProcessor.from_pretrained(saved)
    shown = processor([sample_images()[0]], do_rescale=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(shown, images[:1], atol=1e-5, rtol=0.0)


def test_a_image_of_another_size_is_read_as_transformers_reads_it(vilt, saved):
    from transformers import ViltModel

    assert (vilt.image_size, vilt.inversion_size) == (56, 32)
    encoded = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    images = sample_images(size=32)
    with torch.no_grad():
        body = ViltModel.from_pretrained(saved).eval()
        seen = body(**encoded, pixel_values=images * 2 - 1, pixel_mask=torch.ones(3, 32, 32))
        own = vilt._read(vilt._patches(images), encoded["input_ids"])
    torch.testing.assert_close(own.pooler_output, seen.pooler_output, atol=1e-5, rtol=0.0)


def test_the_weights_have_their_published_names(saved):
    state = load_file(saved / SAFE)
    heads = {key for key in state if not key.startswith("vilt.")}
    assert {"itm_score.fc.weight", "itm_score.fc.bias", "mlm_score.decoder.bias"} <= heads
    assert state["itm_score.fc.weight"].shape == (2, 16)
    assert {"vilt.pooler.dense.weight", "vilt.embeddings.cls_token", WORDS} <= state.keys()


def test_the_answers_are_the_same_every_time_and_draw_nothing(vilt):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = vilt.match_logits(sample_images(), TEXTS)
    assert torch.equal(vilt.match_logits(sample_images(), TEXTS), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_scores_are_those_of_every_pair_judged_alone(vilt, monkeypatch):
    monkeypatch.setattr("molyneux.backends.vilt.PAIRS_AT_ONCE", 2)
    scores = vilt.match_scores(sample_images(2), TEXTS)
    assert scores.shape == (2, 3)
    assert not scores.requires_grad
    for row in range(2):
        for column, text in enumerate(TEXTS):
            logits = vilt.match_logits(sample_images(2)[row : row + 1], [text])
            expected = log_softmax(logits, dim=1)[0, 1]
            torch.testing.assert_close(scores[row, column], expected, atol=1e-5, rtol=0.0)


def test_texts_of_one_length_are_judged_together_and_scores_stay_in_their_places(vilt, monkeypatch):
    monkeypatch.setattr("molyneux.backends.vilt.PAIRS_AT_ONCE", 2)
    texts = ["a ring", "ring " * 20, "a cross", "ring " * 19]
    seen: list[tuple[int, ...]] = []
    words = vilt.native.vilt.embeddings.text_embeddings
    handle = words.register_forward_hook(lambda module, inputs, made: seen.append(tuple(made.shape[:2])))
    scores = vilt.match_scores(sample_images(1), texts)
    handle.remove()
    (few, short), (many, long) = seen
    assert (few, many) == (2, 2)
    assert short < long / 2
    alone = torch.cat([vilt.match_scores(sample_images(1), [text]) for text in texts], dim=1)
    torch.testing.assert_close(scores, alone, atol=1e-5, rtol=0.0)


def test_texts_are_read_anew_only_where_they_differ(vilt, monkeypatch):
    read, seen = Vilt._tokens, []
    monkeypatch.setattr(Vilt, "_tokens", lambda self, texts: (seen.append(texts), read(self, texts))[1])
    twin = vilt.copy()
    first = twin.match_scores(sample_images(1), TEXTS)
    torch.testing.assert_close(twin.match_scores(sample_images(1), TEXTS), first)
    assert len(seen) == 1
    torch.testing.assert_close(twin.match_scores(sample_images(1), TEXTS[::-1]), first.flip(1), atol=1e-5, rtol=0.0)
    with pytest.raises(ModelError, match="tokens"):
        twin.match_scores(sample_images(1), ["ring " * 60])
    twin.long_text = "truncate"
    assert twin.match_scores(sample_images(1), ["ring " * 60]).shape == (1, 1)
    assert len(seen) == 4


def test_certain_matches_are_told_apart():
    logits = torch.tensor([[0.0, 30.0], [0.0, 31.0], [0.0, -200.0], [1.0, 1.5]])
    found = log_match(logits)
    assert found[0] < found[1] < 0
    exact = [-math.log1p(math.exp(no - yes)) if no < yes else no for no, yes in ((0, 30), (0, 31))]
    assert found[:2].tolist() == pytest.approx(exact, rel=1e-5)
    assert found[2].item() == -200
    torch.testing.assert_close(found[3], log_softmax(logits, dim=1)[3, 1])


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (640, 427), (300, 300), (1000, 200), (427, 1100), (33, 47)])
def test_photos_get_the_shape_of_the_published_preprocessing(size):
    from transformers import ViltConfig, ViltImageProcessor

    config = ViltConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=100)
    processor = ViltImageProcessor(size={"shortest_edge": 384}, size_divisor=32)
    made = processor(images=Image.new("RGB", size), return_tensors="pt")["pixel_values"]
    assert build("vilt", config, tokenizer()).photo_shape(*size) == tuple(made.shape[-2:])


def test_a_image_is_cut_into_patches_once_for_all_texts(vilt):
    seen: list[int] = []
    layer = vilt.native.vilt.embeddings.patch_embeddings
    handle = layer.register_forward_hook(lambda *call: seen.append(len(call[1][0])))
    vilt.match_scores(sample_images(2), [*TEXTS, *TEXTS])
    handle.remove()
    assert seen == [2]


def test_alignment_is_the_log_probability_of_a_match(vilt):
    own = log_softmax(vilt.match_logits(sample_images(), TEXTS), dim=1)[:, 1]
    scores, together = vilt.alignment_each(TEXTS).score(sample_images())
    torch.testing.assert_close(scores, own)
    torch.testing.assert_close(together, own.mean())
    scores, together = vilt.alignment(TEXTS).score(sample_images())
    torch.testing.assert_close(scores, vilt.match_scores(sample_images(), TEXTS).mean(dim=1), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(together, scores.mean())
    loss = nn.functional.cross_entropy(vilt.match_logits(sample_images(), TEXTS), torch.ones(3, dtype=torch.long))
    torch.testing.assert_close(-vilt.alignment_each(TEXTS).score(sample_images())[1], loss)


def test_inversion_raises_the_probability_of_a_match(vilt):
    config = replace(InversionConfig.paper_vilt(steps=12), images=3, size=32, view=32, growth=())
    made = invert(vilt, RING, config, seed=1)
    assert made.trace[-1].plain > made.trace[0].plain + 0.2
    # without affine views, colour shifts and noise a view is the image itself
    assert made.trace[-1].augmented == pytest.approx(made.trace[-1].plain, abs=0.2)
    assert torch.equal(made.pixels, invert(vilt, RING, config, seed=1).pixels)
    each = invert_each(vilt, [RING, Concept("cross", "Two bars that meet.")], config, seed=1)
    assert [one.pixels.shape for one in each] == [(1, 3, 32, 32)] * 2


def test_words_are_counted_within_their_text_and_special_tokens_have_none(vilt):
    tokens, words = vilt.masked_tokens(["a moongate.", "ring", "ring € hole"])
    assert tokens.shape == words.shape == (3, 12)
    assert words[0].tolist() == [-1, 0, *[1] * 8, 2, -1]
    assert words[1].tolist() == [-1, 0, *[-1] * 10]
    # what the tokenizer does not know cannot be asked for
    assert words[2].tolist()[:5] == [-1, 0, -1, 2, -1]
    assert vilt.mask_token == tokenizer().mask_token_id
    assert not set(vilt.word_tokens.tolist()) & set(tokenizer().all_special_ids)
    assert len(vilt.word_tokens) == len(tokenizer()) - 5


def test_the_blocks_are_listed_in_order_and_hold_no_words_and_no_heads(vilt):
    seen: list[nn.Module] = []
    blocks = [*vilt.fused_blocks(), *vilt.readout_modules()]
    handles = [block.register_forward_pre_hook(lambda module, _: seen.append(module)) for block in blocks]
    vilt.match_logits(sample_images(1), ["a ring"])
    for handle in handles:
        handle.remove()
    assert seen == blocks
    listed = {id(parameter) for block in blocks for parameter in block.parameters()}
    left = {name for name, parameter in vilt.native.named_parameters() if id(parameter) not in listed}
    assert all(name.startswith(("vilt.embeddings.", "mlm_score.", "itm_score.")) for name in left)
    assert not any("patch_embeddings" in name for name in left)


def test_a_saved_model_is_loaded_to_the_bit_by_any_of_its_names(vilt, saved):
    for again in (load(saved), load(f"vilt:{saved}"), load_named(str(saved)), load_folder(saved)):
        assert torch.equal(again.match_logits(sample_images(), TEXTS), vilt.match_logits(sample_images(), TEXTS))
        assert all(torch.equal(value, weights(vilt)[key]) for key, value in weights(again).items())
    assert load(f"vilt:{saved}").name == f"vilt:{saved}"


def test_one_matrix_stays_one_and_two_stay_two(vilt, saved, tmp_path, caplog):
    assert DECODER not in load_file(saved / SAFE)
    again = load_folder(saved).native
    assert again.mlm_score.decoder.weight is again.vilt.embeddings.text_embeddings.word_embeddings.weight
    two = untied(vilt)
    two.save(tmp_path / "two")
    again = load_folder(tmp_path / "two")
    assert torch.equal(again.native.mlm_score.decoder.weight, vilt.native.mlm_score.decoder.weight.flip(0))
    tokens, _ = vilt.masked_tokens(TEXTS)
    assert torch.equal(again.masked_logits(sample_images(), tokens), two.masked_logits(sample_images(), tokens))
    from transformers import ViltForMaskedLM

    with caplog.at_level(logging.CRITICAL):
        masked = ViltForMaskedLM.from_pretrained(tmp_path / "two").eval()
    assert torch.equal(masked.mlm_score.decoder.weight, two.native.mlm_score.decoder.weight)


def test_weights_of_older_releases_are_read(vilt, mine):
    """They stored positions, the bias of the words under two names, and shared tensors twice, in a pickle."""
    state = load_file(mine / SAFE)
    (mine / SAFE).unlink()
    state[STALE] = torch.arange(40)[None]
    state["mlm_score.bias"] = state["mlm_score.decoder.bias"].clone()
    state[DECODER] = state[WORDS].clone()
    torch.save(state, mine / PICKLED)
    again = load_folder(mine)
    assert torch.equal(again.match_logits(sample_images(), TEXTS), vilt.match_logits(sample_images(), TEXTS))
    native = again.native
    assert native.mlm_score.decoder.weight is native.vilt.embeddings.text_embeddings.word_embeddings.weight
    del state["mlm_score.decoder.bias"]
    torch.save(state, mine / PICKLED)
    assert torch.equal(load_folder(mine).native.mlm_score.decoder.bias, vilt.native.mlm_score.decoder.bias)
    torch.save(state | {"mlm_score.decoder.bias": state["mlm_score.bias"] + 1}, mine / PICKLED)
    with pytest.raises(ModelError, match="two values for 'mlm_score"):
        load_folder(mine)


def test_a_release_that_has_the_words_bias_under_two_names_saves_and_loads_the_same(vilt, monkeypatch, tmp_path):
    plain = _Heads.__init__

    def older(self: _Heads, config: object) -> None:
        plain(self, config)
        self.mlm_score.bias = self.mlm_score.decoder.bias

    monkeypatch.setattr(_Heads, "__init__", older)
    two = FAMILIES["vilt"]()
    two.save(tmp_path / "older")
    assert "mlm_score.bias" not in load_file(tmp_path / "older" / SAFE)
    again = load_folder(tmp_path / "older")
    assert again.native.mlm_score.bias is again.native.mlm_score.decoder.bias
    tokens, _ = vilt.masked_tokens(TEXTS)
    assert torch.equal(again.masked_logits(sample_images(), tokens), vilt.masked_logits(sample_images(), tokens))


def test_the_ends_of_an_interpolation_are_the_parents_and_a_copy_is_independent(vilt):
    other = vilt.copy()
    before = weights(vilt)
    with torch.no_grad():
        other.native.vilt.pooler.dense.weight.add_(1.0)
        other.native.vilt.embeddings.text_embeddings.word_embeddings.weight.mul_(2.0)
    assert all(torch.equal(value, before[key]) for key, value in weights(vilt).items())
    for alpha, parent in ((0.0, vilt), (1.0, other)):
        assert all(torch.equal(v, weights(parent)[k]) for k, v in weights(interpolate(vilt, other, alpha)).items())
    middle = interpolate(vilt, other, 0.5)
    for key in (WORDS, DECODER):
        torch.testing.assert_close(weights(middle)[key], 1.5 * before[key])


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("missing", r"lack 'vilt\.layernorm\.bias' \(1 in all\)"),
        ("extra", "have the unknown key 'rank_output.bias'"),
        ("shape", r"have another shape for 'itm_score\.fc\.bias'"),
        ("no head", "have no head for matching .*dandelin/vilt-b32-mlm-itm"),
        ("words", "lack 'mlm_score.decoder.weight'"),
    ],
)
def test_weights_of_another_model_are_told_apart(mine, fault, complaint):
    state = load_file(mine / SAFE)
    if fault == "missing":
        del state["vilt.layernorm.bias"]
    elif fault == "extra":
        state["rank_output.bias"] = torch.zeros(1)
    elif fault == "shape":
        state["itm_score.fc.bias"] = torch.zeros(1)
    elif fault == "words":
        del state[WORDS]
    else:
        state = {key: value for key, value in state.items() if not key.startswith("itm_score.")}
    save_file(state, mine / SAFE)
    with pytest.raises(ModelError, match=complaint):
        load(mine)


class _Shell:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_pickle_with_code_is_refused_and_not_run(mine, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    (mine / SAFE).unlink()
    torch.save({"itm_score.fc.bias": _Shell()}, mine / PICKLED)
    with pytest.raises(ModelError, match="damaged, or holds code, which is not run"):
        load(mine)
    assert ran == []


def test_missing_files_are_named(mine):
    (mine / SAFE).unlink()
    with pytest.raises(ModelError, match="has neither model"):
        load_folder(mine)
    (mine / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"has neither tokenizer\.json nor vocab\.txt: put the tokenizer of dandelin"):
        load_folder(mine)
    (mine / "config.json").unlink()
    with pytest.raises(ModelError, match="has no config"):
        load_folder(mine)


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "vilt", "hidden_size": 15}', '{"vocab_size": "many"}'])
def test_a_damaged_description_is_one_clear_error(mine, content):
    (mine / "config.json").write_text(content)
    with pytest.raises(ModelError, match="does not describe a model that can be built") as refusal:
        load_folder(mine)
    assert "\n" not in str(refusal.value)


def test_a_damaged_or_foreign_tokenizer_is_one_clear_error(mine, vilt, tmp_path):
    (mine / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"the tokenizer in .*mine cannot be read"):
        load_folder(mine)
    few = json.loads((mine / "config.json").read_text()) | {"vocab_size": 50}
    (mine / "config.json").write_text(json.dumps(few))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (mine / name).unlink()
    write_vocabulary(mine)
    with pytest.raises(ModelError, match=r"the tokenizer has 91 entries and .* 50 words"):
        load_folder(mine)


def test_a_bare_vocabulary_is_a_tokenizer_too(mine, vilt):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (mine / name).unlink()
    write_vocabulary(mine)
    assert torch.equal(load_folder(mine).masked_tokens(TEXTS)[0], vilt.masked_tokens(TEXTS)[0])


@pytest.mark.parametrize("name", ["nowhere", "/no/where", "./no", "a/b/c"])
def test_a_folder_that_is_not_there_is_named(name):
    with pytest.raises(ModelError, match=f"there is no folder '{name}'"):
        load_named(name)


def test_a_hub_that_cannot_be_reached_is_one_clear_error(monkeypatch):
    import huggingface_hub

    def fail(*_: object, **__: object) -> str:
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=r"'vilt:org/name' cannot be fetched \(no route to host\): check the name"):
        load("vilt:org/name")


def test_the_hubs_weights_are_joined_by_the_tokenizer_of_the_other_repository(monkeypatch, vilt, mine, tmp_path):
    import huggingface_hub

    words = tmp_path / "words"
    words.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (mine / name).rename(words / name)
    places = {"dandelin/vilt-b32-mlm-itm": mine, "dandelin/vilt-b32-mlm": words}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(places[name]))
    model = load("vilt:dandelin/vilt-b32-mlm-itm")
    assert model.name == "vilt:dandelin/vilt-b32-mlm-itm"
    assert torch.equal(model.match_logits(sample_images(), TEXTS), vilt.match_logits(sample_images(), TEXTS))


def test_a_text_that_is_too_long_is_refused_with_its_count_and_what_would_be_lost(vilt):
    fits = "a " * 37 + "ring"
    vilt.match_logits(sample_images(1), [fits])
    for ask in (
        lambda text: vilt.match_logits(sample_images(1), [text]),
        lambda text: vilt.alignment([text]),
        lambda text: vilt.alignment_each([text]),
        lambda text: vilt.masked_tokens([text]),
    ):
        with pytest.raises(ModelError) as refusal:
            ask(fits + " cross bars")
        assert "has 42 tokens and 'tiny-vilt' reads 40" in str(refusal.value)
        assert "'cross bars'" in str(refusal.value)


def test_a_text_that_is_too_long_is_cut_where_that_is_asked_for(saved):
    cut = load(saved, long_text="truncate")
    fits = "a " * 37 + "ring"
    long = fits + " cross bars"
    assert torch.equal(cut.masked_tokens([long])[0], cut.masked_tokens([fits])[0])
    assert torch.equal(cut.copy().match_logits(sample_images(1), [long]), cut.match_logits(sample_images(1), [fits]))
    assert torch.equal(cut.alignment([long]).score(sample_images())[0], cut.alignment([fits]).score(sample_images())[0])


def test_what_it_cannot_do_is_said(vilt):
    with pytest.raises(ModelError, match=r"captioning needs a model that writes captions \(CoCa\), got 'tiny-vilt'"):
        captioner(vilt, "captioning")
    with pytest.raises(ModelError, match="separate image and text embeddings"):
        dual_encoder(vilt, "evaluation")


def test_a_tokenizer_with_more_entries_than_words_is_refused(vilt):
    from transformers import ViltConfig

    config = ViltConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(ModelError, match="91 entries and 'small' 60 words"):
        build("small", config, tokenizer())
