"""What every family must keep, over tiny random models of the real architectures, and over `drawn` and `mini`.

A family takes part by its lines in `helpers.families`.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate as resize
from torch.nn.functional import normalize

import helpers
from helpers.families import FAMILIES, VENDOR, in_double, sample_images
from molyneux.backends.abilities import (
    Captioner,
    Explainable,
    MaskedLM,
    Matcher,
    captioner,
    explainable,
    masked_lm,
    matcher,
)
from molyneux.backends.base import DualEncoder, VisionLanguageModel, dual_encoder
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.concepts import Concept
from molyneux.errors import ConfigError, ModelError, OutputError
from molyneux.inversion.config import InversionConfig
from molyneux.inversion.invert import invert
from molyneux.synthetic import SyntheticImages, description_only, noise_images
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.edit import edited
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.interpolate import interpolate
from molyneux.teaching.objectives.base import Lesson
from molyneux.teaching.objectives.edit import edits_of
from molyneux.teaching.objectives.losses import bank_loss

pytestmark = pytest.mark.usefixtures("foreign_folders")

TEXTS = ["a ring.", "a circle with a hole", "two dark bars that meet"]
RING = Concept("ring", "a circle with a round hole.")
KNOWN = ["cross", "bar", "photo"]
TOLERANCE = {"atol": 1e-6, "rtol": 0.0}
TOKENIZERS = ("tokenizer.json", "vocab.*", "merges.txt", "*.model")


@pytest.fixture(scope="module", params=[*FAMILIES, pytest.param("mini", marks=pytest.mark.slow)])
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family) -> VisionLanguageModel:
    return load("mini") if family == "mini" else FAMILIES[family]()


@pytest.fixture(scope="module")
def encoder(model) -> DualEncoder:
    if not isinstance(model, DualEncoder):
        pytest.skip("has no separate embeddings")
    return model


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save(folder)
    return folder


def scores(model: VisionLanguageModel, images: Tensor, texts: Sequence[str] = TEXTS) -> Tensor:
    """How each image fits the text beside it."""
    return model.alignment_each(texts).score(images)[0]


def state(model: VisionLanguageModel) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.native.state_dict().items()}


def lesson(part: str) -> TeachingConfig:
    """A few steps, of which all is kept."""
    return TeachingConfig(
        loss="bank",
        update=Full(part=part),
        steps=3,
        batch=2,
        learning_rate=1e-3,
        replay_batch=0,
        texts="definition",
        strength=1.0,
    )


def taught(model: DualEncoder, part: str) -> DualEncoder:
    noise = noise_images(RING, 2, model.inversion_size, seed=0)
    return fine_tune(model, [noise], lesson(part), known=KNOWN, seed=0)


def test_at_least_the_families_of_this_room_take_part():
    assert {"hf clip", "hf siglip", "hf siglip2", "hf vit_bert", "hf swin_bert", "hf resnet_bert"} <= FAMILIES.keys()
    assert VENDOR.keys() == FAMILIES.keys()


def test_everything_is_frozen_and_in_evaluation_mode(model):
    assert not any(parameter.requires_grad for parameter in model.native.parameters())
    assert not any(module.training for module in model.native.modules())


def test_pixels_receive_gradients_each_from_its_own_score_alone(model):
    images = sample_images(model).requires_grad_()
    scores(model, images)[:2].sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad[:2].abs().sum(dim=(1, 2, 3)) > 0).all()
    assert not images.grad[2].any()


def test_the_weights_receive_no_gradients_and_stay(model):
    before = weights_digest(model.native)
    images = sample_images(model).requires_grad_()
    scores(model, images).sum().backward()
    assert all(parameter.grad is None for parameter in model.native.parameters())
    assert weights_digest(model.native) == before


def test_a_permutation_of_the_batch_permutes_the_scores(model):
    images, order = sample_images(model), [2, 0, 1]
    with torch.no_grad():
        straight = scores(model, images)
        permuted = scores(model, images[order], [TEXTS[place] for place in order])
        alone = torch.cat([scores(model, images[i : i + 1], TEXTS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(permuted, straight[order], **TOLERANCE)
    torch.testing.assert_close(alone, straight, **TOLERANCE)
    assert straight.unique().numel() == 3


def test_images_for_inversion_are_read_in_their_own_size(model):
    size = model.inversion_size
    small = resize(sample_images(model), size=(size, size), mode="bilinear")
    with torch.no_grad():
        assert scores(model, small).isfinite().all()


def test_what_was_read_leaves_no_trace_in_a_saved_folder(saved, tmp_path):
    read, fresh = load(saved), load(saved)
    for texts in (["ring"], TEXTS):
        scores(read, sample_images(read, len(texts)), texts)
    read.save(tmp_path / "read")
    fresh.save(tmp_path / "fresh")
    names = {path.relative_to(tmp_path / "fresh") for path in (tmp_path / "fresh").rglob("*")}
    assert names == {path.relative_to(tmp_path / "read") for path in (tmp_path / "read").rglob("*")}
    for name in names:
        assert (tmp_path / "read" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes(), name


def test_no_file_of_a_saved_folder_names_a_place_on_this_machine(saved, tmp_path):
    outside = (str(saved.parent.parent), str(tmp_path), str(Path.home()), sys.prefix)
    load(saved).save(tmp_path / "again")
    for path in (*saved.rglob("*"), *(tmp_path / "again").rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        assert not [place for place in outside if place.encode() in content], path.name


def test_embeddings_are_rows_of_unit_length(encoder):
    with torch.no_grad():
        rows, texts = encoder.embed_images(sample_images(encoder)), encoder.embed_texts(TEXTS)
    assert rows.shape == texts.shape
    for found in (rows, texts):
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
        assert torch.linalg.matrix_rank(found) == 3
    assert encoder.temperature > 0


def test_features_and_projection_compose_to_the_embedding(encoder):
    images = sample_images(encoder)
    with torch.no_grad():
        features = encoder.features(images)
        assert features.ndim == 2
        assert torch.equal(encoder.project(features), encoder.embed_images(images))


def test_embeddings_are_the_towers_outputs_brought_to_unit_length(encoder):
    images = sample_images(encoder)
    with torch.no_grad():
        features = encoder.features(images)
        seen, said = encoder.image_outputs(features), encoder.text_outputs(TEXTS)
    torch.testing.assert_close(normalize(seen, dim=1), encoder.embed_images(images), **TOLERANCE)
    torch.testing.assert_close(normalize(said, dim=1), encoder.embed_texts(TEXTS), **TOLERANCE)
    # of random weights, no length happens to be 1
    assert all((rows.norm(dim=1) - 1).abs().min() > 1e-4 for rows in (seen, said))


def test_a_distance_is_that_of_the_towers_outputs(model):
    images = sample_images(model)
    if not isinstance(model, DualEncoder):
        with pytest.raises(ModelError, match="no embeddings of images alone, so no distance"):
            model.alignment(TEXTS, distance=True)
        return
    with torch.no_grad():
        found = model.alignment_each(TEXTS, distance=True).score(images)[0]
        expected = model.image_outputs(model.features(images)) - model.text_outputs(TEXTS)
    torch.testing.assert_close(-found, expected.norm(dim=1))


@pytest.fixture(scope="module")
def divided(encoder) -> Explainable:
    assert isinstance(encoder, Explainable)
    return encoder


def test_what_lies_below_a_block_and_what_above_compose_to_the_embedding_at_every_block(divided):
    images = sample_images(divided)
    whole = divided.embed_images(images)
    assert divided.block_count >= 2
    for block in range(divided.block_count + 1):
        hidden = divided.lower(images, block)
        torch.testing.assert_close(divided.upper(hidden, block), whole, **TOLERANCE)
        torch.testing.assert_close(divided.lower(images[[2, 0, 1]], block), hidden[[2, 0, 1]], atol=1e-5, rtol=1e-5)


def test_gradients_pass_both_halves_of_a_divided_tower(divided):
    images, target = sample_images(divided), divided.embed_texts(TEXTS)
    whole, cut = (images.clone().requires_grad_() for _ in range(2))
    hidden = divided.lower(cut, 1)
    hidden.retain_grad()
    for embedded in (divided.embed_images(whole), divided.upper(hidden, 1)):
        (embedded * target).sum().backward()
    assert hidden.grad.any()
    torch.testing.assert_close(cut.grad, whole.grad, atol=1e-5, rtol=1e-3)


def test_a_hidden_state_lies_over_the_image(divided):
    """A change in the image's lower right corner is seen there most, before places have heard of each other."""
    images = sample_images(divided)[:1]
    changed, edge = images.clone(), divided.image_size // 2
    changed[:, :, edge:, edge:] = 1 - changed[:, :, edge:, edge:]
    for block in range(divided.block_count + 1):
        hidden = divided.lower(images, block)
        grid = divided.places(hidden)
        dropped = hidden.numel() - grid.numel()
        assert dropped in {0, hidden.shape[-1], 2 * hidden.shape[-1]}
        assert grid.shape[1] == grid.shape[2]
    moved = (divided.places(divided.lower(changed, 0)) - divided.places(divided.lower(images, 0))).abs().sum(dim=-1)[0]
    half = moved.shape[0] // 2
    assert moved[half:, half:].mean() > 2 * moved[:half, :half].mean()


