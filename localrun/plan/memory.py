"""Every byte of a plan, by device: weights, cache, graph, overhead, against what the device can give."""

from __future__ import annotations

from dataclasses import dataclass, field

from localrun.hardware.facts import Gpu, Host
from localrun.model.facts import Model
from localrun.plan.compute import CONTEXT, Estimate, cpu_compute, gpu_compute, host_overhead
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
    return _devices(model, host, settings, place(model, host, settings), kv_of(model, settings))


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
    _kv: dict[tuple[object, ...], KvLayout] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, host: Host, settings: Settings) -> Sizer:
        return cls(model, host, Weights.of(model, host, settings))

    def memory(self, settings: Settings) -> tuple[DeviceMemory, ...]:
        return _devices(self.model, self.host, settings, self.weights.place(settings), self.kv(settings))

    def kv(self, s: Settings) -> KvLayout:
        key = (s.ctx_size, s.cache_type_k, s.cache_type_v, s.batch_size, s.ubatch_size, s.parallel,
               s.kv_unified, s.swa_full, s.flash_attn)  # fmt: skip
        layout = self._kv.get(key)
        if layout is None:
            layout = self._kv[key] = kv_of(self.model, s)
        return layout


def fits(memory: tuple[DeviceMemory, ...]) -> bool:
    """Whether no device is over its budget, file pages counted as memory."""
    return all(device.total <= device.budget for device in memory)


def budget(gpu: Gpu) -> int:
    return max(gpu.vram_free - GPU_MARGIN, 0)


def ram_budget(host: Host) -> int:
    return max(host.ram.available - RAM_MARGIN, 0)


def _devices(
    model: Model, host: Host, settings: Settings, placed: Placement, kv: KvLayout
) -> tuple[DeviceMemory, ...]:
    cpu = len(host.gpus)
    caches = [0] * (cpu + 1)
    for il, device in enumerate(placed.layers[:-1]):
        caches[device] += kv.per_layer[il]
    used = settings.n_gpu_layers != 0 and cpu > 0
    rows = []
    for i, gpu in enumerate(host.gpus):
        compute = gpu_compute(model.shape, settings, model.architecture, 0) if used else Estimate(0, 0, 0)
        overhead = CONTEXT[gpu.backend] if used else 0
        rows.append(
            _row(placed.devices[i], placed.weights[i], caches[i], compute.expected, overhead, budget(gpu), 0)
        )
    compute = cpu_compute(model.shape, settings, model.architecture)
    mapped = placed.weights[cpu] - placed.repacked if settings.mmap else 0
    rows.append(
        _row("CPU", placed.weights[cpu], caches[cpu], compute.expected, host_overhead(model, settings),
             ram_budget(host), mapped)
    )  # fmt: skip
    return tuple(rows)


def _row(  # noqa: PLR0917
    device: str, weights: int, kv: int, compute: int, overhead: int, budget: int, mapped: int
) -> DeviceMemory:
    total = weights + kv + compute + overhead
    return DeviceMemory(device, weights, kv, compute, overhead, total, budget, mapped)
