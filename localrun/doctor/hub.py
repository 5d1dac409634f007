"""The shared Hugging Face cache as the doctor looks at it: what is broken there, by sizes and links alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from localrun.config import Session
from localrun.doctor.values import BrokenFile
from localrun.model.files import read_small
from localrun.model.pull import stamp_of


def broken(session: Session) -> tuple[BrokenFile, ...]:
    """Blobs of another size than when they were verified, and snapshots' links that lead to nothing."""
    try:
        repos = sorted(session.paths.hf_hub.glob("models--*--*"))
    except OSError:
        return ()
    return tuple(found for repo in repos for found in (*_blobs(repo, session), *_links(repo)))


def _name(repo: Path) -> str:
    return "hf:" + repo.name.removeprefix("models--").replace("--", "/", 1)


def _blobs(repo: Path, session: Session) -> Iterator[BrokenFile]:
    try:
        blobs = sorted((repo / "blobs").iterdir())
    except OSError:
        return
    for blob in blobs:
        if not re.fullmatch(r"[0-9a-f]{64}", blob.name):
            continue
        recorded = read_small(stamp_of(session.paths, blob.name)).get("bytes")
        try:
            size = blob.stat().st_size
        except OSError:
            continue
        if isinstance(recorded, int) and recorded != size:
            yield BrokenFile(_name(repo), str(blob), size, recorded)


def _links(repo: Path) -> Iterator[BrokenFile]:
    """Of models only: other programs' files are theirs to judge."""
    for folder, _, names in os.walk(repo / "snapshots"):
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(".gguf") and path.is_symlink() and not path.exists():
                yield BrokenFile(_name(repo), str(path))
