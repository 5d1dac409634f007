"""One long call of the core, in a thread of its own: Python hears Ctrl-C only between its own steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress


class _Call:
    def __init__(self, work: Callable[[], int]) -> None:
        import threading

        self.answer = 0
        self._work = work
        self._gate, self._done = threading.Lock(), threading.Event()
        self._left = self._began = False
        self.thread = threading.Thread(target=self._run, name="localrun-core")

    def _run(self) -> None:
        with self._gate:
            if self._left:
                return
            self._began = True
        try:
            self.answer = self._work()
        finally:
            self._done.set()

    def wait(self) -> None:
        self._done.wait()

    def leave(self, cancel: Callable[[], None]) -> None:
        """Returns when the work has ended, or will never begin: an interrupt may come while a thread is starting. One
        more interrupt changes nothing: what the work reads and writes is freed behind this."""
        ended = False
        while not ended:
            with suppress(BaseException):
                with self._gate:
                    self._left = True
                cancel()
                if self._began:
                    self._done.wait()
                ended = True


def run(work: Callable[[], int], cancel: Callable[[], None]) -> int:
    """What work() answers, which never raises. Whatever interrupts the wait for it, work is first told to end, and
    has ended."""
    call = _Call(work)
    try:
        call.thread.start()
        call.wait()
    except BaseException:
        call.leave(cancel)
        raise
    return call.answer
