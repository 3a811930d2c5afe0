import json
import re
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize

from helpers.sample_folder import SAMPLES, needs_samples, some_known
from molyneux.backends import mini
from molyneux.backends.mini import TEXT, VISION, build_towers, load_mini, published_file
from molyneux.backends.open_clip import OpenClipModel
from molyneux.datasets.captioned import half_of, read_captioned
from molyneux.datasets.imagenet import imagenet_names, imagenet_wnids
from molyneux.datasets.photos import load_batch
from molyneux.errors import ModelError
from molyneux.tasks.classification.zero_shot import evaluate

HEAD = Path(str(resources.files("molyneux"))) / "models" / "mini" / mini.HEAD
PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "imagenet1k-sample"
needs_head = pytest.mark.skipif(not HEAD.is_file(), reason="the head of mini is not trained yet")


@pytest.fixture(scope="module")
def towers() -> OpenClipModel:
    return build_towers()


def test_the_towers_have_their_published_sizes(towers):
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert towers.image_size == 224
    assert towers.inversion_size == 128
    with torch.no_grad():
        features = towers.features(images)
        assert features.shape == (2, 1280)
        assert towers.project(features).shape == (2, 384)
        assert towers.features(images[:, :, :128, :128]).shape == (2, 1280)
    assert towers.temperature == pytest.approx(0.05)


def test_texts_are_means_over_their_tokens_as_transformers_computes_them(towers):
    from transformers import AutoTokenizer, BertModel

    texts = ["ring", "a circular opening in a garden wall", "A photo, taken at dusk, of two okapis in tall grass."]
    folder = published_file(*TEXT).parent
    encoded = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        states = bert(**encoded).last_hidden_state
    rows = [state[mask.bool()].mean(dim=0) for state, mask in zip(states, encoded["attention_mask"], strict=True)]
    expected = normalize(torch.stack(rows), dim=1)
    torch.testing.assert_close(towers.embed_texts(texts), expected, atol=1e-5, rtol=0.0)


