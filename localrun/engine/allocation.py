"""What llama.cpp says it allocated: the buffer lines of its log, by device, in bytes.

The log prints MiB with two decimals, so each figure is exact to 5243 bytes.
"""

from __future__ import annotations

import re
from collections import defaultdict

from localrun.engine.base import Allocation
from localrun.units import MIB

_LINE = re.compile(
    r"(?P<device>\S+) +(?P<kind>model|KV|RS|compute|output) buffer size = +(?P<mib>[0-9.]+) MiB"
)
_FIELD = {"model": "weights", "KV": "kv", "RS": "kv", "compute": "compute", "output": "output"}


def parse_allocation(log: str) -> tuple[Allocation, ...]:
    """One value per device in the order of first mention; host buffers of a GPU count as CPU."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for match in _LINE.finditer(log):
        name = match["device"]
        field = _FIELD[match["kind"]]
        if field == "weights" and ("REPACK" in name.upper() or "AMX" in name.upper()):
            field = "repack"
        found[device_of(name)][field] += round(float(match["mib"]) * MIB)
    return tuple(Allocation(device=name, **parts) for name, parts in found.items())


def device_of(buffer: str) -> str:
    """`CPU_Mapped`, `CPU_REPACK`, `CUDA_Host` are RAM; `CUDA0` and `MTL0_Mapped` are devices."""
    name = re.sub(r"_(Mapped|Private|Shared)$", "", buffer)
    return "CPU" if name.startswith("CPU") or name.endswith("_Host") or name == "AMX" else name
