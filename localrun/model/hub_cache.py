"""The Hugging Face cache on this disk, in the layout that huggingface_hub, llama.cpp and others share:

models--OWNER--NAME/  blobs/SHA256   refs/main (a commit)   snapshots/COMMIT/PATH -> ../../blobs/SHA256
.locks/models--OWNER--NAME/SHA256.lock      taken with flock, as theirs are
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from localrun.errors import FetchError
from localrun.model.files import disk_errors, write_small
from localrun.model.variants import RepoFile, check_name


def folder_of(hub: Path, repo: str) -> Path:
    return hub / ("models--" + repo.replace("/", "--"))


def lock_of(hub: Path, repo: str, sha256: str) -> Path:
    return hub / ".locks" / folder_of(hub, repo).name / f"{sha256}.lock"


def blob_of(hub: Path, repo: str, sha256: str) -> Path:
    return folder_of(hub, repo) / "blobs" / sha256


def link(hub: Path, repo: str, commit: str, file: RepoFile) -> Path:
    """The file's path in the commit's snapshot, made to lead to its blob."""
    check_name(file.path)
    snapshot = folder_of(hub, repo) / "snapshots" / commit / file.path
    blob = blob_of(hub, repo, file.sha256)
    with disk_errors(snapshot):
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        if snapshot.exists() and snapshot.samefile(blob):
            return snapshot
        new = snapshot.with_name(f"{snapshot.name}.{os.getpid()}.new")
        new.unlink(missing_ok=True)
        try:
            new.symlink_to(os.path.relpath(blob, snapshot.parent))
        except OSError:
            # A system without symbolic links: a second name for the same bytes.
            os.link(blob, new)
        os.replace(new, snapshot)
    return snapshot


def write_ref(hub: Path, repo: str, revision: str, commit: str) -> None:
    if revision != commit:
        check_name(revision)
        path = folder_of(hub, repo) / "refs" / revision
        with disk_errors(path):
            write_small(path, commit)


def read_ref(hub: Path, repo: str, revision: str) -> str:
    """The commit that a revision meant when it was last asked for; "" = not known here."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    check_name(revision)
    try:
        commit = (folder_of(hub, repo) / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return commit if re.fullmatch(r"[0-9a-f]{40}", commit) else ""


def snapshot_files(hub: Path, repo: str, commit: str) -> tuple[tuple[RepoFile, Path], ...]:
    """What of a commit is here. Raises FetchError for a link that leads out of the cache."""
    root = folder_of(hub, repo) / "snapshots" / commit
    found = []
    for path in sorted(_walk(root)):
        real = inside(hub, path)
        if real is not None:
            sha256 = real.name if re.fullmatch(r"[0-9a-f]{64}", real.name) else ""
            name = path.relative_to(root).as_posix()
            found.append((RepoFile(name, real.stat().st_size, sha256), path))
    return tuple(found)


def inside(hub: Path, path: Path) -> Path | None:
    """The file that `path` leads to; None when it is gone. FetchError when it lies outside the cache."""
    try:
        real = path.resolve(strict=True)
    except OSError:
        return None
    if not real.is_relative_to(hub.resolve()):
        raise FetchError(f"refused: {path} leads out of the cache, to {real}", "remove that link")
    return real if real.is_file() else None


def _walk(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder) / name for name in names if name.endswith(".gguf"))
