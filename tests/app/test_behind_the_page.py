"""What the page calls, without a browser: settings and their price, models, packs, lists, and what is refused."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from molyneux.app import models as models_module
from molyneux.app import packs, teaching
from molyneux.app.folder import AppFolder
from molyneux.app.models import MOST_PHOTOS, Models, given_names
from molyneux.app.page import Handlers, refusing
from molyneux.app.server import AppSettings, served
from molyneux.backends.digest import weights_digest
from molyneux.backends.packs import untaught
from molyneux.cli.demo import DESCRIPTION, NAME
from molyneux.concepts import Concept, read_concepts
from molyneux.errors import ConceptError, ConfigError, DataError, OutputError
from molyneux.packs import load_pack
from molyneux.pipeline.settings import TeachSettings
from molyneux.records import CONFIG, RunSettings, read_record
from molyneux.teaching.config import Edit

ROOT = Path(__file__).parents[2]
RING = {"name": "ring", "description": "A round band of one colour with a hole.", "model": "tiny"}


@pytest.fixture
def handlers(folder, queue):
    return Handlers(folder, queue, Models(folder))


@pytest.fixture
def photos(tmp_path):
    found = []
    for place, colour in enumerate(("red", "blue", "white")):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (20 + place, 30), colour).save(path)
        found.append(path)
    return found


def test_a_lesson_of_the_page_is_the_run_of_the_command_line(folder, tmp_path):
    found = teaching.settings(folder, **RING | {"name": " ring\n", "images": 0})
    same = TeachSettings(
        concepts=(Concept("ring", RING["description"]),),
        out=found.out,
        model="tiny",
        show=teaching.photos(),
    )
    assert found == same
    assert found.out == folder.root / "runs" / "ring"
    more = teaching.settings(folder, **RING, strength=0.7, images=4)
    assert (more.inversion.images, more.images_from, more.teaching.edit.strength) == (4, "inversion", 0.7)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"name": " "}, ConceptError, "the name is empty"),
        ({"description": ""}, ConceptError, "the description is empty"),
        ({"description": "x" * 1001}, ConceptError, "1,001 characters: expected at most 1,000"),
        ({"name": "../x"}, ConceptError, "name"),
        ({"model": "mini"}, DataError, "there is no model 'mini'"),
        ({"model": "/etc"}, DataError, "there is no model '/etc'"),
        ({"images": 11}, DataError, "expected 0 to 10"),
        ({"strength": -1.0}, ConfigError, "strength"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_it_waits(folder, changed, error, said):
    with pytest.raises(error, match=said.replace("(", r"\(")):
        teaching.settings(folder, **RING | changed)


def test_the_prices_are_those_of_the_docs():
    text = (ROOT / "docs" / "numbers.md").read_text(encoding="utf-8").split("## Ten other concepts")[0]
    assert Edit().strength in teaching.measured()
    for strength, one in teaching.measured().items():
        label = "default" if strength == Edit().strength else f"default, strength {strength:g}"
        row = next(line for line in text.splitlines() if line.startswith(f"| {label} | one at a time |"))
        cells = [cell.strip() for cell in row.split("|")]
        assert (float(cells[3]), float(cells[6])) == (one.recall, one.false_positives)


def test_the_first_example_is_the_demos():
    examples = read_concepts(ROOT / "src" / "molyneux" / "app" / "examples.yaml")
    assert examples[0] == Concept(NAME, DESCRIPTION)
    assert not any(map(teaching.warning, examples))


def test_a_description_that_says_the_name_is_warned_of():
    assert "“rings”" in teaching.warning(Concept("ring", "Two rings in one."))


def test_the_cost_is_what_the_last_lesson_of_this_kind_took(taught):
    assert "no lesson with 4 images" in teaching.cost(taught, "tiny", 1.0, 4)[0]
    time, price = teaching.cost(taught, "tiny", 1.0, 0)
    assert "the last lesson from words alone with this model took" in time
    assert "not measured for this model" in price
    mini = AppFolder(taught.root, ("mini", "tiny"))
    one = teaching.measured()[0.4]
    said = teaching.cost(mini, "mini", 0.4, 0)[1]
    assert f"{100 * one.recall:.0f}\u00a0% of photos" in said
    assert f"{100 * one.false_positives:.1f}\u00a0% of photos of other things" in said


def test_unfinished_and_foreign_folders_are_no_lessons(taught):
    (taught.root / "runs" / "mine").mkdir()
    broken = taught.root / "runs" / "broken"
    broken.mkdir()
    (broken / "scores.json").write_text("{")
    assert [one.value for one in taught.lessons()] == ["runs/ring"]
    (taught.root / "runs" / "ring" / ".unfinished").write_text("{}")
    assert taught.lessons() == []


def test_a_folder_has_one_app(tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / "other").mkdir()
    code = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "other" / ".lock")], stdin=-1, stdout=-1, text=True
    ) as other:
        other.stdout.readline()
        with pytest.raises(OutputError, match="another app has the folder"):
            AppFolder(tmp_path / "other").prepare()
        other.communicate("\n")
    AppFolder(tmp_path / "other").prepare()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        AppFolder(tmp_path / "file").prepare()


def test_only_uploads_of_an_earlier_app_are_removed(folder):
    kept = [folder.root / name for name in ("uploads/a.jpg", "packs/b.safetensors", "runs/c/d")]
    for path in [*kept, folder.uploads / "e"]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    folder.prepare()
    assert all(path.is_file() for path in kept)
    assert list(folder.uploads.iterdir()) == []


def test_photos_are_answered_before_and_after(taught, photos):
    models = Models(taught)
    seen = models.ask("runs/ring", photos)
    assert [one.photo for one in seen.found.photos] == ["red.png", "blue.png", "white.png"]
    assert all(one.before is not None for one in seen.found.photos)
    assert "ring" in seen.found.protocol.names
    assert seen.found.protocol.taught == ("ring",)
    assert models.ask("tiny", photos).found.photos[0].before is None
    assert [len(one.after.best) for one in models.ask("tiny", photos, "cat, dog").found.photos] == [2, 2, 2]


def test_a_taught_model_is_its_base_with_packs_to_the_bit(taught):
    models = Models(taught)
    found, read = models.get("runs/ring"), models_module.load(taught.root / "runs" / "ring" / "model")
    assert weights_digest(found.native) == weights_digest(read.native)
    assert found.packs[0].name == "ring"
    assert weights_digest(untaught(found).native) == weights_digest(models.get("tiny").native)
    assert models.get("runs/ring") is found


def test_heat_maps_are_made_of_the_first_photos(taught, photos, monkeypatch):
    monkeypatch.setattr(models_module, "MOST_MAPS", 2)
    seen = Models(taught).ask("runs/ring", photos, "cat, dog", " a  band ")
    assert (seen.text, [one.size for one in seen.maps]) == ("a band", [(20, 30), (21, 30)])


def test_photos_that_cannot_be_read_are_named_without_their_place(taught, photos, tmp_path):
    bad = tmp_path / "words.jpg"
    bad.write_text("hello")
    models = Models(taught)
    seen = models.ask("tiny", [bad, *photos], "cat, dog")
    assert [one.photo for one in seen.found.unreadable] == ["words.jpg"]
    assert "words.jpg" in seen.found.unreadable[0].reason
    assert str(tmp_path) not in str(seen.found)
    assert [path.name for path in seen.files] == ["red.png", "blue.png", "white.png"]
    with pytest.raises(DataError, match=r"photo words\.jpg") as refused:
        models.ask("tiny", [bad])
    assert str(tmp_path) not in str(refused.value)


def test_too_many_photos_and_names_are_refused(folder, photos):
    models = Models(folder)
    with pytest.raises(DataError, match="31 photos were given: expected at most 30"):
        models.ask("tiny", photos[:1] * (MOST_PHOTOS + 1))
    with pytest.raises(DataError, match="no photo was given"):
        models.ask("tiny", [])
    with pytest.raises(DataError, match="1,001 names"):
        given_names(",".join(map(str, range(1001))))
    with pytest.raises(DataError, match=r"there is no model '\.\./x'"):
        models.ask("../x", photos)


def test_packs_go_into_models_and_out_again(taught, tmp_path):
    models = Models(taught)
    (stored,) = packs.stored(taught)
    assert stored.label == "ring, strength 1, for tiny (runs/ring)"
    made = packs.apply(models, "tiny", [stored.value])
    assert made == "models/ring"
    assert [one.name for one in packs.concepts(models, made)] == ["ring"]
    bare = packs.remove(models, made, ["ring"])
    assert packs.concepts(models, bare) == ()
    assert weights_digest(models.get(bare).native) == weights_digest(models.get("tiny").native)
    assert [one.value for one in taught.models()] == ["tiny", "runs/ring", bare, made]
    assert len(packs.stored(taught)) == 1


def test_a_downloaded_pack_can_be_loaded_again(taught, tmp_path):
    (stored,) = packs.stored(taught)
    (copy,) = packs.download(taught, [stored.value])
    assert Path(copy).name == "ring.safetensors"
    other = AppFolder(tmp_path / "other", ("tiny",))
    other.prepare()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"hello")
    names, refused = packs.upload(other, [Path(copy), bad, Path(copy)])
    assert names == ["ring", "ring"]
    assert len(refused) == 1
    assert "bad.safetensors" in refused[0]
    assert str(tmp_path) not in refused[0]
    assert [one.value for one in packs.stored(other)] == ["packs/ring.safetensors"]
    assert load_pack(other.root / "packs" / "ring.safetensors").name == "ring"
    assert packs.apply(Models(other), "tiny", ["packs/ring.safetensors"]) == "models/ring"


def test_what_is_not_in_the_folder_is_not_applied_or_sent(taught, tmp_path):
    models = Models(taught)
    for call in (
        lambda: packs.apply(models, "tiny", ["../../etc/passwd"]),
        lambda: packs.download(taught, ["runs/ring/config.yaml"]),
        lambda: packs.download(taught, []),
        lambda: packs.remove(models, "runs/ring", []),
        lambda: packs.upload(taught, []),
    ):
        with pytest.raises(DataError):
            call()
    assert [one.value for one in taught.models()] == ["tiny", "runs/ring"]


def test_a_refused_change_keeps_the_model_and_says_why(taught, handlers):
    (stored,) = packs.stored(taught)
    made, said = handlers.apply("runs/ring", [stored.value])
    assert made == "runs/ring"
    assert 'role="alert"' in said
    assert "has a pack &#39;ring&#39; already" in said
    assert handlers.apply("tiny", [stored.value])[0] == "models/ring"
    assert "choose one from the list" in handlers.download(["x"])[1]
    assert handlers.pack_names("runs/ring") == ["ring"]
    assert handlers.pack_names("nothing") == []


def test_the_page_starts_a_lesson_and_follows_it_to_its_end(handlers):
    key, shown = handlers.start(RING["name"], RING["description"], "tiny", 0.4, 0)
    assert key
    assert "ring" in shown

    async def all_of_it():
        return [one async for one in handlers.follow(key)]

    found = asyncio.run(all_of_it())
    assert [over for _, over in found] == [False] * (len(found) - 1) + [True]
    assert "Learned “ring”" in found[-1][0]
    assert "5 photos are no measure" in found[-1][0]
    run = read_record(RunSettings, handlers.folder.root / "runs" / "ring" / CONFIG)
    assert run.teaching["edit"]["strength"] == 0.4
    page, copy = handlers.report("runs/ring")
    assert "sandbox" in page
    assert Path(copy).parent == handlers.folder.uploads
    assert handlers.report(None)[1] is None
    assert 'role="alert"' in handlers.report("../ring")[0]
    assert asyncio.run(all_of_it())[-1][1]


def test_a_refused_lesson_has_no_key(handlers):
    key, shown = handlers.start("", "A band.", "tiny", 1.0, 0)
    assert (key, "the name is empty" in shown) == ("", True)
    assert asyncio.run(anext(handlers.follow("no such key"), None)) is None


def test_every_text_is_escaped(handlers, photos):
    name = "<b>${1+1}"
    key, shown = handlers.start(name, "A <i>band</i> & a hole.", "tiny", 1.0, 0)
    assert key
    assert "<b>" not in shown
    assert "&lt;b&gt;" in shown

    @refusing
    def fails() -> str:
        raise DataError("<script>")

    assert "<script>" not in fails()
    answers = handlers.recognise("tiny", [str(photos[0])], "<u>cat</u>, dog", "<s>x</s>")
    assert "<u>" not in answers
    assert "<s>" not in answers
    assert "&lt;u&gt;cat" in answers


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_settings_of_the_server_are_checked(tmp_path, port):
    with pytest.raises(ConfigError, match="port"):
        AppSettings(folder=tmp_path, port=port)
    with pytest.raises(ConfigError, match="no model"):
        AppSettings(folder=tmp_path, names=())


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_an_address_that_cannot_be_had_is_told_before_anything_is_loaded(tmp_path, host, monkeypatch):
    monkeypatch.setattr("molyneux.app.server.find_spec", lambda name: name)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = AppSettings(folder=tmp_path / "app", host=host, port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match=f"cannot listen at {host}, port"), served(settings):
            pass
    assert not (tmp_path / "app").exists()


def test_without_gradio_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("molyneux.app.server.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'molyneux\[app\]'"), served(AppSettings(folder=tmp_path)):
        pass


def test_settings_and_examples_are_plain_data():
    for name in ("strengths.json", "examples.yaml"):
        text = (ROOT / "src" / "molyneux" / "app" / name).read_text(encoding="utf-8")
        assert json.loads(text) if name.endswith("json") else yaml.safe_load(text)
