"""Plain text for a terminal: columns and a little colour.

Tables and live screens elsewhere use rich; its import alone costs 4.7 times a bare interpreter,
which `plan` cannot afford.
"""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


#: Invisible, but letters and emoji are joined and parted with them.
_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    """`text` from a model file or a server, without what could steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" or c in _JOINERS else "�" for c in text)


def printer(stream: TextIO) -> Callable[[bytes], None]:
    """Writes bytes that come in parts: as they are to a file or a pipe, as `printable` to a terminal."""
    if not stream.isatty():

        def plain(part: bytes) -> None:
            stream.buffer.write(part)
            stream.buffer.flush()

        return plain
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def shown(part: bytes) -> None:
        stream.write(printable(decoder.decode(part)))
        stream.flush()

    return shown


class Style:
    """Colours when they are wanted, plain text otherwise."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def __call__(self, name: str, text: str) -> str:
        return f"\x1b[{_CODES[name]}m{text}\x1b[0m" if self.colour and text else text


def style_for(stream: TextIO, no_color: bool = False) -> Style:
    """Colours only on a terminal, without --no-color, NO_COLOR and TERM=dumb."""
    return Style(
        not no_color
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
        and stream.isatty()
    )


def width(text: str) -> int:
    """Terminal cells of one line: wide East Asian characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = (), gap: int = 2) -> list[str]:
    """Lines of aligned columns; `right` lists the columns that are set flush right."""
    if not rows:
        return []
    widths = [max(width(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = []
        for i, cell in enumerate(row):
            pad = " " * (widths[i] - width(cell))
            cells.append(pad + cell if i in right else cell + pad)
        lines.append((" " * gap).join(cells).rstrip())
    return lines


def bar(parts: Sequence[tuple[float, str]], cells: int) -> str:
    """A bar of `cells` characters: each part a share of 1 and its character, the rest dots."""
    out = ""
    reached = 0.0
    for share, character in parts:
        reached += share
        out += character * max(0, min(cells, round(reached * cells)) - len(out))
    return out + "·" * (cells - len(out))


def say(line: str = "") -> None:
    """A line for people on stderr, so that stdout holds only what was asked for."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the one place that speaks aside
