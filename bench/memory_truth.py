"""How true the memory figures are: planned bytes against the engine's dry run, and against a process.

    python -m bench.memory_truth [--write] [--model FILE.gguf]

Models of full real size as sparse files; GPUs from tests/fakes/fake_gpu.c. For each model: how many
cases have the cache and the weights right to the byte, and by how much the graph buffers are off.
With --model the embedded engine is started and its resident memory compared with the plan.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from statistics import median
from typing import Any

from bench.machine import describe, keep
from localrun.plan.compute import graph_buffers
from localrun.plan.memory import Sizer, memory
from localrun.plan.placement import place
from localrun.plan.values import Settings
from tests.oracle import Account, accounts, host, sparse_model
from tests.shapes import MODELS

CASES = 40
RIGS: dict[str, tuple[int, ...]] = {"cpu": (), "one GPU": (10**12,), "two GPUs": (10**12,) * 2}


def cases(which: str, rig: str) -> list[Settings]:
    """Settings of every kind, the same in every run."""
    draw = random.Random(f"{which} {rig}")
    n = MODELS[which].shape.n_layers
    found = []
    for _ in range(CASES):
        kind = draw.choice(("full", "experts", "part", "part of both")) if RIGS[rig] else "none"
        cache = draw.choice(("f16", "f16", "f16", "q8_0", "q4_0"))
        layers = {"none": 0, "part": draw.randint(0, n), "part of both": draw.randint(n // 2, n)}
        found.append(
            Settings(
                ctx_size=draw.choice((1024, 4096, 8192, 32768, 131072)),
                cache_type_k=cache,
                cache_type_v=cache,
                ubatch_size=draw.choice((256, 512, 512, 1024, 2048)),
                parallel=draw.choice((1, 1, 2, 4)),
                kv_unified=draw.random() < 0.3,
                swa_full=draw.random() < 0.1,
                n_gpu_layers=layers.get(kind, 999),
                n_cpu_moe=draw.randint(1, n) if kind in {"experts", "part of both"} else 0,
                flash_attn="off" if cache == "f16" and draw.random() < 0.1 else "on",
            )
        )
    return found


def compare(which: str, rig: str) -> dict[str, Any]:
    """Cases right to the byte, and the graph's errors in per cent where they pass 3 MiB."""
    model, machine, wanted = sparse_model(which), host(RIGS[rig]), cases(which, rig)
    exact = 0
    errors: list[float] = []
    above = 0
    for case, account in zip(wanted, accounts(model, wanted, RIGS[rig]), strict=True):
        real = [account.get(d.device, Account()) for d in memory(model, machine, case)]
        planned = memory(model, machine, case)
        exact += all((p.weights, p.kv) == (r.weights, r.kv) for p, r in zip(planned, real, strict=True))
        estimates = graph_buffers(model, machine, case, place(model, machine, case))
        for estimate, r in zip(estimates, real, strict=True):
            off = estimate.expected - r.compute
            errors.append(100 * off / r.compute if abs(off) > 3 << 20 and r.compute else 0.0)
            above += r.compute > estimate.high
    errors.sort()
    return {
        "cases": len(wanted),
        "cache_and_weights_exact": exact,
        "graphs": len(errors),
        "graph_error_median_percent": round(median(abs(e) for e in errors), 3),
        "graph_error_lowest_percent": round(errors[0], 1),
        "graph_error_highest_percent": round(errors[-1], 1),
        "graphs_above_their_band": above,
    }


def sizing_speed() -> dict[str, float]:
    """What one placement costs to size, with the sums made beforehand."""
    model, machine = sparse_model("v3.2"), host((24 << 30,))
    start = time.process_time()
    sizer = Sizer.of(model, machine, Settings(4096))
    sums = time.process_time() - start
    wanted = [Settings(32768, n_gpu_layers=n, n_cpu_moe=k) for n in range(62) for k in range(0, 62, 4)]
    start = time.process_time()
    for case in wanted:
        sizer.memory(case)
    each = (time.process_time() - start) / len(wanted)
    return {"sums_ms": round(sums * 1e3, 2), "one_placement_us": round(each * 1e6, 1)}


def measure(path: str) -> dict[str, Any]:
    """The embedded engine with `path` loaded and used: its resident memory against the plan."""
    run = [sys.executable, "-m", "localrun"]
    subprocess.run([*run, "up", path, "-d", "-c", "4096", "-t", "1"], check=True, capture_output=True)
    try:
        listing = subprocess.run([*run, "ps", "--json"], check=True, capture_output=True)
        running = json.loads(listing.stdout)["running"][0]
        subprocess.run([*run, "run", path, "word " * 600], check=False, capture_output=True)
        after = json.loads(subprocess.run([*run, "ps", "--json"], check=True, capture_output=True).stdout)
        used = after["running"][0]["measured"]["CPU"]
    finally:
        subprocess.run([*run, "down"], check=False, capture_output=True)
    planned = running["planned"]["CPU"]
    return {"planned": planned, "loaded": running["measured"]["CPU"], "used": used,
            "used_of_planned": round(used / planned, 3)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--model")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": describe(), "sizing": sizing_speed(), "models": {}}
    for which in MODELS:
        result["models"][which] = {rig: compare(which, rig) for rig in RIGS}
    if options.model:
        result["process"] = measure(options.model)
    keep("memory_truth", result, options.write)


if __name__ == "__main__":
    main()
