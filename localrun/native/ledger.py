"""What a KV cache holds: tokens of each sequence, bytes of each group of layers, the most so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from localrun._ffi import ffi, lib
from localrun.value import dataclass

Kind = Literal["full", "window", "chunk"]
_KINDS = {"full": lib.LR_LEDGER_FULL, "window": lib.LR_LEDGER_WINDOW, "chunk": lib.LR_LEDGER_CHUNK}


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that keep the same tokens. An MLA model's rows and its indexer's keys may be two groups."""

    cells: int  # of each stream
    row_bytes: int  # one cell of all its layers
    kind: Kind = "full"
    window: int = 0  # tokens; for "window" and "chunk"


@dataclass(frozen=True, slots=True)
class LedgerReading:
    tokens: int
    high_water: int  # the most tokens so far
    until_full: int | None  # tokens that the fullest stream can still take; None: it never fills
    bytes: int  # in use
    bytes_capacity: int
    group_cells: tuple[int, ...]  # in use
    group_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Freed:
    tokens: int
    bytes: int
    recompute: int  # tokens in front of the cut that windowed layers have let go and would need again


class Ledger:
    """Tokens per sequence against the cells of a cache. Not for several threads at once.

    Raises ValueError for a cache that cannot be and for a sequence that is not there.
    """

    def __init__(self, groups: Sequence[Group], n_seq: int = 1, unified: bool = False) -> None:
        if not 0 < n_seq <= 1 << 20 or not 0 < len(groups) <= lib.LR_LEDGER_GROUPS:
            raise ValueError(f"no ledger has {n_seq} sequences and {len(groups)} groups")
        rows = group_rows(groups)
        self._n = len(groups)
        self._used = ffi.new("uint64_t[]", n_seq)
        self._ledger = ffi.new("lr_ledger *")
        _check(lib.lr_ledger_init(self._ledger, rows, len(groups), self._used, n_seq, unified))

    def set(self, seq: int, tokens: int) -> bool:
        """`seq` holds `tokens` now. False: they do not fit, nothing has changed."""
        return self._done(lib.lr_ledger_set(self._ledger, seq, tokens))

    def add(self, seq: int, tokens: int) -> bool:
        """`seq` holds `tokens` more. False: they do not fit, nothing has changed."""
        return self._done(lib.lr_ledger_add(self._ledger, seq, tokens))

    def remove(self, seq: int, start: int = 0, stop: int | None = None) -> Freed:
        """Takes tokens `start` to `stop` (None: all that follow) out of `seq` and closes the gap."""
        freed = ffi.new("lr_ledger_freed *")
        end = 2**64 - 1 if stop is None else stop
        _check(lib.lr_ledger_remove(self._ledger, seq, start, end, freed))
        return Freed(freed.tokens, freed.bytes, freed.recompute)

    def until_full(self, seq: int) -> int | None:
        """Tokens that `seq` can still take; None: windowed layers alone never fill."""
        out = ffi.new("uint64_t *")
        _check(lib.lr_ledger_until_full(self._ledger, seq, out))
        return None if self._ledger.cells == 2**64 - 1 else int(out[0])

    def read(self) -> LedgerReading:
        r = ffi.new("lr_ledger_reading *")
        _check(lib.lr_ledger_read(self._ledger, r))
        return reading_of(r, self._n)

    def _done(self, status: int) -> bool:
        if status != lib.LR_FULL:
            _check(status)
        return bool(status == lib.LR_OK)


def group_rows(groups: Sequence[Group]) -> Any:
    """The groups as C has them."""
    rows = ffi.new("lr_ledger_group[]", len(groups))
    for row, group in zip(rows, groups, strict=True):
        row.cells, row.row_bytes, row.window = group.cells, group.row_bytes, group.window
        row.kind = _KINDS[group.kind]
    return rows


def reading_of(r: Any, n_groups: int) -> LedgerReading:
    # Windowed layers alone never fill: their capacity in tokens is 2^64 - 1, and what is used is little.
    return LedgerReading(
        tokens=r.tokens,
        high_water=r.high_water,
        until_full=None if r.until_full >= 2**63 else r.until_full,
        bytes=r.bytes,
        bytes_capacity=r.bytes_capacity,
        group_cells=tuple(ffi.unpack(r.group_cells, n_groups)),
        group_bytes=tuple(ffi.unpack(r.group_bytes, n_groups)),
    )


def _check(status: int) -> None:
    if status != lib.LR_OK:
        raise ValueError(f"ledger: {ffi.string(lib.lr_status_text(status)).decode('ascii')}")
