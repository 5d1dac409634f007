"""How far plans were off, kept by hardware and engine build: the band that later plans show."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from localrun import wire

_SCHEMA = 1
#: Newest launches that are kept for each hardware and build.
_KEPT = 20


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch: shares of the plan, 0.01 = one per cent more than planned."""

    model: str
    total: float
    worst: float
    component: str  # of the worst


@dataclass(frozen=True, slots=True)
class _File:
    schema: int = _SCHEMA
    launches: dict[str, tuple[Launch, ...]] = field(default_factory=dict)


def load(path: Path, key: str) -> tuple[Launch, ...]:
    """The launches kept for `key`, oldest first; none where the file is missing or damaged."""
    return _read(path).launches.get(key, ())


def add(path: Path, key: str, launch: Launch) -> None:
    """Keep one more. A file that cannot be written is no reason to fail a launch."""
    kept = dict(_read(path).launches)
    kept[key] = (*kept.get(key, ()), launch)[-_KEPT:]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(wire.encode(_File(launches=kept)))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> _File:
    try:
        found = wire.decode(path.read_bytes(), _File)
    except (OSError, wire.UnreadableError):
        return _File()
    return found if found.schema == _SCHEMA else _File()
