"""A model at a plain address: planned from its header, then fetched into the models' folder, all its shards.

HOST-HASH/model.gguf in that folder; below `.fetch` what it was when it came: its validator and sha256.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from localrun.config import Paths
from localrun.errors import FetchError, HeaderError
from localrun.model.facts import Model, ModelFile
from localrun.model.fetch import STAGING
from localrun.model.files import (
    check_room,
    disk_errors,
    hash_file,
    locked,
    read_small,
    stamped,
    write_small,
    write_stamp,
)
from localrun.model.header import model_from_header
from localrun.model.part import Part, held
from localrun.model.remote_header import LITTLE, MUCH, read_remote
from localrun.model.retry import short_url
from localrun.model.sniff import SNIFF_BYTES, what_it_is
from localrun.model.sources import Net, Progress, UrlRef, step
from localrun.model.split import shard_names
from localrun.model.together import take_all
from localrun.model.transfer import Http, Refused
from localrun.model.variants import RepoFile
from localrun.native import Header

_IN_FLIGHT = 3


@dataclass(frozen=True, slots=True)
class Published:
    """One file at its address, as the server describes it now."""

    url: str
    name: str
    bytes: int
    validator: str  # its ETag or date; "" = the server tells neither


def folder_of(ref: UrlRef, paths: Paths) -> Path:
    """Where its files go: named by the host and the folder there, without query and password."""
    parts = urlsplit(ref.url)
    host = re.sub(r"[^a-z0-9.-]", "_", (parts.hostname or "").lower())[:80]
    place = f"{parts.hostname}:{parts.port or ''}{parts.path.rpartition('/')[0]}"
    return paths.models / f"{host}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def find(ref: UrlRef, paths: Paths) -> Path | None:
    """Its first file, where all are here as they came. Raises FetchError for one that was damaged since."""
    folder = folder_of(ref, paths)
    names = shard_names(ref.name)
    if not all((folder / name).is_file() for name in names):
        return None
    for name in names:
        _check(folder / name, _pinned(ref, name), paths)
    return folder / names[0]


def _pinned(ref: UrlRef, name: str) -> str:
    """A pin is that of the file that the address names; of its other shards nothing is known."""
    return ref.sha256 if name == ref.name else ""


def _check(path: Path, pinned: str, paths: Paths) -> None:
    """Raises FetchError unless the file is what came."""
    stamp, note = _notes(path, paths)
    sha256 = str(read_small(note).get("sha256", ""))
    if pinned and sha256 != pinned:
        raise FetchError(f"{path} is not the file that #sha256= names", f"localrun rm {path}")
    if stamped(path, stamp, sha256):
        return
    with disk_errors(path):
        if hash_file(path) != sha256:
            raise FetchError(f"{path} is not what was fetched: it was changed", f"localrun rm {path}")
    write_stamp(path, stamp, sha256)


def _notes(path: Path, paths: Paths) -> tuple[Path, Path]:
    folder = paths.models / STAGING / path.parent.name
    return folder / f"{path.name}.verified", folder / f"{path.name}.from"


def forget(path: Path, paths: Paths) -> None:
    """Removes what was noted of a file that is gone, and its folder with the last."""
    ours = False
    for note in _notes(path, paths):
        with suppress(OSError):
            note.unlink()
            ours = True
    if ours:
        with suppress(OSError):
            path.parent.rmdir()


def published(http: Http, ref: UrlRef) -> tuple[Published, ...]:
    """All files of the model, asked for three at a time. Raises FetchError."""
    names = shard_names(ref.name)
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        return tuple(pool.map(lambda name: _ask(http, ref, name), names))


def _ask(http: Http, ref: UrlRef, name: str) -> Published:
    parts = urlsplit(ref.url)
    folder, _, last = parts.path.rpartition("/")
    # As typed where it is that file: its spelling may be signed.
    path = parts.path if unquote(last) == name else f"{folder}/{quote(name)}"
    url = parts._replace(path=path).geturl()
    try:
        start, validator, size = http.byte_range(url, 0, SNIFF_BYTES)
    except Refused as e:
        if e.status == 404 and name != ref.name:
            raise FetchError(
                f"{short_url(url)} is not there: a shard is missing", "ask its publisher"
            ) from None
        if e.status == 416:
            raise FetchError(f"{short_url(url)} is an empty file") from None
        raise
    if not start.startswith(b"GGUF"):
        what, hint = what_it_is(start)
        raise FetchError(f"{short_url(url)} is {what}", hint)
    if not size:
        raise FetchError(f"{short_url(url)}: the server does not say how long the file is")
    return Published(url, name, size, validator)


def read(http: Http, files: tuple[Published, ...], paths: Paths, label: str) -> Model:
    """What the model is, from its headers alone. Raises FetchError, HeaderError, ModelError."""

    def header(file: Published) -> Header:
        first = MUCH if file is files[0] else LITTLE
        try:
            return read_remote(http, file.url, _key(file), paths, size=file.bytes, first=first)
        except HeaderError as e:
            raise HeaderError(f"{short_url(file.url)}: {e}", e.hint) from None

    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        headers = list(pool.map(header, files))
    whole = [ModelFile(f.name, f.bytes, h.data_offset) for f, h in zip(files, headers, strict=True)]
    return model_from_header(headers, whole, label)


def _key(file: Published) -> str:
    """What its header is kept by: the same for whoever asks; "" where nothing tells versions apart."""
    if not file.validator:
        return ""
    return hashlib.sha256(f"{short_url(file.url)} {file.validator} {file.bytes}".encode()).hexdigest()


def fetch(
    ref: UrlRef, files: tuple[Published, ...], paths: Paths, net: Net, progress: Progress,
    bars: Callable[[], Progress],
) -> Path:  # fmt: skip
    """All files, in load order, three at a time; returns the first. Raises FetchError."""
    folder = folder_of(ref, paths)
    staging = paths.models / STAGING / folder.name
    with disk_errors(staging):
        staging.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _came(folder / file.name, file, paths)]
    check_room(paths.models, sum(max(0, file.bytes - held(staging / file.name)) for file in missing))
    by_name = {file.name: file for file in files}
    if len(files) > 1:
        net = replace(net, streams=max(1, net.streams // 2))
    with Http(net) as http:

        def take(wanted: RepoFile, bar: Progress) -> Path:
            file = by_name[wanted.path]
            return _take(http, file, _pinned(ref, file.name), folder, paths, bar)

        wanted = [RepoFile(file.name, file.bytes) for file in files]
        if len(files) > 1:
            return take_all(wanted, take, progress, bars, ref.name)[0]
        return take(wanted[0], progress)


def _came(target: Path, file: Published, paths: Paths) -> bool:
    """Whether the file is here in the version that is published now: shards of two would make no model."""
    if not target.is_file():
        return False
    return not file.validator or read_small(_notes(target, paths)[1]).get("validator") == file.validator


def _take(http: Http, file: Published, pinned: str, folder: Path, paths: Paths, bar: Progress) -> Path:
    target = folder / file.name
    stamp, note = _notes(target, paths)
    staging = note.parent / file.name
    waiting = step(bar, f"{file.name}: another localrun is at it, waiting")
    with locked(note.parent / f"{file.name}.lock", waiting):
        if _came(target, file, paths):
            return target
        part = Part(staging)
        try:
            if part.size and (part.etag != file.validator or not (file.validator or pinned)):
                part.restart()  # of another version, or nobody can tell
            http.download_verified(
                file.url, part, name=file.name, total=file.bytes, sha256=pinned, progress=bar
            )
            sha256 = part.sha256
            with disk_errors(note):
                about = {"url": short_url(file.url), "validator": part.etag, "sha256": sha256}
                write_small(note, json.dumps(about))
            part.hand_over(target)
        finally:
            part.close()
        write_stamp(target, stamp, sha256)
    return target
