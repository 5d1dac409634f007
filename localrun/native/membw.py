"""How fast this machine's RAM can be read, measured by reading it."""

from __future__ import annotations

import os
import sys

from localrun._ffi import ffi, lib

_SC_LEVEL3_CACHE_SIZE = 194
_LEAST = 64 << 20
_MOST = 512 << 20
_BUDGET_NS = 400_000_000
# Where glibc tells no size (arm64, macOS): more than the last cache of most machines.
_NO_IDEA = 32 << 20


def ram_bandwidth(threads: int, size: int = 0, passes: int = 40) -> int:
    """Bytes per second that `threads` threads together can read, the best of up to `passes` passes; about 0.4 s.

    `size` bytes are read in each pass; 0 = four times the last cache, within 64 to 512 MiB. 0 is returned where it
    cannot be measured. The GIL is free meanwhile.
    """
    threads = max(1, min(threads, lib.LR_MEMBW_THREADS))
    out = ffi.new("uint64_t *")
    size = size or min(max(_LEAST, 4 * _last_cache()), _MOST)
    status = lib.lr_membw_read(threads, size, min(passes, lib.LR_MEMBW_PASSES), _BUDGET_NS, out)
    return int(out[0]) if status == lib.LR_OK else 0


def _last_cache() -> int:
    """Bytes of the last cache, as glibc's sysconf tells them; Python has no name for it."""
    try:
        told = os.sysconf(_SC_LEVEL3_CACHE_SIZE) if sys.platform == "linux" else 0
    except (OSError, ValueError):
        told = 0
    return told if told > 0 else _NO_IDEA
