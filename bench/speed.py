"""Planned against measured generation, for the default model and random weights of real layer shapes.

    python -m bench.speed [--write] [--model SMOLLM2.gguf] [NAME ...]

Two models calibrate (CALIBRATES), all are foretold before they run. One thread; the engine's own CPU time
counts, its clock stands beside it. `--published` prints the table of published runs instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.machine import describe, keep
from localrun.hardware.facts import Host
from localrun.hardware.probe import detect
from localrun.model.facts import Model
from localrun.model.header import read_model
from localrun.native import ram_bandwidth
from localrun.plan.calibrate import Run, calibrate, run_of
from localrun.plan.kv import kv_cache
from localrun.plan.planner import make_plan
from localrun.plan.rates import DEFAULT, Rates
from localrun.plan.speed import Traffic, speed_of
from localrun.plan.values import Plan, Speed, Wanted
from localrun.units import MIB
from tests.engine_speed import Measured, measure
from tests.published import RUNS
from tests.published import foretold as foretold_elsewhere
from tests.random_models import CASES, write_random

CALIBRATES = ("SmolLM2 135M Q4_1", "llama Q8_0")
#: Tokens in the cache while a short answer is generated.
HELD = 16
TRIES = 8


@lru_cache
def this_machine() -> Host:
    """As detected, with the RAM's bandwidth as the C kernel reads it: the best of several short tries.

    Short ones, for on a busy machine a pass of many milliseconds is always interrupted.
    """
    host = detect()
    rate = max(ram_bandwidth(host.cpu.cores, 64 * MIB) for _ in range(TRIES))
    return replace(host, ram=replace(host.ram, bandwidth=rate, bandwidth_source="measured"))


def plan_on_one_thread(model: Model) -> Plan:
    wanted = Wanted(ctx_size=512, threads=1, n_gpu_layers=0, ubatch_size=128, batch_size=128, cache_ram=0)
    return make_plan(model, this_machine(), wanted, advise=False)


def foretold(plan: Plan, rates: Rates, held: int = HELD) -> Speed:
    """What the plan's settings reach with `held` tokens in the cache."""
    kv = kv_cache(plan.model.shape, plan.settings, plan.model.architecture)
    traffic = Traffic.of(plan.model, plan.host, plan.settings, rates)
    return speed_of(traffic, plan.settings, plan.memory, kv, held)


def enough_tokens(plan: Plan) -> int:
    """About a second and a half of generation: the process's CPU time is told in steps of 10 ms."""
    return min(max(int(1.5 * foretold(plan, DEFAULT).generation.expected), 12), 120)


def measured_run(model: Model, path: Path, log: Path) -> Run:
    """A short run as the state folder keeps it."""
    plan = plan_on_one_thread(model)
    found = measure(path, plan.settings, log, tokens=enough_tokens(plan), prompt=0)
    return run_of(plan, found.generation, held=found.held)


def prompt_tokens(plan: Plan) -> int:
    """A batch of 96, half of it where that would take long."""
    return 96 if foretold(plan, DEFAULT).prompt.expected > 20 else 48


def row(plan: Plan, found: Measured, rates: Rates) -> dict[str, Any]:
    """One model's result; `rates` must not know this model."""
    plain, told = foretold(plan, DEFAULT, found.held), foretold(plan, rates, found.held)
    return {
        "GB": round(plan.model.weights_bytes / 1e9, 2),
        "generation": {
            "foretold uncalibrated": round(plain.generation.expected, 2),
            "foretold": round(told.generation.expected, 2),
            "low": round(told.generation.low, 2),
            "high": round(told.generation.high, 2),
            "measured": round(found.generation, 2),
            "ratio uncalibrated": round(plain.generation.expected / found.generation, 3),
            "ratio": round(told.generation.expected / found.generation, 3),
            "by the clock": round(found.wall_generation, 2),
        },
        "prompt": {
            "foretold uncalibrated": round(plain.prompt.expected, 1),
            "measured": round(found.prompt, 1),
            "by the clock": round(found.wall_prompt, 1),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--model", type=Path, help="the default model's file")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    if chosen.published:
        published()
        return
    with tempfile.TemporaryDirectory() as folder:
        result = against_measured(Path(folder), chosen.model, chosen.names)
    keep("speed", result, chosen.write)


def against_measured(folder: Path, smollm2: Path | None, names: list[str]) -> dict[str, Any]:
    runs: list[Run] = []
    rows: dict[str, Any] = {}
    cases = {case.name: case for case in CASES if not names or case.name in (*names, *CALIBRATES)}
    order = [*CALIBRATES, *(name for name in cases if name not in CALIBRATES)]
    for name in order:
        path = folder / "random.gguf"
        if name in cases:
            write_random(path, cases[name].named, cases[name].types)
        elif smollm2 is None:
            continue
        path = path if name in cases else smollm2 or path
        model = read_model(path)
        # The rates of the models before: none knows what it foretells.
        rates = calibrate(runs, this_machine().ram.bandwidth)
        plan = plan_on_one_thread(model)
        found = measure(
            path, plan.settings, folder / "log", tokens=enough_tokens(plan), prompt=prompt_tokens(plan)
        )
        rows[name] = row(plan, found, rates)
        print(name, rows[name], file=sys.stderr, flush=True)
        if name in CALIBRATES:
            runs.append(run_of(plan, found.generation, found.prompt, found.held))
    ratios = [r["generation"]["ratio"] for name, r in rows.items() if name not in CALIBRATES]
    return {
        "calibrated by": [name for name in CALIBRATES if name in rows],
        "ram bandwidth measured": this_machine().ram.bandwidth,
        "within": round(max(abs(ratio - 1) for ratio in ratios), 3) if ratios else None,
        "wanted": {"within at most": 0.2},
        "models": rows,
        "machine": describe(),
    }


def published() -> None:
    print("| run | quant | measured | foretold | ratio |\n|---|---|---|---|---|")
    for run in RUNS:
        band = foretold_elsewhere(run).generation
        told = f"{band.expected:.3g} ({band.low:.3g} to {band.high:.3g})"
        print(f"| {run.what} | {run.quant} | {run.rate} | {told} | {band.expected / run.rate:.2f} |")


if __name__ == "__main__":
    main()
