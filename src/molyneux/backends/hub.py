"""The hub of Hugging Face, by its own client: without its chatter, and what its cache holds already."""

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from molyneux.errors import HubError
from molyneux.records import CONCEPTS, PACKS

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""ORG/NAME."""

DESCRIBED = ("*.json", "*.txt", "*.model")
"""Files beside the weights: settings and tokenizers."""

_BROKEN = ("ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ReadTimeout", "WriteTimeout")
_LOUD = ("diffusers", "huggingface_hub", "urllib3", "httpx", "httpcore")


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Within the block no retry is reported, and no bar drawn where nobody watches; what fails in the end is raised."""
    from huggingface_hub import utils

    hides = not sys.stderr.isatty() and not utils.are_progress_bars_disabled()  # type: ignore[attr-defined]
    if hides:
        utils.disable_progress_bars()  # type: ignore[attr-defined]
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        if hides:
            utils.enable_progress_bars()  # type: ignore[attr-defined]
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def cached_folder(name: str, file: str) -> Path | None:
    """Where the hub's cache on this machine holds a file of a repository; None if it does not. Asks no network."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, file)
    except ValueError:  # a path, or what else is no repository's name
        return None
    return Path(found).parent if isinstance(found, str) else None


def endpoint() -> dict[str, Any]:
    """The hub's address as an argument for its client, if the environment names another than the public one."""
    return {"endpoint": os.environ["HF_ENDPOINT"]} if os.environ.get("HF_ENDPOINT") else {}


def fetch_files(name: str, patterns: Sequence[str]) -> Path:
    """The folder in the hub's cache with those files of a repository that fit a pattern, fetched if they are not there.

    Raises:
        HubError: if there is no such repository, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        with quiet_hub():
            return Path(snapshot_download(name, allow_patterns=list(patterns), **endpoint()))
    except Exception as error:  # the client's errors come from three libraries
        raise HubError(f"cannot fetch {name!r} from the Hugging Face hub: {reason(error)}") from error


def fetch_saved(name: str) -> Path | None:
    """The folder of 'hf:ORG/NAME' if `molyneux push` filled that repository; None for any other name.

    Only tensors, JSON and text are fetched: no pickle, no code.

    Raises:
        HubError: if there is no such repository, or the hub cannot be reached.
    """
    loader, _, repository = name.partition(":")
    if loader != "hf" or Path(repository).is_dir() or not REPOSITORY.fullmatch(repository):
        return None
    described = fetch_files(repository, DESCRIBED)
    if not any((described / mark).is_file() for mark in (CONCEPTS, PACKS)):
        return None
    return fetch_files(repository, (*DESCRIBED, "*.safetensors"))


def reason(error: BaseException) -> str:
    """Why the hub said no and what to do about it, in a line without any token."""
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for one in chain:
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(one, GatedRepoError):
            return "its owner asks for consent first: give it on the repository's page, and log in with 'hf auth login'"
        if isinstance(one, RepositoryNotFoundError):
            return "there is no such repository, or it is private and your token may not read it: check the name"
        if status == 401:
            return "the token was refused: log in with 'hf auth login', or set HF_TOKEN to a valid one"
        if status == 403:
            return "the token may not do that: use one with write access to this name"
        if isinstance(one, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, and its files are not on this machine: unset it to fetch them"
        if type(one).__name__ in ("ConnectError", "ConnectTimeout", "ConnectionError"):
            return "the hub cannot be reached: check the connection"
        if type(one).__name__ in _BROKEN:
            return "the connection broke off: try again"
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    said = without_token(next((line for line in lines if line), type(error).__name__)[:200])
    return f"{said}: check the name and the connection"


def without_token(text: str) -> str:
    """The text with stars for the machine's token, and for whatever looks like one.

    >>> without_token("Bearer hf_abcdefghijklmnop was refused")
    'Bearer *** was refused'
    """
    from huggingface_hub import get_token

    token = get_token()
    return re.sub(r"hf_[A-Za-z0-9]{10,}", "***", text.replace(token, "***") if token else text)
