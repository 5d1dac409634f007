"""Apple silicon through sysctl: one memory for CPU and GPU, of which the GPU may wire a part."""

from __future__ import annotations

import re
from collections.abc import Mapping

from localrun.hardware.facts import Gpu, Ram, Source
from localrun.hardware.sizes import metal_limit

_GIB = 1 << 30

KEYS = (
    *("hw.memsize", "hw.physicalcpu", "hw.logicalcpu", "machdep.cpu.brand_string"),
    *("iogpu.wired_limit_mb", "debug.iogpu.wired_limit"),
)

#: Chip -> (CPU cores or 0 for any, GB/s, fp16 TFLOPS of the largest GPU sold with these cores). Apple's
#: newsroom and support pages give the bandwidth; operations: cores x 128 x 2 x clock, and from M5 on
#: Apple's "over 4x M4" for the matrix units. A Max chip with fewer CPU cores has the narrower memory.
_CHIPS: dict[str, tuple[tuple[int, float, float], ...]] = {
    "M1": ((0, 68.25, 2.6),),
    "M1 Pro": ((0, 200, 5.3),),
    "M1 Max": ((0, 400, 10.6),),
    "M1 Ultra": ((0, 800, 21.2),),
    "M2": ((0, 100, 3.6),),
    "M2 Pro": ((0, 200, 6.8),),
    "M2 Max": ((0, 400, 13.6),),
    "M2 Ultra": ((0, 800, 27.2),),
    "M3": ((0, 100, 3.5),),
    "M3 Pro": ((0, 150, 6.4),),
    "M3 Max": ((14, 300, 10.6), (0, 400, 14.2)),
    "M3 Ultra": ((0, 819, 28.3),),
    "M4": ((0, 120, 4.3),),
    "M4 Pro": ((0, 273, 8.6),),
    "M4 Max": ((14, 410, 13.7), (0, 546, 17.2)),
    "M5": ((0, 153.6, 17.0),),
    "M5 Pro": ((0, 307, 34.0),),
    "M5 Max": ((0, 614, 68.0),),
}
_CHIP = re.compile(r"\bM[0-9]+(?: (?:Pro|Max|Ultra))?\b")


def parse_sysctl(text: str) -> dict[str, str]:
    """`sysctl KEY ...` prints "key: value" lines and leaves out what it does not know."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def read_sysctl(keys: tuple[str, ...]) -> dict[str, str]:
    """What this Mac answers; empty when sysctl cannot be run."""
    import subprocess

    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", *keys], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_sysctl(done.stdout)


def chip(brand: str) -> str:
    """`M3 Max` of "Apple M3 Max"; empty for another CPU."""
    match = _CHIP.search(brand) if brand.startswith("Apple ") else None
    return match[0] if match else ""


def chip_rates(name: str, cpu_cores: int = 0, memory: int = 0) -> tuple[int, int]:
    """(bytes per second, operations per second) of a chip; zeros when it is not known."""
    if name == "M5 Max" and 0 < memory <= 36 * _GIB:  # sold only with the GPU of 32 cores
        return 460_000_000_000, 54_000_000_000_000
    for cores, rate, tflops in _CHIPS.get(name, ()):
        if cores in (0, cpu_cores):
            return round(rate * 1e9), round(tflops * 1e12)
    return 0, 0


def wired_limit(memory: int, values: Mapping[str, str]) -> tuple[int, Source]:
    """Bytes that Metal may wire.

    `iogpu.wired_limit_mb` where the user set it. Else macOS decides; llama.cpp's logs of
    recommendedMaxWorkingSetSize show 2/3 of 16 and 32 GiB (10922.67 and 21845.34 MiB: llama-cpp-python
    issue 687, llama.cpp pull 2011) and 3/4 from 36 GiB on (28991 MB of 36, 49152 MiB of 64: llama.cpp
    issue 1870). Recent macOS gives large machines more (107.5 of 128 GiB); the lower figure is kept.
    """
    limit = values.get("iogpu.wired_limit_mb", "")
    if limit.isdecimal() and int(limit) > 0:
        return min(int(limit) << 20, memory), "read"
    limit = values.get("debug.iogpu.wired_limit", "")  # bytes, macOS 13
    if limit.isdecimal() and int(limit) > 0:
        return min(int(limit), memory), "read"
    return metal_limit(memory), "estimated"


def read_gpu(values: Mapping[str, str], ram: Ram) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The GPU of a Mac from what `sysctl` answered; none for an Intel Mac."""
    brand = values.get("machdep.cpu.brand_string", "")
    name = chip(brand)
    if not name:
        return (), ()
    cores = values.get("hw.physicalcpu", "")
    bandwidth, flops = chip_rates(name, int(cores) if cores.isdecimal() else 0, ram.total)
    limit, source = wired_limit(ram.total, values)
    notes = []
    if source == "estimated":
        notes.append("how much memory the GPU may wire is macOS's own choice: estimated from the RAM size")
    if not bandwidth:
        notes.append(f"{brand} is not in the table of chips: its bandwidth is unknown")
    gpu = Gpu(
        name=brand,
        backend="metal",
        index=0,
        vram_total=limit,
        vram_free=min(limit, ram.available),
        bandwidth=bandwidth,
        flops=flops,
        unified=True,
    )
    return (gpu,), tuple(notes)
