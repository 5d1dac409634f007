"""Moments that Ctrl-C, SIGTERM and SIGHUP must not cut in two: a start and its record, a stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep interrupts waiting while the block runs; the last that came acts right after it.

    Handlers and not the signal mask: a process that is started inside would inherit a mask.
    Only the main thread is ever interrupted, so that elsewhere there is nothing to hold.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        del frame
        came.append(number)

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
    before = {number: signal.signal(number, note) for number in _NUMBERS}
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[-1])
