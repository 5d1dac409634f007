"""What runs now: found again from records and processes, measured, stopped."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from localrun.config import Session
from localrun.engine import process, registry, state
from localrun.engine.base import Engine, Handle
from localrun.errors import LocalrunError, UsageError
from localrun.hardware import nvml, system
from localrun.meter.values import Reading
from localrun.meter.watch import Watcher

#: How long an engine gets to end by itself, seconds.
GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Status:
    """One running model: what was planned, what is measured now."""

    record: state.Record
    alive: bool
    reading: Reading | None
    measured: dict[str, int]  # bytes by device
    uptime: float  # seconds


def records(session: Session) -> tuple[tuple[state.Record, ...], tuple[state.Broken, ...]]:
    return state.read_all(session.paths.state)


def is_alive(record: state.Record) -> bool:
    return record.handle.pid > 0 and system.process_alive(record.handle.pid, record.handle.created)


def engine_of(session: Session, record: state.Record) -> Engine:
    return registry.engines(session.config)[record.handle.engine]


def measured_memory(record: state.Record) -> dict[str, int]:
    """Bytes that the engine holds now, by device: resident memory, and VRAM where NVML tells."""
    held = system.process_memory(record.handle.pid)
    found = {"CPU": held.rss} if held else {}
    for gpu in record.gpus:
        if gpu.backend == "cuda" and (used := nvml.used_by(gpu, [record.handle.pid])) is not None:
            found[f"CUDA{gpu.index}"] = used
    return found


def status(session: Session, record: state.Record, watcher: Watcher | None = None) -> Status:
    """One model as it is now. `watcher` keeps what rates need between two calls."""
    alive = is_alive(record)
    seen = engine_of(session, record).observe(record.handle) if alive else None
    watcher = watcher or Watcher(record.kv_bytes_per_token, record.kv_bytes)
    return Status(
        record=record,
        alive=alive,
        reading=watcher.update(seen, time.monotonic()) if seen else None,
        measured=measured_memory(record) if alive else {},
        uptime=max(0.0, time.time() - record.started),
    )


def instance(session: Session, name: str) -> str:
    """How an engine's environment names it: two users' state folders do not meet."""
    return f"{name}@{session.paths.state}"


def lost(session: Session) -> tuple[tuple[str, Handle], ...]:
    """Engines of ours whose record is gone or broken, found by their environment: (name, handle)."""
    known = {record.handle.pid for record in records(session)[0]}
    suffix = f"@{session.paths.state}"
    return tuple(
        (value.removesuffix(suffix), Handle("embedded", pid, created, ""))
        for pid, created, value in system.find_by_environment(process.INSTANCE)
        if value.endswith(suffix) and pid not in known
    )


def find(session: Session, name: str | None) -> state.Record:
    """The record called `name`, or the only one. Raises UsageError with what there is."""
    good, _ = records(session)
    alive = [record for record in good if is_alive(record)]
    if name is None:
        if len(alive) == 1:
            return alive[0]
        names = ", ".join(record.name for record in alive)
        raise UsageError(
            f"several models run: {names}" if alive else "nothing runs",
            "name one of them" if alive else "start the default model: localrun up",
        )
    key = normal(name)
    for record in alive:
        if key in (normal(record.name), normal(record.model), normal(Path(record.model).stem)):
            return record
    raise UsageError(f"{name} does not run", "localrun ps lists what does")


def normal(name: str) -> str:
    """A name without case and separators, as people remember it."""
    return re.sub(r"[\s._:-]+", "", name).lower()


def down(session: Session, name: str | None, everything: bool = False) -> tuple[str, ...]:
    """Stop `name`, or the only one, or all. Returns the names that were stopped."""
    good, _ = records(session)
    if everything:
        chosen = [(record.name, record.handle) for record in good]
    else:
        key = normal(name) if name else ""
        stray = [(n, h) for n, h in lost(session) if not key or normal(n) == key]
        if stray and (name or not any(map(is_alive, good))):
            chosen = stray
        else:
            record = find(session, name)
            chosen = [(record.name, record.handle)]
    if everything:
        chosen += lost(session)
    stopped = []
    for found, handle in chosen:
        # No lock: an `up` that still waits for this engine sees it die and cleans up too.
        if handle.pid > 0:
            registry.engines(session.config)[handle.engine].stop(handle, GRACE)
        state.remove(session.paths.state, found)
        stopped.append(found)
    return tuple(stopped)


def forget_dead(session: Session) -> None:
    """Drop the records whose engine is gone, and files that are no records once nothing runs for them."""
    good, bad = records(session)
    for record in good:
        if record.state != "starting" and not is_alive(record):
            state.remove(session.paths.state, record.name)
    stray = {state.file_name(name) for name, _ in lost(session)}
    for broken in bad:
        if broken.path.stem not in stray:
            broken.path.unlink(missing_ok=True)


def follow(
    path: Path, going: Callable[[], bool], sleep: Callable[[float], None] = time.sleep
) -> Iterator[bytes]:
    """The log's bytes, then what is added while `going()`; starts anew when the file was replaced."""
    try:
        with path.open("rb") as file:
            while True:
                part = file.read(1 << 16)
                if part:
                    yield part
                elif not going():
                    return
                else:
                    if path.stat().st_size < file.tell():
                        file.seek(0)
                    sleep(0.2)
    except OSError as failed:
        raise LocalrunError(f"cannot read the log {path}: {failed.strerror}") from None
