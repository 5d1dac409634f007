"""What an engine's cache holds now: the C ledger, fed with the tokens of its slots."""

from __future__ import annotations

from localrun.meter.values import CacheReading, GroupReading, Observation
from localrun.native import Group, Ledger
from localrun.plan.kv_groups import KvGroup


class Cache:
    """One engine's cache, observed again and again: the highest is kept between two looks."""

    def __init__(self, groups: tuple[KvGroup, ...]) -> None:
        self._groups = groups
        self._ledger: Ledger | None = None
        self._slots = 0

    def update(self, seen: Observation) -> CacheReading:
        held = seen.held or (seen.tokens_held,)
        held += (0,) * (self._groups[0].streams - len(held))
        if self._ledger is None or len(held) != self._slots:
            self._ledger, self._slots = self._new(len(held)), len(held)
        for slot, tokens in enumerate(held):
            # More than there is room for is a count of another kind than ours: then it is full.
            if not self._ledger.set(slot, max(tokens, 0)):
                self._ledger.set(slot, 0)
                self._ledger.set(slot, self._ledger.until_full(slot) or 0)
        now = self._ledger.read()
        parts = zip(self._groups, now.group_cells, now.group_bytes, strict=True)
        return CacheReading(
            tokens=now.tokens,
            capacity=min([seen.tokens_capacity, *self._room()]),
            bytes=now.bytes,
            bytes_capacity=now.bytes_capacity,
            high_water=max(now.high_water, seen.tokens_most),
            until_full=self._left(seen, held, now.until_full),
            groups=tuple(
                GroupReading(g.name, cells, g.cells * g.streams, size, g.cells * g.streams * g.row_bytes)
                for g, cells, size in parts
            ),
        )

    def _new(self, slots: int) -> Ledger:
        rows = [Group(g.cells, g.row_bytes, g.kind, g.window) for g in self._groups]
        return Ledger(rows, slots, unified=self._groups[0].streams < slots)

    def _left(self, seen: Observation, held: tuple[int, ...], cells: int | None) -> int | None:
        """Cells, but no more than the engine lets one slot have: it keeps to the trained context."""
        if cells is None or not seen.held:
            return cells
        return min(cells, max(0, seen.tokens_capacity // len(held) - max(held)))

    def _room(self) -> list[int]:
        """Tokens that the layers which keep all have room for; slots of one cache each claim it whole."""
        return [g.cells * g.streams for g in self._groups if g.kind == "full"]
