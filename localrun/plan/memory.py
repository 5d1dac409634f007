"""Every byte of a plan, by device: weights, cache, graph, overhead, against what the device can give."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import add

from localrun.hardware.facts import Gpu, Host
from localrun.model.facts import Model
from localrun.plan.companions import by_device, draft_settings, next_token_rows, projector_rows
from localrun.plan.compute import CONTEXT, graph_of, graphs_of, host_overhead, planned
from localrun.plan.graph import Estimate, Graph
from localrun.plan.kv import KvLayout, kv_cache, padding
from localrun.plan.placement import ALIGN, ROW_PADDING, Classified, Placement, place
from localrun.plan.values import Companion, DeviceMemory, Settings
from localrun.plan.weights import Weights, spans
from localrun.units import MIB
from localrun.value import dataclass, field

#: Left free on a device: what other programs may take while the model runs, and fragmentation.
GPU_MARGIN = 256 * MIB
RAM_MARGIN = 512 * MIB


@dataclass(frozen=True, slots=True)
class _Context:
    """What depends on the context's settings alone, and so is computed once for all placements."""

    kv: KvLayout
    graph: Graph
    below: tuple[int, ...]  # bytes of cache of blocks 0..i-1 at [i]
    padded: tuple[int, ...]  # the same on a GPU, whose buffers pad
    overhead: int  # of the host
    beside: tuple[int, ...]  # by device: projector, draft
    memo: dict[object, Estimate]

    @classmethod
    def of(cls, model: Model, host: Host, settings: Settings) -> _Context:
        kv = kv_of(model, settings)
        below = padded = tuple(accumulate(kv.per_layer, initial=0))
        backend = host.gpus[0].backend if host.gpus else ""
        if backend in ROW_PADDING:
            more = padding(model.shape, settings, ROW_PADDING[backend], ALIGN[backend])
            padded = tuple(accumulate(map(add, kv.per_layer, more), initial=0))
        overhead = host_overhead(model, settings, kv)
        beside = by_device(companions(model, host, settings), host)
        return cls(kv, graph_of(model, host, settings), below, padded, overhead, beside, {})


def memory(model: Model, host: Host, settings: Settings) -> tuple[DeviceMemory, ...]:
    """GPUs in order, then "CPU"; placed tensor by tensor. Raises UsageError for what no engine takes."""
    return _devices(host, settings, place(model, host, settings), _Context.of(model, host, settings))


def companions(model: Model, host: Host, settings: Settings) -> tuple[Companion, ...]:
    """What is loaded beside the model, by device. Raises UsageError for what the model cannot do."""
    rows = [*projector_rows(model, host, settings), *next_token_rows(model, host, settings)]
    if model.draft is not None:
        # The driver's context and the process are counted once, with the model.
        drafts = memory(model.draft, host, draft_settings(model.draft, settings))
        rows += [Companion("draft", d.device, d.weights, d.kv, d.compute) for d in drafts]
    return tuple(row for row in rows if row.total)


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
    _known: dict[tuple[object, ...], _Context] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, host: Host, settings: Settings, walk: Sequence[Classified] = ()) -> Sizer:
        return cls(model, host, Weights.of(model, host, settings, walk=walk))

    def memory(self, settings: Settings) -> tuple[DeviceMemory, ...]:
        return _devices(self.host, settings, self.weights.place(settings), self._of(settings))

    def kv(self, settings: Settings) -> KvLayout:
        return self._of(settings).kv

    def _of(self, s: Settings) -> _Context:
        key = (s.ctx_size, s.cache_type_k, s.cache_type_v, s.batch_size, s.ubatch_size, s.parallel,
               s.kv_unified, s.swa_full, s.flash_attn, s.cache_ram, s.ctx_checkpoints,
               s.mmproj_offload, s.n_gpu_layers_draft,
               (s.n_gpu_layers, s.tensor_split) if self.model.draft or s.spec_type else ())  # fmt: skip
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Context.of(self.model, self.host, s)
        return known


def fits(memory: tuple[DeviceMemory, ...]) -> bool:
    """Whether no device is over its budget, file pages counted as memory."""
    return all(device.total <= device.budget for device in memory)


def budget(gpu: Gpu) -> int:
    return max(gpu.vram_free - GPU_MARGIN, 0)


def ram_budget(host: Host) -> int:
    return max(host.ram.available - RAM_MARGIN, 0)


def _devices(
    host: Host, settings: Settings, placed: Placement, context: _Context
) -> tuple[DeviceMemory, ...]:
    cpu = len(host.gpus)
    caches = [0] * (cpu + 1)
    for device, start, stop in spans(placed.layers[:-1]):
        sums = context.below if device == cpu else context.padded
        caches[device] += sums[stop] - sums[start]
    graphs = [planned(estimate) for estimate in graphs_of(context.graph, settings, placed, context.memo)]
    rows = []
    for i, gpu in enumerate(host.gpus):
        # The driver's context is made for every GPU that the engine sees.
        overhead = CONTEXT[gpu.backend] + context.beside[i] + (settings.moe_cache if i == 0 else 0)
        rows.append(
            _row(placed.devices[i], placed.weights[i], caches[i], graphs[i], overhead, budget(gpu), 0)
        )
    mapped = placed.weights[cpu] - placed.repacked if settings.mmap else 0
    rows.append(_row("CPU", placed.weights[cpu], caches[cpu], graphs[cpu], context.overhead + context.beside[cpu],
                     ram_budget(host), mapped))  # fmt: skip
    return tuple(rows)


def _row(
    device: str, weights: int, kv: int, compute: int, overhead: int, budget: int, mapped: int
) -> DeviceMemory:
    total = weights + kv + compute + overhead
    return DeviceMemory(device, weights, kv, compute, overhead, total, budget, mapped)
