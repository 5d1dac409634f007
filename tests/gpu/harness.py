"""Plans against a real CUDA card: memory, speed, and llama.cpp's own --fit, on models generated on the spot.

    python -m tests.gpu.harness [--sdist PATH] [--models FOLDER] [--budgets 24,16,12] [--only TEXT] [--quick]
                                [--build] [--resume] [--minutes N]

Builds llama.cpp with CUDA from the llama-cpp-python sdist (LOCALRUN_LLAMA_BIN names a finished build),
holds part of the card's memory so that smaller cards are met, and for each model and each of them plans,
starts the plan, measures it, and does the same with --fit. Results: bench/results/gpu-<card>.json, to which
further runs add. Without a CUDA device it generates small models, plans, prints the commands and ends.
Exit code 1 when a plan missed: over its memory, off by more than 2 % of VRAM, off in speed by more than
20 %, or slower than --fit's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.machine import RESULTS, describe
from localrun.hardware.facts import Gpu, Host
from localrun.hardware.profiles import profile
from localrun.model.header import read_model
from localrun.plan.planner import make_plan
from localrun.plan.values import Plan, Wanted
from localrun.recipe.argv import to_argv
from localrun.recipe.values import Launch
from localrun.units import GIB, format_size
from tests.fixtures_sdist import VERSION
from tests.gpu import card, engine
from tests.gpu.models import FULL, QUICK, Case
from tests.gpu.server import Measured, ServerFailed, free_port, measure

CTX = 4096
WANTED = Wanted(ctx_size=CTX, cache_type_k="f16", cache_type_v="f16", cache_ram=0)
#: What a plan must keep to.
MEMORY, SPEED, NOISE = 0.02, 0.20, 0.03


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        host: Host | None = card.this_machine()
        missing = ""
    except card.NoCard as why:
        host, missing = None, str(why)
    cases = QUICK if options.quick else FULL
    cases = tuple(case for case in cases if options.only in case.name)
    with tempfile.TemporaryDirectory(prefix="localrun-gpu-") as folder:
        models = options.models or Path(folder)
        models.mkdir(parents=True, exist_ok=True)
        if host is None:
            rehearse(cases, models, options)
            print(f"skipped: {missing}")
            return 0
        try:
            programs = engine.build(options.sdist)
            if options.build:
                print(f"built: {programs}")
                return 0
        except engine.BuildFailed as why:
            print(f"skipped: llama.cpp could not be built with CUDA: {why}")
            return 1
        return run(cases, models, host, programs, options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.gpu.harness", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sdist", type=Path, help="llama_cpp_python's sdist, packed or not; else pip fetches it"
    )
    parser.add_argument(
        "--models", type=Path, help="where models are generated and kept; else they are deleted"
    )
    parser.add_argument("--budgets", default="24,16,12", help="GiB of VRAM to meet, most first")
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--quick", action="store_true", help="models of a few MB")
    parser.add_argument("--build", action="store_true", help="build llama.cpp and end")
    parser.add_argument("--resume", action="store_true", help="leave out what the results hold already")
    parser.add_argument("--minutes", type=float, help="begin nothing that would not end in so many")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results")
    options = parser.parse_args(arguments)
    options.budgets = [float(text) for text in options.budgets.split(",")]
    return options


def rehearse(cases: Sequence[Case], models: Path, options: argparse.Namespace) -> None:
    """All that needs no card: models, plans for the cards that would be met, and the commands."""
    tools = engine.missing_tools()
    print(f"the engine's build needs: {', '.join(tools)}" if tools else "the engine's build has all it needs")
    for argv in engine.commands(
        Path("llama.cpp"), engine.folder("cuda") / "build", True, os.cpu_count() or 1
    ):
        print("  " + shlex.join(argv))
    for case in QUICK:
        path = case.write(models)
        print(f"generated {case.name}: {format_size(path.stat().st_size)} of random weights")
        if options.models is None:
            path.unlink()
    base = profile("rtx-4090")
    for case in cases:
        path = case.write_sparse(models)
        for budget in options.budgets:
            gpu = replace(base.gpus[0], vram_free=int(budget * GIB))
            plan, argv = planned(path, replace(base, gpus=(gpu,)), Path("llama-server"), 8080)
            used = format_size(plan.memory[0].total)
            print(f"{case.name}, {budget:g} GiB: {plan.verdict}, {used} of VRAM; it would run")
            print("  " + shlex.join(argv))
            print("  " + shlex.join(fitted(path, plan, Path("llama-server"), 8080)))
        path.unlink()


def planned(path: Path, host: Host, server: Path, port: int) -> tuple[Plan, list[str]]:
    plan = make_plan(read_model(path), host, WANTED, advise=False)
    return plan, [str(server), *to_argv(plan.settings, Launch(str(path), "gpu-test", port=port))]


def fitted(path: Path, plan: Plan, server: Path, port: int) -> list[str]:
    """--fit with all else as the plan has it; placement and ubatch are its own."""
    s = plan.settings
    return [
        str(server), "--model", str(path), "--host", "127.0.0.1", "--port", str(port), "--fit", "on",
        "--ctx-size", str(s.ctx_size), "--parallel", "1", "--threads", str(s.threads), "--cache-ram", "0",
        "--ctx-checkpoints", "0", "--no-ui", "--metrics", "--log-verbosity", "4",
    ]  # fmt: skip


def run(cases: Sequence[Case], models: Path, host: Host, programs: Path, options: argparse.Namespace) -> int:
    gpu = host.gpus[0]
    target = options.results / f"gpu-{re.sub('[^a-z0-9]+', '-', gpu.name.lower()).strip('-')}.json"
    result = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"cases": {}}
    result["machine"] = {
        **describe(),
        "gpu": gpu.name,
        "driver": gpu.driver,
        "ram_bandwidth": host.ram.bandwidth,
    }
    result["engine"] = f"llama-cpp-python {VERSION}'s llama.cpp, CUDA"
    missed, clock = 0, Clock(options.minutes)
    for case in cases:
        names = {f"{case.name}, {budget:g} GiB": budget for budget in options.budgets}
        left = [n for n in names if not (options.resume and measured_before(result["cases"].get(n)))]
        if not left or not clock.room("model"):
            continue
        with clock.timed("model"):
            path = case.write(models)
        for name in left:
            if not clock.room("run"):
                break
            with clock.timed("run"):
                try:
                    row = one(path, host, int(names[name] * GIB), programs)
                except card.NoCard as why:
                    row = {"verdict": "skipped", "reasons": [str(why)]}
            result["cases"][name] = row
            missed += bool(row.get("missed"))
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(f"{name}: {summary(row)}", flush=True)
        if options.models is None:
            path.unlink()
    over = "; out of time, --resume goes on" if clock.refused else ""
    print(f"{missed} missed; results in {target}{over}")
    return 1 if missed else 0


def measured_before(row: dict[str, Any] | None) -> bool:
    """Whether a result is one that another run would only repeat."""
    return row is not None and "planned" in row


class Clock:
    """Refuses what would not end in the minutes given, by the longest of its kind so far."""

    def __init__(self, minutes: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self.refused = now, False
        self._end = now() + minutes * 60 if minutes else float("inf")
        self._longest: dict[str, float] = {}

    def room(self, kind: str) -> bool:
        """A model is worth generating only if one run follows."""
        need = self._longest.get(kind, 0.0) + (self._longest.get("run", 0.0) if kind == "model" else 0.0)
        if self._now() + need < self._end:
            return True
        self.refused = True
        return False

    @contextlib.contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        began = self._now()
        yield
        self._longest[kind] = max(self._longest.get(kind, 0.0), self._now() - began)


def one(path: Path, host: Host, budget: int, programs: Path) -> dict[str, Any]:
    """One model on one size of card: our plan measured, then --fit's."""
    server = programs / "llama-server"
    with card.held(host.gpus[0], budget) as gpu:
        here = replace(host, gpus=(gpu,))
        plan, argv = planned(path, here, server, free_port())
        row: dict[str, Any] = {
            "verdict": plan.verdict,
            "settings": asdict(plan.settings),
            "free": gpu.vram_free,
        }
        if plan.verdict == "too-big":
            return {**row, "reasons": plan.reasons}
        try:
            ours = attempt(argv, gpu)
            card.settled(gpu, gpu.vram_free)
            theirs = attempt(fitted(path, plan, server, free_port()), gpu)
        except ServerFailed as why:
            return {**row, "missed": [str(why)]}
        card.settled(gpu, gpu.vram_free)
    return {**row, **judged(plan, gpu, ours, theirs)}


