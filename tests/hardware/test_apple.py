"""Apple silicon from what sysctl prints."""

from __future__ import annotations

import pytest

from localrun.hardware import apple
from localrun.hardware.facts import Ram

GIB = 1 << 30
MIB = 1 << 20
GOLDEN = """hw.memsize: 38654705664
hw.physicalcpu: 14
hw.logicalcpu: 14
machdep.cpu.brand_string: Apple M3 Max
iogpu.wired_limit_mb: 0
"""


def test_a_mac_is_described_whole() -> None:
    (gpu,), notes = apple.read_gpu(apple.parse_sysctl(GOLDEN), Ram(36 * GIB, 30 * GIB))
    assert (gpu.name, gpu.backend, gpu.unified) == ("Apple M3 Max", "metal", True)
    assert gpu.vram_total == 27648 * MIB  # llama.cpp: recommendedMaxWorkingSetSize = 28991.03 MB
    assert gpu.vram_free == 27648 * MIB
    assert gpu.bandwidth == 300_000_000_000  # the chip with 14 CPU cores has the narrower memory
    assert "estimated" in notes[0]


def test_what_the_user_set_wins() -> None:
    values = {**apple.parse_sysctl(GOLDEN), "iogpu.wired_limit_mb": "32768"}
    (gpu,), notes = apple.read_gpu(values, Ram(36 * GIB, 30 * GIB))
    assert gpu.vram_total == 32 * GIB
    assert gpu.vram_free == 30 * GIB  # no more than is available
    assert notes == ()


def test_a_limit_above_the_memory_is_the_memory() -> None:
    assert apple.wired_limit(8 * GIB, {"iogpu.wired_limit_mb": "999999"}) == (8 * GIB, "read")
    assert apple.wired_limit(8 * GIB, {"debug.iogpu.wired_limit": str(6 * GIB)}) == (6 * GIB, "read")


@pytest.mark.parametrize(
    ("gib", "mib"), [(8, 5461), (16, 10922), (32, 21845), (36, 27648), (64, 49152), (192, 147456)]
)
def test_the_default_limit_is_what_llama_cpp_logged(gib: int, mib: int) -> None:
    limit, source = apple.wired_limit(gib * GIB, {"iogpu.wired_limit_mb": "garbage"})
    assert limit // MIB == mib
    assert source == "estimated"


@pytest.mark.parametrize(
    ("brand", "chip"),
    [
        ("Apple M1", "M1"),
        ("Apple M2 Ultra", "M2 Ultra"),
        ("Apple M4 Pro (Virtual)", "M4 Pro"),
        ("Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz", ""),
        ("Intel(R) Core(TM) m3-7Y32 CPU", ""),
        ("", ""),
    ],
)
def test_chips_by_their_brand(brand: str, chip: str) -> None:
    assert apple.chip(brand) == chip


def test_an_intel_mac_has_no_gpu_that_counts() -> None:
    values = {"machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz"}
    assert apple.read_gpu(values, Ram(16 * GIB, 8 * GIB)) == ((), ())
    assert apple.read_gpu({}, Ram(16 * GIB, 8 * GIB)) == ((), ())


def test_a_chip_of_tomorrow_is_used_without_figures() -> None:
    (gpu,), notes = apple.read_gpu({"machdep.cpu.brand_string": "Apple M9 Max"}, Ram(64 * GIB, 60 * GIB))
    assert gpu.bandwidth == 0
    assert any("not in the table" in note for note in notes)


def test_variants_of_one_name_differ() -> None:
    assert apple.chip_rates("M4 Max", 14)[0] == 410_000_000_000
    assert apple.chip_rates("M4 Max", 16)[0] == 546_000_000_000
    assert apple.chip_rates("M5 Max", 18, 36 * GIB)[0] == 460_000_000_000
    assert apple.chip_rates("M5 Max", 18, 128 * GIB)[0] == 614_000_000_000
    assert apple.chip_rates("M0") == (0, 0)