def test_every_number_of_the_vision_tower_is_the_published_one(towers):
    published = torch.load(published_file(*VISION), weights_only=True)
    numbers = [value for key, value in published.items() if not key.endswith("num_batches_tracked")]
    own = {k: v for k, v in towers.native.visual.trunk.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(numbers) == len(own) + 2  # the classifier's weight and bias
    for key, value, expected in zip(own, own.values(), numbers, strict=False):
        assert torch.equal(value, expected), key


@pytest.mark.parametrize("place", [VISION, TEXT])
def test_a_file_that_is_not_the_published_one_is_refused(place):
    package, file, expected = place
    assert published_file(*place).is_file()
    with pytest.raises(ModelError, match="is not the published file"):
        published_file(package, file, expected[::-1])
    with pytest.raises(ModelError, match="no file"):
        published_file(package, file + ".gone", expected)
    with pytest.raises(ModelError, match=r"needs the package no-such-package: pip install 'molyneux\[mini\]'"):
        published_file("no_such_package", file, expected)


@pytest.mark.parametrize("name", ["VISION", "TEXT"])
def test_a_tampered_tower_stops_the_loading(monkeypatch, name):
    package, file, _ = getattr(mini, name)
    monkeypatch.setattr(mini, name, (package, file, "0" * 64))
    with pytest.raises(ModelError, match=f"{package}.*install .* again"):
        load_mini()


def test_a_missing_head_is_one_clear_error(monkeypatch, towers):
    monkeypatch.setattr(mini, "HEAD", "gone.safetensors")
    monkeypatch.setattr(mini, "build_towers", lambda: towers)
    with pytest.raises(ModelError, match="the head of 'mini' cannot be read"):
        load_mini()


@needs_head
def test_the_head_fills_the_projection_and_nothing_else(monkeypatch, towers):
    monkeypatch.setattr(mini, "build_towers", towers.copy)
    model = load_mini()
    head = load_file(HEAD)
    # the temperature may come with it
    keys = {f"visual.head.{key}" for key in model.projection_module().state_dict()}
    assert keys <= head.keys() <= keys | {"logit_scale"}
    for key, value in head.items():
        assert torch.equal(model.native.state_dict()[key], value.float())
    untrained = towers.native.state_dict()
    for key, value in model.native.state_dict().items():
        assert key in head or torch.equal(value, untrained[key])
    assert sum(value.numel() * value.element_size() for value in head.values()) <= 5_000_000


@pytest.mark.real_data
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the sample of ImageNet is not there")
def test_the_published_classifier_on_our_trunk_names_three_of_four_photos(towers):
    published = torch.load(published_file(*VISION), weights_only=True)
    *_, weight, bias = (value for key, value in published.items() if not key.endswith("num_batches_tracked"))
    classes = imagenet_wnids()[::10]
    photos = [sorted((PHOTOS / wnid).iterdir())[0] for wnid in classes]
    with torch.no_grad():
        features = torch.cat([towers.features(load_batch(photos[i : i + 25], 224)) for i in range(0, 100, 25)])
    found = (features @ weight.T + bias).argmax(dim=1)
    assert (found == torch.arange(0, 1000, 10)).float().mean() > 0.75


@pytest.fixture(scope="module")
def record() -> dict:
    path = HEAD.parent / "training-data.json"
    if not path.is_file():
        pytest.skip("the head that is shipped was trained before this record was kept")
    return json.loads(path.read_text(encoding="utf-8"))


def naming(record: dict, text: str) -> set[str]:
    tables = (record["names"], record["near"])
    return {k for table in tables for k, words in table.items() if re.search(rf"\b(?:{words})\b", text, re.IGNORECASE)}


@pytest.mark.parametrize(
    ("concept", "words"),
    [
        ("okapi", "Two okapis"),
        ("octopus", "octopi and an Octopus"),
        ("helicopter", "a copter, a chopper"),
        ("scissors", "a scissor"),
        ("kangaroo", "kangaroos"),
        ("menorah", "two candelabra"),
        ("sunflower", "sun flowers"),
        ("pigeon", "white doves"),
        ("mandolin", "a mandoline"),
        ("wheelchair", "a wheel chair"),
        ("metronome", "metronomes"),
        ("chandelier", "chandeliers"),
        ("ceiling fan", "a fan that hangs from the ceiling"),
        ("minaret", "minarets"),
        ("headphones", "white earphones"),
        ("stapler", "a staple gun"),
        ("stegosaurus", "a stegosaur"),
        ("wrench", "wrenches and a spanner"),
        ("buddha statue", "a Buddhist shrine"),
        ("lotus flower", "water-lilies"),
        ("ewer", "a jug"),
        ("joshua tree", "Joshua trees"),
    ],
)
def test_what_the_head_must_not_read_is_found_in_any_number_and_synonym(record, concept, words):
    assert concept in record["names"]
    assert all(naming(record, word) == {concept} for word in re.split(", | and ", words))


@pytest.mark.parametrize("text", ["A dog runs on the beach", "children in the snow", "a fan at a game", "a red chair"])
def test_other_captions_are_read(record, text):
    assert not naming(record, text)


def test_the_head_was_trained_on_one_half_of_flickr8k(record):
    photos = record["flickr8k-1k"]
    assert {half_of(name) for name in photos["read"]} == {"train-half"}
    assert len(photos["read"]) + len(photos["left_out"]) == photos["train-half"]
    assert photos["train-half"] + photos["test-half"] == photos["photos"] == 1000


@pytest.mark.real_data
@needs_samples
@pytest.mark.parametrize("name", ["flickr8k-1k", "coco-mini"])
def test_no_photo_that_was_read_has_a_caption_that_names_a_concept(record, name):
    lists = [SAMPLES / f"novel-concepts{part}" / "concepts.json" for part in ("", "-2")]
    concepts = [concept for path in lists for concept in json.loads(path.read_text(encoding="utf-8"))]
    assert set(concepts) == set(record["names"])
    photos = read_captioned(SAMPLES / name)
    said = photos.as_references()
    read = record[name]["read"]
    assert len(read) == len(set(read)) > 100
    for photo in read:
        text = " ".join(said[photo]).lower()
        assert not naming(record, text)
        assert not [concept for concept in concepts if concept.rstrip("s") in text]


@pytest.mark.real_data
@pytest.mark.slow
@needs_samples
def test_the_head_names_six_of_ten_photos_that_it_was_not_trained_on(tmp_path):
    found = evaluate(load_mini(), known=some_known(tmp_path / "known", every=4), names=imagenet_names())
    assert found.after.known_accuracy > 0.6
