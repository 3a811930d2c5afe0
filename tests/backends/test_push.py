"""`push` and `load("hf:ORG/NAME")`, against a hub on this machine."""

import hashlib
import json
import socket
from pathlib import Path

import huggingface_hub
import pytest
import torch

import molyneux
from helpers.command import Command, check_refused
from helpers.hub import TOKEN, Hub, local_hub
from molyneux.backends.digest import weights_digest
from molyneux.backends.hub import reason, without_token
from molyneux.backends.push import planned, push, send
from molyneux.concepts import Concept
from molyneux.errors import ConfigError, DataError, HubError, ModelError

OKAPI = Concept("okapi", "A hoofed animal with striped legs.")
GATE = Concept("moongate", "A round opening in a garden wall.")


@pytest.fixture(scope="module")
def taught():
    model = molyneux.load("tiny:clip")
    pack = molyneux.Pack(
        name=OKAPI.name,
        descriptions=OKAPI.descriptions,
        key=0.1 * model.embed_texts(["striped legs"])[0].double(),
        value=model.embed_texts(["a photo of an okapi."])[0].double(),
        base=weights_digest(model.native),
        base_name="tiny:clip",
        side="images",
    )
    return molyneux.apply(model, pack)


@pytest.fixture(scope="module")
def saved(taught, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    taught.save(folder)
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with local_hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        yield found


def hub_files(hub: Hub, name: str) -> dict[str, str]:
    return {place: hashlib.sha256(content).hexdigest() for place, content in hub.repositories[name].files.items()}


def test_a_model_that_was_pushed_is_loaded_by_its_name_to_the_bit(hub, saved, taught):
    assert push(saved, "ada/okapi") == f"{hub.address}/ada/okapi"
    there = hub.repositories["ada/okapi"]
    assert there.private
    for path in saved.rglob("*"):
        place = path.relative_to(saved).as_posix()
        if path.is_file() and place != "README.md":
            assert there.files[place] == path.read_bytes()
    assert 'molyneux.load("hf:ada/okapi")' in there.files["README.md"].decode()
    again = molyneux.load("hf:ada/okapi")
    assert again.name == "hf:ada/okapi"
    assert weights_digest(again.native) == weights_digest(taught.native)
    assert (again.base, again.concepts, [one.name for one in again.packs]) == ("tiny:clip", (OKAPI,), ["okapi"])
    assert "radford2021" in molyneux.cite("hf:ada/okapi")


@pytest.mark.parametrize("kind", ["vilt", "medclip"])
def test_a_model_of_any_family_is_read_as_what_it_is(hub, tmp_path, kind):
    model = molyneux.load(f"tiny:{kind}")
    model.save(tmp_path / "model")
    push(tmp_path / "model", "ada/other", public=True)
    assert not hub.repositories["ada/other"].private
    again = molyneux.load("hf:ada/other")
    assert type(again) is type(model)
    assert weights_digest(again.native) == weights_digest(model.native)


def test_packs_are_applied_to_the_model_that_they_are_for(hub, taught, tmp_path, capsys):
    taught.packs[0].save(tmp_path / "packs")
    push(tmp_path / "packs", "lab/packs")
    files = hub.repositories["lab/packs"].files
    assert sorted(files) == ["README.md", "okapi.safetensors", "packs.json"]
    assert files["okapi.safetensors"] == (tmp_path / "packs" / "okapi.safetensors").read_bytes()
    assert weights_digest(molyneux.load("hf:lab/packs").native) == weights_digest(taught.native)
    ended = Command(capsys)("apply", "hf:lab/packs", "--model", "tiny:clip", "--out", tmp_path / "applied")
    assert ended.code == 0
    assert weights_digest(molyneux.load(tmp_path / "applied").native) == weights_digest(taught.native)


def test_packs_for_themselves_and_files_outside_are_refused(hub, taught, tmp_path):
    taught.packs[0].save(tmp_path / "packs")
    for name in ("ada/one", "ada/two"):
        push(tmp_path / "packs", name)
    first, second = (hub.repositories[name].files for name in ("ada/one", "ada/two"))
    listed = json.loads(first["packs.json"])
    for files, base in ((first, "hf:ada/two"), (second, "hf:ada/one")):
        files["packs.json"] = json.dumps(listed | {"base": listed["base"] | {"name": base}}).encode()
    with pytest.raises(ModelError, match="'hf:ada/one' says that it is made from itself"):
        molyneux.load("hf:ada/one")
    first["packs.json"] = json.dumps(listed | {"packs": {"okapi": "../../okapi.safetensors"}}).encode()
    hub.repositories["ada/one"].commits += 1
    with pytest.raises(DataError, match="expected one beside it"):
        molyneux.load("hf:ada/one")


def test_a_second_push_leaves_nothing_of_the_first(hub, saved, tmp_path):
    push(saved, "ada/okapi")
    hub.repositories["ada/okapi"].files["picture.png"] = b"kept"
    bare = molyneux.remove(molyneux.load(saved), "okapi")
    bare.save(tmp_path / "bare")
    upload = planned(tmp_path / "bare", "ada/okapi", public=True)
    assert set(upload.removed) == {"packs/base.safetensors", "packs/okapi.safetensors"}
    assert (upload.exists, upload.visibility) == (True, "private")
    send(upload)
    assert set(hub_files(hub, "ada/okapi")) == {"picture.png", *upload.files}
    assert molyneux.load("hf:ada/okapi").packs == ()


def test_an_upload_that_is_cut_off_changes_nothing_and_goes_on(hub, saved):
    hub.cut = 10**6
    with pytest.raises(HubError, match=r"'ada/okapi' was not filled: .*nothing changed there, and the same command"):
        push(saved, "ada/okapi")
    assert hub_files(hub, "ada/okapi") == {}
    with pytest.raises(ModelError):
        molyneux.load("hf:ada/okapi")
    hub.cut = 0
    push(saved, "ada/okapi")
    first = list(hub.taken)
    assert molyneux.load("hf:ada/okapi").packs
    push(saved, "ada/okapi")
    assert hub.taken == first


def test_an_interruption_says_that_the_same_command_goes_on(hub, saved, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", interrupted)
    ended = Command(capsys)("push", saved, "ada/okapi", "--yes")
    assert ended.code == 130
    assert "interrupted; nothing changed in ada/okapi: the same command sends what is missing" in ended.err


def test_a_token_that_is_refused_is_said_and_not_printed(hub, saved, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_thisTokenIsRefused")
    ended = Command(capsys)("push", saved, "ada/okapi", "--yes")
    check_refused(ended, "the token was refused", "hf auth login")
    assert "hf_this" not in ended.out + ended.err
    assert hub.repositories == {}


def test_a_name_that_is_not_ones_own_is_refused(hub, saved, capsys):
    ended = Command(capsys)("push", saved, "somebody/okapi", "--yes")
    assert (ended.code, ended.out) == (2, "")
    assert "use one with write access" in ended.err
    assert TOKEN not in ended.err


def test_without_a_token_nothing_is_asked(hub, saved, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(HubError, match="there is no token"):
        push(saved, "ada/okapi")
    assert hub.asked == []


def test_a_repository_that_is_not_there_and_a_hub_that_is_not_there(hub, saved, monkeypatch):
    with pytest.raises(ModelError, match=r"cannot fetch 'ada/none' .*there is no such repository"):
        molyneux.load("hf:ada/none")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", gone)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        molyneux.load("hf:ada/none")
    with pytest.raises(HubError, match="the hub cannot be reached"):
        push(saved, "ada/okapi")


def test_what_will_be_sent_is_said_first_and_needs_a_yes(hub, saved, capsys, monkeypatch):
    command = Command(capsys)
    ended = command("push", saved, "hf:ada/okapi")
    assert (ended.code, ended.out) == (2, "")
    assert "nothing was sent: answer y, or add --yes" in ended.err
    assert "open_clip_model.safetensors" in ended.err
    assert "MB  in all" in ended.err
    assert "the private repository ada/okapi, which is made, as ada" in ended.err
    assert hub.repositories == {}
    ended = command("push", saved, "ada/okapi", "--yes", "--json")
    found = json.loads(ended.out)
    assert found["name"] == "hf:ada/okapi"
    assert found["files"]["open_clip_model.safetensors"] == (saved / "open_clip_model.safetensors").stat().st_size
    assert TOKEN not in ended.out + ended.err


def test_pickles_are_refused_and_strange_files_left_out(hub, saved, tmp_path):
    folder = tmp_path / "model"
    molyneux.load(saved).save(folder)
    (folder / ".env").write_text("HF_TOKEN=secret")
    (folder / "run.py").write_text("print()")
    (folder / "link.json").symlink_to(saved / "concepts.json")
    (folder / "deep").mkdir()
    (folder / "deep" / "more.json").write_text("{}")
    upload = planned(folder, "ada/okapi")
    assert set(upload.left_out) == {".env", "run.py", "link.json", "deep/more.json"}
    assert not set(upload.left_out) & set(upload.files)
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="is a pickle"):
        planned(folder, "ada/okapi")


def test_what_is_no_model_and_no_name_is_refused(hub, tmp_path):
    with pytest.raises(DataError, match="holds neither a model that Molyneux saved nor packs"):
        planned(tmp_path, "ada/okapi")
    for name in ("okapi", "ada/okapi/more", "../okapi", "ada/.."):
        with pytest.raises(ConfigError, match="expected ORG/NAME"):
            planned(tmp_path, name)
    assert hub.asked == []


def test_no_token_is_in_what_is_said(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a-token-of-another-form")
    said = without_token("failed with a-token-of-another-form and hf_ABCDEFGHIJKLMNOP")
    assert said == "failed with *** and ***"
    assert (
        reason(ValueError("sent a-token-of-another-form\nsecond line")) == "sent ***: check the name and the connection"
    )
