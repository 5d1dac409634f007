"""The meter and the RAM's bandwidth from Python, and that nothing in the C core leaks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import psutil
import pytest

from localrun.errors import HeaderError
from localrun.native import (
    Array,
    Group,
    KvLayer,
    Ledger,
    Meter,
    kv_bytes,
    kv_cells,
    ram_bandwidth,
    read_header,
)
from localrun.native.array import ffi, lib
from tests.gguf_bytes import every_type

MS = 1_000_000
GOOD = every_type()


def test_a_steady_stream_reads_as_it_was() -> None:
    meter = Meter()
    meter.prompt_start(1_000 * MS, 100)
    assert meter.snapshot(1_100 * MS).waiting
    assert meter.snapshot(1_100 * MS).first_ns == 100 * MS
    for i in range(100):
        meter.token((1_200 + 20 * i) * MS)
    found = meter.snapshot((1_200 + 20 * 99) * MS)
    assert not found.waiting
    assert (found.tokens, found.tokens_total, found.requests, found.prompt_tokens) == (100, 100, 1, 100)
    assert found.first_ns == 200 * MS
    assert found.rate_prompt == pytest.approx(500)
    assert found.rate_average == found.rate_now == pytest.approx(50)
    assert found.min_ns == found.max_ns == found.p99_ns == 20 * MS


def test_a_second_request_starts_anew_and_keeps_the_totals() -> None:
    meter = Meter()
    meter.prompt_start(0)
    meter.tokens(10 * MS, 4)
    meter.token(30 * MS)
    meter.prompt_start(50 * MS, 7)
    found = meter.snapshot(50 * MS)
    assert (found.tokens, found.tokens_total, found.requests, found.max_ns) == (0, 5, 2, 0)


def test_percentiles_are_within_a_thirty_second() -> None:
    meter = Meter()
    meter.prompt_start(0)
    now = 0
    for i in range(1, 1002):
        meter.token(now)
        now += i * 37_001
    found = meter.snapshot(now)
    for measured, rank in ((found.p50_ns, 500), (found.p90_ns, 900), (found.p99_ns, 990)):
        assert measured == pytest.approx(rank * 37_001, rel=1 / 32)


def test_another_thread_reads_while_tokens_come() -> None:
    meter, done = Meter(), threading.Event()
    meter.prompt_start(0)

    def write() -> None:
        for i in range(20_000):
            meter.token(i * 1_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    last = 0
    while not done.is_set():
        found = meter.snapshot(1)
        assert last <= found.tokens <= 20_000
        assert found.max_ns in (0, 1_000)
        last = found.tokens
    writer.join()
    assert meter.snapshot(1).tokens == 20_000


def test_ram_reads_at_a_rate_that_a_machine_can_have() -> None:
    assert 100e6 < ram_bandwidth(1, 8 << 20, 2) < 10e12
    assert ram_bandwidth(10_000, 1 << 20, 1) == 0  # less than a page table's worth each


def drop_error(call: Callable[[], object]) -> None:
    with pytest.raises(HeaderError):
        call()


def read_all() -> None:
    for item in read_header(GOOD).metadata.values():
        if isinstance(item, Array):
            item.tolist()


def fill_meter() -> None:
    meter = Meter()
    meter.prompt_start(0, 1)
    meter.tokens(1, 3)
    meter.token(5)
    meter.snapshot(9)


def fill_ledger() -> None:
    ledger = Ledger([Group(4096, 10)], 4)
    ledger.add(1, 5)
    ledger.remove(1, 2)
    ledger.read()


#: Every way in which Python reaches the C core; each function of it is behind one of them.
WAYS: dict[str, Callable[[], object]] = {
    "walk": read_all,
    "walk a part": lambda: drop_error(lambda: read_header(GOOD[:200])),
    "walk a wrong one": lambda: drop_error(lambda: read_header(b"GGUF" + b"\xff" * 60)),
    "meter": fill_meter,
    "kv": lambda: (kv_bytes([KvLayer(8, 128, 128)] * 40, 4096), kv_cells(4096)),
    "ledger": fill_ledger,
    "bandwidth": lambda: ram_bandwidth(2, 1 << 20, 1),
    "texts": lambda: [ffi.string(lib.lr_status_text(i)) for i in range(-9, 9)],
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_nothing_leaks(way: str) -> None:
    call = WAYS[way]
    rounds = 100 if way == "bandwidth" else 1_000
    process = psutil.Process()
    # The first rounds fill allocators and caches; a leak goes on. Three tries: other threads take memory too.
    for _ in range(rounds // 2):
        call()
    grown = []
    for _ in range(3):
        before = process.memory_info().rss
        for _ in range(rounds):
            call()
        grown.append(process.memory_info().rss - before)
    assert min(grown) < rounds * 64, grown


def test_importing_it_takes_in_nothing_heavy() -> None:
    code = "import sys; from localrun.native import read_header; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    ).stdout.split()
    if not out:  # not installed: the tree itself
        code = "import sys; sys.path.insert(0, sys.argv[1]); " + code
        root = read_header.__code__.co_filename.rsplit("/localrun/", 1)[0]
        argv = [sys.executable, "-I", "-c", code, root]
        out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert "localrun.native.gguf" in out
    assert not {"numpy", "cffi", "asyncio", "psutil", "localrun.native.meter", "subprocess"} & set(out)
