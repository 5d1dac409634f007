"""What `localrun bench` takes for a case against what llama-bench does, of one build, in turns on one thread.

    python -m bench.against_llama_bench --folder BIN [--rounds N] [--write]

BIN holds llama-server and llama-bench of one build, as `localrun engine install --native` makes them. Tokens are
counted per second of CPU, so that what else the machine does falls on neither: of llama-bench what three more
repetitions cost, of ours what the request costs the server, all that HTTP and sampling take with it.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.engines import cpu_seconds
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
_MORE = 3


def theirs(binary: Path, model: Path, case: Case) -> float:
    def cost(repetitions: int) -> float:
        argv = [binary, "-m", model, "-t", "1", "-fa", "1", "-p", str(case.n_prompt), "-n", str(case.n_gen)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*argv, "-d", str(case.depth), "-r", str(repetitions)], capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    once = cost(1)
    return case.tokens * _MORE / (cost(1 + _MORE) - once)


def ours(server: Path, model: Path, log: Path) -> dict[Case, float]:
    with serving([str(server)], model, log) as (url, pid):
        handle = Handle("llama-server", pid, 0.0, f"{url}/v1")
        bench = ServerBench(
            LlamaServer(str(server)), handle, read_model(model).shape.n_vocab, lambda _: 600.0
        )
        bench.measure(Case(32, 0), 99)
        found = {}
        for case in CASES:
            # A depth is filled by the first that lies behind it, which does not count.
            bench.measure(Case(0, 1, case.depth), 0)
            before = cpu_seconds(pid)
            bench.measure(case, 1)
            found[case] = case.tokens / (cpu_seconds(pid) - before)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    model = ensure(DEFAULT_MODEL, paths(os.environ), Net(os.environ))
    pairs: dict[Case, list[tuple[float, float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.rounds):
            first = ours(args.folder / "llama-server", model, Path(folder, str(turn))) if turn % 2 else None
            peer = {case: theirs(args.folder / "llama-bench", model, case) for case in CASES}
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
        "tokens_per_cpu_second": {
            case.name: {
                "ratio": round(statistics.median(a / b for a, b in found), 3),
                "localrun": round(statistics.median(a for a, _ in found), 1),
                "llama-bench": round(statistics.median(b for _, b in found), 1),
            }
            for case, found in pairs.items()
        },
        "machine": describe(),
    }


if __name__ == "__main__":
    main()
