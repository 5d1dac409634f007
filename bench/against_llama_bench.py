"""What `localrun bench` measures against what llama-bench does, of one build, in turns on one thread.

    python -m bench.against_llama_bench --folder BIN [--rounds N] [--write]

BIN holds llama-server and llama-bench of one build, as `localrun engine install --native` makes them. Both
tell tokens per second by the clock, so neighbours fall on both; the median of the pairs' ratios counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.machine import describe, keep
from localrun.bench.values import Case
from localrun.config import paths
from localrun.engine.base import Handle
from localrun.engine.bench_server import ServerBench
from localrun.engine.llama_server import LlamaServer
from localrun.model.fetch import ensure
from localrun.model.header import read_model
from localrun.model.sources import DEFAULT_MODEL, Net
from tests.native_engine import serving

CASES = (Case(128, 0), Case(0, 64), Case(0, 64, 512))


def theirs(binary: Path, model: Path) -> dict[Case, float]:
    """llama-bench's own warm-up and one repetition of each."""
    argv = [binary, "-m", model, "-t", "1", "-p", "128", "-n", "64", "-r", "1", "-fa", "1", "-o", "json"]
    found = {}
    for depth in sorted({case.depth for case in CASES}):
        done = subprocess.run([*argv, "-d", str(depth)], capture_output=True, check=True)
        for row in json.loads(done.stdout):
            found[Case(row["n_prompt"], row["n_gen"], row["n_depth"])] = float(row["avg_ts"])
    return found


def ours(server: Path, model: Path, folder: Path) -> dict[Case, float]:
    with serving([str(server)], model, folder) as (url, pid):
        handle = Handle("llama-server", pid, 0.0, f"{url}/v1")
        bench = ServerBench(
            LlamaServer(str(server)), handle, read_model(model).shape.n_vocab, lambda _: 600.0
        )
        bench.measure(Case(32, 0), 99)
        return {case: bench.measure(case, 0) for case in CASES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    model = ensure(DEFAULT_MODEL, paths(os.environ), Net(os.environ))
    pairs: dict[Case, list[tuple[float, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds):
            first = ours(args.folder / "llama-server", model, Path(folder, str(turn))) if turn % 2 else None
            peer = theirs(args.folder / "llama-bench", model)
            mine = first or ours(args.folder / "llama-server", model, Path(folder, str(turn)))
            for case in CASES:
                pairs[case].append((mine[case], peer[case]))
                print(turn, case.name, *(round(x, 1) for x in pairs[case][-1]), file=sys.stderr, flush=True)
    keep("against_llama_bench", result(pairs), args.write)


def result(pairs: dict[Case, list[tuple[float, float]]]) -> dict[str, Any]:
    return {
        "model": DEFAULT_MODEL.name,
        "threads": 1,
        "rounds": len(next(iter(pairs.values()))),
        "localrun_against_llama_bench": {
            case.name: {
                "median": round(statistics.median(a / b for a, b in found), 3),
                "localrun": round(statistics.median(a for a, _ in found), 1),
                "llama-bench": round(statistics.median(b for _, b in found), 1),
            }
            for case, found in pairs.items()
        },
        "machine": describe(),
    }


if __name__ == "__main__":
    main()
