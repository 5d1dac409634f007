"""What a device holds beside weights and cache: graphs, outputs, prompt cache, driver, the process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from localrun.hardware.facts import Backend, Host
from localrun.model.facts import Model, Shape
from localrun.plan.graph import (
    NOTHING,
    OFFLOAD_BATCH,
    Estimate,
    Graph,
    Share,
    beside_gpus,
    cuda_flash,
    on_cpu,
    on_gpu,
)
from localrun.plan.kv import KvLayout, windowed_cells
from localrun.plan.placement import Placement
from localrun.plan.values import Settings
from localrun.units import MIB

#: What a driver takes per process before anything is allocated, estimated: context, kernels, BLAS handles.
CONTEXT: dict[Backend, int] = {
    "cuda": 420 * MIB, "rocm": 400 * MIB, "sycl": 300 * MIB, "vulkan": 200 * MIB, "metal": 60 * MIB
}  # fmt: skip
#: Resident memory of the engine's process beside the model's buffers, measured (bench/memory_truth.py).
PROCESS = 32 * MIB
#: Resident memory per vocabulary entry: token text, its hash entries and the merges, measured.
PER_TOKEN = 700


def graph_buffers(model: Model, host: Host, settings: Settings, placed: Placement) -> tuple[Estimate, ...]:
    """The compute graph's buffers, by device: the GPUs in order, then the CPU."""
    return graphs_of(graph_of(model, host, settings), settings, placed)


def graph_of(model: Model, host: Host, settings: Settings) -> Graph:
    """The graph with `-fa auto` resolved for the host's backend."""
    backend = host.gpus[0].backend if host.gpus else ""
    flash = cuda_flash(model.shape) if backend in ("cuda", "rocm") else True
    return Graph.of(model.shape, settings, model.architecture, flash)


def graphs_of(
    graph: Graph, settings: Settings, placed: Placement, memo: dict[object, Estimate] | None = None
) -> tuple[Estimate, ...]:
    """`graph_buffers` for a graph that is known already; `memo` keeps what was computed for it."""
    memo = {} if memo is None else memo
    cpu, layers = len(placed.devices) - 1, placed.layers
    if not cpu:
        return (_once(memo, "cpu", partial(on_cpu, graph)),)
    overridden = settings.n_cpu_moe > 0 or bool(settings.override_tensor)
    pipelined = cpu > 1 and layers[0] != cpu and not overridden
    offloads = placed.copied > 0 and graph.batch >= OFFLOAD_BATCH
    used = [(device == 0 and offloads) or device in layers for device in range(cpu)]
    blocks = layers[: graph.trunk]
    shares = [Share(
        first=device == 0,
        # Large batches bring the CPU's layers to the first GPU.
        layers=blocks.count(device) + (blocks.count(cpu) if offloads and device == 0 else 0),
        copied=placed.copied if device == 0 else 0,
        layers_on_cpu=layers[0] == cpu,
        pipelined=pipelined,
        compared=placed.devices[0].startswith(("CUDA", "ROCm")),
    ) for device in range(cpu)]  # fmt: skip
    gpus = [
        _once(memo, share, partial(on_gpu, graph, share)) if busy else NOTHING
        for share, busy in zip(shares, used, strict=True)
    ]
    beside = layers[0] == cpu, pipelined
    return (*gpus, _once(memo, beside, partial(beside_gpus, graph, *beside)))


def _once(memo: dict[object, Estimate], key: object, compute: Callable[[], Estimate]) -> Estimate:
    found = memo.get(key)
    if found is None:
        found = memo[key] = compute()
    return found


def planned(estimate: Estimate) -> int:
    """The bytes to plan with: the middle of a narrow band, the safe end of a wide one."""
    slack = estimate.high - estimate.expected
    narrow = slack <= max(estimate.expected // 12, 4 * MIB)
    return estimate.expected if narrow else estimate.high


def output_buffer(shape: Shape, settings: Settings) -> int:
    """Logits kept in host memory, a row per slot: in no breakdown of the engine's."""
    return 4 * shape.n_vocab * settings.parallel


def checkpoints(shape: Shape, settings: Settings, kv: KvLayout) -> int:
    """The most that llama-server's context checkpoints take: copies of the windowed layers' cache.

    Only windowed models make them, unless swa_full: their cache cannot be rolled back.
    """
    if settings.swa_full or not any(shape.swa_layers) or not settings.ctx_checkpoints:
        return 0
    windowed = sum(size for size, swa in zip(kv.per_layer, shape.swa_layers, strict=True) if swa)
    cells = windowed_cells(shape, settings) * kv.streams
    kept = min(shape.swa_window, kv.cells) * settings.parallel
    return windowed * kept // cells * settings.ctx_checkpoints


def host_overhead(model: Model, settings: Settings, kv: KvLayout) -> int:
    """RAM beside weights, cache and graph; the prompt cache and the checkpoints at their fullest."""
    process = PROCESS + PER_TOKEN * model.shape.n_vocab
    # One quantized operand of a matrix product, in the CPU backend's work area.
    process += settings.ubatch_size * max(max(model.shape.n_ff, default=0), model.shape.n_embd) * 5 // 4
    return (
        process + output_buffer(model.shape, settings) + settings.cache_ram
        + checkpoints(model.shape, settings, kv)
    )  # fmt: skip
