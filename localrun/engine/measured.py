"""How fast models ran here, kept by hardware and engine build: what later plans are calibrated with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from localrun.engine import history
from localrun.hardware.facts import Host
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
    return tuple(
        run for run in map(_run, history.read(path, _SCHEMA, "runs").get(key, ())) if run is not None
    )


def runs_of_builds(path: Path, host: Host, builds: Iterable[str]) -> dict[str, tuple[Run, ...]]:
    """The runs of each build on this hardware."""
    from localrun.hardware.identity import identity

    here = identity(host)
    return {build: runs(path, key_of(here, build)) for build in builds}


def record_run(path: Path, key: str, run: Run) -> None:
    """Keep one more. A file that cannot be written is no reason to fail: the next plan is less certain."""
    history.add(path, _SCHEMA, "runs", key, asdict(run), _KEPT)


def rates_for(path: Path, key: str, ram_bandwidth: float = 0.0) -> Rates:
    """What the planner should reckon with here. `ram_bandwidth`: as measured, 0 = it was not."""
    return calibrate(runs(path, key), ram_bandwidth)


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
