"""What a token costs the meter: in C alone, and from Python, where a bare list append is the floor.

    python -m bench.meter [--write]

The C figure is the loop of `lr_meter_push`; the Python one is `Meter.token` plus its share of handing the times
on to C, a thousand at once. A snapshot is counted apart: it is taken a few times a second, whatever the rate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from bench.machine import describe, keep
from localrun.native import Meter

N = 1_000_000
BATCH = 1000


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
    # Uneven intervals about 20 ms, as an engine has them.
    times = [i * 20_000_000 + i * 7919 % 3_000_017 for i in range(N)]

    def loop() -> None:
        for _ in times:
            pass

    def append() -> None:
        out: list[int] = []
        add = out.append
        for now in times:
            add(now)

    def token() -> None:
        for start in range(0, N, BATCH):
            count = meter.token
            for now in times[start : start + BATCH]:
                count(now)
            meter.tokens(times[start], 0)  # hands the times on, as a snapshot does

    def snapshot() -> None:
        for _ in range(1000):
            meter.snapshot(times[-1])

    bare = best(loop, N)
    result: dict[str, Any] = {
        "ns_per_token": {
            "a list append": round(best(append, N) - bare, 1),
            "C alone": round(c_alone(times), 1),
            "Python": round(best(token, N) - bare, 1),
        },
        "us_per_snapshot": round(best(snapshot, 1000) / 1000, 1),
        "wanted": {"ns_per_token Python at most": 100},
        "machine": describe(),
    }
    found = result["ns_per_token"]
    result["times_a_list_append"] = round(found["Python"] / found["a list append"], 1)
    keep("meter", result, write)


def c_alone(times: list[int]) -> float:
    from localrun.native.meter import ffi, lib

    memory = ffi.new("uint64_t[]", lib.lr_meter_bytes() // 8 + 1)
    out = ffi.new("lr_meter **")
    assert lib.lr_meter_init(memory, lib.lr_meter_bytes(), out) == lib.LR_OK
    at = ffi.new("uint64_t[]", times)

    def push() -> None:
        lib.lr_meter_prompt(out[0], 0, 1)
        lib.lr_meter_push(out[0], at, N)

    return best(push, N)


if __name__ == "__main__":
    main()
