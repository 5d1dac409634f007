"""One big file over several connections: each takes the next segment that nobody has, in the file's order."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from localrun.errors import FetchError
from localrun.model.answers import Changed, Refused, accept, content_range, strong, validator
from localrun.model.crew import Stopped, run_all
from localrun.model.part import Part
from localrun.model.retry import Retry, attempts, short_url
from localrun.model.segments import Segments
from localrun.model.sources import Net, Progress

if TYPE_CHECKING:
    from localrun.model.transfer import Http


class NoRanges(Exception):
    """The server sends the whole file, whatever part of it is asked for."""


def worth(part: Part, total: int, net: Net) -> bool:
    """Whether what is missing is enough for more than one connection, or was begun so."""
    return part.divided or (net.streams > 1 and total - part.size >= 2 * net.segment)


def fill(
    http: Http, net: Net, url: str, part: Part, total: int, progress: Progress, headers: Mapping[str, str]
) -> None:
    """Completes `part`, `total` bytes long. Raises FetchError, Changed and NoRanges.

    A connection that is refused leaves its segment to the others: some hosts allow so many and no more.
    """
    stop = threading.Event()
    stream = _Stream(http, net, url, part, part.divide(total, net.segment), progress, headers, stop)
    missing, lock = list(reversed(stream.missing())), threading.Lock()
    working = net.streams

    def work() -> None:
        nonlocal working
        while True:
            with lock:
                if not missing:
                    working -= 1
                    return
                segment = missing.pop()
            try:
                stream.complete(segment)
            except Refused:
                with lock:
                    working -= 1
                    if not working:
                        raise
                    missing.append(segment)
                return

    run_all([work] * net.streams, net.streams, stop)


class _Stream:
    """What all connections of one file share."""

    def __init__(
        self,
        http: Http,
        net: Net,
        url: str,
        part: Part,
        segments: Segments,
        progress: Progress,
        headers: Mapping[str, str],
        stop: threading.Event,
    ) -> None:
        self._http, self._net, self._url, self._headers = http, net, url, headers
        self._part, self._segments, self._stop = part, segments, stop
        self._progress, self._telling = progress, threading.Lock()

    def missing(self) -> list[int]:
        segments = self._segments
        return [i for i, n in enumerate(segments.done) if n < segments.end(i) - i * segments.step]

    def complete(self, segment: int) -> None:
        part = self._part
        for attempt in attempts(self._net, self._url, lambda: part.size, warm=part.size > 0):
            with attempt:
                self._continue(segment)
                return

    def _continue(self, segment: int) -> None:
        first = segment * self._segments.step + self._segments.done[segment]
        end = self._segments.end(segment)
        wanted = {**self._headers, "Range": f"bytes={first}-{end - 1}"}
        if strong(self._part.etag):
            wanted["If-Range"] = self._part.etag
        with self._http.open("GET", self._url, wanted) as response:
            if response.status_code == 416:
                raise Changed
            accept(response, self._url, (200, 206))
            self._check(response.status_code, validator(response), content_range(response), first)
            for chunk in response.iter_raw():
                if self._stop.is_set():
                    raise Stopped
                if len(chunk) > end - first:
                    raise FetchError(f"{short_url(self._url)}: more bytes than were asked for")
                self._part.write_segment(segment, chunk)
                first += len(chunk)
                with self._telling:
                    self._progress.advance(len(chunk))
                self._http.limiter.spent(len(chunk))
            if first < end:
                raise Retry("the connection was cut", None)

    def _check(self, status: int, told: str, sent: tuple[int, int], first: int) -> None:
        """Raises unless the answer continues this file."""
        if status == 200:
            if self._part.etag and told != self._part.etag:
                raise Changed
            raise NoRanges
        if sent[1] and sent[1] != self._segments.total and not self._part.size:
            raise FetchError(
                f"{short_url(self._url)}: {sent[1]} bytes there, {self._segments.total} expected: "
                "not the file that was pinned"
            )
        if sent != (first, self._segments.total) or not self._part.claim(told):
            raise Changed
