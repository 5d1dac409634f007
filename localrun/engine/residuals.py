"""How far plans were off, kept by hardware and engine build: the band that later plans show."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

from localrun.engine import history
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
    found = [
        launch for launch in map(_launch, history.read(path, _SCHEMA, "launches").get(key, ())) if launch
    ]
    return tuple(launch for launch in found if launch.engine == found[-1].engine)


def add(path: Path, key: str, launch: Launch) -> None:
    """Keep one more. A file that cannot be written is no reason to fail a launch."""
    history.add(path, _SCHEMA, "launches", key, asdict(launch), _KEPT)


def _launch(row: object) -> Launch | None:
    kinds = {"engine": str, "model": str, "total": float, "worst": float, "component": str}
    if not isinstance(row, dict) or set(row) != {field.name for field in fields(Launch)}:
        return None
    return Launch(**row) if all(isinstance(row[name], kind) for name, kind in kinds.items()) else None
