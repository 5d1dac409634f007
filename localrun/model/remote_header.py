"""One remote GGUF header: grown by HTTP range until it is whole, and kept for the next time.

Of a header of 10 MB the vocabulary is nearly all, and the quants of a repository share it byte for byte:
given one of their headers, only what stands before and after the vocabulary is read of the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from localrun.config import Paths
from localrun.errors import FetchError, HeaderError
from localrun.model.files import write_bytes
from localrun.model.retry import short_url
from localrun.model.sniff import SNIFF_BYTES, what_it_is
from localrun.model.transfer import Http
from localrun.native import Header, NeedMore, read_header

#: First reads: for a header with a vocabulary (5 to 11 MB for 130,000 to 200,000 tokens), and for others.
MUCH, LITTLE = 1 << 20, 1 << 16
_STEP = 2 << 20  # at most this much more than needed is read
_MOST = 64 << 20
_EDGE = 64  # bytes before a hole's end that must agree
_TAIL = 192 << 10  # what stands behind a vocabulary: 1,000 tensors' names and places, and some
_VOCABULARY = tuple(f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "merges"))


def read_remote(
    http: Http,
    url: str,
    sha256: str,
    paths: Paths,
    *,
    size: int = 0,
    headers: Mapping[str, str] | None = None,
    first: int = MUCH,
    donor: bytes = b"",
) -> Header:
    """The GGUF header of a file at `url`, of which only so many bytes are read.

    `sha256` of the file is what the header is kept by; "" = not known: then by its ETag, which is asked for
    each time. `donor` is the header of a model with the same vocabulary, which need not be read again then.
    Raises FetchError, HeaderError.
    """
    head = _Head(http, url, size, headers or {})
    if not sha256:
        head.extend(first)
        sha256 = hashlib.sha256(f"{url} {head.etag} {head.size}".encode()).hexdigest() if head.etag else ""
    with suppress(HeaderError):
        if kept := kept_bytes(paths, sha256):
            return read_header(kept, head.size)
    if not head.data:
        head.extend(first)
    if not head.data.startswith(b"GGUF"):
        what, hint = what_it_is(head.data[:SNIFF_BYTES])
        raise HeaderError(f"not a GGUF file but {what}", hint)
    if donor:
        _graft(head, donor)
    header = _whole(head, first)
    if sha256:
        with suppress(OSError):
            write_bytes(_kept(paths, sha256), head.data[: header.data_offset])
    return header


def kept_bytes(paths: Paths, sha256: str) -> bytes:
    """The header that was kept of the file with that sha256; b"" = none."""
    try:
        return _kept(paths, sha256).read_bytes() if sha256 else b""
    except OSError:
        return b""


def has_vocabulary(header: bytes) -> bool:
    return _key(_VOCABULARY[0]) in header


def _kept(paths: Paths, sha256: str) -> Path:
    return paths.cache / "headers" / sha256


class _Head:
    """The beginning of a remote file, as far as it has been read."""

    def __init__(self, http: Http, url: str, size: int, headers: Mapping[str, str]) -> None:
        self._http, self._url, self._headers = http, url, headers
        self.size = size  # of the file, 0 = not known yet
        self.etag = ""
        self.data = b""

    def read(self, at: int, count: int) -> bytes:
        data, etag, self.size = self._http.byte_range(self._url, at, count, self._headers)
        if not data or (self.etag and etag != self.etag):
            raise FetchError(f"{short_url(self._url)} changed while its header was read")
        self.etag = etag
        return data

    def extend(self, count: int) -> None:
        self.data += self.read(len(self.data), count)


def _whole(head: _Head, first: int) -> Header:
    while True:
        try:
            return read_header(head.data, head.size)
        except NeedMore as more:
            have = len(head.data)
            if head.size and have >= head.size:
                raise HeaderError("the file ends inside its header") from None
            if have >= _MOST:
                raise HeaderError(f"the header is longer than {_MOST >> 20} MiB") from None
            head.extend(max(more.bytes - have, min(max(have // 2, first), _STEP)))


def _graft(head: _Head, donor: bytes) -> None:
    """Fills the vocabulary of `head` in from `donor`, and reads on behind it.

    Does nothing unless the bytes agree as far as both are known, at both ends of the hole.
    """
    key = _key(_VOCABULARY[0])
    here, there, end = head.data.find(key), donor.find(key), _vocabulary_end(donor)
    known = len(head.data) - here
    hole_end = here + end - there
    if min(here, there) < 0 or known >= end - there or donor[there : there + known] != head.data[here:]:
        return
    tail = head.read(hole_end - _EDGE, _EDGE + _TAIL)
    if tail[:_EDGE] == donor[end - _EDGE : end]:
        head.data = head.data[:here] + donor[there:end] + tail[_EDGE:]


def _vocabulary_end(donor: bytes) -> int:
    """Where in a header the arrays that begin with the tokens end; 0 = it has none."""
    header = read_header(donor)
    names = list(header.metadata)
    if _VOCABULARY[0] not in names or not header.tensors:
        return 0
    behind = names[names.index(_VOCABULARY[0]) :]
    following = next((name for name in behind if name not in _VOCABULARY), header.tensors[0].name)
    # No token is likely to hold a key with its length in front; if one did, the edges would disagree.
    return donor.find(_key(following), donor.find(_key(behind[0])))


def _key(name: str) -> bytes:
    """A name as GGUF writes it: its length in 8 bytes, then itself."""
    return len(name.encode()).to_bytes(8, "little") + name.encode()
