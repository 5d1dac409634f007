"""A download as it goes: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from localrun.show.text import Style, say
from localrun.units import format_size

#: Without a terminal, a line every so many seconds: logs of CI stay short.
_EVERY = 10.0


def progress_for(style: Style) -> Bars | Lines:
    """The one that suits stderr; both are a `localrun.model.sources.Progress`."""
    return Bars(style.colour) if sys.stderr.isatty() else Lines()


class _Screen:
    """rich's display, shared by all bars that are open; it ends with the last of them."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._display: Any = None
        self._open = 0

    def add(self, name: str, total: int) -> Any:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        if self._display is None:
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
            console = Console(stderr=True, no_color=not self._colour)
            self._display = Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console)
            self._display.start()
        self._open += 1
        return self._display.add_task(name, total=total or None)

    def advance(self, task: Any, n: int) -> None:
        if self._display is not None:
            self._display.advance(task, n)

    def close(self) -> None:
        self._open -= 1
        if self._open <= 0 and self._display is not None:
            self._display.stop()
            self._display, self._open = None, 0


class Bars:
    """A bar for one piece of work at a time; `another` makes one more on the same screen."""

    def __init__(self, colour: bool, screen: _Screen | None = None) -> None:
        self._colour = colour
        self._screen = screen or _Screen(colour)
        self._task: Any = None

    def another(self) -> Bars:
        return Bars(self._colour, self._screen)

    def start(self, name: str, total: int) -> None:
        self.done()
        self._task = self._screen.add(name, total)

    def advance(self, n: int) -> None:
        if self._task is not None:
            self._screen.advance(self._task, n)

    def done(self) -> None:
        if self._task is not None:
            self._task = None
            self._screen.close()


class Lines:
    """A line at the start and every ten seconds."""

    def __init__(self) -> None:
        self._name, self._total, self._got, self._next = "", 0, 0, 0.0

    def another(self) -> Lines:
        return Lines()

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
