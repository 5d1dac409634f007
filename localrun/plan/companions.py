"""What is loaded beside a model: a vision projector, a drafting model, its own next-token blocks.

All of it counts before the model is placed: llama.cpp loads the projector and the draft after the model,
and a card that the model filled has no room for them.
"""

from __future__ import annotations

from localrun.errors import UsageError
from localrun.hardware.facts import Backend, Host
from localrun.model.facts import Model, Projector, Shape
from localrun.plan.compute import planned
from localrun.plan.graph import Estimate, Graph
from localrun.plan.kv import context, pad, row_bytes
from localrun.plan.placement import device_names, layer_devices
from localrun.plan.values import Companion, Settings
from localrun.units import MIB
from localrun.value import replace

#: llama.cpp's name for drafting with a model's own next-token blocks.
MTP = "draft-mtp"
#: Encoders whose graph was compared with the engine's own account; others get a wide band.
_COMPARED = frozenset(("pixtral", "llama4"))
#: Head sizes for which CUDA has fused attention where keys are as wide as values (fattn.cu).
_FUSED = frozenset((40, 64, 72, 80, 96, 112, 128, 256))
#: Patches where a file does not tell: llama.cpp warms up with no more for most encoders.
_PATCHES = 4096
#: Floats a patch for its place in the image and among the tokens.
_POSITIONS = 96
#: A backend of its own: handles and workspaces beside its buffers, estimated.
_HANDLES = 32 * MIB
#: An image in host memory, as read and as it goes in, estimated.
_IMAGE = 32 * MIB


def projector_graph(projector: Projector, fused: bool) -> Estimate:
    """The buffer of an encoder's graph for the largest image, linear in its patches.

    Compared with llama.cpp's own account (`mtmd_get_memory_usage`) on the CPU: within 4 % for pixtral
    and llama4 in their real shapes. Where attention is not `fused`, every head's scores come on top.
    """
    p = projector
    n = p.patches or _PATCHES
    # Gate, up and their product beside the residual rows; without a gate one of them.
    forward = 3 * p.n_ff + 4 * p.n_embd if p.gated else p.n_ff + 2 * p.n_embd
    attention = 5 * p.n_embd + (0 if fused else p.n_head * n)
    need = 4 * n * (max(forward, attention) + 3 * p.patch_size**2 + _POSITIONS)
    if p.kind in _COMPARED and p.patches:
        return Estimate.within(need, 0.05)
    return Estimate.between(need, 0.25, 2.0)


def fuses(projector: Projector, backend: Backend | None) -> bool:
    """Whether a backend, None for the CPU, has fused attention for the encoder's heads."""
    if backend is None or backend == "metal" or not projector.n_head:
        return True
    return projector.n_embd // projector.n_head in _FUSED


def projector_rows(model: Model, host: Host, settings: Settings) -> tuple[Companion, ...]:
    """The projector's bytes: on the first GPU unless it is kept off it, and what an image takes in RAM."""
    if model.projector is None:
        return ()
    size, names = model.projector.weights_bytes, _names(host)
    on_gpu = bool(host.gpus) and settings.mmproj_offload
    backend = host.gpus[0].backend if on_gpu else None
    graph = planned(projector_graph(model.projector, fuses(model.projector, backend)))
    if not on_gpu:
        return (Companion("mmproj", names[-1], size, 0, graph + _IMAGE),)
    return (
        Companion("mmproj", names[0], size, 0, graph + _HANDLES),
        Companion("mmproj", names[-1], 0, 0, _IMAGE),
    )


def next_token_rows(model: Model, host: Host, settings: Settings) -> tuple[Companion, ...]:
    """The second context of `--spec-type draft-mtp`: cache and graph of the next-token blocks.

    Their weights are the model's own. Attention is dense there, without an indexer; the cache is in f16
    whatever the model's is.
    """
    shape = model.shape
    if settings.spec_type != MTP:
        return ()
    if not shape.n_nextn:
        raise UsageError(
            f"--spec-type {MTP}: {model.name} has no next-token-prediction block in this file",
            "a file converted with it, or --model-draft",
        )
    size, rows = context(shape, settings), 0
    for heads in shape.n_head_kv[-shape.n_nextn :]:
        rows += row_bytes("f16", heads * shape.head_dim_k)
        rows += 0 if shape.mla_head_dim_k else row_bytes("f16", heads * shape.head_dim_v)
    layers = layer_devices(shape.n_layers, host, settings)
    device = _names(host)[layers[shape.n_layers - 1]]
    graph = planned(_next_token_graph(shape, settings, model.architecture))
    return (Companion(MTP, device, 0, rows * size.cells * size.streams, graph),)


def _next_token_graph(shape: Shape, settings: Settings, architecture: str) -> Estimate:
    """One block's graph; for compressed attention as the engine's dry run has it, to the byte."""
    dense = replace(shape, indexer_heads=0, indexer_head_dim=0, indexer_top_k=0)
    graph = Graph.of(dense, replace(settings, cache_type_k="f16", cache_type_v="f16"), architecture)
    mask = graph.cells / 2 if graph.flash else graph.cells
    rows = graph.body(2, 1) + shape.q_lora_rank + 4 + mask
    exact = shape.mla_head_dim_k > 0
    return Estimate.within(4 * graph.batch * rows + pad(4 * graph.outputs, 32), 0.01 if exact else 0.3)


def draft_settings(model: Model, settings: Settings) -> Settings:
    """What llama.cpp makes of the main model's settings for the draft: its context, an f16 cache, all in one place."""
    return replace(
        settings, cache_type_k="f16", cache_type_v="f16", n_cpu_moe=0, override_tensor=(), cache_ram=0,
        n_gpu_layers=min(settings.n_gpu_layers_draft, model.shape.n_layers + 1), ctx_checkpoints=0,
        moe_cache=0, spec_type="",
    )  # fmt: skip


def by_device(rows: tuple[Companion, ...], host: Host) -> tuple[int, ...]:
    """Bytes on the GPUs in order, then on the CPU."""
    return tuple(sum(r.total for r in rows if r.device == name) for name in _names(host))


def _names(host: Host) -> tuple[str, ...]:
    return device_names(host.gpus)
