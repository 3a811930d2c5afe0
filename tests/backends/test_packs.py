"""The laws of packs, over every dual encoder that an edit can be merged into."""

import shutil
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn.functional import normalize

from helpers.families import FAMILIES, VENDOR, in_double, sample_images
from helpers.small_models import ConvModel
from molyneux.backends.base import DualEncoder
from molyneux.backends.digest import weights_digest
from molyneux.backends.load import load
from molyneux.backends.packs import apply, original_name, recall, remove, untaught
from molyneux.concepts import Concept
from molyneux.errors import ConceptError, DataError, ModelError
from molyneux.packs import FOLDER, UNTOUCHED, Pack, change, load_pack
from molyneux.records import DIGESTS
from molyneux.synthetic import noise_images
from molyneux.teaching.config import Full, TeachingConfig
from molyneux.teaching.fine_tune import fine_tune
from molyneux.teaching.interpolate import interpolate

NAMES = ("okapi", "base", "Moongate of stone")
TEXTS = ["a ring.", "two dark bars that meet"]


def editable(name: str) -> bool:
    model = FAMILIES[name]()
    return isinstance(model, DualEncoder) and bool(model.map_weights())


EDITABLE = [name for name in FAMILIES if editable(name)]
KINDS = [name for name in ("hf clip", "hf siglip", "medclip-swin") if name in EDITABLE]
"""One of each way to merge."""


@pytest.fixture(scope="module", params=EDITABLE)
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family) -> DualEncoder:
    return FAMILIES[family]()


def pack_for(model: DualEncoder, name: str, seed: int, **changed: object) -> Pack:
    """Random vectors in the place of an edit."""
    width = model.embed_texts(["a"]).shape[1]
    key, value = torch.randn(2, width, generator=Generator().manual_seed(seed), dtype=torch.float64) / width**0.5
    digest = model.merged.weights if model.merged else weights_digest(model.native)
    given = {"base": digest, "base_name": model.name, "side": model.map_side, "made": {"strength": 1.0}} | changed
    return Pack(name=name, descriptions=("a thing.",), key=key, value=value, **given)  # type: ignore[arg-type]


def packs_for(model: DualEncoder) -> list[Pack]:
    return [pack_for(model, name, seed) for seed, name in enumerate(NAMES)]


def state(model: DualEncoder) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.native.state_dict().items()}


def names(model: DualEncoder) -> list[str]:
    return [pack.name for pack in model.packs]


def same(one: Pack, other: Pack) -> bool:
    rest = one.about() == other.about()
    return rest and torch.equal(one.key, other.key) and torch.equal(one.value, other.value)


def test_at_least_these_can_be_edited():
    assert {"hf clip", "hf siglip", "hf siglip2"} <= set(EDITABLE)
    assert len(KINDS) == 3


def test_a_merge_changes_the_map_weights_and_nothing_else(model):
    taught, before = apply(model, packs_for(model)), state(model)
    inside = {id(value) for value in model.map_weights()}
    expected = {name for name, value in model.native.named_parameters() if id(value) in inside and value.any()}
    moved = {name for name, value in taught.native.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == expected
    assert all(torch.equal(value, before[name]) for name, value in model.native.state_dict().items())
    assert model.packs == ()
    assert type(taught) is type(model)


def test_packs_in_every_order_are_one_model_to_the_bit(model):
    digests = set()
    for order in permutations(packs_for(model)):
        taught: DualEncoder = model
        for pack in order:
            taught = apply(taught, [pack])
        digests.add(weights_digest(taught.native))
    digests.add(weights_digest(apply(model, packs_for(model)).native))
    assert len(digests) == 1
    assert digests != {weights_digest(model.native)}
    assert names(taught) == sorted(NAMES)


def test_a_pack_taken_out_leaves_no_bit_behind(model):
    first, second, third = packs_for(model)
    taught = apply(model, [first, second, third])
    without = remove(taught, [second.name])
    assert weights_digest(without.native) == weights_digest(apply(model, [third, first]).native)
    assert names(taught) == sorted(NAMES)
    bare = remove(without, names(without))
    before = state(model)
    assert all(torch.equal(value, before[name]) for name, value in bare.native.state_dict().items())
    assert torch.equal(bare.embed_texts(TEXTS), model.embed_texts(TEXTS))
    assert weights_digest(untaught(taught).native) == weights_digest(model.native)
    assert original_name(bare) == model.name


def test_the_scores_are_those_of_the_map(model):
    """On either side: of v + U v with t, whatever the length of the text."""
    packs, images = packs_for(model), sample_images(model)
    seen, read = model.embed_images(images), model.embed_texts(TEXTS)
    taught = apply(model, packs)
    moved = seen.double() + seen.double() @ change(packs).T
    if model.map_side == "images":
        expected = normalize(moved, dim=1) @ read.double().T
    else:
        unscaled = read.double() + read.double() @ change(packs)
        expected = moved @ read.double().T / unscaled.norm(dim=1)
    found = taught.embed_images(images) @ taught.embed_texts(TEXTS).T
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)


