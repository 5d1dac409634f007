"""One line that is drawn anew in place, for terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


def follow(no_color: bool, lines: Iterable[str]) -> None:
    """Show each of `lines` in the place of the one before, until they end."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, no_color=no_color)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for line in lines:
            live.update(Text(line, overflow="ellipsis", no_wrap=True), refresh=True)


@contextmanager
def line(no_color: bool) -> Iterator[Callable[[str], None]]:
    """What shows a text in the place of the one before; gone at the end."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, no_color=no_color)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda text: live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)
