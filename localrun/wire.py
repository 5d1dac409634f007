"""Values <-> JSON for the files we keep. The only importer of msgspec, and only when called."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class UnreadableError(ValueError):
    """The bytes are not the JSON of that type: cut short, of another version, or someone else's."""


def encode(value: object) -> bytes:
    """JSON of dataclasses, tuples and plain values, indented: people read these files too."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def decode(data: bytes, kind: type[T]) -> T:
    """`data` as a `kind`, every field checked. Raises UnreadableError."""
    import msgspec

    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as wrong:
        raise UnreadableError(str(wrong)) from None
