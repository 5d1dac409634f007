"""Memory that is neither weights nor cache: graph buffers, outputs, prompt cache, driver and process.

The graph's buffers are formulas fitted to llama.cpp's own allocator; each carries a band.
"""

from __future__ import annotations

from dataclasses import dataclass

from localrun.hardware.facts import Backend
from localrun.model.facts import Model, Shape
from localrun.plan.kv import context, windowed_cells
from localrun.plan.values import Settings
from localrun.units import MIB

#: What a driver takes per process before anything is allocated (CUDA: context, kernels, cuBLAS).
CONTEXT: dict[Backend, int] = {
    "cuda": 420 * MIB, "rocm": 400 * MIB, "sycl": 300 * MIB, "vulkan": 200 * MIB, "metal": 60 * MIB
}  # fmt: skip
#: Resident memory of the engine's host process before a model is loaded, measured.
PROCESS = 110 * MIB


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes with a band; low = expected = high where the figure is exact."""

    low: int
    expected: int
    high: int


def cpu_compute(shape: Shape, settings: Settings, architecture: str) -> Estimate:
    """The CPU backend's graph buffer when everything runs there."""
    size = context(shape, settings)
    u, out = size.ubatch, min(size.ubatch, settings.parallel)
    n_kv, n_swa = size.cells, windowed_cells(shape, settings)
    if architecture == "deepseek32":
        need = 65568 + 4 * u * _indexer_rows(n_kv)
    elif shape.kv_lora_rank:
        need = 4 * u * (208900 + n_kv // 2)
    elif architecture == "llama4":
        need = (
            4 * u * (3 * shape.n_ff_expert + 5 * shape.n_embd + 3 * shape.n_expert + 11 + (n_kv + n_swa) // 2)
        )
    else:
        need = 4 * u * (3 * max(shape.n_ff) + 4 * shape.n_embd + 6 + n_kv // 2) + 4 * out
    need = max(need, 4 * out * (shape.n_vocab + 2 * shape.n_embd + 1))
    return Estimate(need - need // 100, need, need + need // 100)


def _indexer_rows(n_kv: int) -> int:
    known = (
        (4096, 337926),
        (8192, 342022),
        (16384, 342022),
        (32768, 408582),
        (65536, 456710),
        (131072, 595974),
    )
    for cells, rows in known:
        if n_kv <= cells:
            return rows
    return 661510 * n_kv // 163840


def gpu_compute(shape: Shape, settings: Settings, architecture: str, largest_cpu_weight: int) -> Estimate:
    """A GPU's graph buffer; CPU weights of a large batch are copied through it, the largest at a time."""
    base = cpu_compute(shape, settings, architecture).expected
    size = context(shape, settings)
    head = 4 * min(size.ubatch, settings.parallel) * shape.n_vocab
    copies = 2 * largest_cpu_weight if size.ubatch >= 32 else 0
    need = base + head + copies
    return Estimate(need * 3 // 4, need, need * 5 // 4)


def output_buffer(shape: Shape, settings: Settings) -> int:
    """Logits that the engine keeps in host memory: in no breakdown of its own."""
    return 4 * shape.n_vocab * settings.parallel


def host_overhead(model: Model, settings: Settings) -> int:
    """RAM beside weights, cache and graph: the process, output rows and the prompt cache at its fullest."""
    return PROCESS + output_buffer(model.shape, settings) + settings.cache_ram