def test_copies_remember_and_what_else_changes_a_weight_forgets(model):
    taught = apply(model, packs_for(model))
    twin = taught.copy()
    assert names(twin) == names(taught)
    assert weights_digest(remove(twin, NAMES).native) == weights_digest(model.native)
    assert names(interpolate(model, taught, 1.0)) == names(taught)
    assert names(interpolate(model, taught, 0.0)) == []
    assert names(interpolate(model, taught, 0.5)) == []
    ring = noise_images(Concept("ring", "a circle."), 2, model.inversion_size, seed=0)
    lesson = TeachingConfig(
        loss="bank", update=Full(part="tower"), steps=1, batch=2, replay_batch=0, texts="definition"
    )
    assert names(fine_tune(taught, [ring], lesson, known=["cross"])) == []
    assert names(taught) == sorted(NAMES)


def test_a_saved_model_loads_with_its_memory_and_by_its_vendor_as_it_is(family, model, tmp_path):
    taught = apply(model, packs_for(model))
    taught.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert weights_digest(again.native) == weights_digest(taught.native)
    assert names(again) == names(taught)
    assert all(same(one, other) for one, other in zip(again.packs, taught.packs, strict=True))
    assert weights_digest(remove(again, ["okapi"]).native) == weights_digest(remove(taught, ["okapi"]).native)
    assert weights_digest(untaught(again).native) == weights_digest(model.native)
    images = sample_images(model)
    rows, texts = VENDOR[family](tmp_path / "model", images, TEXTS)
    torch.testing.assert_close(rows.double(), in_double(again, images).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(texts.double(), again.embed_texts(TEXTS).double(), atol=1e-4, rtol=0)


def test_the_base_of_a_model_is_saved_without_a_memory(model, tmp_path):
    remove(apply(model, packs_for(model)), NAMES).save(tmp_path / "model")
    assert not (tmp_path / "model" / FOLDER).exists()
    assert weights_digest(load(tmp_path / "model").native) == weights_digest(model.native)


def test_files_are_not_packs(model, tmp_path):
    path = pack_for(model, "okapi", 1).save(tmp_path)
    for given in ([str(path)], str(path), path, [None]):
        with pytest.raises(DataError, match=r"expected a pack, got .*load_pack"):
            apply(model, given)


def test_a_pack_by_way_of_a_file_teaches_the_same_to_the_bit(model, tmp_path):
    taught = apply(model, packs_for(model))
    files = [pack.save(tmp_path) for pack in taught.packs]
    again = apply(model, [load_pack(path) for path in files])
    assert weights_digest(again.native) == weights_digest(taught.native)


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory) -> tuple[DualEncoder, Path]:
    model = FAMILIES[request.param]()
    folder = tmp_path_factory.mktemp("saved") / "model"
    apply(model, packs_for(model)).save(folder)
    return model, folder


def refused(folder: Path, kind: type[Exception] = ModelError) -> str:
    with pytest.raises(kind) as refusal:
        load(folder)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("merged", [True, False])
def test_weights_that_were_changed_since_are_refused_and_can_be_loaded_without_packs(saved, tmp_path, merged):
    _, source = saved
    folder = shutil.copytree(source, tmp_path / "model")
    (path,) = folder.glob("*.safetensors")
    values = load_file(path)
    touched = load_file(folder / FOLDER / UNTOUCHED)
    last = next(
        name
        for name, value in values.items()
        if (name in touched) == merged and value.ndim == 2 and value.is_floating_point()
    )
    values[last][0, 0] += 1e-3
    save_file(values, path, metadata={"format": "pt"})
    message = refused(folder)
    assert "is not what was saved" in message
    assert message.endswith(f"if the change is meant, remove {folder / DIGESTS}")
    (folder / DIGESTS).unlink()
    message = refused(folder)
    assert "changed since" in message
    assert f"move {folder / FOLDER} elsewhere" in message
    shutil.rmtree(folder / FOLDER)
    assert load(folder).packs == ()


