"""What a token costs the meter: in C alone, and from Python, where a bare list append is the floor.

    python -m bench.meter [--write]

The C figure is the loop of `lr_meter_push`; the Python one is `Meter.token` plus its share of the snapshot that
hands the times on. An engine at 100 tokens a second and a snapshot four times a second are what it is for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from bench.machine import describe, keep
from localrun.native import Meter

N = 1_000_000
EVERY = 25


def best(run: Callable[[], None], n: int, rounds: int = 7) -> float:
    """The best round's ns for one of `n`: what others took of the machine is not the meter's."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return min(times) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    meter = Meter()
    times = list(range(0, N * 20_000_000, 20_000_000))

    def loop() -> None:
        for _ in times:
            pass

    def append() -> None:
        out: list[int] = []
        add = out.append
        for now in times:
            add(now)

    def token() -> None:
        meter.prompt_start(0, 1)
        count = meter.token
        for now in times:
            count(now)
        meter.snapshot(times[-1])

    def with_snapshots() -> None:
        meter.prompt_start(0, 1)
        count = meter.token
        for i, now in enumerate(times[: N // 10]):
            count(now)
            if i % EVERY == 0:
                meter.snapshot(now)

    bare = best(loop, N)
    result: dict[str, Any] = {
        "ns_per_token": {
            "a list append": round(best(append, N) - bare, 1),
            "C alone": round(c_alone(times), 1),
            "Python, one snapshot at the end": round(best(token, N) - bare, 1),
            f"Python, a snapshot every {EVERY} tokens": round(best(with_snapshots, N // 10) - bare, 1),
        },
        "wanted": {"ns_per_token Python at most": 100},
        "machine": describe(),
    }
    found = result["ns_per_token"]
    result["times_a_list_append"] = round(
        found["Python, one snapshot at the end"] / found["a list append"], 1
    )
    keep("meter", result, write)


def c_alone(times: list[int]) -> float:
    from localrun.native.meter import ffi, lib

    memory = ffi.new("uint64_t[]", lib.lr_meter_bytes() // 8 + 1)
    out = ffi.new("lr_meter **")
    assert lib.lr_meter_init(memory, lib.lr_meter_bytes(), out) == lib.LR_OK
    at = ffi.new("uint64_t[]", times)
    lib.lr_meter_prompt(out[0], 0, 1)
    # The clock stands still after the first round: the same work, but for the rare new extreme.
    return best(lambda: lib.lr_meter_push(out[0], at, N), N)


if __name__ == "__main__":
    main()
