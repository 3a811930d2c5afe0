"""The hub of Hugging Face, by its own client: without its chatter, and what its cache holds already."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOUD = ("huggingface_hub", "urllib3", "httpx", "httpcore")


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Within the block no retry is reported; what fails in the end is raised."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
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
