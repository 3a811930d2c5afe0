import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.families_vilt import tiny_vilt
from helpers.noise import noise_photo
from helpers.pngs import deep_colour_png
from helpers.sample_folder import SAMPLES, needs_samples
from helpers.small_models import ConvModel
from molyneux.backends.load import load
from molyneux.concepts import Concept
from molyneux.datasets.imagenet import described_classes, imagenet_names
from molyneux.datasets.photos import load_batch, square
from molyneux.datasets.windows import Window
from molyneux.errors import ConfigError, DataError, ModelError, OutputError
from molyneux.synthetic import noise_images
from molyneux.tasks.classification.ensembles import class_columns
from molyneux.tasks.recognition.limit import MOST, stand_ins, text_limit
from molyneux.tasks.recognition.page import write_page
from molyneux.tasks.recognition.photos import given_photos, photo_batches
from molyneux.tasks.recognition.record import Recognition
from molyneux.tasks.recognition.run import RecogniseSettings, given_names, recognise, recognise_photos

NAMES = ("ring", "cross", "disc")
SMALL = partial(square, size=4, fit="squash")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLYNEUX_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for index in range(7):
        pixels = (255 * torch.rand(30 + index, 41, 3, generator=generator)).byte().numpy()
        Image.fromarray(pixels).save(root / f"{index}.png")
    (root / "below").mkdir()
    Image.new("RGB", (9, 9)).save(root / "below" / "deep.png")
    (root / "notes.txt").write_text("no photo")
    return root


def test_the_best_names_are_those_of_the_cosines_in_order(photos):
    model, paths = ConvModel(), sorted(photos.glob("*.png"))
    found = model.recognise(photos, NAMES, top=3)
    texts = model.embed_texts([f"a photo of a {name}." for name in NAMES])
    cosines = model.embed_images(load_batch(paths, model.image_size, model.crop_fraction)) @ texts.T
    shares = (cosines / model.temperature).softmax(dim=1)
    assert [one.photo for one in found] == [str(path) for path in paths]
    for one, row, share in zip(found, cosines, shares, strict=True):
        order = row.argsort(descending=True).tolist()
        assert [answer.name for answer in one.after.best] == [NAMES[place] for place in order]
        assert [answer.score for answer in one.after.best] == pytest.approx(row[order].tolist(), abs=1e-5)
        assert [answer.probability for answer in one.after.best] == pytest.approx(share[order].tolist(), abs=1e-4)
        assert one.name == one.after.best[0].name


def test_a_file_an_image_an_array_and_a_tensor_are_one_photo(photos):
    model, path = ConvModel(), photos / "0.png"
    image = Image.open(path)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 255
    forms = [path, str(path), image, array, array / 255.0, array[None], tensor, tensor[None], [path], image.copy()]
    answers = [model.recognise(form, NAMES)[0].after for form in forms]
    assert all(one == answers[0] for one in answers)
    both = model.recognise([path, image, array], NAMES)
    assert [one.photo for one in both] == [str(path), "image 2", "image 3"]


def test_grey_transparent_and_turned_images_are_read_as_they_look():
    grey = np.full((8, 8), 200, np.uint8)
    clear = np.zeros((8, 8, 4), np.uint8)
    turned = Image.new("RGB", (8, 16), "red")
    turned.paste("blue", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.info["exif"] = exif.tobytes()
    batch = next(photo_batches(given_photos([grey, clear, turned]), SMALL))
    assert torch.allclose(batch.pixels[0], torch.tensor(200 / 255))
    assert torch.allclose(batch.pixels[1], torch.tensor(1.0))
    assert batch.pixels[2, 0, 0].mean() > 0.9  # red is on top


def test_synthetic_images_are_photos_too():
    made = noise_images(Concept("ring", "A band."), 3, 16, seed=0)
    assert len(given_photos(made)) == 3
    assert len(given_photos([made, Image.new("RGB", (3, 3))])) == 4


def test_photos_are_taken_from_the_source_a_batch_at_a_time():
    opened = []

    def photo(place):
        opened.append(place)
        return Image.new("RGB", (8, 8))

    batches = photo_batches(given_photos([photo(place) for place in range(7)]), SMALL, count=3)
    assert [len(batch.photos) for batch in batches] == [3, 3, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere.jpg", "no photo at nowhere.jpg"),
        ([], "no photo was given"),
        (3, "int is no photo"),
        (np.zeros((4, 4, 2)), "of shape (4, 4, 2) is no image"),
        (torch.zeros(4, 4), "a tensor of shape (4, 4) is no image"),
        (np.full((4, 4, 3), 3.0), "lie between 3 and 3: expected 0 to 1"),
        (np.full((4, 4, 3), 300), "expected 0 to 255"),
        (np.full((4, 4, 3), np.nan), "expected 0 to 1"),
    ],
)
def test_what_is_no_photo_is_refused(given, words):
    with pytest.raises(DataError, match=re.escape(words)):
        ConvModel().recognise(given, NAMES)


