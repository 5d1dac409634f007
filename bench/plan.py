"""The search over every choice, on every model of the catalogue and every machine that is known: CPU milliseconds.

    python -m bench.plan [--write]

The search is `make_plan` over all quantizations, contexts, cache types, batches and placements, without the
advice that a page shows beside it. `first` also makes the tensors of the quantizations that it looks at, as
every command must; `again` finds them made. Each figure is the least of three runs in this process.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

from bench.machine import RESULTS, describe
from localrun.commands.offers import offers_of
from localrun.hardware.facts import Host
from localrun.hardware.profiles import profile, profile_names
from localrun.model import quants, sized
from localrun.model.catalog import load_catalog
from localrun.model.entry import Entry
from localrun.plan.planner import make_plan

MILLISECONDS = 50
ROUNDS = 3


def cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def forget() -> None:
    """As a new process begins: no quantization's tensors are made."""
    sized.model_for.cache_clear()
    quants.sized_types.cache_clear()


def search(entry: Entry, host: Host) -> None:
    make_plan(offers_of(entry), host, advise=False)


def measure(entry: Entry, host: Host) -> tuple[float, float]:
    first, again = [], []
    for _ in range(ROUNDS):
        forget()
        first.append(cpu_ms(partial(search, entry, host)))
        again.append(cpu_ms(partial(search, entry, host)))
    return min(first), min(again)


def main(write: bool) -> None:
    catalog, rows = load_catalog(), {}
    machines = profile_names()
    for name in catalog.names:
        entry = catalog.entry(name)
        for machine in (*machines, "2x rtx-4090", "4x rtx-3090", "8x h100"):
            rows[name, machine] = measure(entry, profile(machine))
    worst = sorted(rows, key=lambda pair: -rows[pair][1])[:5]
    result = {
        "machine": describe(),
        "pairs": len(rows),
        "limit_ms": MILLISECONDS,
        "over_the_limit": sum(again > MILLISECONDS for _, again in rows.values()),
        "again_ms": summary([again for _, again in rows.values()]),
        "first_ms": summary([first for first, _ in rows.values()]),
        "slowest": {f"{model} on {machine}": [round(ms, 1) for ms in rows[model, machine]] for model, machine in worst},
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if write:
        (RESULTS / "plan.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def summary(times: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(times), 1), "most": round(max(times), 1)}


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
