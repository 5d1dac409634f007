"""Bytes over HTTP: resumed where they stopped, retried with patience, never redirected elsewhere than
to http(s). The one owner of httpx2 for downloads; it is imported (100 ms) with the first request.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from localrun.errors import FetchError
from localrun.model import ranges
from localrun.model.answers import Changed, Refused, accept, content_range, number, strong, validator
from localrun.model.files import check_room
from localrun.model.part import Part
from localrun.model.retry import Limiter, Retry, attempts, redact, retry_after, short_url
from localrun.model.sources import Net, Progress, step

__all__ = ["Http", "Refused"]

if TYPE_CHECKING:
    import httpx2

_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_MAX_JSON = 64 << 20  # bytes; the largest tree of a repository is far below
_MAX_RESTARTS = 3


class Http:
    """A client for one piece of work; use it as a context manager."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._client: httpx2.Client | None = None
        self._making = threading.Lock()
        self.limiter = Limiter(net)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, url: str, headers: Mapping[str, str] | None = None, most: int = _MAX_JSON) -> bytes:
        """The body, at most `most` bytes. Raises FetchError; Refused with the server's status."""
        for attempt in attempts(self._net, url):
            with attempt, self.open("GET", url, headers or {}) as response:
                accept(response, url, (200, 206))
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > most:
                        raise FetchError(f"{short_url(url)}: the answer is longer than {most} bytes")
                return bytes(body)
        raise AssertionError("attempts() ends by raising")

    def head(self, url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """The headers of the first answer, a redirect included (a hub's facts are in that one)."""
        for attempt in attempts(self._net, url):
            with attempt, self._once("HEAD", url, headers or {}) as response:
                accept(response, url, (200, *_REDIRECTS))
                return dict(response.headers)
        raise AssertionError("attempts() ends by raising")

    def byte_range(
        self, url: str, first: int, count: int, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, str, int]:
        """`count` bytes from `first`, fewer at the file's end; its validator (ETag, else date); its whole length.

        Reads no more than that even from a server that knows no ranges (then `first` must be 0).
        """
        wanted = {**(headers or {}), "Range": f"bytes={first}-{first + count - 1}"}
        for attempt in attempts(self._net, url):
            with attempt, self.open("GET", url, wanted) as response:
                accept(response, url, (200, 206))
                start, total = content_range(response) if response.status_code == 206 else (0, 0)
                if start != first:
                    raise FetchError(f"{short_url(url)}: the server does not answer ranges")
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) >= count:
                        break
                if response.status_code == 200:  # a part's length is not the file's
                    total = number(response.headers.get("content-length", ""))
                return bytes(body[:count]), validator(response), total
        raise AssertionError("attempts() ends by raising")

    def download_verified(
        self,
        url: str,
        part: Part,
        *,
        name: str,
        total: int,
        sha256: str,
        progress: Progress,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Completes `part` and checks it; `sha256` empty = no check. Raises FetchError.

        A file that was resumed and came out wrong is fetched once more from its first byte.
        """
        while True:
            resumed = part.size > 0
            with step(progress, name, total):
                progress.advance(part.size)
                self.download(url, part, total=total, progress=progress, headers=headers)
            if not sha256 or part.sha256 == sha256:
                return
            part.restart()
            if not resumed:
                why = f"{name}: what came from {short_url(url)} has the wrong sha256: not used"
                raise FetchError(why, "the file at its source is damaged or was changed")

    def download(
        self,
        url: str,
        part: Part,
        *,
        total: int,
        progress: Progress,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Completes `part`. `total` is the length that the file must have, 0 = whatever the server says."""
        if total:
            check_room(part.path.parent, total - part.size)
        if part.total not in (0, total or part.total):
            progress.advance(-part.size)
            part.restart()  # the beginning of an older file of that name
        restarts, divided, streams = 0, ranges.worth(part, total, self._net), self._net.streams
        for attempt in attempts(self._net, url, lambda: part.size):
            with attempt:
                try:
                    if divided:
                        ranges.fill(
                            self,
                            replace(self._net, streams=streams),
                            url,
                            part,
                            total,
                            progress,
                            headers or {},
                        )
                    else:
                        self._continue(url, part, total, progress, headers or {})
                    return
                except Refused:
                    if not divided or streams == 1:
                        raise
                    streams = 1  # some hosts forbid a second connection
                    raise Retry("the server refuses some of several connections", 0) from None
                except ranges.NoRanges:
                    divided = False
                    progress.advance(-part.size)
                    part.restart()
                    raise Retry("the server answers no ranges", 0) from None
                except Changed:
                    restarts += 1
                    progress.advance(-part.size)
                    part.restart()
                    if restarts > _MAX_RESTARTS:
                        raise FetchError(f"{short_url(url)}: the file keeps changing at its source") from None
                    raise Retry("the file changed at its source", 0) from None

    def _continue(
        self, url: str, part: Part, total: int, progress: Progress, headers: Mapping[str, str]
    ) -> None:
        if part.size and part.size == (total or part.total):
            return
        wanted = dict(headers)
        if part.size:
            wanted["Range"] = f"bytes={part.size}-"
            if strong(part.etag):
                wanted["If-Range"] = part.etag
        with self.open("GET", url, wanted) as response:
            if response.status_code == 416:
                raise Changed
            accept(response, url, (200, 206))
            _begin(response, url, part, total, progress)
            for chunk in response.iter_raw():
                if part.total and part.size + len(chunk) > part.total:
                    raise FetchError(f"{short_url(url)}: more bytes than announced ({part.total})")
                part.write(chunk)
                progress.advance(len(chunk))
                self.limiter.spent(len(chunk))
            if part.size < part.total:
                raise Retry("the connection was cut", None)

    @contextmanager
    def open(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The answer after redirects. A key goes to the host that it was meant for, and to no other."""
        origin, sent = _origin(url), dict(headers)
        for _ in range(10):
            with self._once(method, url, sent) as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                target = _target(url, response)
            if _origin(target) != origin:
                sent.pop("Authorization", None)
            url = target
        raise FetchError(f"{short_url(url)}: more than 10 redirects")

    @contextmanager
    def _once(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
        import httpx2

        with self._making:
            # Several threads may ask first; each client would hold certificates and connections.
            client = self._client = self._client or _client(self._net)
        try:
            # Identity: a range of a compressed body would be a range of something else.
            sent = {"Accept-Encoding": "identity", **headers}
            with client.stream(method, url, headers=sent) as response:
                if response.status_code in _PASSING:
                    wait = retry_after(response.headers.get("retry-after", ""))
                    raise Retry(f"the server answered {response.status_code}", wait)
                yield response
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as e:
            raise FetchError(
                f"not an address that can be fetched: {short_url(url)} ({redact(str(e))})"
            ) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as e:
            raise Retry(f"no connection ({redact(str(e))})", None) from None
        except httpx2.TransportError as e:
            raise Retry(redact(str(e)) or type(e).__name__, None) from None


def _client(net: Net) -> httpx2.Client:
    import ssl

    import httpx2

    # What pip and requests are told about certificates holds here too; httpx2 reads SSL_CERT_FILE itself.
    bundle = next(
        (net.env[v] for v in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if net.env.get(v)), ""
    )
    try:
        verify = ssl.create_default_context(cafile=bundle) if bundle else True
    except OSError:
        verify = True
    return httpx2.Client(
        verify=verify, timeout=httpx2.Timeout(net.patience, connect=15), headers={"User-Agent": "localrun"}
    )


def _begin(response: httpx2.Response, url: str, part: Part, total: int, progress: Progress) -> None:
    """Checks that the answer continues `part`, or begins it anew."""
    etag = validator(response)
    if response.status_code == 206 and part.size:
        first, whole = content_range(response)
        if (
            first != part.size
            or (part.total and whole != part.total)
            or (etag and part.etag and etag != part.etag)
        ):
            raise Changed
        return
    length = number(response.headers.get("content-length", ""))
    if total and length and length != total:
        raise FetchError(
            f"{short_url(url)}: {length} bytes there, {total} expected: not the file that was pinned"
        )
    progress.advance(-part.size)
    part.restart(etag, total or length)
    check_room(part.path.parent, part.total)


def _target(url: str, response: httpx2.Response) -> str:
    """Where a redirect leads. Raises FetchError for any place that is not as safe as `url`."""
    try:
        target = urljoin(url, response.headers.get("location", ""))
    except ValueError as e:
        raise FetchError(f"{short_url(url)} redirects to no address: {e}") from None
    scheme = _origin(target)[0]
    if scheme not in ("http", "https"):
        raise FetchError(f"{short_url(url)} redirects to {scheme}: refused, only http(s) is followed")
    if url.startswith("https:") and scheme != "https":
        raise FetchError(f"{short_url(url)} redirects to plain http ({short_url(target)}): refused")
    return target


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError as e:
        raise FetchError(f"not an address that can be fetched: {e}") from None
