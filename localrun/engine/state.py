"""What is remembered of running models, so that any later command finds them again.

One JSON file per running name in the state folder, written whole or not at all, 0600 because
it may hold an API key. The record is written before the engine starts: a localrun that is
killed at any moment leaves either no engine or one that `ps` and `down` find.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localrun import wire
from localrun.engine.base import Allocation, Handle
from localrun.errors import StateError
from localrun.hardware.facts import Gpu
from localrun.plan.kv_groups import KvGroup
from localrun.plan.values import Settings

SCHEMA = 1
State = Literal["starting", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Record:
    """One running model."""

    schema: int
    name: str
    state: State
    handle: Handle
    model: str  # path of the file that is served
    ctx_size: int
    planned: dict[str, int]  # bytes by device
    kv_bytes: int
    kv_cells: int
    kv_bytes_per_token: int
    started: float  # seconds since the epoch
    gpus: tuple[Gpu, ...] = ()  # those that the plan uses
    allocated: tuple[Allocation, ...] = ()  # what the engine said it took
    owner: int = 0  # the localrun that starts it, or in whose foreground it runs; 0 = nobody's
    owner_created: float = 0.0  # that process's start, as Handle.created
    kv_groups: tuple[KvGroup, ...] = ()  # the cache by what its layers keep
    settings: Settings | None = None  # None: written by an older version
    build: str = ""  # the engine's, as `registry.build_of` says it; empty: as above


@dataclass(frozen=True, slots=True)
class Broken:
    """A state file that cannot be read, and why."""

    path: Path
    why: str


def file_name(name: str) -> str:
    """`name` as a file name: no separator or leading dot leads elsewhere, no two names share one."""
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{,99}", name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[:80]}-{digest}"


def folder(state: Path) -> Path:
    path = state / "run"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as failed:
        raise StateError(
            f"cannot use the state folder {path}: {failed.strerror}", "set XDG_STATE_HOME"
        ) from None
    return path


def write(state: Path, record: Record) -> None:
    """Replace the record in one step. Raises StateError."""
    target = path_of(state, record.name)
    draft = ""
    try:
        descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".draft")
        with os.fdopen(descriptor, "wb") as file:
            file.write(wire.encode(record))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except OSError as failed:
        if draft:
            Path(draft).unlink(missing_ok=True)
        raise StateError(f"cannot write {target}: {failed.strerror}") from None


def path_of(state: Path, name: str) -> Path:
    """The file of the record called `name`."""
    return folder(state) / f"{file_name(name)}.json"


def remove(state: Path, name: str) -> None:
    path = path_of(state, name)
    try:
        path.unlink(missing_ok=True)
    except OSError as failed:
        raise StateError(f"cannot remove {path}: {failed.strerror}") from None


def read_all(state: Path) -> tuple[tuple[Record, ...], tuple[Broken, ...]]:
    """Every record, by name, and the files that are none."""
    good: list[Record] = []
    bad: list[Broken] = []
    if not (state / "run").is_dir():
        return (), ()
    for path in sorted((state / "run").glob("*.json")):
        try:
            record = wire.decode(path.read_bytes(), Record)
            if record.schema != SCHEMA:
                raise wire.UnreadableError(f"schema {record.schema}, this version writes {SCHEMA}")
            good.append(record)
        except FileNotFoundError:
            continue  # another command removed it meanwhile
        except (OSError, wire.UnreadableError) as wrong:
            bad.append(Broken(path, str(wrong)))
    return tuple(good), tuple(bad)


@contextlib.contextmanager
def locked(state: Path, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold `name` against other localrun processes: two `up` at once make one engine.

    `waiting` is called once if another holds it.
    """
    import fcntl

    path = folder(state) / f"{file_name(name)}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as failed:
        raise StateError(f"cannot lock {path}: {failed.strerror}") from None
    try:
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as failed:
            # A network home without locks: go on unlocked rather than not at all.
            if failed.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        yield
    finally:
        os.close(descriptor)
