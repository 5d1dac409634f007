"""Benchmarks as they came out here: kept by hardware and model, with date, build and settings.

What later plans are calibrated with is kept apart, in `measured`: that wants one run as the planner sees it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localrun.bench.values import Case, Earlier
from localrun.engine import history

_SCHEMA = "localrun.bench-history/1"
#: Newest results that are kept of each model on each hardware.
_KEPT = 512
_MOST = 1e15
_FIELDS = {
    "date": str, "build": str, "n_prompt": int, "n_gen": int, "n_depth": int, "settings": str,
    "median": float, "stdev": float, "repetitions": int,
}  # fmt: skip


def key_of(identity: str, fingerprint: str) -> str:
    """`identity` as hardware.identity tells it, `fingerprint` the model's weights."""
    return f"{identity} | {fingerprint}"


def load(path: Path, key: str) -> tuple[Earlier, ...]:
    """What was kept, oldest first. A missing or damaged file, or line, counts as none."""
    rows = history.read(path, _SCHEMA, "results").get(key, ())
    return tuple(found for found in map(_earlier, rows) if found is not None)


def keep(path: Path, key: str, one: Earlier) -> None:
    """Keep one more. A file that cannot be written is no reason to fail."""
    case = one.case
    row = {
        "date": one.date,
        "build": one.build,
        "n_prompt": case.n_prompt,
        "n_gen": case.n_gen,
        "n_depth": case.depth,
        "settings": one.settings,
        "median": one.median,
        "stdev": one.stdev,
        "repetitions": one.repetitions,
    }
    history.add(path, _SCHEMA, "results", key, row, _KEPT)


def _earlier(row: object) -> Earlier | None:
    if not isinstance(row, dict) or not all(_fits(row.get(name), kind) for name, kind in _FIELDS.items()):
        return None
    r: dict[str, Any] = row
    case = Case(r["n_prompt"], r["n_gen"], r["n_depth"])
    if bool(case.n_prompt) == bool(case.n_gen) or r["median"] <= 0:
        return None
    return Earlier(
        r["date"], r["build"], case, r["settings"], float(r["median"]), float(r["stdev"]), r["repetitions"]
    )


def _fits(value: object, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        return False
    return 0 <= value < _MOST  # false for NaN
