"""What machines reach of their data sheets: the constants behind every speed estimate.

Defaults are fitted to published single-stream runs (docs/speed.md lists them) and are replaced,
one by one, by what was measured on the machine at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

#: Bytes of weights that one thread multiplies per second, by type: AVX2 at about 3 GHz, measured with
#: one thread on models that fit the cache's reach. Types that are not named take OTHER.
CPU_TYPES: Mapping[str, float] = MappingProxyType(
    {
        "F32": 8.0e9,
        "F16": 7.0e9,
        "BF16": 6.0e9,
        "Q8_0": 9.0e9,
        "Q4_0": 8.0e9,
        "Q4_1": 7.0e9,
        "Q5_0": 5.0e9,
        "Q5_1": 5.0e9,
        "Q2_K": 4.0e9,
        "Q3_K": 4.0e9,
        "Q4_K": 7.0e9,
        "Q5_K": 5.5e9,
        "Q6_K": 6.0e9,
        "IQ4_NL": 6.0e9,
        "IQ4_XS": 5.5e9,
        "MXFP4": 6.0e9,
    }
)
OTHER = 2.5e9  # the small IQ and TQ types


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of a bandwidth that a run reaches, and fixed costs in seconds."""

    gpu: float = 0.72  # of VRAM bandwidth, dense weights
    unified: float = 0.75  # of a shared memory's bandwidth
    ram: float = 0.85  # of measured RAM bandwidth
    routed: float = 0.68  # factor on top for routed experts: scattered reads, small matrices
    gpu_layer: float = 35e-6  # launches of one layer's kernels
    cpu_layer: float = 25e-6  # barriers of one layer's threads
    hop: float = 60e-6  # from one device to another and back
    token: float = 150e-6  # sampling, the server
    cpu_types: Mapping[str, float] = field(default_factory=lambda: CPU_TYPES)
    gpu_flops: float = 0.30  # of the data sheet, prompt
    cpu_flops: float = 25e9  # per thread, prompt
    low: float = 0.70  # the band, as factors of the expected rate
    high: float = 1.30
    calibrated: bool = False

    def cpu_seconds(self, kind: str, size: float, threads: int, bandwidth: float) -> float:
        """Seconds to multiply `size` bytes of weights of one type: the slower of cores and memory."""
        cores = self.cpu_types.get(kind, OTHER) * max(threads, 1)
        return size / min(cores, bandwidth * self.ram)


DEFAULT = Rates()
#: Where a bandwidth is not known: two channels of DDR4-3200, a SATA-to-NVMe disk, PCIe 4.0 x16 half used.
RAM_BANDWIDTH = 40e9
DISK_BANDWIDTH = 1.5e9
LINK = 16e9
GPU_BANDWIDTH = 300e9
#: Tokens held in the cache when a rate is quoted.
FILL = 2048