def test_a_block_that_is_not_there_is_refused(divided):
    with pytest.raises(ConfigError, match=f"expected 0 to {divided.block_count}"):
        divided.lower(sample_images(divided)[:1], divided.block_count + 1)


def test_trunk_and_projection_share_out_the_vision_tower(encoder):
    trunk = [id(value) for block in encoder.trunk_modules() for value in block.parameters()]
    projection = [id(value) for value in encoder.projection_module().parameters()]
    assert len(trunk) == len(set(trunk))
    assert not set(trunk) & set(projection)
    assert {*trunk, *projection} == {id(value) for value in encoder.vision_module().parameters()}
    assert len(encoder.trunk_modules()) > 1


def test_the_projection_uses_no_weight_of_the_trunk_and_the_text_tower_none_of_either(encoder):
    twin = encoder.copy()
    images = sample_images(encoder)
    with torch.no_grad():
        features, embeddings, texts = encoder.features(images), encoder.embed_images(images), twin.embed_texts(TEXTS)
        for value in twin.projection_module().parameters():
            value.mul_(1.5).add_(0.1 * torch.rand(value.shape, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(twin.features(images), features)
        assert not torch.allclose(twin.embed_images(images), embeddings, atol=1e-4)
        assert torch.equal(twin.embed_texts(TEXTS), texts)


def test_batch_norms_are_those_of_the_vision_tower_in_order(model):
    layers, seen = model.vision_batch_norms(), []
    handles = [layer.register_forward_pre_hook(lambda module, _: seen.append(module)) for layer in layers]
    with torch.no_grad():
        scores(model, sample_images(model))
    for handle in handles:
        handle.remove()
    assert list(dict.fromkeys(seen)) == layers
    if isinstance(model, DualEncoder):
        inside = [layer for layer in model.vision_module().modules() if isinstance(layer, nn.BatchNorm2d)]
        assert {id(layer) for layer in layers} == {id(layer) for layer in inside}


def test_a_copy_moves_alone(model):
    twin = model.copy()
    before = weights_digest(model.native)
    assert type(twin) is type(model)
    assert weights_digest(twin.native) == before
    moved = twin.vision_module() if isinstance(twin, DualEncoder) else twin.native
    with torch.no_grad():
        for value in moved.parameters():
            value.add_(1.0)
    assert weights_digest(model.native) == before
    assert weights_digest(twin.native) != before


def takes_remap(model: DualEncoder) -> bool:
    try:
        model.check_remap()
    except ModelError:
        return False
    return True


def change_of(model: DualEncoder) -> Tensor:
    width = model.embed_texts(["a"]).shape[1]
    return 0.3 * torch.randn(width, width, generator=torch.Generator().manual_seed(0))


def test_a_remap_follows_the_projection(encoder):
    if not takes_remap(encoder):
        pytest.skip("refuses such a map, see below")
    twin, change = encoder.copy(), change_of(encoder)
    twin.remap(change)
    with torch.no_grad():
        before, after = (one.embed_images(sample_images(encoder)) for one in (encoder, twin))
    torch.testing.assert_close(after, normalize(before + before @ change.T, dim=1), **TOLERANCE)


def test_a_remap_that_no_weights_can_hold_is_refused_before_any_work(encoder):
    if takes_remap(encoder):
        pytest.skip("follows such a map, see above")
    twin = encoder.copy()
    parts = "'projection', 'blocks' or 'tower'"
    with pytest.raises(ModelError, match=parts):
        twin.remap(change_of(encoder))
    assert weights_digest(twin.native) == weights_digest(encoder.native)


@pytest.mark.parametrize("part", ["projection", "blocks", "tower"])
def test_only_the_chosen_weights_move(encoder, part):
    before = state(encoder)
    student = taught(encoder, part)
    allowed = {
        "projection": [encoder.projection_module()],
        "blocks": [*encoder.trunk_modules()[-1:], encoder.projection_module()],
        "tower": [encoder.vision_module()],
    }[part]
    places = {value.data_ptr() for module in allowed for value in module.parameters()}
    may_move = {key for key, value in encoder.native.state_dict().items() if value.data_ptr() in places}
    moved = {key for key, value in student.native.state_dict().items() if not torch.equal(value, before[key])}
    assert moved
    assert moved <= may_move
    assert all(torch.equal(value, before[key]) for key, value in encoder.native.state_dict().items())
    assert not any(parameter.requires_grad for parameter in student.native.parameters())
    assert torch.equal(student.embed_texts(TEXTS), encoder.embed_texts(TEXTS))


@pytest.mark.parametrize("described", [True, False])
def test_the_default_lesson_does_what_its_edit_says_and_saves_as_any_model(encoder, described, tmp_path):
    """Scores change as if v' = v + value (key . v) followed the vision tower, on whichever side it is merged."""
    own = noise_images(RING, 2, encoder.inversion_size, seed=7)
    replay = [
        noise_images(Concept(name, "a thing."), 2, encoder.inversion_size, seed) for seed, name in enumerate(KNOWN)
    ]
    lesson = Lesson(encoder, [description_only(RING) if described else own], TeachingConfig(), KNOWN, replay, 0)
    student = fine_tune(encoder, lesson.images, lesson.config, known=KNOWN, replay=replay)
    found, texts = edits_of(lesson), [f"a photo of a {name}." for name in ("ring", *KNOWN)]
    seen, read = encoder.embed_images(own.pixels).double(), encoder.embed_texts(texts).double()
    if encoder.map_side == "images":
        expected = edited(seen, found) @ read.T
    else:
        expected = seen @ normalize(read + read @ found.values.T @ found.keys, dim=1).T
    scores = student.embed_images(own.pixels).double() @ student.embed_texts(texts).double().T
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0.0)
    student.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert torch.allclose(
        again.embed_images(own.pixels).double() @ again.embed_texts(texts).double().T, scores, atol=1e-5
    )


def test_interpolation_ends_at_the_parents_to_the_bit(encoder):
    student = taught(encoder, "tower")
    for alpha, parent in ((0.0, encoder), (1.0, student)):
        mixed = interpolate(encoder, student, alpha).native.state_dict()
        assert all(torch.equal(mixed[key], value) for key, value in parent.native.state_dict().items())
    half = interpolate(encoder, student, 0.5)
    assert weights_digest(half.native) not in {weights_digest(encoder.native), weights_digest(student.native)}


@pytest.fixture(scope="module")
def synthetic(family, model) -> SyntheticImages:
    # a real model needs more than a few steps
    config = InversionConfig(images=2, steps=30 if family == "mini" else 12, batch_norm=0.0, trace_every=1)
    return invert(model, RING, config, seed=0)


def test_inversion_raises_the_score_it_climbs(synthetic):
    assert synthetic.trace[-1].plain > synthetic.trace[0].plain


def test_teaching_lowers_its_loss_on_inverted_images(encoder, synthetic):
    student = fine_tune(encoder, [synthetic], lesson("projection"), known=KNOWN, seed=0)
    size = encoder.image_size
    shown = resize(synthetic.pixels, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    own = encoder.embed_texts(RING.captions).expand(2, -1)
    bank = encoder.embed_texts([f"a photo of a {name}." for name in KNOWN])
    everything = torch.ones(2, len(KNOWN), dtype=torch.bool)
    with torch.no_grad():
        before, after = (
            bank_loss(one.embed_images(shown), own, bank, everything, encoder.temperature) for one in (encoder, student)
        )
    assert after < before


def test_a_saved_folder_is_loaded_to_the_same_scores(model, saved):
    again = load(saved)
    with torch.no_grad():
        torch.testing.assert_close(
            scores(again, sample_images(model)), scores(model, sample_images(model)), **TOLERANCE
        )
    assert type(again) is type(model)
    assert again.image_size == model.image_size
    assert again.inversion_size == model.inversion_size
    assert again.crop_fraction == model.crop_fraction


def outputs(model: VisionLanguageModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a vendor's reading is compared with."""
    with torch.no_grad():
        if isinstance(model, DualEncoder):
            return model.embed_images(images), model.embed_texts(TEXTS)
        assert isinstance(model, MaskedLM)
        alone = [model.masked_tokens([text])[0] for text in TEXTS]
        written = [model.masked_logits(images[i : i + 1], tokens)[0] for i, tokens in enumerate(alone)]
        return scores(model, images), torch.cat(written)


def test_a_saved_folder_that_was_moved_is_loaded_by_the_vendor_to_the_same_outputs(family, model, saved, tmp_path):
    reading = VENDOR["open_clip-timm-bert" if family == "mini" else family]
    moved = saved.rename(tmp_path / "elsewhere")
    try:
        read, own = reading(moved, sample_images(model), TEXTS), list(outputs(model, sample_images(model)))
    finally:
        moved.rename(saved)
    if read[0].dtype == torch.float64:
        own[0] = in_double(model, sample_images(model))
    for found, expected in zip(read, own, strict=True):
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(found / scale, expected / scale, **TOLERANCE, check_dtype=False)


def test_the_vendors_need_nothing_of_molyneux(tmp_path):
    """The same readings in a process that cannot import it."""
    calls, expected = [], {}
    for family in ("hf clip", "open_clip-vit", "vilt"):
        model, folder = FAMILIES[family](), tmp_path / family
        model.save(folder)
        save_file({"images": sample_images(model)}, tmp_path / f"{family}.images")
        calls.append((VENDOR[family].__name__, family))
        expected[family] = outputs(model, sample_images(model))
    code = (
        "import sys, pathlib\n"
        "from helpers import vendors\n"
        "from safetensors.torch import load_file, save_file\n"
        "root = pathlib.Path.cwd()\n"
        f"for name, family in {calls!r}:\n"
        "    images = load_file(root / f'{family}.images')['images']\n"
        f"    first, second = getattr(vendors, name)(root / family, images, {TEXTS!r})\n"
        "    save_file({'first': first, 'second': second}, root / f'{family}.found')\n"
        "assert sys.modules['molyneux'] is None\n"
    )
    tests = str(Path(helpers.__file__).parents[1])
    blocked = f"import sys; sys.modules['molyneux'] = None; sys.path.insert(0, {tests!r})\n{code}"
    subprocess.run([sys.executable, "-c", blocked], cwd=tmp_path, check=True, timeout=120)
    for family, wanted in expected.items():
        found = load_file(tmp_path / f"{family}.found")
        for key, value in zip(("first", "second"), wanted, strict=True):
            scale = max(1.0, float(value.abs().max()))
            torch.testing.assert_close(found[key] / scale, value / scale, **TOLERANCE, check_dtype=False)


def test_a_taught_model_is_saved_and_loaded_as_it_is(encoder, tmp_path):
    student = taught(encoder, "projection")
    student.save(tmp_path / "model")
    again = load(tmp_path / "model")
    with torch.no_grad():
        images = sample_images(encoder)
        torch.testing.assert_close(again.embed_images(images), student.embed_images(images), **TOLERANCE)


def test_a_model_is_not_saved_over_another(model, saved):
    with pytest.raises(OutputError, match="already exists"):
        model.save(saved)


def damaged(saved: Path, tmp_path: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    """A copy of the saved folder whose weights have been changed."""
    folder = shutil.copytree(saved, tmp_path / "damaged")
    (path,) = folder.glob("*.safetensors")
    values = load_file(path)
    change(values)
    save_file(values, path, metadata={"format": "pt"})
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as refusal:
        load(folder)
    message = str(refusal.value)
    assert "\n" not in message
    return message


def last_matrix(values: dict[str, Tensor]) -> str:
    return [key for key in sorted(values) if values[key].ndim == 2][-1]


def test_weights_that_lack_a_tensor_are_refused(saved, tmp_path):
    name = last_matrix(load_file(next(saved.glob("*.safetensors"))))
    message = refused(damaged(saved, tmp_path, lambda values: values.pop(name)))
    assert "lack" in message


def test_weights_with_an_unknown_tensor_are_refused(saved, tmp_path):
    message = refused(damaged(saved, tmp_path, lambda values: values.update(surprise=torch.zeros(1))))
    assert "unknown key 'surprise'" in message


def test_weights_of_another_shape_are_refused(saved, tmp_path):
    name = last_matrix(load_file(next(saved.glob("*.safetensors"))))
    folder = damaged(saved, tmp_path, lambda values: values.update({name: torch.zeros(2, 3)}))
    assert "shape" in refused(folder)


@pytest.mark.parametrize("left", [0, 5, 1000, -1])
def test_truncated_weights_are_refused(saved, tmp_path, left):
    folder = shutil.copytree(saved, tmp_path / "damaged")
    (path,) = folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:left])
    assert "cannot be read" in refused(folder)


def test_a_folder_without_its_tokenizer_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "damaged")
    files = [path for pattern in TOKENIZERS for path in folder.glob(pattern)]
    if not files:
        pytest.skip("its tokenizer needs no files")
    for path in files:
        path.unlink()
    assert "tokenizer" in refused(folder)


def too_long(model: VisionLanguageModel) -> str:
    """Three sentences each of which fits, and which do not fit together by a few words."""
    for count in range(1, 200):
        text = " ".join(f"a {mark}{' ring' * count}." for mark in ("dark", "round", "cross"))
        try:
            model.check_text(text)
        except ModelError:
            return text.replace(".", " ring.")
    raise AssertionError("no text is too long")


def test_a_text_that_does_not_fit_is_refused_with_its_count_and_what_would_be_lost(model):
    text = too_long(model)
    with pytest.raises(ModelError) as refusal:
        model.alignment([text])
    found = re.search(r"the text has (\d+) tokens and .* reads (\d+)", str(refusal.value))
    assert found
    assert int(found[1]) > int(found[2])
    lost = str(refusal.value).rsplit("would be lost: ", 1)[1].strip("'\"")
    letters = re.sub(r"\W", "", lost.lower())
    assert letters
    assert re.sub(r"\W", "", text.lower()).endswith(letters)


def test_a_text_that_does_not_fit_is_cut_or_averaged_where_that_is_asked_for(encoder):
    text = too_long(encoder)
    first = text.split(". ")[0] + "."
    rows = {}
    for policy in ("truncate", "mean"):
        twin = encoder.copy()
        twin.long_text = policy
        twin = twin.copy()
        twin.check_text(text)
        rows[policy], whole = twin.embed_texts([text, first])
        torch.testing.assert_close(rows[policy].norm(), torch.ones(()))
        torch.testing.assert_close(whole, encoder.embed_texts([first])[0], **TOLERANCE)
    assert not torch.allclose(rows["truncate"], rows["mean"], atol=1e-4)
    with pytest.raises(ModelError, match="reads"):
        encoder.embed_texts([text])


def test_asking_for_an_ability_that_is_not_there_is_one_clear_error(model):
    for kind, ask in (
        (DualEncoder, dual_encoder),
        (Matcher, matcher),
        (Captioner, captioner),
        (MaskedLM, masked_lm),
        (Explainable, explainable),
    ):
        if isinstance(model, kind):
            assert ask(model, "this") is model
        else:
            with pytest.raises(ModelError, match=r"this needs a model .*, got"):
                ask(model, "this")
