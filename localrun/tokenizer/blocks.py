"""Long texts in blocks that encode by themselves as they do within the text.

A cut is made behind a newline, where a line that does not end in white space meets one that begins with a letter. No
pattern of byte-level BPE has a piece that spans such a place, nor looks across it, and no normal form either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

#: Bytes of a block, as long as there are places to cut at.
BLOCK = 1 << 24
#: The last bytes of a block, in which a place is looked for: 64 KiB hold one in nearly any text.
_REACH = 1 << 16
# Before: printable ASCII, what begins in C3 to DF, most of CJK and its full stop. Behind: ASCII letters, the Cyrillic
# ones, most of CJK.
_PLACE = re.compile(
    rb"(?:[!-~]|[\xc3-\xdf][\x80-\xbf]|[\xe4-\xe9][\x80-\xbf]{2}|\xe3\x80\x82)\n(?=[A-Za-z\xd0\xd1\xe5-\xe9])"
)


def crosses_a_cut(text: bytes) -> bool:
    """Whether a special token of this text could be cut in two."""
    return re.search(rb"\n[A-Za-z\x80-\xff]", text) is not None


def _last_cut(data: bytes | bytearray | memoryview, start: int, end: int) -> int:
    """The last place to cut at in data[start:end], or 0."""
    cut = 0
    for found in _PLACE.finditer(data, start, end):
        cut = found.end()
    return cut


def blocks_of(data: bytes | bytearray | memoryview) -> Iterator[memoryview]:
    """The whole in blocks, without copies."""
    at, view = 0, memoryview(data)
    while len(view) - at > BLOCK:
        end = at + BLOCK
        cut = _last_cut(view, end - _REACH, end)
        while not cut and end < len(view):
            start, end = end - 8, min(end + BLOCK, len(view))
            found = _PLACE.search(view, start, end)
            cut = found.end() if found else 0
        if not cut:
            break
        yield view[at:cut]
        at = cut
    yield view[at:]


def blocks_from(read: Callable[[int], bytes]) -> Iterator[bytes | bytearray]:
    """A stream in blocks; `read` answers b"" at its end. Never holds more than two blocks where there are places."""
    held = bytearray()
    while part := read(BLOCK):
        before = len(held)
        held += part
        start = max(0, before - 8, len(held) - _REACH)
        cut = _last_cut(held, start, len(held)) or _last_cut(held, max(0, before - 8), len(held))
        if len(held) >= BLOCK and cut:
            yield held[:cut]
            held = held[cut:]
    yield held
