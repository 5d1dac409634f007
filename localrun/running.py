"""What runs now: found again from records and processes, measured, stopped."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from localrun.config import Session
from localrun.engine import interrupts, log_cap, process, registry, state
from localrun.engine.base import Engine, Handle
from localrun.errors import LocalrunError, UsageError
from localrun.hardware import nvml, system
from localrun.meter.values import Reading
from localrun.meter.watch import Watcher
from localrun.plan.kv_groups import KvGroup
from localrun.units import format_size

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
    owned: bool = False  # the localrun that started it still looks after it

    @property
    def state(self) -> state.State:
        """What it is, whatever the record says: a localrun that was killed cannot have said it."""
        if not self.alive:
            return "starting" if self.record.state == "starting" and self.owned else "failed"
        return "ready" if self.reading else self.record.state


def records(session: Session) -> tuple[tuple[state.Record, ...], tuple[state.Broken, ...]]:
    return state.read_all(session.paths.state)


def is_alive(record: state.Record) -> bool:
    return record.handle.pid > 0 and system.process_alive(record.handle.pid, record.handle.created)


def is_owned(record: state.Record) -> bool:
    return record.owner > 0 and system.process_alive(record.owner, record.owner_created)


def engine_of(session: Session, record: state.Record) -> Engine:
    return registry.engine_of(session.config, record.handle)


def measured_memory(record: state.Record) -> dict[str, int]:
    """Bytes that the engine holds now, by device: resident memory, and VRAM where NVML tells;
    where it does not, what the engine said that it allocated there.
    """
    held = system.process_memory(record.handle.pid)
    found = {"CPU": held.rss} if held else {}
    for gpu in record.gpus:
        if gpu.backend == "cuda" and (used := nvml.used_by(gpu, [record.handle.pid])) is not None:
            found[f"CUDA{gpu.index}"] = used
    for part in record.allocated if held else ():
        if part.device != "CPU":
            found.setdefault(part.device, part.total)
    return found


def status(session: Session, record: state.Record, watched: Watcher | None = None) -> Status:
    """One model as it is now. `watched` keeps what rates need between two calls."""
    alive = is_alive(record)
    if alive:
        log_cap.trim_file(record.handle.log)
    seen = engine_of(session, record).observe(record.handle) if alive else None
    return Status(
        record=record,
        alive=alive,
        reading=(watched or watcher(record)).update(seen, time.monotonic()) if seen else None,
        measured=measured_memory(record) if alive else {},
        uptime=max(0.0, time.time() - record.started),
        owned=is_owned(record),
    )


def watcher(record: state.Record) -> Watcher:
    """What turns observations of this engine into readings."""
    # A record of an older version tells only the size: one group, to the cell.
    one = KvGroup("full", "full", record.kv_cells, 1, record.kv_bytes // max(record.kv_cells, 1))
    return Watcher(record.kv_groups or (one,))


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
    """The running record called `name`, or the only one. Raises UsageError with what there is."""
    alive = [record for record in records(session)[0] if is_alive(record)]
    if name is None:
        if len(alive) == 1:
            return alive[0]
        names = ", ".join(record.name for record in alive)
        raise UsageError(
            f"several models run: {names}" if alive else "nothing runs",
            "name one of them" if alive else "start the default model: localrun up",
        )
    found = matching(alive, name)
    if found is None:
        raise UsageError(f"{name} does not run", "localrun ps lists what does")
    return found


def matching(candidates: Iterable[state.Record], name: str) -> state.Record | None:
    """The candidate that `name` means: what it runs as, or its file."""
    key = normal(name)
    for record in candidates:
        path = Path(record.model)
        if key in map(normal, (record.name, record.model, path.name, path.stem)):
            return record
    return None


def normal(name: str) -> str:
    """A name without case and separators, as people remember it."""
    return re.sub(r"[\s._:-]+", "", name).lower()


def down(session: Session, name: str | None, everything: bool = False) -> tuple[str, ...]:
    """Stop `name`, or the only one, or all. Returns the names that were stopped or forgotten.

    Raises UsageError when nothing is called so, or several run and none was named.
    """
    stopped = []
    for found, handle in _chosen(session, name, everything):
        end(session, found, handle)
        stopped.append(found)
    return tuple(stopped)


def _chosen(session: Session, name: str | None, everything: bool) -> list[tuple[str, Handle]]:
    good, _ = records(session)
    stray = list(lost(session))
    if everything:
        # A record that never learned of its process says less than the process.
        lost_names = {found for found, _ in stray}
        whole = [r for r in good if r.handle.pid > 0 or r.name not in lost_names]
        return [*((record.name, record.handle) for record in whole), *stray]
    if name is None:
        alive = [record for record in good if is_alive(record)]
        if len(alive) > 1:
            find(session, None)
        chosen = [(record.name, record.handle) for record in alive] or stray
        # With nothing running, what a crash left is what there is to take down.
        return chosen or [(record.name, record.handle) for record in good]
    named = [(found, handle) for found, handle in stray if normal(found) == normal(name)]
    record = matching([r for r in good if is_alive(r)], name) or (None if named else matching(good, name))
    if record is not None:
        named.append((record.name, record.handle))
    if not named:
        find(session, name)
    return named


def end(session: Session, name: str, handle: Handle) -> None:
    """Stop an engine, whatever is left of it, and forget it.

    The record goes first, so that an `up` that watches it sees a stop and no crash; and again at the
    end, because one that was still starting it may have written it meanwhile.
    """
    with interrupts.held():
        state.remove(session.paths.state, name)
        if handle.pid > 0:
            registry.engine_of(session.config, handle).stop(handle, GRACE)
        state.remove(session.paths.state, name)


def end_own(session: Session) -> tuple[str, ...]:
    """Stop what this process started and nobody took over. Returns the names."""
    with interrupts.held():
        mine = [r for r in records(session)[0] if r.owner == os.getpid() and is_owned(r)]
        for record in mine:
            end(session, record.name, record.handle)
    return tuple(record.name for record in mine)


def forget_dead(session: Session) -> None:
    """Drop what a killed localrun left behind: starts that nobody goes on with, and files that are no
    records once nothing runs for them. An engine that died stays, as failed, until it is taken down.
    """
    good, bad = records(session)
    for record in good:
        if record.state == "starting" and not is_alive(record) and not is_owned(record):
            state.remove(session.paths.state, record.name)
    stray = {state.file_name(name) for name, _ in lost(session)}
    for broken in bad:
        if broken.path.stem not in stray:
            broken.path.unlink(missing_ok=True)


def follow(
    path: Path, going: Callable[[], bool], sleep: Callable[[float], None] = time.sleep
) -> Iterator[bytes]:
    """The log's bytes, then what is added while `going()`; starts anew when the file was replaced.

    Where the middle of a long log was given up, a line says so.
    """
    try:
        with path.open("rb", buffering=0) as file:
            at, descriptor = 0, file.fileno()
            while True:
                start, stop = log_cap.part(descriptor, at)
                if start < stop:
                    text = os.pread(descriptor, min(stop - start, 1 << 16), start)
                    still, until = log_cap.part(descriptor, start)
                    if still != start or until < start + len(text):
                        continue  # it was given up while it was read
                    if at < start:
                        yield f"\n[{format_size(start - at)} of the log are gone]\n".encode()
                    at = start + len(text)
                    yield text
                elif not going():
                    return
                else:
                    if path.stat().st_size < at:
                        at = 0
                    sleep(0.2)
    except OSError as failed:
        raise LocalrunError(f"cannot read the log {path}: {failed.strerror}") from None
