"""What machines reach of their data sheets: the constants behind every speed estimate.

CPU figures were measured with the embedded engine (bench/speed.py), those of GPUs are fitted to published
runs; docs/speed.md lists both. What was measured on the machine at hand replaces them (plan/calibrate.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from localrun.value import dataclass, field

#: Bytes of weights that one thread multiplies with one token per second, read from RAM.
#: AVX2 build of 2026-10-01 on an EPYC 9004 at about 3.5 GHz, one thread.
CPU_TYPES: Mapping[str, float] = MappingProxyType(
    {
        "F32": 20.2e9,
        "F16": 22.5e9,
        "BF16": 19.0e9,
        "Q8_0": 12.0e9,
        "Q4_0": 9.0e9,
        "Q4_1": 6.6e9,
        "Q5_0": 8.9e9,
        "Q5_1": 6.5e9,
        "Q2_K": 9.3e9,
        "Q3_K": 9.1e9,
        "Q4_K": 11.0e9,
        "Q5_K": 11.8e9,
        "Q6_K": 18.5e9,
        "IQ4_NL": 8.0e9,
        "IQ4_XS": 10.1e9,
        "MXFP4": 9.4e9,
        "IQ3_S": 3.2e9,
        "IQ3_XXS": 3.6e9,
        "IQ2_S": 3.8e9,
        "IQ2_XS": 3.6e9,
        "IQ2_XXS": 3.1e9,
        "IQ1_S": 2.5e9,
        "IQ1_M": 2.9e9,
        "TQ1_0": 4.9e9,
        "TQ2_0": 10.1e9,
    }
)
#: The same where the engine has repacked the weights for its wide kernels.
CPU_REPACKED: Mapping[str, float] = MappingProxyType(
    {"Q4_0": 13.4e9, "Q4_K": 15.8e9, "IQ4_NL": 13.5e9, "MXFP4": 13.0e9}
)
OTHER = 4.0e9  # a type that nobody measured

#: Operations per second and thread while a prompt is read: two for each weight and token.
CPU_PROMPT: Mapping[str, float] = MappingProxyType(
    {
        "F32": 65e9,
        "F16": 66e9,
        "BF16": 65e9,
        "Q8_0": 101e9,
        "Q4_0": 105e9,
        "Q4_1": 63e9,
        "Q5_0": 83e9,
        "Q5_1": 50e9,
        "Q2_K": 178e9,
        "Q3_K": 180e9,
        "Q4_K": 190e9,
        "Q5_K": 190e9,
        "Q6_K": 180e9,
        "IQ4_NL": 95e9,
        "IQ4_XS": 141e9,
        "MXFP4": 59e9,
        "TQ1_0": 79e9,
        "TQ2_0": 148e9,
    }
)
CPU_PROMPT_REPACKED: Mapping[str, float] = MappingProxyType(
    {"Q4_0": 130e9, "Q4_K": 155e9, "IQ4_NL": 127e9, "MXFP4": 132e9}
)
OTHER_PROMPT = 160e9  # the small IQ types

NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of a bandwidth that a run reaches, and fixed costs in seconds."""

    gpu: float = 0.72  # of VRAM bandwidth, dense weights
    unified: float = 0.75  # of a shared memory's bandwidth
    ram: float = 0.85  # of measured RAM bandwidth
    gpu_routed: float = 0.65  # of what dense weights reach, for many routed experts: small matrices
    routed: float = 0.90  # the same on the CPU: scattered reads
    gpu_layer: float = 35e-6  # launches of one layer's kernels
    cpu_layer: float = 50e-6  # one layer's norms, rope, barriers
    hop: float = 60e-6  # from one device to another and back
    token: float = 100e-6  # the server's share
    vocab: float = 1.5e-9  # sampling, for each token that could be chosen
    cpu_types: Mapping[str, float] = field(default_factory=lambda: CPU_TYPES)
    cpu_repacked: Mapping[str, float] = field(default_factory=lambda: CPU_REPACKED)
    cpu_attention: float = 28e9  # operations per second and thread over a cache in half precision
    cpu_attention_quantized: float = 6e9
    cpu_cache: float = 2.8e9  # bytes of it per second and thread: 3.9e9 at 1,000 tokens, 2.2e9 at 3,000
    gpu_flops: float = 0.30  # of the data sheet, prompt
    # A prompt on the CPU, besides its matrices.
    prompt_layer: float = (
        25e-6  # seconds of one thread for each token in each layer: norms, rope, activations
    )
    prompt_attention: float = 7e9  # operations per second and thread over the tokens before
    prompt_routed: float = (
        1.6  # an expert sees only some of a batch's tokens: times the seconds of dense ones
    )
    cpu_prompt: Mapping[str, float] = field(default_factory=lambda: CPU_PROMPT)
    cpu_prompt_repacked: Mapping[str, float] = field(default_factory=lambda: CPU_PROMPT_REPACKED)
    # Measured seconds over those that the figures above give, by what they are spent on.
    vram_time: float = 1.0
    ram_time: float = 1.0
    disk_time: float = 1.0
    prompt_time: float = 1.0
    models: Mapping[str, float] = field(
        default_factory=lambda: NOTHING
    )  # the same of one model that ran here
    low: float = 0.70  # the band, as factors of the expected rate
    high: float = 1.30
    calibrated: bool = False

    def cpu_seconds(
        self,
        kind: str,
        size: float,
        threads: int,
        bandwidth: float,
        repacked: bool = False,
        routed: bool = False,
    ) -> float:
        """Seconds to multiply `size` bytes of weights of one type: the slower of cores and memory."""
        rate = self.cpu_repacked.get(kind, 0.0) if repacked else 0.0
        cores = (rate or self.cpu_types.get(kind, OTHER)) * max(threads, 1)
        memory = bandwidth * self.ram * (self.routed if routed else 1.0)
        return size / min(cores, memory) * self.ram_time

    def prompt_seconds(self, kind: str, operations: float, threads: int, repacked: bool = False) -> float:
        """Seconds for the CPU's part of a prompt in one type."""
        rate = self.cpu_prompt_repacked.get(kind, 0.0) if repacked else 0.0
        return operations / ((rate or self.cpu_prompt.get(kind, OTHER_PROMPT)) * max(threads, 1))

    def gpu_experts(self, used: int) -> float:
        """Share of the dense rate for `used` routed experts a token: a single one is as good as dense."""
        return 1.0 - (1.0 - self.gpu_routed) * (1.0 - 1.0 / max(used, 1))


DEFAULT = Rates()
#: Where a bandwidth is not known: two channels of DDR4-3200, a SATA-to-NVMe disk, PCIe 4.0 x16 half used.
RAM_BANDWIDTH = 40e9
DISK_BANDWIDTH = 1.5e9
LINK = 16e9
GPU_BANDWIDTH = 300e9
#: Tokens held in the cache when a rate is quoted.
FILL = 2048
