"""`hf:owner/repo:QUANT` into the shared cache: resumed, verified, in load order, room checked first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from localrun.config import Paths
from localrun.errors import FetchError
from localrun.model import hub_cache
from localrun.model.files import check_room, disk_errors, hash_file, locked, stamped, write_stamp
from localrun.model.hub_source import HubRepo, explained, file_url, key_headers, list_repo
from localrun.model.part import Part, held
from localrun.model.retry import Unreachable
from localrun.model.sources import HubRef, Net, Progress, Silent, step
from localrun.model.together import take_all
from localrun.model.transfer import Http, Refused
from localrun.model.variants import RepoFile, check_whole, choose, projectors_of, variants_of


@dataclass(frozen=True, slots=True)
class Pulled:
    quant: str
    files: tuple[Path, ...]  # in load order: give the first to the engine
    mmproj: Path | None
    commit: str


def pull(
    ref: HubRef,
    paths: Paths,
    net: Net,
    progress: Progress | None = None,
    *,
    mmproj: bool = True,
    bars: Callable[[], Progress] | None = None,
) -> Pulled:
    """Everything that the quant needs, on this disk and verified. Raises FetchError, UsageError.

    With `bars`, which makes a progress for one file more, files come three at a time and `progress` shows
    all of them together; without it one file after another comes and `progress` shows each.
    Offline, or when the hub cannot be reached, what is here already serves if it is whole.
    """
    progress = progress or Silent()
    with Http(net) as http:
        repo = None if net.offline else _asked(http, ref, paths, net)
        if repo is None:
            return _from_cache(ref, paths, progress)
    variant = choose(variants_of(repo.files), ref.quant, ref.repo)
    check_whole(variant, ref.repo)
    projector = next(iter(projectors_of(repo.files)), None) if mmproj else None
    files = (*variant.files, *((projector,) if projector else ()))
    _check_room(files, ref, paths)
    together = bars if len(files) > 1 else None
    # Files that come side by side need fewer connections each.
    net = replace(net, streams=max(1, net.streams // 2)) if together else net
    with Http(net) as http:
        cache = _Cache(repo, paths, net, http)
        if together:
            found = take_all(files, cache.take, progress, together, f"{ref.repo} {variant.quant}")
        else:
            found = tuple(cache.take(file, progress) for file in files)
    hub_cache.write_ref(paths.hf_hub, ref.repo, ref.revision, repo.commit)
    n = len(variant.files)
    return Pulled(variant.quant, found[:n], found[n] if projector else None, repo.commit)


def pull_projector(ref: HubRef, paths: Paths, net: Net, progress: Progress | None = None) -> Path | None:
    """The vision projector of a repository alone, verified; None where it has none. Raises FetchError."""
    progress = progress or Silent()
    with Http(net) as http:
        repo = None if net.offline else _asked(http, ref, paths, net)
        if repo is None:
            raise FetchError(
                f"the projector of {ref.repo} is not on this machine", "run it once with a network"
            )
        found = projectors_of(repo.files)
        if not found:
            return None
        _check_room(found[:1], ref, paths)
        return _Cache(repo, paths, net, http).take(found[0], progress)


@dataclass(frozen=True, slots=True)
class _Cache:
    repo: HubRepo
    paths: Paths
    net: Net
    http: Http

    def take(self, file: RepoFile, progress: Progress) -> Path:
        """One file of the repository, verified, by its path in the snapshot."""
        hub, name = self.paths.hf_hub, self.repo.name
        blob = hub_cache.blob_of(hub, name, file.sha256)
        stamp = stamp_of(self.paths, file.sha256)
        if not stamped(blob, stamp, file.sha256):
            waiting = step(progress, f"{file.path}: another program is at it, waiting")
            with locked(hub_cache.lock_of(hub, name, file.sha256), waiting):
                if not stamped(blob, stamp, file.sha256):
                    self._complete(file, blob, progress)
                    write_stamp(blob, stamp, file.sha256)
        return hub_cache.link(hub, name, self.repo.commit, file)

    def _complete(self, file: RepoFile, blob: Path, progress: Progress) -> None:
        with disk_errors(blob):
            blob.parent.mkdir(parents=True, exist_ok=True)
            if blob.exists() and blob.stat().st_size == file.bytes:
                # Another program's download: those compare lengths only.
                with step(progress, f"verifying {file.path}", file.bytes):
                    if hash_file(blob, progress.advance) == file.sha256:
                        return
        part = Part(blob)
        try:
            self.http.download_verified(
                file_url(self.net.env, self.repo.name, self.repo.commit, file.path),
                part,
                name=file.path,
                total=file.bytes,
                sha256=file.sha256,
                progress=progress,
                headers=key_headers(self.net.env),
            )
            part.hand_over(blob)
        except Refused as e:
            raise explained(e, self.repo.name, self.net.env) from None
        finally:
            part.close()


def stamp_of(paths: Paths, sha256: str) -> Path:
    """Where it is remembered that a blob was verified: outside the cache, which is not only ours."""
    return paths.cache / "verified" / sha256


def _check_room(files: tuple[RepoFile, ...], ref: HubRef, paths: Paths) -> None:
    need = 0
    for file in files:
        if not file.sha256:
            raise FetchError(f"{ref.repo}: the hub states no sha256 for {file.path}, so it is not used")
        blob = hub_cache.blob_of(paths.hf_hub, ref.repo, file.sha256)
        here = blob.stat().st_size if blob.exists() else held(blob)
        need += max(0, file.bytes - here)
    with disk_errors(paths.hf_hub):
        paths.hf_hub.mkdir(parents=True, exist_ok=True)
    check_room(paths.hf_hub, need)


def _asked(http: Http, ref: HubRef, paths: Paths, net: Net) -> HubRepo | None:
    """What the hub says; None when it cannot be reached and something of the repository is here."""
    try:
        return list_repo(http, ref, net.env)
    except Unreachable:
        if not hub_cache.read_ref(paths.hf_hub, ref.repo, ref.revision):
            raise
        return None


def _from_cache(ref: HubRef, paths: Paths, progress: Progress) -> Pulled:
    commit = hub_cache.read_ref(paths.hf_hub, ref.repo, ref.revision)
    here = dict(hub_cache.snapshot_files(paths.hf_hub, ref.repo, commit)) if commit else {}
    if not here:
        raise FetchError(f"nothing of {ref.repo} is on this machine", "run it once without --offline")
    variant = choose(variants_of(here), ref.quant, ref.repo)
    check_whole(variant, ref.repo)
    projector = next(iter(projectors_of(here)), None)
    for file in variant.files:
        _check_here(file, here[file], paths, progress)
    return Pulled(
        variant.quant, tuple(here[f] for f in variant.files), here[projector] if projector else None, commit
    )


def _check_here(file: RepoFile, path: Path, paths: Paths, progress: Progress) -> None:
    stamp = stamp_of(paths, file.sha256)
    if not file.sha256 or stamped(path, stamp, file.sha256):
        return
    with disk_errors(path), step(progress, f"verifying {file.path}", file.bytes):
        if hash_file(path, progress.advance) != file.sha256:
            raise FetchError(f"{path} is damaged", "run it once where there is a network, to fetch it again")
    write_stamp(path, stamp, file.sha256)