def test_a_folder_of_folders_is_refused_with_a_hint(photos, tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=r"name its sub-folder$"):
        ConvModel().recognise(tmp_path, NAMES)


def test_one_unreadable_photo_of_several_does_not_stop_the_others(photos, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no more")
    found = ConvModel().recognise([photos / "0.png", broken, photos / "1.png"], NAMES)
    assert [one.photo for one in found] == [str(photos / "0.png"), str(photos / "1.png")]
    assert [one.photo for one in found.unreadable] == [str(broken)]
    assert "broken.jpg" in str(found)
    with pytest.raises(DataError, match="cannot read the photo"):
        ConvModel().recognise(broken, NAMES)


def test_dark_greys_and_files_left_out_are_told(tmp_path):
    Image.fromarray(np.full((16, 16), 4000, dtype=np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "photo.heic").write_bytes(b"")
    asked = RecogniseSettings(photos=(str(tmp_path),), model="tiny:clip", names=("ring", "cross"))
    left_out, dark = recognise_photos(asked).protocol.notes
    assert "1 of no format that is read (.heic)" in left_out
    assert "--window-center 2048 --window-width 4096" in dark
    seen = replace(asked, window=Window(window_center=2048.0, window_width=4096.0))
    assert recognise_photos(seen).protocol.notes == (left_out,)
    (tmp_path / "deep.png").write_bytes(deep_colour_png(4095, 2000, 0))
    assert "no value above 4095 of 65535" in recognise_photos(seen).protocol.notes[1]


def test_names_are_checked():
    photo = Image.new("RGB", (8, 8))
    with pytest.raises(ConfigError, match="'Ring' stands twice"):
        ConvModel().recognise(photo, ["Ring", "ring "])
    for none in ([], [" "]):
        with pytest.raises(ConfigError, match="no name to choose from"):
            ConvModel().recognise(photo, none)
    with pytest.raises(DataError, match="has 100,000 characters: expected a name of at most 500"):
        ConvModel().recognise(photo, ["x" * 100_000, "ring"])
    with pytest.raises(ConfigError, match="top is 0"):
        ConvModel().recognise(photo, NAMES, top=0)
    with pytest.raises(ConfigError, match="less than 1"):
        recognise(ConvModel(), photo, NAMES, rejected=1.0)
    assert given_names(["ring", "cross"]) == ("ring", "cross")


def test_known_and_taught_names_are_the_default():
    model = ConvModel()
    model.learned([Concept("okapi", "A striped animal."), Concept("Tench", "A fish.")])
    found = model.recognise(Image.new("RGB", (8, 8)))
    known = dict.fromkeys(imagenet_names())
    assert set(found.protocol.names) == {*known, "okapi", "Tench"} - {"tench"}
    assert found.protocol.taught == ("okapi", "Tench")
    assert len(found[0].after.best) == 5


def test_a_base_stands_before_and_shares_what_is_equal(photos):
    model, base = ConvModel(), ConvModel(seed=3, name="base")
    found = model.recognise(photos, NAMES, base=base)
    alone = base.recognise(photos, NAMES)
    assert [one.before for one in found] == [one.after for one in alone]
    assert [one.after for one in found] == [one.after for one in model.recognise(photos, NAMES)]
    same = model.recognise(photos, NAMES, base=model.copy())
    assert all(one.before == one.after for one in same)
    with pytest.raises(ModelError, match="cannot stand side by side"):
        model.recognise(photos, NAMES, base=tiny_vilt())


def test_a_model_that_judges_pairs_answers_too(photos):
    found = tiny_vilt().recognise(photos / "0.png", NAMES)
    best = found[0].after.best
    assert sum(one.probability for one in best) == pytest.approx(1)
    assert all(one.score <= 0 for one in best)
    assert found[0].after.none_of_these is None
    assert "no embeddings" in found.protocol.limit_means


def test_the_limit_is_the_quantile_of_what_descriptions_reach():
    model = ConvModel()
    names = tuple(dict.fromkeys(imagenet_names()))[:40]
    columns = class_columns(model, [[f"a photo of a {name}."] for name in names])
    told = [described_classes()[name] for name in names]
    fitting = [text for text in told if len(text.split()) <= 30]
    assert stand_ins(model, names) == fitting
    best = ((model.embed_texts(fitting) @ torch.cat(list(columns)).T) / model.temperature).softmax(dim=1).amax(dim=1)
    limit = text_limit(model, columns, names, 0.1)
    assert limit.probability == pytest.approx(float(best.quantile(0.1)))
    assert limit.texts == len(fitting)
    assert text_limit(model, columns, names, 0.0).probability is None
    assert text_limit(model, columns[:5], names[:5], 0.1).probability is None
    assert len(stand_ins(model, imagenet_names())) <= MOST


def test_none_of_these_is_said_below_the_limit_alone(photos):
    names = tuple(dict.fromkeys(imagenet_names()))[:40]
    for rejected in (0.05, 0.95):
        found = recognise(ConvModel(), photos, names, rejected=rejected)
        limit = found.protocol.limit.probability
        assert [one.after.none_of_these for one in found] == [one.after.best[0].probability < limit for one in found]
        assert all((one.name == "none of these") == one.after.none_of_these for one in found)


def test_the_record_is_read_back_as_it_was(photos):
    found = ConvModel().recognise(photos, NAMES, base=ConvModel(seed=3, name="base"))
    assert Recognition.model_validate_json(json.dumps(found.as_dict())) == found


def test_the_page_escapes_names_and_holds_every_photo(photos, tmp_path):
    names = ("<b>ring</b>", "cross & co", "disc")
    found = ConvModel().recognise(photos, names, base=ConvModel(seed=3, name="base"))
    page = tmp_path / "sheet.html"
    write_page(page, found)
    text = page.read_text()
    assert "<b>ring</b>" not in text
    assert "&lt;b&gt;ring&lt;/b&gt;" in text
    assert text.count("data:image/jpeg;base64,") == len(found) == 7
    assert "http" not in re.sub(r"Content-Security-Policy|http-equiv", "", text)
    assert "<b>ring</b>" not in found._repr_html_()
    with pytest.raises(OutputError, match="already exists"):
        write_page(page, found)


def test_an_image_from_no_file_has_a_card_without_a_picture(tmp_path):
    write_page(tmp_path / "sheet.html", ConvModel().recognise(Image.new("RGB", (8, 8)), NAMES))
    assert "no file" in (tmp_path / "sheet.html").read_text()


@needs_samples
@pytest.mark.real_data
@pytest.mark.slow
def test_mini_rejects_few_known_photos_and_more_unknown_ones():
    import molyneux

    model = molyneux.load("mini")
    known = model.recognise(sorted((SAMPLES / "imagenet1k-sample").iterdir())[::8])
    new = model.recognise(sorted((SAMPLES / "novel-concepts").glob("*/*0.jpg")))
    shares = [sum(bool(one.after.none_of_these) for one in found) / len(found) for found in (known, new)]
    assert shares[0] < 0.12
    assert shares[1] > 2 * shares[0]


def test_known_names_are_read_once_and_a_spoiled_file_is_made_again(monkeypatch, tmp_path):
    photo = noise_photo((40, 40), 60)

    def asked():
        model = load("tiny:clip", long_text="truncate")
        reads, once = [], model._embed_fitting
        monkeypatch.setattr(model, "_embed_fitting", lambda texts: reads.extend(texts) or once(texts))
        return model.recognise(photo), reads

    first, reads = asked()
    assert len(reads) > 1000
    (kept,) = (tmp_path / "texts").iterdir()
    second, reads = asked()
    assert reads == []
    assert second.as_dict() == first.as_dict()
    whole = bytearray(kept.read_bytes())
    whole[-1] ^= 1
    kept.write_bytes(whole)
    third, reads = asked()
    assert len(reads) > 1000
    assert third.as_dict() == first.as_dict()
    assert bytes(whole) != kept.read_bytes()


@pytest.mark.parametrize("name", ["none.txt", "lists/names", "folder", "link"])
def test_a_path_that_holds_no_list_is_not_taken_for_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(DataError, match="cannot read the names in"):
        given_names([name])
    assert given_names(["cat", name]) == ("cat", name)


def test_photos_of_names_that_would_move_a_terminals_cursor_are_left_out_or_refused(tmp_path):
    for name in ("1.png", "\x1b[31m.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert [one.name for one in given_photos(tmp_path)] == [str(tmp_path / "1.png")]
    with pytest.raises(DataError, match="control characters in its name"):
        given_photos(tmp_path / "\x1b[31m.png")
