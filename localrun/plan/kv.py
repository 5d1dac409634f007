"""The size of llama.cpp's key-value cache, to the byte, from shape and settings.

Follows `llama_model::create_memory` and the caches it picks: plain, MLA (keys only, values are a view
of them), DSA (a second cache of indexer keys), windowed (two caches, the windowed one shorter).
"""

from __future__ import annotations

from localrun.errors import ModelError, UsageError
from localrun.model.facts import Shape
from localrun.plan.values import Settings
from localrun.value import dataclass

#: elements per block, bytes per block of the types that llama.cpp's cache takes.
KV_TYPES: dict[str, tuple[int, int]] = {
    "f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "q8_0": (32, 34), "q5_1": (32, 24),
    "q5_0": (32, 22), "q4_1": (32, 20), "q4_0": (32, 18), "iq4_nl": (32, 18),
}  # fmt: skip

#: Architectures whose cache follows from the fields of Shape alone, so that the size is exact.
PLAIN = frozenset((
    "llama", "llama4", "mistral3", "mistral4", "deepseek", "deepseek2", "qwen", "qwen2", "qwen2moe",
    "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "gemma", "gemma2", "gemma3", "phi2",
    "phi3", "phimoe", "gpt-oss", "glm4", "glm4moe", "command-r", "cohere2", "olmo", "olmo2", "olmoe",
    "smollm3", "starcoder2", "stablelm", "internlm2", "granite", "granitemoe", "exaone", "exaone4",
    "arcee", "dots1", "ernie4_5", "ernie4_5-moe", "hunyuan-dense", "hunyuan-moe", "bailingmoe",
    "bailingmoe2", "minicpm", "seed_oss", "grok", "dbrx",
))  # fmt: skip
#: Recurrent and hybrid ones keep states that Shape does not describe.
STATEFUL = frozenset((
    "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7", "jamba", "falcon-h1", "plamo2",
    "granitehybrid", "lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "qwen3next", "kimi-linear",
    "kimi-k3", "bailingmoe3", "glm5-next", "qwen35", "qwen35moe", "qwen4exp", "deepseek4",
    "minimax-01",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class KvLayout:
    """The cache of one context. Bytes; `low` and `high` differ only where `exact` is false."""

    bytes: int
    cells: int  # per stream, of the layers that see the whole context
    streams: int
    per_layer: tuple[int, ...]  # bytes, by block; 0 where a block keeps nothing
    bytes_per_token: int  # what one more token of context costs, per stream
    exact: bool = True
    low: int = 0
    high: int = 0


def kv_cache(shape: Shape, settings: Settings, architecture: str) -> KvLayout:
    """The cache for `settings`. Raises UsageError for types that the engine would refuse.

    An architecture that is not known here is sized by its declared heads (`exact` false): from next
    to nothing, were it recurrent, to every layer caching the whole context.
    """
    check_types(shape, settings)
    size = context(shape, settings)
    row_full, row_windowed = _cells(shape, settings, size)
    row = rows(shape, settings)
    windowed = shape.swa_layers or (False,) * shape.n_layers
    streams = size.streams
    per_layer = tuple(
        one * streams * (row_windowed if is_windowed else row_full)
        for one, is_windowed in zip(row, windowed, strict=True)
    )
    grows = row_windowed == row_full
    per_token = sum(one for one, swa in zip(row, windowed, strict=True) if grows or not swa)
    total = sum(per_layer)
    exact = architecture in PLAIN or architecture == "deepseek32"
    low = total if exact else total // 16 if architecture in STATEFUL else total // 2
    high = total if exact else _all_full(row, streams, row_full)
    return KvLayout(total, row_full, streams, per_layer, per_token, exact, low, high)


@dataclass(frozen=True, slots=True)
class ContextSize:
    """What llama.cpp makes of ctx_size, parallel and the batch sizes."""

    total: int  # cells that all sequences share or split
    cells: int  # per stream
    streams: int
    ubatch: int  # tokens per step, limited by batch and context


def context(shape: Shape, settings: Settings) -> ContextSize:
    """Context padded to 256 and split over the sequences, unless they share one cache."""
    wanted = settings.ctx_size or shape.n_ctx_train
    if wanted < 1 or settings.parallel < 1 or settings.batch_size < 1 or settings.ubatch_size < 0:
        raise UsageError("context, slots and batches must be positive")
    # n_batch is cut by the context as asked, before that is padded.
    batch = min(wanted, settings.batch_size)
    ubatch = min(batch, settings.ubatch_size or batch)
    total = pad(wanted, 256)
    if settings.kv_unified:
        return ContextSize(total, total, 1, ubatch)
    cells = pad(total // settings.parallel, 256)
    if not cells:
        raise UsageError(
            f"{settings.parallel} slots leave no context of {total} to any", "fewer slots, or a unified cache"
        )
    return ContextSize(cells * settings.parallel, cells, settings.parallel, ubatch)


def check_types(shape: Shape, settings: Settings) -> None:
    """Refuses what `llama_init_from_model` would refuse, in words that name the flag."""
    for flag, kind in (("-ctk", settings.cache_type_k), ("-ctv", settings.cache_type_v)):
        if kind not in KV_TYPES:
            raise UsageError(f"{flag} {kind}: not a cache type", "one of " + ", ".join(KV_TYPES))
    k, v = settings.cache_type_k, settings.cache_type_v
    if shape.mla_head_dim_k and k != v:
        raise UsageError(
            f"this model keeps keys and values together: -ctk {k} and -ctv {v} must be the same",
            f"-ctk {k} -ctv {k}",
        )
    if settings.flash_attn == "off":
        if KV_TYPES[v][0] > 1:
            raise UsageError(f"-ctv {v} needs flash attention", "-fa on, or -ctv f16")
        return
    for flag, kind, dim in (("-ctk", k, shape.head_dim_k), ("-ctv", v, shape.head_dim_v)):
        block = KV_TYPES[kind][0]
        if dim % block:
            raise UsageError(
                f"{flag} {kind} works in blocks of {block}, which do not divide the head's {dim}",
                f"{flag} f16",
            )


def row_bytes(kind: str, n: int) -> int:
    """Bytes of `n` elements of a cache type. Raises ModelError where blocks do not divide `n`."""
    block, size = KV_TYPES[kind]
    if n % block:
        raise ModelError(f"a cache row of {n} cannot be stored as {kind}", "-ctk f16 -ctv f16")
    return n // block * size


def pad(n: int, to: int) -> int:
    return -(-n // to) * to


def padding(shape: Shape, settings: Settings, row: int, align: int) -> tuple[int, ...]:
    """Bytes by block that a GPU adds to the cache: its buffers pad rows of quantized types to `row`.

    Each tensor (keys, values, the indexer's keys) is padded once, and to `align` bytes as a whole.
    """
    size = context(shape, settings)
    counts = _cells(shape, settings, size)
    windowed = shape.swa_layers or (False,) * shape.n_layers
    known: dict[tuple[int, bool], int] = {}  # blocks are alike but for these two
    added = []
    for key in zip(shape.n_head_kv, windowed, strict=True):
        if key not in known:
            heads, swa = key
            cells = counts[1 if swa else 0] * size.streams
            known[key] = _block_padding(shape, settings, heads, cells, row, align)
        added.append(known[key])
    trunk = shape.n_layers - shape.n_nextn
    return (*added[:trunk], *(0 for _ in added[trunk:]))


def _block_padding(shape: Shape, settings: Settings, heads: int, cells: int, row: int, align: int) -> int:
    tensors = [(settings.cache_type_k, heads * shape.head_dim_k)]
    if shape.indexer_heads:
        tensors.append((settings.cache_type_k, shape.indexer_head_dim))
    if not shape.mla_head_dim_k:
        tensors.append((settings.cache_type_v, heads * shape.head_dim_v))
    extra = 0
    for kind, n in tensors:
        stored = row_bytes(kind, n) * cells
        short = -n % row if KV_TYPES[kind][0] > 1 else 0
        extra += pad(stored + row_bytes(kind, short), align) - stored
    return extra


def windowed_cells(shape: Shape, settings: Settings) -> int:
    """Cells per stream of the windowed layers, = all cells with swa_full or without windows."""
    return _cells(shape, settings, context(shape, settings))[1]


def _cells(shape: Shape, settings: Settings, size: ContextSize) -> tuple[int, int]:
    if not any(shape.swa_layers) or settings.swa_full:
        return size.cells, size.cells
    window = shape.swa_window * (settings.parallel if settings.kv_unified else 1)
    return size.cells, pad(min(size.cells, window + size.ubatch), 256)


def rows(shape: Shape, settings: Settings) -> list[int]:
    """Bytes per cell, by block. A next-token block caches nothing unless it drafts."""
    mla = shape.mla_head_dim_k > 0
    indexer = row_bytes(settings.cache_type_k, shape.indexer_head_dim) if shape.indexer_heads else 0
    # Without flash attention values are stored transposed, each layer as wide as the widest.
    widest = max(shape.n_head_kv, default=0) if settings.flash_attn == "off" else 0
    trunk = shape.n_layers - shape.n_nextn
    known = {}
    for heads in set(shape.n_head_kv[:trunk]):
        row = row_bytes(settings.cache_type_k, heads * shape.head_dim_k) + indexer
        if not mla:
            row += row_bytes(settings.cache_type_v, (widest or heads) * shape.head_dim_v)
        known[heads] = row
    return [known[heads] for heads in shape.n_head_kv[:trunk]] + [0] * (len(shape.n_head_kv) - trunk)


def _all_full(rows: list[int], streams: int, cells: int) -> int:
    return sum(rows) * streams * cells
