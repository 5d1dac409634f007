"""How fast models ran here, kept by hardware and engine build: what later plans are calibrated with."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from localrun.plan.calibrate import Run, calibrate
from localrun.plan.rates import Rates

_SCHEMA = "localrun.runs/1"
#: Newest runs that are kept for each hardware and build.
_KEPT = 64
_TEXT = frozenset(("model",))
_MOST = 1e18


def key_of(identity: str, engine: str) -> str:
    """`identity` as hardware.identity tells it, `engine` the name and build: other builds, other kernels."""
    return f"{identity} | {engine}"


def runs(path: Path, key: str) -> tuple[Run, ...]:
    """The runs kept under `key`, oldest first. A missing or damaged file, or entry, counts as none."""
    return tuple(run for run in map(_run, _read(path).get(key, ())) if run is not None)


def record_run(path: Path, key: str, run: Run) -> None:
    """Keep one more. A file that cannot be written is no reason to fail: the next plan is less certain."""
    import json

    kept = _read(path)
    kept[key] = [*kept.get(key, ()), asdict(run)][-_KEPT:]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"schema": _SCHEMA, "runs": kept}, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def rates_for(path: Path, key: str, ram_bandwidth: float = 0.0) -> Rates:
    """What the planner should reckon with here. `ram_bandwidth`: as measured, 0 = it was not."""
    return calibrate(runs(path, key), ram_bandwidth)


def _read(path: Path) -> dict[str, list[object]]:
    import json

    try:
        found = json.loads(path.read_bytes())
        kept = found["runs"] if found["schema"] == _SCHEMA else {}
        return {key: rows for key, rows in kept.items() if isinstance(rows, list)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _run(row: object) -> Run | None:
    """A row as it was written; None for anything else. What its figures are worth `calibrate` judges."""
    if not isinstance(row, dict) or set(row) != {field.name for field in fields(Run)}:
        return None
    values: dict[str, Any] = row
    if all(_fits(name, value) for name, value in values.items()):
        return Run(**values)
    return None


def _fits(name: str, value: object) -> bool:
    if name in _TEXT:
        return isinstance(value, str)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) < _MOST  # false for NaN; whole numbers may be beyond any float
