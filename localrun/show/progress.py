"""A download as it goes: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from localrun.model.sources import Progress
from localrun.show.text import Style, say
from localrun.units import format_size

#: Without a terminal, a line every so many seconds: logs of CI stay short.
_EVERY = 10.0


def progress_for(style: Style) -> Progress:
    """The one that suits stderr."""
    return Bars(style) if sys.stderr.isatty() else Lines()


class Bars:
    """rich's progress bar, one line for each piece of work."""

    def __init__(self, style: Style) -> None:
        self._colour = style.colour
        self._bars: Any = None
        self._task: Any = None

    def start(self, name: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        self.done()
        console = Console(stderr=True, no_color=not self._colour)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
        self._bars = Progress(*columns, Speed(), TimeRemainingColumn(), console=console)
        self._bars.start()
        self._task = self._bars.add_task(name, total=total or None)

    def advance(self, n: int) -> None:
        if self._bars is not None:
            self._bars.advance(self._task, n)

    def done(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class Lines:
    """A line at the start and every ten seconds."""

    def __init__(self) -> None:
        self._name, self._total, self._got, self._next = "", 0, 0, 0.0

    def start(self, name: str, total: int) -> None:
        self._name, self._total, self._got = name, total, 0
        self._next = time.monotonic() + _EVERY
        say(f"{name}: {format_size(total)}" if total else name)

    def advance(self, n: int) -> None:
        self._got += n
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            of = f" of {format_size(self._total)}" if self._total else ""
            say(f"{self._name}: {format_size(self._got)}{of}")

    def done(self) -> None:
        self._name = ""
