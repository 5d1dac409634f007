"""The engine's dry run in the plan's terms: its buffer types added up by device."""

from __future__ import annotations

from pathlib import Path

from localrun.engine.allocation import device_of
from localrun.engine.dryrun import dry_run
from localrun.errors import UsageError
from localrun.plan.compare import Taken
from localrun.plan.values import Plan


def taken_in_dry_run(path: Path, plan: Plan) -> tuple[Taken, ...]:
    """What the embedded engine would allocate for `plan`. Raises EngineError, UsageError."""
    if plan.host.gpus and plan.settings.n_gpu_layers:
        raise UsageError(
            "--verify asks the embedded engine, whose portable build has no GPU backend",
            "--n-gpu-layers 0 verifies the CPU's part",
        )
    sums: dict[str, list[int]] = {}
    for row in dry_run(str(path), plan.settings):
        parts = sums.setdefault(device_of(row.device), [0, 0, 0])
        for i, size in enumerate((row.model, row.context, row.compute)):
            parts[i] += size
    return tuple(Taken(device, *parts) for device, parts in sums.items())