def test_a_pack_that_lacks_or_was_put_there_by_hand_is_told(saved, tmp_path):
    model, source = saved
    folder = shutil.copytree(source, tmp_path / "model")
    (folder / DIGESTS).unlink()
    (folder / FOLDER / "okapi.safetensors").rename(tmp_path / "okapi.safetensors")
    assert "'okapi' has no file there: put it back" in refused(folder, DataError)
    (tmp_path / "okapi.safetensors").rename(folder / FOLDER / "okapi.safetensors")
    pack_for(model, "ring", 7).save(folder / FOLDER)
    assert "'ring' is not merged into them: move its file elsewhere" in refused(folder, DataError)


def test_untouched_tensors_of_another_model_are_refused(saved, tmp_path):
    _, source = saved
    folder = shutil.copytree(source, tmp_path / "model")
    (folder / DIGESTS).unlink()
    path = folder / FOLDER / UNTOUCHED
    path.write_bytes(path.read_bytes()[:-4])
    assert "cannot be read" in refused(folder, DataError)
    shutil.copy(folder / FOLDER / "okapi.safetensors", path)
    assert "is no base" in refused(folder, DataError)


def test_a_pack_of_another_model_is_refused_by_name_and_digest():
    model, other = ConvModel(), ConvModel(seed=1, name="other")
    pack = pack_for(other, "okapi", 0)
    for taught in (model, apply(model, [pack_for(model, "ring", 1)])):
        with pytest.raises(ModelError) as refusal:
            apply(taught, [pack])
        for word in ("okapi", "other", weights_digest(other.native)[:12], weights_digest(model.native)[:12]):
            assert word in str(refusal.value)
    for changed in ({"side": "texts"}, {}):
        wrong = replace(pack_for(model, "okapi", 0, **changed))
        if not changed:
            wrong = replace(wrong, key=wrong.key[:3], value=wrong.value[:3])
        with pytest.raises(ModelError, match="do not fit"):
            apply(model, [wrong])


def test_a_name_that_is_there_already_and_one_that_is_not_are_told():
    model = ConvModel()
    taught = apply(model, [pack_for(model, "okapi", 0)])
    with pytest.raises(ConceptError, match=r"pack 'okapi' already: remove it first, with molyneux remove"):
        apply(taught, [pack_for(model, "Okapi", 1)])
    with pytest.raises(ConceptError, match="two packs are called 'ring'"):
        apply(model, [pack_for(model, "ring", 1), pack_for(model, "ring", 2)])
    with pytest.raises(ConceptError, match="no pack 'moongate': it has 'okapi'"):
        remove(taught, ["moongate"])
    with pytest.raises(ConceptError, match="no pack 'okapi': it has none"):
        remove(model, ["okapi"])


def test_models_without_embeddings_take_no_pack():
    name = next(name for name in FAMILIES if "vilt" in name.casefold())
    with pytest.raises(ModelError, match="separate image and text embeddings"):
        apply(FAMILIES[name](), [])


def test_three_hundred_packs_are_one_model_and_go_again():
    model = ConvModel()
    packs = [pack_for(model, f"thing {number}", number) for number in range(300)]
    taught = apply(apply(model, packs[:150]), packs[150:])
    assert len(taught.packs) == 300
    assert weights_digest(taught.native) == weights_digest(apply(model, packs[::-1]).native)
    assert weights_digest(remove(taught, [pack.name for pack in packs]).native) == weights_digest(model.native)
    few = remove(taught, [pack.name for pack in packs[3:]])
    assert weights_digest(few.native) == weights_digest(apply(model, packs[:3]).native)


def test_a_folder_without_packs_gives_no_memory(tmp_path):
    model = ConvModel()
    recall(model, tmp_path)
    assert model.merged is None


def test_a_model_knows_the_concepts_of_its_packs_by_name():
    model = FAMILIES["hf clip"]()
    first, second = packs_for(model)[:2]
    taught = apply(model, [first, second])
    assert {one.name for one in taught.concepts} == {first.name, second.name}
    assert [one.name for one in remove(taught, [first.name]).concepts] == [second.name]
    assert remove(taught, [first.name, second.name]).concepts == ()


def test_one_pack_and_one_name_need_no_list():
    model = FAMILIES["hf clip"]()
    pack = pack_for(model, "okapi", 0)
    taught = apply(model, pack)
    assert repr(taught.packs[0]) == f"<pack of 'okapi' for {model.name} {pack.base[:12]}, {len(pack.key)} dimensions>"
    assert remove(taught, "okapi").packs == ()
