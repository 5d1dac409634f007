"""How far plans were off, kept by hardware and engine build: the band that later plans show.

Plain json rather than `wire`: `plan` reads this file, and msgspec alone would cost it three times a
bare interpreter's start.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from localrun.value import dataclass

_SCHEMA = "localrun.residuals/1"
#: Newest launches that are kept for each hardware.
_KEPT = 20


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch; shares of the plan, 0.01 = one per cent more than planned."""

    engine: str  # name and build
    model: str
    total: float
    worst: float
    component: str  # of the worst


def load(path: Path, key: str) -> tuple[Launch, ...]:
    """The launches kept for the hardware `key` with the engine build used last, oldest first.

    None where the file is missing or damaged.
    """
    found = [launch for launch in map(_launch, _read(path).get(key, ())) if launch]
    return tuple(launch for launch in found if launch.engine == found[-1].engine)


def add(path: Path, key: str, launch: Launch) -> None:
    """Keep one more. A file that cannot be written is no reason to fail a launch."""
    kept = _read(path)
    kept[key] = [*kept.get(key, ()), asdict(launch)][-_KEPT:]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"schema": _SCHEMA, "launches": kept}, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, list[object]]:
    try:
        found = json.loads(path.read_bytes())
        launches = found["launches"] if found["schema"] == _SCHEMA else {}
        return {key: rows for key, rows in launches.items() if isinstance(rows, list)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _launch(row: object) -> Launch | None:
    kinds = {"engine": str, "model": str, "total": float, "worst": float, "component": str}
    if not isinstance(row, dict) or set(row) != {field.name for field in fields(Launch)}:
        return None
    return Launch(**row) if all(isinstance(row[name], kind) for name, kind in kinds.items()) else None
