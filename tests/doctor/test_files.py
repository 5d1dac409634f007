"""Models and downloads as the doctor looks at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.config import Config, Paths, Session
from localrun.doctor import files
from localrun.units import MIB
from tests.model import tiny


@pytest.fixture
def session(tmp_path: Path) -> Session:
    names = ("config", "state", "cache", "data", "models", "hub")
    for name in names:
        (tmp_path / name).mkdir()
    return Session(Config(), Paths(*(tmp_path / name for name in names)))


def test_leftovers_are_those_that_nobody_writes_any_more(session: Session) -> None:
    part = session.paths.models / ".fetch" / "big.gguf.part"
    hub = session.paths.hf_hub / "models--a--b" / "blobs" / "1234.incomplete"
    for path in (part, hub):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(8192))
    late = part.stat().st_mtime + 3600
    assert [d.path for d in files.downloads(session, late)] == sorted([str(part), str(hub)])
    assert all(d.bytes >= 4096 for d in files.downloads(session, late))
    assert files.downloads(session, part.stat().st_mtime + 1) == ()


def test_models_are_whole_and_carry_a_template_or_not(session: Session) -> None:
    folder = session.paths.models
    tiny.write(folder / "plain.gguf")
    tiny.write(folder / "chat.gguf", general={"tokenizer.chat_template": "{{ messages }}"})
    tiny.write(folder / "short.gguf", cut=100)
    tiny.write(folder / "split-00001-of-00002.gguf", general={"split.count": 2, "split.no": 0})
    found = {m.name: m for m in files.models(session)}
    assert (found["plain"].whole, found["plain"].template) == (True, False)
    assert (found["chat"].whole, found["chat"].template) == (True, True)
    assert not found["short"].whole
    assert "behind the end of the file" in found["short"].why
    split = next(m for name, m in found.items() if name.startswith("split"))
    assert (split.whole, split.why) == (False, "1 shard is missing")


def test_a_projector_is_no_broken_model(session: Session) -> None:
    tiny.write(session.paths.models / "mmproj.gguf", architecture="clip")
    assert all(m.whole for m in files.models(session))


def test_the_disks_speed_is_measured_where_it_can_be(session: Session) -> None:
    assert files.disk_speed(session.paths.models) == 0
    (session.paths.models / "a.gguf").write_bytes(bytes(24 * MIB))
    speed = files.disk_speed(session.paths.models)
    assert speed == 0 or 10**6 < speed < 10**12


def test_a_folder_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    paths = Paths(*(tmp_path / "none" for _ in range(6)))
    session = Session(Config(), paths)
    assert files.downloads(session) == ()
    assert files.models(session) == ()
    assert files.disk_speed(paths.models) == 0
