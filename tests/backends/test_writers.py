"""Text from a tiny random language model of transformers, and from an endpoint in this process."""

import ast
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import molyneux
from helpers.small_writer import WORDS, save_language_model
from molyneux.backends.writers import KEY, endpoint_writer, local_writer
from molyneux.errors import ConfigError, ModelError

SECRET = "sk-not-to-be-seen"


def test_a_local_model_writes_the_same_for_the_same_seed_and_leaves_chance_alone(tmp_path):
    write = local_writer(str(save_language_model(tmp_path / "model")), longest=12)
    state = torch.get_rng_state()
    texts = [write("say a round band", seed) for seed in range(6)]
    assert torch.equal(torch.get_rng_state(), state)
    assert [write("say a round band", seed) for seed in range(6)] == texts
    assert len(set(texts)) > 1
    assert all(set(text.split()) <= set(WORDS) for text in texts)
    assert not any(text.startswith("say a round band") for text in texts)


def test_a_prompt_goes_into_the_models_own_template(tmp_path):
    template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}answer"
    plain = local_writer(str(save_language_model(tmp_path / "plain")), longest=8)
    chat = local_writer(f"hf:{save_language_model(tmp_path / 'chat', template)}", longest=8)
    seeds = range(8)
    templated = [chat("say a band", seed) for seed in seeds]
    assert templated == [plain("user say a band answer", seed) for seed in seeds]
    assert templated != [plain("say a band", seed) for seed in seeds]


def test_what_is_no_language_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="no language model at nowhere"):
        local_writer("nowhere")
    with pytest.raises(ModelError, match="cannot load the language model"):
        local_writer(str(tmp_path))
    with pytest.raises(ModelError, match="no device 'abacus'"):
        local_writer(str(tmp_path), device="abacus")


@dataclass
class Endpoint:
    """Answers as it is told, and remembers what it was asked."""

    url: str
    answers: list[Any] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


@pytest.fixture
def endpoint(monkeypatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(KEY, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            answer = found.answers.pop(0)
            status, content = answer if isinstance(answer, tuple) else (200, answer)
            if isinstance(content, str) and status == 200:
                content = {"choices": [{"message": {"role": "assistant", "content": content}}]}
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{found.url}/elsewhere")
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found = Endpoint(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_is_asked_as_openais_is(endpoint, monkeypatch):
    endpoint.answers += ["A round band.", "Another."]
    assert endpoint_writer(endpoint.url, "some-model", longest=50)("describe it", 7) == "A round band."
    path, headers, body = endpoint.seen[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "describe it"}],
        "max_tokens": 50,
        "seed": 7,
    }
    assert "authorization" not in headers
    monkeypatch.setenv(KEY, SECRET)
    assert endpoint_writer(f"{endpoint.url}/chat/completions/", "some-model")("more", 1) == "Another."
    assert endpoint.seen[1][0] == "/v1/chat/completions"
    assert endpoint.seen[1][1]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    "answer",
    [
        (401, f"the key {SECRET} is wrong"),
        (500, "broken"),
        (302, "go away"),
        {"choices": []},
        {"error": "no such model"},
        {"choices": [{"message": {"content": None}}]},
        [],
        b"\xff not json",
    ],
)
def test_an_answer_that_is_none_is_one_clear_error_without_the_key(endpoint, monkeypatch, answer):
    monkeypatch.setenv(KEY, SECRET)
    endpoint.answers.append(answer)
    with pytest.raises(ModelError, match="gave no answer that can be read") as caught:
        endpoint_writer(endpoint.url, "some-model")("describe it", 0)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(endpoint.seen) == 1


