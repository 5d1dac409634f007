"""The layers of a cache by what they keep: all tokens, a window, a chunk, an indexer's keys.

The sum of the groups is `kv_cache`'s size to the byte; what of it is in use the ledger tells.
"""

from __future__ import annotations

from typing import Literal

from localrun.model.facts import Shape
from localrun.plan.kv import context, row_bytes, rows, windowed_cells
from localrun.plan.values import Settings
from localrun.value import dataclass

Kind = Literal["full", "window", "chunk"]
#: Windowed layers of these see the tokens of their own chunk alone; all others a window that slides.
_CHUNKED = frozenset(("llama4",))


@dataclass(frozen=True, slots=True)
class KvGroup:
    """Layers that keep the same tokens. Bytes of the whole group: cells * streams * row_bytes."""

    name: str  # "full", "chunked", "windowed", "MLA", "indexer"
    kind: Kind
    cells: int  # of each stream
    streams: int
    row_bytes: int  # one cell of all its layers
    window: int = 0  # tokens; 0 = it keeps all


def kv_groups(shape: Shape, settings: Settings, architecture: str) -> tuple[KvGroup, ...]:
    """The cache of `settings` in groups. Raises UsageError, ModelError as `kv_cache` does."""
    size, short = context(shape, settings), windowed_cells(shape, settings)
    windowed = shape.swa_layers or (False,) * shape.n_layers
    row = rows(shape, settings)
    trunk = shape.n_layers - shape.n_nextn
    index = row_bytes(settings.cache_type_k, shape.indexer_head_dim) if shape.indexer_heads else 0
    whole = [r - (index if il < trunk else 0) for il, r in enumerate(row)]
    full = sum(r for r, swa in zip(whole, windowed, strict=True) if not swa)
    keeps_all = settings.swa_full or not shape.swa_window
    kind: Kind = "full" if keeps_all else "chunk" if architecture in _CHUNKED else "window"
    found = (
        KvGroup("MLA" if shape.mla_head_dim_k else "full", "full", size.cells, size.streams, full),
        KvGroup(
            "chunked" if architecture in _CHUNKED else "windowed",
            kind,
            short,
            size.streams,
            sum(whole) - full,
            0 if keeps_all else shape.swa_window,
        ),
        KvGroup("indexer", "full", size.cells, size.streams, index * trunk),
    )
    return tuple(group for group in found if group.row_bytes)
