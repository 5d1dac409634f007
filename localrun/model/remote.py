"""Models that are not here yet, from their headers: a few MB by HTTP range, kept by the file's sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from localrun.config import Paths
from localrun.errors import FetchError, HeaderError
from localrun.model.facts import Model, ModelFile
from localrun.model.files import write_bytes
from localrun.model.header import model_from_header
from localrun.model.hub_source import Repo, explained, file_url, key_headers
from localrun.model.transfer import Http, Refused
from localrun.model.variants import Variant, check_whole
from localrun.native import Header, NeedMore, read_header

#: A first shard holds the vocabulary (5 to 11 MB for 130,000 to 200,000 tokens), the others little.
_FIRST, _FIRST_OF_OTHERS = 1 << 20, 1 << 17
_STEP = 2 << 20  # at most this much more than needed is read
_MOST = 64 << 20
_IN_FLIGHT = 3


def remote_model(http: Http, repo: Repo, variant: Variant, paths: Paths, env: Mapping[str, str]) -> Model:
    """The Model that a quant of a repository is, read from its headers alone.

    Raises FetchError, and HeaderError or ModelError for what is no model.
    """
    check_whole(variant, repo.name)

    def one(i: int) -> Header:
        file = variant.files[i]
        url = file_url(env, repo.name, repo.commit, file.path)
        first = _FIRST_OF_OTHERS if i else _FIRST
        try:
            return read_remote(
                http, url, file.sha256, paths, size=file.bytes, headers=key_headers(env), first=first
            )
        except Refused as e:
            raise explained(e, repo.name, env) from None
        except HeaderError as e:
            raise HeaderError(f"{repo.name}: {file.path}: {e}", e.hint) from None

    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        headers: Sequence[Header] = list(pool.map(one, range(len(variant.files))))
    files = [
        ModelFile(file.path, file.bytes, header.data_offset)
        for file, header in zip(variant.files, headers, strict=True)
    ]
    return model_from_header(headers, files, f"hf:{repo.name}:{variant.quant}")


def read_remote(
    http: Http,
    url: str,
    sha256: str,
    paths: Paths,
    *,
    size: int = 0,
    headers: Mapping[str, str] | None = None,
    first: int = _FIRST,
) -> Header:
    """The GGUF header of a file at `url`, of which only so many bytes are read.

    `sha256` of the file ("" = not known: then its ETag is asked for each time) is what the header is kept
    by. Raises FetchError, HeaderError.
    """
    data, etag = b"", ""
    if not sha256:
        data, etag, size = http.byte_range(url, 0, first, headers)
    kept = paths.cache / "headers" / (sha256 or hashlib.sha256(f"{url} {etag} {size}".encode()).hexdigest())
    if (sha256 or etag) and (found := _kept(kept, size)) is not None:
        return found
    while True:
        try:
            header = read_header(data, size)
        except NeedMore as more:
            if size and len(data) >= size:
                raise HeaderError("the file ends inside its header") from None
            if len(data) >= _MOST:
                raise HeaderError(f"the header is longer than {_MOST >> 20} MiB") from None
            goal = max(more.bytes, len(data) + min(max(len(data) // 2, first), _STEP))
            piece, now, size = http.byte_range(url, len(data), goal - len(data), headers)
            if (etag and now != etag) or not piece:
                raise FetchError(f"{url.rpartition('/')[2]} changed while its header was read") from None
            data, etag = data + piece, now
            continue
        with suppress(OSError):
            write_bytes(kept, data[: header.data_offset])
        return header


def _kept(path: Path, size: int) -> Header | None:
    try:
        return read_header(path.read_bytes(), size)
    except (OSError, HeaderError):
        return None
