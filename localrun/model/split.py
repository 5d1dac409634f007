"""The names of a split model's files, as llama.cpp writes them: `STEM-00001-of-00009.gguf`."""

from __future__ import annotations

import re

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


def split_of(name: str) -> tuple[str, int, int] | None:
    """(stem, number from 1, count) of a shard's name; None for any other name."""
    match = _SPLIT.fullmatch(name)
    return (match["stem"], int(match["no"]), int(match["count"])) if match else None


def shard_name(stem: str, number: int, count: int) -> str:
    """The name of shard `number`, counted from 1."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"


def shard_names(name: str, count: int = 0) -> tuple[str, ...]:
    """All names of the model that `name`, one file or any shard, belongs to."""
    split = split_of(name)
    if split is None:
        return (name,)
    stem, _, total = split
    return tuple(shard_name(stem, i, total) for i in range(1, (count or total) + 1))
