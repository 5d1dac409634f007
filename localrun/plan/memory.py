"""Every byte of a plan, by device: weights, cache, graph, overhead, against what the device can give."""

from __future__ import annotations

from dataclasses import dataclass, field

from localrun.hardware.facts import Gpu, Host
from localrun.model.facts import Model
from localrun.plan.compute import CONTEXT, graph_of, graphs_of, host_overhead, planned
from localrun.plan.graph import Graph
from localrun.plan.kv import KvLayout, kv_cache
from localrun.plan.placement import Placement, place
from localrun.plan.values import DeviceMemory, Settings
from localrun.plan.weights import Weights
from localrun.units import MIB

#: Left free on a device: what other programs may take while the model runs, and fragmentation.
GPU_MARGIN = 256 * MIB
RAM_MARGIN = 512 * MIB


def memory(model: Model, host: Host, settings: Settings) -> tuple[DeviceMemory, ...]:
    """GPUs in order, then "CPU"; placed tensor by tensor. Raises UsageError for what no engine takes."""
    placed, kv = place(model, host, settings), kv_of(model, settings)
    return _devices(model, host, settings, placed, kv, graph_of(model, host, settings))


def kv_of(model: Model, settings: Settings) -> KvLayout:
    return kv_cache(model.shape, settings, model.architecture)


@dataclass(slots=True)
class Sizer:
    """`memory` for a search: the same figures, thousands of times a second.

    Of the settings given to `of`, override_tensor and repack are fixed; all others may vary per call.
    """

    model: Model
    host: Host
    weights: Weights
    _known: dict[tuple[object, ...], tuple[KvLayout, Graph]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, host: Host, settings: Settings) -> Sizer:
        return cls(model, host, Weights.of(model, host, settings))

    def memory(self, settings: Settings) -> tuple[DeviceMemory, ...]:
        kv, graph = self._of(settings)
        return _devices(self.model, self.host, settings, self.weights.place(settings), kv, graph)

    def kv(self, settings: Settings) -> KvLayout:
        return self._of(settings)[0]

    def _of(self, s: Settings) -> tuple[KvLayout, Graph]:
        key = (s.ctx_size, s.cache_type_k, s.cache_type_v, s.batch_size, s.ubatch_size, s.parallel,
               s.kv_unified, s.swa_full, s.flash_attn)  # fmt: skip
        known = self._known.get(key)
        if known is None:
            known = kv_of(self.model, s), graph_of(self.model, self.host, s)
            self._known[key] = known
        return known


def fits(memory: tuple[DeviceMemory, ...]) -> bool:
    """Whether no device is over its budget, file pages counted as memory."""
    return all(device.total <= device.budget for device in memory)


def budget(gpu: Gpu) -> int:
    return max(gpu.vram_free - GPU_MARGIN, 0)


def ram_budget(host: Host) -> int:
    return max(host.ram.available - RAM_MARGIN, 0)


def _devices(
    model: Model, host: Host, settings: Settings, placed: Placement, kv: KvLayout, graph: Graph
) -> tuple[DeviceMemory, ...]:
    cpu = len(host.gpus)
    caches = [0] * (cpu + 1)
    for il, device in enumerate(placed.layers[:-1]):
        caches[device] += kv.per_layer[il]
    graphs = [planned(estimate) for estimate in graphs_of(graph, settings, placed)]
    rows = []
    for i, gpu in enumerate(host.gpus):
        # The driver's context is made for every GPU that the engine sees.
        overhead = CONTEXT[gpu.backend]
        rows.append(
            _row(placed.devices[i], placed.weights[i], caches[i], graphs[i], overhead, budget(gpu), 0)
        )
    mapped = placed.weights[cpu] - placed.repacked if settings.mmap else 0
    overhead = host_overhead(model, settings, kv)
    rows.append(
        _row("CPU", placed.weights[cpu], caches[cpu], graphs[cpu], overhead, ram_budget(host), mapped)
    )
    return tuple(rows)


def _row(
    device: str, weights: int, kv: int, compute: int, overhead: int, budget: int, mapped: int
) -> DeviceMemory:
    total = weights + kv + compute + overhead
    return DeviceMemory(device, weights, kv, compute, overhead, total, budget, mapped)
