"""Benchmarks that were kept: found again, and never a reason to fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.bench.values import Case, Earlier
from localrun.engine import bench_history

ONE = Earlier("2026-11-25T17:00:00Z", "embedded 1", Case(512, 0), "t 1, ctk f16", 101.5, 2.5, 3)
TWO = Earlier("2026-11-25T18:00:00Z", "embedded 2", Case(0, 64, 4096), "t 1, ctk f16", 31.5, 0.0, 1)
KEY = bench_history.key_of("CPU, 2 cores", "llama Q4_1 1 2")


def test_what_was_kept_is_found_by_hardware_and_model_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "state/bench.json"
    for one in (ONE, TWO):
        bench_history.keep(path, KEY, one)
    bench_history.keep(path, bench_history.key_of("CPU, 4 cores", "llama Q4_1 1 2"), ONE)
    assert bench_history.load(path, KEY) == (ONE, TWO)
    assert bench_history.load(path, "another") == ()


def test_the_oldest_go_first_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_history, "_KEPT", 2)
    for one in (ONE, TWO, TWO):
        bench_history.keep(tmp_path / "b.json", KEY, one)
    assert bench_history.load(tmp_path / "b.json", KEY) == (TWO, TWO)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"schema": "other/1"}', b"\xff\xfe", b"[" * 9999]
)
def test_a_damaged_file_counts_as_none_and_is_written_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(content)
    assert bench_history.load(path, KEY) == ()
    bench_history.keep(path, KEY, ONE)
    assert bench_history.load(path, KEY) == (ONE,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("median", "fast"), ("median", 0), ("median", -1.0), ("median", None), ("median", True), ("median", 1e300),
        ("n_prompt", 5.5), ("n_prompt", -1), ("n_prompt", 0), ("n_gen", 7), ("date", 5), ("settings", None),
        ("repetitions", "x"), ("stdev", float("nan")),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_is_left_out(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "b.json"
    for one in (ONE, TWO):
        bench_history.keep(path, KEY, one)
    kept = json.loads(path.read_text())
    kept["results"][KEY][0][name] = value
    path.write_text(json.dumps(kept))
    assert bench_history.load(path, KEY) == (TWO,)


KEYS = st.sampled_from(["date", "median", "n_gen", "x"])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_whatever_a_line_is_it_is_read_or_left_out(row: object) -> None:
    found = bench_history._earlier(row)
    assert found is None or isinstance(found, Earlier)


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench_history.keep(tmp_path / "file/b.json", KEY, ONE)
    assert bench_history.load(tmp_path / "file/b.json", KEY) == ()