def attempt(argv: list[str], gpu: Gpu) -> Measured:
    port = int(argv[argv.index("--port") + 1])
    with tempfile.TemporaryDirectory(prefix="localrun-gpu-") as folder:
        return measure(argv, port, Path(folder) / "log", lambda: gpu.vram_free - card.now(gpu).vram_free)


def judged(plan: Plan, gpu: Gpu, ours: Measured, theirs: Measured) -> dict[str, Any]:
    """The figures side by side, and in `missed` each promise that was not kept."""
    device, expected = plan.memory[0], plan.speed.generation.expected
    allocated = ours.allocated.get(device.device, 0)
    missed = []
    if ours.used > device.total:
        missed.append(f"takes {format_size(ours.used - device.total)} more VRAM than planned")
    # Of the card that is met: what another process holds is none of it.
    slack = MEMORY * gpu.vram_free
    if device.total - ours.used > slack:
        missed.append(f"takes {format_size(device.total - ours.used)} less VRAM than planned")
    apart = allocated - (device.total - device.overhead)
    if abs(apart) > slack:
        missed.append(f"allocates {format_size(abs(apart))} {'more' if apart > 0 else 'less'} than planned")
    if abs(expected / ours.generation - 1) > SPEED:
        missed.append(f"generates {ours.generation:.1f} tok/s, planned {expected:.1f}")
    if ours.generation < theirs.generation * (1 - NOISE):
        missed.append(f"generates {ours.generation:.1f} tok/s, --fit {theirs.generation:.1f}")
    return {
        "planned": {"device": asdict(device), "generation": expected, "prompt": plan.speed.prompt.expected},
        "measured": asdict(ours),
        "fit": asdict(theirs),
        "allocated_over_planned": round(allocated / max(device.total - device.overhead, 1), 4),
        "used_over_planned": round(ours.used / max(device.total, 1), 4),
        "measured_over_predicted": round(ours.generation / expected, 3),
        "ours_over_fit": round(ours.generation / theirs.generation, 3),
        "missed": missed,
    }


def summary(row: dict[str, Any]) -> str:
    if "planned" not in row:
        return f"{row['verdict']}; {'; '.join(row.get('missed') or row.get('reasons') or ())}"
    figures = (
        f"memory {row['used_over_planned']:.3f} of planned, speed {row['measured_over_predicted']:.2f} of "
        f"predicted, {row['ours_over_fit']:.2f} of --fit's"
    )
    return "; ".join([figures, *row["missed"]])


if __name__ == "__main__":
    sys.exit(main())
