"""Threads with one end: the first error ends them all, and so does Ctrl-C."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

#: Seconds that a thread gets to see that it is over. One that waits for a silent server is left behind:
#: it writes nothing any more and ends with the process.
_GRACE = 2.0
T = TypeVar("T")


class Stopped(Exception):
    """Another thread failed, or the user has had enough."""


def run_all(jobs: Sequence[Callable[[], T]], workers: int, stop: threading.Event) -> tuple[T, ...]:
    """The jobs' results, in order; they are begun in order too, at most `workers` at a time.

    The first error sets `stop`, which each job looks at and raises Stopped for, and is raised.
    """
    todo: queue.SimpleQueue[tuple[int, Callable[[], T]]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    for numbered in enumerate(jobs):
        todo.put(numbered)
    threads = [
        threading.Thread(target=_work, args=(todo, ended, stop), daemon=True)
        for _ in range(min(workers, len(jobs)))
    ]
    results: dict[int, T] = {}
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(jobs):
            # Ctrl-C reaches this thread, and here.
            number, results[number], error = ended.get()
            if error is not None:
                raise error
        return tuple(results[i] for i in range(len(jobs)))
    finally:
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_GRACE)


def _work(
    todo: queue.SimpleQueue[tuple[int, Callable[[], T]]],
    ended: queue.SimpleQueue[tuple[int, Any, BaseException | None]],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            number, job = todo.get_nowait()
        except queue.Empty:
            return
        try:
            ended.put((number, job(), None))
        except BaseException as error:  # raised in the thread that waits
            ended.put((number, None, error))
            return
