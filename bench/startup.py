"""What a start costs, each as a ratio in one run: commands over a bare interpreter, up over the engine.

    python -m bench.startup            prints the result
    python -m bench.startup --write    keeps it as bench/results/startup.json

Goals: `--help` at most 5, `plan` and `modelfile` of a local file and by name at most 10 times
`python -I -c pass`; `up -d` to ready at most 1.5 times the engine's own start. The rounds are interleaved;
each ratio is one of medians. CPU time is what a busy machine does not blur; the goals are held against it,
and for `up` against the wall.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.machine import describe, keep
from localrun.config import paths
from localrun.model.fetch import ensure
from localrun.model.sources import DEFAULT_MODEL, Net

ROUNDS = 15
STARTS = 7
SETTINGS = ("-t", "1", "-c", "1024")
ELSEWHERE = ("deepseek-v3.2", "--hardware", "rtx-4090", "--ram", "64GiB")
GOALS = {"help": 5, "plan": 10, "plan_by_name": 10, "modelfile": 10, "modelfile_by_name": 10, "up": 1.5}

#: The engine alone: what `import xllamacpp` and a server with the same settings take by themselves.
BARE_ENGINE = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port, p.n_ctx, p.n_parallel = sys.argv[1], int(sys.argv[2]), 1024, 1
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
p.endpoint_metrics = p.endpoint_slots = True
server = xllamacpp.Server(p)
print("ready", flush=True)
sys.stdin.read()
import os; os._exit(0)
"""


def localrun() -> list[str]:
    """The console script, as a user types it; `-m localrun` costs runpy on top."""
    script = Path(sys.executable).with_name("localrun")
    return [str(script)] if script.exists() else [sys.executable, "-m", "localrun"]


def environment(home: Path, models: Path) -> dict[str, str]:
    """A user of their own; bytecode is cached, as any installed Python program's is."""
    theirs = ("LOCALRUN_", "XDG_", "PYTHONDONTWRITEBYTECODE")
    found = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    return {**found, "HOME": str(home), "LOCALRUN_MODELS_DIR": str(models), "LOCALRUN_ENGINE": "embedded"}


def cost(argv: list[str], env: dict[str, str]) -> tuple[float, float]:
    """(wall, CPU) seconds of a command, which must succeed; 1 is the answer of a plan that does not fit."""
    began = time.perf_counter()
    child = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0 or (child.returncode == 1 and "plan" in argv), argv
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def bare_engine(model: Path, env: dict[str, str]) -> float:
    """Wall seconds until the engine's own process says that it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", BARE_ENGINE, str(model), str(port)],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        assert child.stdout
        assert child.stdin
        assert child.stdout.readline() == b"ready\n"
        taken = time.perf_counter() - began
        child.stdin.close()
    return taken


def detached(env: dict[str, str]) -> float:
    """Wall seconds of `up -d` until it returns, which it does once a request would be answered."""
    command = localrun()
    taken, _ = cost([*command, "up", "-d", *SETTINGS], env)
    cost([*command, "down"], env)
    return taken


def rounds(n: int, **measured: Callable[[], Any]) -> dict[str, list[Any]]:
    """Each measure once per round, after a round that fills the caches."""
    found: dict[str, list[Any]] = {name: [] for name in measured}
    for i in range(n + 1):
        for name, measure in measured.items():
            value = measure()
            if i:
                found[name].append(value)
    return found


def commands(model: Path, env: dict[str, str]) -> dict[str, Any]:
    asked = {
        "help": ["--help"],
        "plan": ["plan", str(model)],
        "plan_by_name": ["plan", *ELSEWHERE],
        "modelfile": ["modelfile", str(model)],
        "modelfile_by_name": ["modelfile", *ELSEWHERE],
    }
    run = {name: partial(cost, [*localrun(), *args], env) for name, args in asked.items()}
    taken = rounds(ROUNDS, bare=lambda: cost([sys.executable, "-I", "-c", "pass"], env), **run)
    cpu = {name: statistics.median(c for _, c in values) for name, values in taken.items()}
    wall = {name: statistics.median(w for w, _ in values) for name, values in taken.items()}
    return {
        "cpu_ms": {name: round(1000 * value, 1) for name, value in cpu.items()},
        "wall_ms": {name: round(1000 * value, 1) for name, value in wall.items()},
        "ratio_cpu": {name: round(cpu[name] / cpu["bare"], 2) for name in asked},
        "ratio_wall": {name: round(wall[name] / wall["bare"], 2) for name in asked},
    }


def starts(model: Path, env: dict[str, str]) -> dict[str, Any]:
    taken = rounds(STARTS, engine=lambda: bare_engine(model, env), up=lambda: detached(env))
    wall = {name: statistics.median(values) for name, values in taken.items()}
    return {
        "wall_ms": {name: round(1000 * value) for name, value in wall.items()},
        "ratio_wall": {"up": round(wall["up"] / wall["engine"], 2)},
    }


def main() -> None:
    model = ensure(DEFAULT_MODEL, paths(os.environ), Net(os.environ))
    with tempfile.TemporaryDirectory() as home:
        env = environment(Path(home), model.parent)
        result = {
            "machine": describe(),
            "goals": GOALS,
            "commands": commands(model, env),
            "start": starts(model, env),
        }
    keep("startup", result, "--write" in sys.argv[1:])


if __name__ == "__main__":
    main()
