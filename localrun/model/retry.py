"""Patience with a network: what is tried again, after how long, and how fast to read."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from urllib.parse import urlsplit

from localrun.errors import FetchError
from localrun.model.sources import Net

#: Attempts in a row that bring nothing: few while nothing ever came (no network), more in mid-download.
_TRIES_COLD, _TRIES_WARM = 3, 8
_LONGEST_WAIT = 300.0  # seconds


class Retry(Exception):
    """Try again. `after` is the wait in seconds that the server asks for, None = the usual backoff."""

    def __init__(self, why: str, after: float | None) -> None:
        super().__init__(why)
        self.after = after


class Unreachable(FetchError):
    """Patience ended: the place did not answer, or not in a way that helps."""


class _Attempt:
    """One try, as a context: swallows Retry, lets everything else through."""

    def __init__(self) -> None:
        self.asked: Retry | None = None

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        self.asked = error if isinstance(error, Retry) else None
        return self.asked is not None


def attempts(
    net: Net, url: str, moved: Callable[[], int] = lambda: 0, *, warm: bool = False
) -> Iterator[_Attempt]:
    """Yields tries until the caller leaves the loop; raises Unreachable when patience ends.

    `moved` is a counter of what arrived: a try that brought something starts the count afresh.
    `warm`: something came before the first try.
    """
    failures, before = 0, moved()
    while True:
        attempt = _Attempt()
        yield attempt
        asked = attempt.asked
        if asked is None:
            raise AssertionError("a try without Retry leaves the loop")
        now = moved()
        failures = 1 if now > before else failures + 1
        warm = warm or now > before
        before = now
        if failures >= (_TRIES_WARM if warm else _TRIES_COLD):
            kept = "; what arrived is kept and the next run goes on from there" if now else ""
            raise Unreachable(f"{_host(url)}: {asked}", f"check the network and run it again{kept}")
        net.sleep(2.0 ** (failures - 1) if asked.after is None else min(asked.after, _LONGEST_WAIT))


def retry_after(text: str) -> float | None:
    """Seconds that a Retry-After header asks for: a number or an HTTP date."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(text)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def short_url(url: str) -> str:
    """An address without its query and its user: those hold signatures and passwords."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a broken address"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def redact(text: str) -> str:
    """`text` without passwords in addresses, signed queries and Hugging Face keys."""
    text = re.sub(r"://[^/@\s]+@", "://***@", text)
    text = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?***", text)
    return re.sub(r"\bhf_[A-Za-z0-9]{6,}", "hf_***", text)


class Limiter:
    """Holds reads to `net.limit` bytes per second on the average since the first byte."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._began: float | None = None
        self._bytes = 0
        self._lock = threading.Lock()

    def spent(self, n: int) -> None:
        if not self._net.limit:
            return
        with self._lock:
            if self._began is None:
                self._began = self._net.clock()
            self._bytes += n
            ahead = self._bytes / self._net.limit - (self._net.clock() - self._began)
        if ahead > 0:
            self._net.sleep(ahead)
