"""Two engines on one model: the prebuilt wheel in our host process, and a llama-server built for this machine.

    python -m bench.engines [--server PATH] [--rounds N] [--write]

One thread each, turn by turn. Tokens are counted per second of CPU, so that what else the machine does falls on
neither; on an idle machine that is the speed that a user sees. Without --server the suite's native build is
taken, and made if need be (20 CPU minutes).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.machine import describe, keep
from localrun.config import load, paths
from localrun.engine.inventory import inventory
from localrun.model.fetch import ensure
from localrun.model.sources import DEFAULT_MODEL, Net
from tests.native_engine import native_engine, post, serving

PROMPT = "The quick brown fox jumps over the lazy dog. " * 48
GENERATED = 128


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(url: str, pid: int, turn: int) -> tuple[float, float]:
    """(prompt, generation) in tokens per second of CPU. No turn can reuse another's prompt."""
    begin = cpu_seconds(pid)
    read = complete(url, f"{turn} {PROMPT}", 1)
    middle = cpu_seconds(pid)
    complete(url, f"{turn} Once upon a time", GENERATED)
    return read / (middle - begin), GENERATED / (cpu_seconds(pid) - middle)


def complete(url: str, prompt: str, n: int) -> int:
    """Generates `n` tokens; the number of prompt tokens that were read for it."""
    body: dict[str, object] = {"prompt": prompt, "n_predict": n, "ignore_eos": True, "temperature": 0}
    timings = post(f"{url}/completion", body | {"cache_prompt": False})["timings"]
    assert isinstance(timings, dict)
    assert timings["predicted_n"] == n
    return int(timings["prompt_n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    env = dict(os.environ)
    model = ensure(DEFAULT_MODEL, paths(env, load(env)), Net(env))
    server = args.server or native_engine()
    argv = {
        "wheel": [sys.executable, "-P", "-m", "localrun.engine.host"],
        "native": [str(server)],
    }
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in argv}
    starts: dict[str, list[float]] = {name: [] for name in argv}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds + 1):
            for name in argv if turn % 2 else reversed(argv):
                began = time.monotonic()
                with serving(argv[name], model, Path(folder, name)) as (url, pid):
                    starts[name].append(time.monotonic() - began)
                    found = measured(url, pid, turn)
                if turn:  # the first round only fills the page cache
                    speeds[name].append(found)
    keep("engines", result(server, speeds, starts), args.write)


def result(
    server: Path, speeds: dict[str, list[tuple[float, float]]], starts: dict[str, list[float]]
) -> dict[str, Any]:
    middle = {
        name: {
            "prompt": round(statistics.median(p for p, _ in found), 1),
            "generation": round(statistics.median(g for _, g in found), 1),
            "ready_s": round(statistics.median(starts[name]), 2),
        }
        for name, found in speeds.items()
    }
    ratios = {
        key: [n[i] / w[i] for n, w in zip(speeds["native"], speeds["wheel"], strict=True)]
        for i, key in enumerate(("prompt", "generation"))
    }
    return {
        "model": DEFAULT_MODEL.name,
        "threads": 1,
        "rounds": len(speeds["native"]),
        "tokens_per_cpu_second": middle,
        "native_against_wheel": {
            key: {
                "median": round(statistics.median(found), 2),
                "low": round(min(found), 2),
                "high": round(max(found), 2),
            }
            for key, found in ratios.items()
        },
        "builds": builds(server),
        "machine": describe(),
    }


def builds(server: Path) -> dict[str, Any]:
    """What is compiled into the two."""
    env = {**os.environ, "LOCALRUN_LLAMA_SERVER": str(server)}
    from localrun.config import Session

    session = Session(load(env), paths(env))
    found = inventory(session, env)
    kinds = {"native": next(e for e in found if e.source == "config")}
    kinds["wheel"] = next(e for e in found if e.kind == "xllamacpp")
    return {
        name: {"build": e.label, "compiler": e.seen.compiler, "instructions": list(e.seen.features)}
        for name, e in kinds.items()
    }


if __name__ == "__main__":
    main()
