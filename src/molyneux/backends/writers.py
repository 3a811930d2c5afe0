"""Language models that write text: one that runs here, through transformers, or one behind an endpoint."""

import http.client
import json
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from molyneux.errors import ConfigError, ModelError
from molyneux.foreign import printable

Writer = Callable[[str, int], str]
"""From a prompt and a seed to a text."""

KEY = "MOLYNEUX_API_KEY"
"""The environment variable for an endpoint's key."""

_LONGEST_ANSWER = 1_000_000  # bytes
_LONGEST_REASON = 4_000
_LOCAL = ("localhost", "127.0.0.1", "::1")


def local_writer(name: str, *, device: str = "cpu", longest: int = 200) -> Writer:
    """A causal language model of transformers: 'hf:ORG/NAME', or a folder that it was saved in.

    The prompt is put into the model's chat template, where it has one. Texts are sampled as the model's own generation
    settings say; the same seed gives the same text. Safetensors alone are read, and no code of the model's.

    Raises:
        ModelError: if there is no such model.
    """
    import torch
    import transformers

    from molyneux.backends.hugging_face import quiet
    from molyneux.backends.load import named_device

    place = named_device(device)
    known = name.removeprefix("hf:")
    here = Path(known).is_dir()
    if not here and known == name:
        raise ModelError(f"no language model at {name}: expected a folder that transformers saved, or 'hf:ORG/NAME'")
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                known, local_files_only=here, trust_remote_code=False
            )
            model = transformers.AutoModelForCausalLM.from_pretrained(
                known, dtype="auto", use_safetensors=True, local_files_only=here, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot load the language model {name!r}: {' '.join(str(error).split()):.300}") from error
    model.to(place).eval()

    def write(prompt: str, seed: int) -> str:
        if getattr(tokenizer, "chat_template", None):
            turns = [{"role": "user", "content": prompt}]
            read = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
        else:
            read = tokenizer(prompt, return_tensors="pt")
        tokens = {key: read[key].to(place) for key in ("input_ids", "attention_mask")}
        end = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        devices = [place] if place.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), quiet():
            torch.manual_seed(seed % 2**63)
            found = model.generate(**tokens, do_sample=True, max_new_tokens=longest, pad_token_id=end)
        text: str = tokenizer.decode(found[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True)
        return text

    return write


def endpoint_writer(url: str, model: str, *, longest: int = 200, timeout: float = 120.0) -> Writer:
    """A model behind an OpenAI-compatible endpoint, such as 'http://localhost:8000/v1'.

    A key in the environment variable `MOLYNEUX_API_KEY` is sent along, to that host alone, and never written down.
    An answer takes at most `timeout` seconds in all, however it comes.

    Raises:
        ConfigError: if it is no http or https address, the key is none that a header can carry, or it would leave this
            machine unencrypted.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    del port
    # a line break at the end is what reading a file into a variable leaves
    key = os.environ.get(KEY, "").strip()
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not _plain(url):
        shown = "it" if "@" in url else repr(url)
        raise ConfigError(
            f"the endpoint cannot be used: expected an address such as 'http://localhost:8000/v1', without a name or "
            f"key in it; {shown} is none"
        )
    if not _plain(key):
        raise ConfigError(
            f"the key in {KEY} holds a blank, a line break or another character that no header carries: set it anew"
        )
    if key and parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise ConfigError(f"the key in {KEY} would be sent to {parts.hostname} unencrypted: use https, or unset it")
    address = url.rstrip("/")
    if not address.endswith("/chat/completions"):
        address += "/chat/completions"
    opener = urllib.request.build_opener(_NoRedirects())

    def write(prompt: str, seed: int) -> str:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": longest,
            "seed": seed % 2**31,
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="POST")
        try:
            answer = _within(timeout, partial(_answer, opener, request, timeout))
            content = json.loads(answer)["choices"][0]["message"]["content"]
            if not isinstance(content, str):
                raise TypeError(f"its content is no text but a {type(content).__name__}")
        except _TROUBLES as error:
            reason = _reason(error)
            if key:
                reason = reason.replace(key, "…").replace(json.dumps(key)[1:-1], "…")
                # what was cut off may end within the key
                cut = next((end for end in range(len(key), 0, -1) if reason.endswith(key[:end])), 0)
                reason = reason[: len(reason) - cut]
            raise ModelError(
                f"{address} gave no answer that can be read: {printable(reason):.300}; expected an OpenAI-compatible "
                "endpoint"
            ) from None
        return content

    return write


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to no other host."""

    def redirect_request(self, *_: Any) -> None:
        return None


_TROUBLES = (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError, RecursionError)


def _answer(opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float) -> bytes:
    try:
        with opener.open(request, timeout=timeout) as response:
            content: bytes = response.read(_LONGEST_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(_LONGEST_REASON).decode(errors="replace")
        raise OSError(f"{error.code} {error.reason} {said}") from None
    return content


def _within(seconds: float, ask: Callable[[], bytes]) -> bytes:
    """What `ask` gives, if it does in time; a socket's own timeout starts anew with every byte."""
    found: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            found.put(ask())
        except Exception as error:
            found.put(error)

    threading.Thread(target=work, daemon=True, name="endpoint").start()
    try:
        answer = found.get(timeout=seconds)
    except queue.Empty:
        raise OSError(f"no whole answer within {seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _plain(text: str) -> bool:
    """Whether a text can stand in an address or a header: visible ASCII alone."""
    return all("!" <= letter <= "~" for letter in text)


def _reason(error: Exception) -> str:
    said = str(error)
    if isinstance(error, KeyError | IndexError | TypeError | RecursionError) or not said:
        return f"{type(error).__name__}: {said}"
    return said
