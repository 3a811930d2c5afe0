"""Language models that write text: one that runs here, through transformers, or one behind an endpoint."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from molyneux.errors import ConfigError, ModelError

Writer = Callable[[str, int], str]
"""From a prompt and a seed to a text."""

KEY = "MOLYNEUX_API_KEY"
"""The environment variable for an endpoint's key."""

_LONGEST_ANSWER = 1_000_000  # bytes
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
            tokenizer = transformers.AutoTokenizer.from_pretrained(known, local_files_only=here)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                known, dtype="auto", use_safetensors=True, local_files_only=here
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

    Raises:
        ConfigError: if it is no http or https address, or the key would leave this machine unencrypted.
    """
    parts = urlsplit(url)
    key = os.environ.get(KEY, "")
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(f"the endpoint is {url!r}: expected an address such as 'http://localhost:8000/v1'")
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
            with opener.open(request, timeout=timeout) as response:
                answer = response.read(_LONGEST_ANSWER)
            content = json.loads(answer)["choices"][0]["message"]["content"]
            if not isinstance(content, str):
                raise TypeError(f"its content is {content!r:.60}")
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
            reason = " ".join(_reason(error).split()) or type(error).__name__
            if key:
                reason = reason.replace(key, "…")
            raise ModelError(
                f"{address} gave no answer that can be read: {reason:.300}; expected an OpenAI-compatible endpoint"
            ) from None
        return content

    return write


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to no other host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        with error:
            said = error.read(300).decode(errors="replace")
        return f"{error.code} {error.reason} {said}"
    return f"{type(error).__name__}: {error}" if isinstance(error, KeyError | IndexError | TypeError) else str(error)
