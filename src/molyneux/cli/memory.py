"""How a process of ours holds memory."""

import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2
"""Of glibc's mallopt(3)."""
_KEPT = {_MMAP_THRESHOLD: 2**30, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26}


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed tensors for the next ones; False where the C library cannot.

    By default glibc gives each large tensor's memory back to the system and asks for it anew, and the system clears
    every page. Tensors above 1 GiB still go that way. For a process of our own only: a library leaves the choice to the
    program that it is part of. A variable such as `MALLOC_TRIM_THRESHOLD_` is overruled.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) for name, value in _KEPT.items())
