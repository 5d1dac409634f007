"""Which GPUs a process sees: CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES and their like, as pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\s*([+-]?[0-9]+)")


def visible(value: str | None, uuids: Sequence[str]) -> list[int]:
    """Indices into `uuids`, in the order that the runtime will number them.

    By the rules of the CUDA runtime: unset shows all; an empty value none; the list ends at the first
    entry that names no device (so `-1` ends it); a UUID may be shortened while it stays unique; a device
    named twice hides all.
    """
    if value is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    by_name: str | None = None  # the list holds either UUIDs or numbers, as its first entry says
    for entry in value.split(","):
        text = entry.strip()
        prefix = text[:4].upper() if text[:4].upper() in ("GPU-", "MIG-") else ""
        if by_name is None:
            by_name = prefix
        if prefix != by_name:
            break
        found = _by_uuid(text, uuids) if prefix else _by_number(text, len(uuids))
        if found is None:
            break
        if found in chosen:
            return []
        chosen.append(found)
    return chosen


def _by_uuid(text: str, uuids: Sequence[str]) -> int | None:
    hits = [i for i, uuid in enumerate(uuids) if uuid.lower().startswith(text.lower())]
    return hits[0] if len(hits) == 1 else None


def _by_number(text: str, count: int) -> int | None:
    match = _NUMBER.match(text)  # as strtol reads: what follows the digits does not matter
    index = int(match[1]) if match else -1
    return index if 0 <= index < count else None
