"""What is remembered of running models: whole or not at all, never someone else's, never a crash."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun import wire
from localrun.engine import state
from localrun.engine.base import Allocation, Handle
from localrun.errors import StateError
from localrun.hardware.facts import Gpu


def record(name: str = "smollm2", **changes: object) -> state.Record:
    full = state.Record(
        schema=state.SCHEMA,
        name=name,
        state="ready",
        handle=Handle("embedded", 4711, 1700000000.5, "http://127.0.0.1:8080/v1", "key", "/tmp/x.log"),
        model="/models/ä b.gguf",
        ctx_size=8192,
        planned={"CPU": 1 << 40, "CUDA0": 7},
        kv_bytes=180 << 20,
        kv_cells=8192,
        kv_bytes_per_token=23040,
        started=1700000001.25,
        gpus=(Gpu("NVIDIA X", "cuda", 0, 1, 2),),
        allocated=(Allocation("CPU", 1, 2, 3, 4),),
        owner=12,
        owner_created=5.5,
    )
    return dataclasses.replace(full, **changes)  # type: ignore[arg-type]


def only(folder: Path) -> Path:
    (path,) = (folder / "run").glob("*.json")
    return path


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    state.write(tmp_path, record())
    assert state.read_all(tmp_path) == ((record(),), ())


def test_writing_again_replaces_the_record(tmp_path: Path) -> None:
    state.write(tmp_path, record(state="starting"))
    state.write(tmp_path, record())
    assert [r.state for r in state.read_all(tmp_path)[0]] == ["ready"]


def test_nothing_was_ever_written(tmp_path: Path) -> None:
    assert state.read_all(tmp_path / "nowhere") == ((), ())
    assert not (tmp_path / "nowhere").exists()


def test_a_record_cut_short_at_any_byte_is_broken_and_nothing_else(tmp_path: Path) -> None:
    state.write(tmp_path, record())
    path = only(tmp_path)
    whole = path.read_bytes()
    for end in range(len(whole.rstrip())):
        path.write_bytes(whole[:end])  # in place: the file's name stays
        good, bad = state.read_all(tmp_path)
        assert not good, end
        assert [b.path for b in bad] == [path], end


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 0},
        {"schema": state.SCHEMA + 1},
        {"schema": "1"},
        {"state": "dancing"},
        {"handle": None},
        {"handle": {"engine": "embedded", "pid": "many"}},
        {"planned": {"CPU": 1.5}},
        {"gpus": [{"name": "x"}]},
    ],
)
def test_a_record_of_another_version_is_broken(tmp_path: Path, change: dict[str, object]) -> None:
    state.write(tmp_path, record())
    path = only(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    good, bad = state.read_all(tmp_path)
    assert (len(good), len(bad)) == (0, 1)
    assert bad[0].why


def test_a_record_from_before_owners_is_read(tmp_path: Path) -> None:
    state.write(tmp_path, record())
    path = only(tmp_path)
    older = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("owner", "owner_created")}
    path.write_text(json.dumps(older))
    assert state.read_all(tmp_path)[0] == (record(owner=0, owner_created=0.0),)


@pytest.mark.parametrize("junk", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"schema":1}'])
def test_a_file_that_is_no_record_is_broken(tmp_path: Path, junk: bytes) -> None:
    (state.folder(tmp_path) / "x.json").write_bytes(junk)
    assert len(state.read_all(tmp_path)[1]) == 1


def test_a_folder_with_a_record_s_name_is_broken(tmp_path: Path) -> None:
    (state.folder(tmp_path) / "x.json").mkdir()
    assert len(state.read_all(tmp_path)[1]) == 1


def test_only_the_user_may_read_what_may_hold_a_key(tmp_path: Path) -> None:
    state.write(tmp_path, record())
    assert stat.S_IMODE(only(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_a_write_that_fails_leaves_the_old_record_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.write(tmp_path, record(state="starting"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left on device"):
        state.write(tmp_path, record())
    assert [r.state for r in state.read_all(tmp_path)[0]] == ["starting"]
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_a_state_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use the state folder"):
        state.write(tmp_path / "file", record())


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_names_never_share_a_file(one: str, other: str) -> None:
    assert (state.file_name(one) == state.file_name(other)) == (one == other)


@given(st.text())
def test_a_name_never_leads_out_of_the_folder(name: str) -> None:
    found = state.file_name(name)
    assert "/" not in found
    assert not found.startswith(".")
    assert 0 < len(found) <= 100


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", ".hidden", "模型", "a b", "x" * 300, "\udcff", "llama4:scout"]
)
def test_odd_names_are_written_found_and_removed(tmp_path: Path, name: str) -> None:
    if name == "\udcff":
        assert state.file_name(name).startswith("_-")
        return
    state.write(tmp_path, record(name))
    assert [r.name for r in state.read_all(tmp_path)[0]] == [name]
    state.remove(tmp_path, name)
    assert state.read_all(tmp_path) == ((), ())


def test_removing_twice_is_fine(tmp_path: Path) -> None:
    state.remove(tmp_path, "smollm2")


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with state.locked(tmp_path, "m", waiting=waits.set):
            inside.append("second")

    with state.locked(tmp_path, "m"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert inside == []
    thread.join(10)
    assert inside == ["second"]


def test_two_models_do_not_wait_for_each_other(tmp_path: Path) -> None:
    waited: list[str] = []
    with state.locked(tmp_path, "a"), state.locked(tmp_path, "b", waiting=lambda: waited.append("b")):
        assert not waited


def test_a_lock_goes_with_the_process_that_held_it(tmp_path: Path) -> None:
    code = f"""
import os, pathlib
from localrun.engine import state
with state.locked(pathlib.Path({str(tmp_path)!r}), "m"):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    waited: list[str] = []
    with state.locked(tmp_path, "m", waiting=lambda: waited.append("")):
        assert not waited


def test_wire_names_what_is_wrong() -> None:
    with pytest.raises(wire.UnreadableError, match="pid"):
        wire.decode(b'{"engine":"e","pid":"x","created":1,"endpoint":""}', Handle)
