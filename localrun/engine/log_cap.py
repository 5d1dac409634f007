"""Keeps an engine's log within bounds while the engine writes to it: its start and its last part stay.

What lies between is given back to the disk as a hole in the file. No byte moves and none is copied, so the
engine goes on writing to its descriptor, whoever follows the log keeps its place, and nothing of the kept
parts can be lost between two steps. On a file system without holes the log is left as it is.
"""

from __future__ import annotations

import os
import stat
import sys

#: Kept from the start, where the load tells of its buffers and the first error stands.
HEAD = 1 << 20
#: Kept from the end, at least.
TAIL = 16 << 20
#: What a log may take on the disk before its middle goes.
MOST = 32 << 20
_BLOCK = 1 << 16
_KEEP_SIZE_PUNCH_HOLE = 3  # fallocate(2)
_F_PUNCHHOLE = 99  # fcntl(2) on macOS


def trim(descriptor: int) -> bool:
    """Makes a log that takes more than MOST smaller; whether it did. The descriptor must be for writing."""
    try:
        there = os.fstat(descriptor)
        start, stop = HEAD, (there.st_size - TAIL) // _BLOCK * _BLOCK
        if not stat.S_ISREG(there.st_mode) or there.st_blocks * 512 <= MOST or stop <= start:
            return False
        _punch(descriptor, start, stop - start)
    except OSError:
        return False
    return True


def trim_file(path: str) -> None:
    """`trim` for who holds no descriptor; a log that is gone, or is another's, is none of ours."""
    try:
        if os.stat(path).st_blocks * 512 <= MOST:
            return
        descriptor = os.open(path, os.O_WRONLY)
    except OSError:
        return
    try:
        trim(descriptor)
    finally:
        os.close(descriptor)


def part(descriptor: int, offset: int) -> tuple[int, int]:
    """From where to where there is something to read at or behind `offset`; nothing: both the file's end."""
    size = os.fstat(descriptor).st_size
    if offset >= size:
        return size, size
    try:
        start = os.lseek(descriptor, offset, os.SEEK_DATA)
        return start, os.lseek(descriptor, start, os.SEEK_HOLE)
    except (OSError, AttributeError):
        return offset, size


def _punch(descriptor: int, start: int, length: int) -> None:
    """Raises OSError where there are no holes."""
    if sys.platform == "darwin":
        import fcntl
        import struct

        fcntl.fcntl(descriptor, _F_PUNCHHOLE, struct.pack("IIqq", 0, 0, start, length))
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    mode, offset, size = _KEEP_SIZE_PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(length)
    if libc.fallocate(descriptor, mode, offset, size):
        raise OSError(ctypes.get_errno(), "no holes here")