def test_a_key_that_is_cut_off_at_the_end_is_not_shown(endpoint, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    for letters in range(1, len(SECRET)):
        endpoint.answers.append((401, "x" * (270 - letters) + SECRET))
        monkeypatch.setattr("molyneux.backends.writers._LONGEST_REASON", 270)
        with pytest.raises(ModelError, match="401") as caught:
            endpoint_writer(endpoint.url, "some-model")("describe it", 0)
        assert f"x{SECRET[:letters]}" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["sk-a\nb", "sk-a\rX-Other: b", "sk-a\x1b[31m", "sk-a b", "sk-\u2019", "sk-a\x7f", "sk\t1"]
)
def test_a_key_that_no_header_carries_is_refused_and_not_shown(endpoint, monkeypatch, key):
    monkeypatch.setenv(KEY, key)
    with pytest.raises(ConfigError, match="set it anew") as caught:
        endpoint_writer(endpoint.url, "m")
    assert "sk" not in str(caught.value)
    assert endpoint.seen == []


def test_a_line_break_after_the_key_is_none_of_it(endpoint, monkeypatch):
    monkeypatch.setenv(KEY, f"{SECRET}\r\n")
    endpoint.answers.append("A band.")
    assert endpoint_writer(endpoint.url, "m")("describe it", 0) == "A band."
    assert endpoint.seen[0][1]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    "url", ["http://h/v1\n", "http://h/v 1", "http://h:x/v1", "http://[::1/v1", "http://h/\x1b[2J"]
)
def test_an_address_with_what_none_has_is_refused(url):
    with pytest.raises(ConfigError, match="expected an address") as caught:
        endpoint_writer(url, "m")
    assert str(caught.value).isprintable()


def test_what_an_endpoint_says_moves_no_cursor(endpoint):
    endpoint.answers.append((500, b"\x1b[2J\x1b]0;title\x07 broken \xff\r\n"))
    with pytest.raises(ModelError, match="broken") as caught:
        endpoint_writer(endpoint.url, "m")("describe it", 0)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("answer", [b"[" * 100_000, b'{"choices": ' + b"9" * 5000 + b"}"])
def test_an_answer_beyond_all_measure_is_one_clear_error(endpoint, answer):
    endpoint.answers.append(answer)
    with pytest.raises(ModelError, match="gave no answer"):
        endpoint_writer(endpoint.url, "m")("describe it", 0)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_endpoint_that_drips_is_given_up_in_time(head):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(head)
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        started = time.perf_counter()
        with pytest.raises(ModelError, match="gave no answer"):
            endpoint_writer(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "m", timeout=0.5)("describe it", 0)
        assert time.perf_counter() - started < 3


def test_no_vendor_call_may_run_a_models_own_code():
    """`from_pretrained` of peft's configuration reads a JSON file, and takes no such argument."""
    found = 0
    for path in Path(molyneux.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("from_pretrained", "from_config", "pipeline") or "LoraConfig" in ast.unparse(
                node
            ):
                continue
            found += 1
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("trust_remote_code") == "False", f"{path.name}, line {node.lineno}"
    assert found >= 5


@pytest.mark.parametrize("part", ["config.json", "tokenizer_config.json"])
def test_a_folder_with_code_of_its_own_is_read_without_it(tmp_path, part):
    folder = save_language_model(tmp_path / "model")
    written = json.loads((folder / part).read_text())
    written["auto_map"] = {
        "AutoConfig": "evil.Config",
        "AutoModelForCausalLM": "evil.Model",
        "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
    }
    (folder / part).write_text(json.dumps(written))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with contextlib.suppress(ModelError):
        local_writer(str(folder), longest=4)("say a band", 0)
    assert not (tmp_path / "ran").exists()


def test_a_key_is_not_sent_in_the_open_and_an_address_is_one(monkeypatch):
    for url in ("localhost:8000", "ftp://host/v1", "file:///etc/passwd", "http://user:secret@host/v1", "http://"):
        with pytest.raises(ConfigError, match="expected an address"):
            endpoint_writer(url, "m")
    monkeypatch.setenv(KEY, SECRET)
    with pytest.raises(ConfigError, match="unencrypted") as caught:
        endpoint_writer("http://models.example/v1", "m")
    assert SECRET not in str(caught.value)
    endpoint_writer("https://models.example/v1", "m")
    endpoint_writer("http://localhost:1/v1", "m")


def test_nobody_there_is_an_error_too(endpoint):
    with pytest.raises(ModelError, match="gave no answer"):
        endpoint_writer("http://127.0.0.1:9/v1", "m")("describe it", 0)
