"""The bytes of a KV cache, as llama.cpp's dry run has them."""

from __future__ import annotations

from collections.abc import Sequence

from localrun._ffi import ffi, lib
from localrun.errors import UsageError
from localrun.value import dataclass

_TYPES = {
    ffi.string(name).decode("ascii").lower(): i
    for i in range(lib.LR_GGML_TYPES)
    if (name := lib.lr_ggml_type_name(i))
}
_MOST = 2**32 - 1


@dataclass(frozen=True, slots=True)
class KvLayer:
    """What one layer keeps of one token, in elements; `count` equal layers may share a value.

    grouped heads: n_head_kv, head_dim_k, head_dim_v. MLA: 1, kv_lora_rank + rope_dim, 0, for V is a view of K; with
    DeepSeek's sparse attention also the indexer's key. Legacy MLA: n_head and its head's dims. No attention: 0 heads.
    """

    heads: int
    dim_k: int
    dim_v: int
    dim_index: int = 0
    windowed: bool = False  # sliding window or attention chunks
    count: int = 1


@dataclass(frozen=True, slots=True)
class KvSize:
    bytes: int
    cells: int  # of each stream, in layers that keep every token
    swa_cells: int  # of each stream, in windowed layers
    streams: int
    row_bytes: int  # one cell of all layers that keep every token
    swa_row_bytes: int  # one cell of all windowed layers


def kv_bytes(
    layers: Sequence[KvLayer],
    n_ctx: int,
    *,
    type_k: str = "f16",
    type_v: str = "f16",
    n_seq: int = 1,
    n_ubatch: int = 512,
    unified: bool = False,
    window: int = 0,
    swa_full: bool = False,
) -> KvSize:
    """The cache's bytes and cells; `n_ctx` is --ctx-size, over all `n_seq` sequences, `window` in tokens.

    Raises UsageError for cache types that llama.cpp would not take with these layers, or figures out of range.
    """
    for name in (type_k, type_v):
        if name not in _TYPES:
            raise UsageError(
                f"not a KV cache type: {name!r}", "f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl"
            )
    use = _use(n_ctx, n_seq, n_ubatch, unified, window, swa_full)
    use.type_k, use.type_v = _TYPES[type_k], _TYPES[type_v]
    rows = ffi.new("lr_kv_layer[]", len(layers))
    for row, layer in zip(rows, layers, strict=True):
        row.count, row.heads, row.dim_k, row.dim_v = layer.count, layer.heads, layer.dim_k, layer.dim_v
        row.dim_index, row.windowed = layer.dim_index, layer.windowed
    size = ffi.new("lr_kv_size *")
    status = lib.lr_kv_bytes(rows, len(layers), use, size)
    if status == lib.LR_E_UNSUPPORTED:
        raise UsageError(f"the cache types {type_k} and {type_v} do not go with this model's attention")
    return _size(status, size)


def kv_cells(
    n_ctx: int,
    *,
    n_seq: int = 1,
    n_ubatch: int = 512,
    unified: bool = False,
    window: int = 0,
    swa_full: bool = False,
) -> KvSize:
    """As `kv_bytes`, the cells and streams alone."""
    size = ffi.new("lr_kv_size *")
    return _size(lib.lr_kv_cells(_use(n_ctx, n_seq, n_ubatch, unified, window, swa_full), size), size)


def _use(n_ctx: int, n_seq: int, n_ubatch: int, unified: bool, window: int, swa_full: bool) -> ffi.CData:
    if not (0 < n_ctx <= 1 << 40 and 0 < n_seq <= _MOST and 0 <= n_ubatch <= _MOST and 0 <= window < 1 << 63):
        raise UsageError(
            f"no KV cache has {n_ctx} tokens, {n_seq} sequences, ubatch {n_ubatch}, window {window}"
        )
    use = ffi.new("lr_kv_use *")
    use.n_ctx, use.n_seq, use.n_ubatch = n_ctx, n_seq, n_ubatch
    use.unified, use.window, use.swa_full = unified, window, swa_full
    return use


def _size(status: int, size: ffi.CData) -> KvSize:
    if status != lib.LR_OK:
        raise UsageError(f"KV cache: {ffi.string(lib.lr_status_text(status)).decode('ascii')}")
    return KvSize(size.bytes, size.cells, size.swa_cells, size.streams, size.row_bytes, size.swa_row_bytes)
