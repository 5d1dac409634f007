"""What the generators of tables by code point share: equal blocks kept once, and numbers as rows of C."""

from __future__ import annotations


def in_blocks(table: bytes, size: int) -> tuple[list[int], list[int]]:
    """(the number of each block of `size`, the different blocks one after the other)."""
    blocks: dict[bytes, int] = {}
    first = [blocks.setdefault(table[at : at + size], len(blocks)) for at in range(0, len(table), size)]
    return first, list(b"".join(blocks))


def rows(values: list[int], width: int = 32) -> str:
    lines = (values[at : at + width] for at in range(0, len(values), width))
    return ",\n".join("    " + ",".join(map(str, line)) for line in lines)
