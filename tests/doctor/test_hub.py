"""The shared cache in made-up states: what is broken is found by sizes and links, and only that."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from localrun.config import Config, Session, paths
from localrun.doctor import files, hub
from localrun.doctor.mac import parse_pmset
from localrun.doctor.values import BrokenFile, Download
from localrun.model import hub_cache
from localrun.model.files import write_stamp
from localrun.model.pull import stamp_of
from localrun.model.variants import RepoFile
from tests.doctor.test_files import session
from tests.user import User

__all__ = ["session"]
REPO, COMMIT = "owner/demo-GGUF", "c" * 40
links = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links")


def put(session: Session, name: str, data: bytes) -> Path:
    """A verified file of the repository; returns its blob."""
    digest = hashlib.sha256(data).hexdigest()
    blob = hub_cache.blob_of(session.paths.hf_hub, REPO, digest)
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    write_stamp(blob, stamp_of(session.paths, digest), digest)
    hub_cache.link(session.paths.hf_hub, REPO, COMMIT, RepoFile(name, len(data), digest))
    return blob


def test_a_whole_cache_has_no_fault(session: Session) -> None:
    put(session, "a.gguf", b"a" * 100)
    assert hub.broken(session) == ()


def test_a_blob_that_lost_bytes_is_found_by_its_size(session: Session) -> None:
    put(session, "a.gguf", b"a" * 100)
    cut = put(session, "b.gguf", b"b" * 100)
    cut.write_bytes(b"b" * 60)
    assert hub.broken(session) == (BrokenFile(f"hf:{REPO}", str(cut), 60, 100),)


def test_a_blob_that_nobody_verified_is_not_judged(session: Session) -> None:
    blob = put(session, "a.gguf", b"a" * 100)
    stamp_of(session.paths, blob.name).unlink()
    blob.write_bytes(b"")
    assert hub.broken(session) == ()
    stamp_of(session.paths, blob.name).write_text('{"bytes": "many"}')
    assert hub.broken(session) == ()


@links
def test_a_link_to_nothing_is_found_among_models_only(session: Session) -> None:
    blob = put(session, "Q4/a.gguf", b"a" * 100)
    put(session, "config.json", b"{}").unlink()
    blob.unlink()
    snapshot = hub_cache.folder_of(session.paths.hf_hub, REPO) / "snapshots" / COMMIT / "Q4/a.gguf"
    assert hub.broken(session) == (BrokenFile(f"hf:{REPO}", str(snapshot)),)


def test_unfinished_downloads_are_told_with_what_they_hold(session: Session) -> None:
    blobs = hub_cache.folder_of(session.paths.hf_hub, REPO) / "blobs"
    blobs.mkdir(parents=True)
    for name in ("1234.incomplete", "1234.5678abcd.incomplete", "ffff.part"):
        (blobs / name).write_bytes(b"x" * 8192)
    later = (blobs / "ffff.part").stat().st_mtime + 3600
    assert files.downloads(session, later) == tuple(
        Download(str(blobs / name), 8192)
        for name in ("1234.5678abcd.incomplete", "1234.incomplete", "ffff.part")
    )


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("Currently in use:\n standby              1\n lowpowermode         1\n sleep 1\n", "low-power"),
        ("Currently in use:\n lowpowermode         0\n", ""),
        (" powermode            1\n", "low-power"),
        (" powermode            2\n", ""),
        ("", ""),
    ],
)
def test_a_macs_power_mode_is_read(text: str, mode: str) -> None:
    assert parse_pmset(text) == mode


@links
def test_the_command_that_is_named_mends_it(user: User) -> None:
    session = Session(Config(), paths(user.env))
    blob = put(session, "a.gguf", b"GGUF" + b"a" * 100)
    blob.unlink()
    said = user("doctor", "--json")
    rows = [r for r in json.loads(said.out)["findings"] if "leads to nothing" in r["text"]]
    assert len(rows) == 1
    assert str(user.home) not in said.out
    subprocess.run(["sh", "-c", rows[0]["fix"]], env=user.env, check=True)
    assert "leads to nothing" not in user("doctor").out
