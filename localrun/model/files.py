"""Files that must be whole: room on the disk, one writer at a time, and what was verified of them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from localrun.errors import FetchError
from localrun.units import format_size

#: What a full disk, a quota and a file size limit look like.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHUNK = 1 << 20


class DiskError(FetchError):
    """The disk is full or cannot be written: no other source would help."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into one line about `path`."""
    try:
        yield
    except OSError as e:
        if e.errno in _FULL:
            hint = f"free some space or set models_dir to another disk (now {path.parent}), then run it again"
            raise DiskError(f"the disk is full: {path} could not be written ({e.strerror})", hint) from e
        raise DiskError(f"{e.filename or path}: {e.strerror}", "check the folder's permissions") from e


def check_room(folder: Path, need: int) -> None:
    """Raises DiskError when `folder`'s disk has less than `need` bytes free. `folder` exists."""
    with disk_errors(folder):
        free = shutil.disk_usage(folder).free
    if need > free:
        raise DiskError(
            f"not enough room in {folder}: {format_size(need)} needed, {format_size(free)} free",
            "free some space, or set models_dir to another disk",
        )


@contextmanager
def locked(path: Path, waiting: AbstractContextManager[object] | None = None) -> Iterator[None]:
    """Holds the lock file `path` (kept afterwards: removing it would race). `waiting` is entered while
    another process has it. The system drops the lock when its holder dies, however it dies."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        with disk_errors(path):
            _lock(descriptor, waiting or nullcontext())
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, waiting: AbstractContextManager[object]) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            with waiting:
                while True:
                    # LK_LOCK itself gives up after ten tries, a second apart.
                    with suppress(OSError):
                        return msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
    else:
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with waiting:
                fcntl.flock(descriptor, fcntl.LOCK_EX)


def hash_file(path: Path, advance: Callable[[int], None] = lambda _: None) -> str:
    """The sha256 of a file, in hex. OSError passes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while data := file.read(_CHUNK):
            digest.update(data)
            advance(len(data))
    return digest.hexdigest()


def place(temporary: Path, target: Path) -> None:
    """Makes `temporary` become `target` in one step, after its bytes are on the disk."""
    with disk_errors(target):
        sync(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
        if sys.platform != "win32":
            sync(target.parent)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_small(path: Path, text: str) -> None:
    """Replaces a small file in one step. OSError passes."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file in one step. OSError passes. Only one process may write it at a time, or all the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def read_small(path: Path) -> dict[str, object]:
    """The JSON object in a file of ours; {} when it is missing, cut short or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def stamped(path: Path, stamp: Path, sha256: str) -> bool:
    """Whether `stamp` says that `path`, as it lies there now, was verified to be `sha256`."""
    try:
        found = path.stat()
    except OSError:
        return False
    return read_small(stamp) == {"sha256": sha256, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def write_stamp(path: Path, stamp: Path, sha256: str) -> None:
    """Remembers that `path` was verified. A folder that cannot be written only costs the next check."""
    with suppress(OSError):
        found = path.stat()
        write_small(
            stamp, json.dumps({"sha256": sha256, "bytes": found.st_size, "mtime_ns": found.st_mtime_ns})
        )
