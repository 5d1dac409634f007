"""Bandwidths that nobody measured yet: estimates by CPU, memory channels and kind of disk.

A measured figure always wins (`calibration`); until then these are shown as estimates.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from localrun.hardware.facts import Cpu, Gpu, Ram
from localrun.value import replace

#: Sustained reads over the nominal rate of the channels; STREAM reaches 70 to 85 % of it.
_SUSTAINED = 0.75
#: What one core draws by itself: 10 to 30 GB/s on servers and desktops. Binds on small virtual machines.
_PER_CORE = 15e9
#: A processor next to a large GPU on the same memory gets about half of it.
_UNIFIED_SHARE = 0.5

DISK_BANDWIDTH = 1_000_000_000  # bytes per second, of a disk that says nothing of itself

# CPU name -> channels of one socket and millions of transfers per second; makers' product pages.
_MEMORY: tuple[tuple[str, int, int], ...] = (
    (r"EPYC 9\d\w5", 12, 6000),
    (r"EPYC 9\d\w4", 12, 4800),
    (r"EPYC 8\d\w4", 6, 4800),
    (r"EPYC 7\w\w[23]", 8, 3200),
    (r"EPYC 7\w\w1", 8, 2666),
    (r"EPYC 4\d\d[45]", 2, 5200),
    (r"Threadripper PRO [79]\d\d\d", 8, 5200),
    (r"Threadripper PRO [35]\d\d\d", 8, 3200),
    (r"Threadripper [79]\d\d\d", 4, 5200),
    (r"Threadripper", 4, 3200),
    (r"Xeon\(R\) 6\d\d\dP", 12, 6400),
    (r"Xeon.*(Platinum|Gold|Silver|Bronze) \d5\d\d", 8, 5600),
    (r"Xeon.*(Platinum|Gold|Silver|Bronze) \d4\d\d", 8, 4800),
    (r"Xeon.*(Platinum|Gold|Silver|Bronze) \d3\d\d", 8, 3200),
    (r"Xeon.*(Platinum|Gold|Silver|Bronze) \d[12]\d\d", 6, 2666),
    (r"Xeon.*w[579]-[23]\d\d\d", 8, 4800),
    (r"Xeon.*E5-\d+", 4, 2133),
    (r"Ryzen AI Max", 8, 4000),  # 256 bits of LPDDR5X-8000
    (r"Ryzen AI", 2, 7500),
    (r"Ryzen \d [789]\d\d\d", 2, 5200),
    (r"Ryzen", 2, 3200),
    (r"Core\(TM\) Ultra", 2, 5600),
    (r"1[234]th Gen|i[3579]-1[234]\d\d\d", 2, 4800),
    (r"Core\(TM\)", 2, 2666),
    (r"Neoverse-V[23]", 12, 5600),  # Graviton 4
    (r"Neoverse-V1", 8, 4800),  # Graviton 3
    (r"Neoverse-N1|Ampere-1", 8, 3200),  # Graviton 2, Altra
    (r"Raspberry Pi 5", 1, 2133),
)


def ram_with_estimate(ram: Ram, cpu: Cpu, gpus: Sequence[Gpu] = (), channels: int = 0) -> Ram:
    """`ram` with an estimated bandwidth where it has none. `channels` with memory in them, 0 = unknown."""
    if ram.bandwidth:
        return ram
    shared = max((gpu.bandwidth for gpu in gpus if gpu.unified), default=0)
    rate = shared * _UNIFIED_SHARE if shared else estimate_ram(cpu, channels)
    return replace(ram, bandwidth=int(rate), bandwidth_source="estimated")


def estimate_ram(cpu: Cpu, populated: int = 0) -> int:
    """Bytes per second of reads that all usable cores may reach together on one socket."""
    # Unknown: a desktop, or by its many cores a server.
    channels, rate = (2, 3200) if cpu.threads_total <= 32 else (8, 3200)
    for pattern, known_channels, known_rate in _MEMORY:
        if re.search(pattern, cpu.name):
            channels, rate = known_channels, known_rate
            break
    if populated:
        channels = min(channels, populated)  # cheap servers leave half of theirs empty
    return int(min(channels * 8 * rate * 1e6 * _SUSTAINED, cpu.cores * _PER_CORE))


def populated_channels(root: str = "/") -> int:
    """Memory channels with a module in them, as error correction reports (EDAC); 0 where it does not."""
    base = os.path.join(root, "sys/devices/system/edac/mc")
    found = set()
    try:
        for controller in os.listdir(base):
            directory = os.path.join(base, controller)
            for module in os.listdir(directory) if controller.startswith("mc") else ():
                if re.fullmatch(r"(dimm|rank)\d+", module):
                    with open(os.path.join(directory, module, "dimm_location"), encoding="ascii") as file:
                        channel = re.search(r"channel (\d+)", file.read())
                    found.add((controller, channel[1] if channel else module))
    except (OSError, UnicodeDecodeError):
        return 0
    return len(found)


def estimate_disk(path: str, root: str = "/") -> int:
    """Bytes per second of large reads from the disk under `path`, by its kind."""
    try:
        device = os.stat(path).st_dev
        block = os.path.realpath(os.path.join(root, f"sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    except (OSError, AttributeError):
        return DISK_BANDWIDTH
    return disk_rate(block)


def disk_rate(block: str) -> int:
    """By a block device's directory in sysfs, or a partition's inside it."""
    name = os.path.basename(block)
    queue = next(
        (d for d in (block, os.path.dirname(block)) if os.path.isdir(os.path.join(d, "queue"))), block
    )
    try:
        with open(os.path.join(queue, "queue/rotational"), encoding="ascii") as file:
            rotational = file.read().strip() == "1"
    except (OSError, UnicodeDecodeError):
        return DISK_BANDWIDTH
    if name.startswith("nvme"):
        return 2_500_000_000
    if name.startswith("sd"):  # virtual disks call themselves rotational whatever is below them
        return 150_000_000 if rotational else 500_000_000
    return DISK_BANDWIDTH
