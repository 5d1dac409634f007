"""Several files at a time, begun in load order: a bar for each and one over all, and one end for all."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from localrun.model.crew import Stopped, run_all
from localrun.model.sources import Progress, step
from localrun.model.variants import RepoFile

#: More streams than this gain little from one server, and cost a disk its order.
AT_ONCE = 3

Take = Callable[[RepoFile, Progress], Path]


def take_all(
    files: Sequence[RepoFile], take: Take, overall: Progress, bars: Callable[[], Progress], name: str
) -> tuple[Path, ...]:
    """`take` for every file, three at a time; `bars` makes the progress of one file.

    The first error stops the others at their next bytes and is raised; what arrived is kept.
    """
    stop, lock = threading.Event(), threading.Lock()
    with step(overall, name, sum(file.bytes for file in files)):
        jobs = [functools.partial(take, file, _Both(bars(), overall, lock, stop)) for file in files]
        return run_all(jobs, AT_ONCE, stop)


class _Both:
    """A file's own bar and its share of the one over all. The bars are drawn by one thread at a time."""

    def __init__(self, bar: Progress, overall: Progress, lock: threading.Lock, stop: threading.Event) -> None:
        self._bar, self._overall, self._lock, self._stop = bar, overall, lock, stop
        self._file = False
        self._counted = 0

    def start(self, name: str, total: int) -> None:
        with self._lock:
            # Only a piece of known length is a pass over the file; a second pass counts from its beginning.
            self._file = total > 0
            if self._file:
                self._overall.advance(-self._counted)
                self._counted = 0
            self._bar.start(name, total)

    def advance(self, n: int) -> None:
        if self._stop.is_set():
            raise Stopped
        with self._lock:
            self._bar.advance(n)
            if self._file:
                self._counted += n
                self._overall.advance(n)

    def done(self) -> None:
        with self._lock:
            self._bar.done()
