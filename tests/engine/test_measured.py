"""Measured runs in their file: kept by hardware and build, and no damage to it stops a plan."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from localrun.engine.measured import key_of, rates_for, record_run, runs
from localrun.plan.rates import DEFAULT
from tests.plan.test_calibrate import ran

HERE = key_of("AMD EPYC, 2 cores, 23 GiB, no GPU", "embedded 2026.10.11549")


def test_what_was_recorded_is_read_again_in_order(tmp_path: Path) -> None:
    path = tmp_path / "state" / "runs.json"
    for off in (1.0, 1.2, 1.4):
        record_run(path, HERE, ran(off, f"m{off}"))
    assert [run.model for run in runs(path, HERE)] == ["m1.0", "m1.2", "m1.4"]
    assert runs(path, HERE)[1] == ran(1.2, "m1.2")
    assert rates_for(path, HERE).ram_time == pytest.approx(1.2, rel=0.01)


def test_another_build_or_machine_starts_from_nothing(tmp_path: Path) -> None:
    record_run(tmp_path / "runs.json", HERE, ran(2.0))
    other = key_of("AMD EPYC, 2 cores, 23 GiB, no GPU", "llama-server b9500")
    assert rates_for(tmp_path / "runs.json", other) == DEFAULT


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    for i in range(80):
        record_run(path, HERE, ran(1.0, f"m{i}"))
    assert len(runs(path, HERE)) == 64
    assert runs(path, HERE)[-1].model == "m79"


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"null", b'{"schema": "other", "runs": {}}', b'{"schema": "localrun.runs/1"}',
     b'{"schema": "localrun.runs/1", "runs": []}', b"\xff\xfe", b"[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_counts_as_none_and_is_replaced(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "runs.json"
    path.write_bytes(damaged)
    assert runs(path, HERE) == ()
    assert rates_for(path, HERE) == DEFAULT
    record_run(path, HERE, ran(1.0))
    assert len(runs(path, HERE)) == 1


def test_damaged_entries_are_passed_over(tmp_path: Path) -> None:
    path, good = tmp_path / "runs.json", asdict(ran(1.2))
    rows = [None, 3, "x", {}, {**good, "generation": "fast"}, {**good, "ram": True}, {**good, "model": 7},
            {**good, "more": 1}, {**good, "prompt": 10**400}, {**good, "fixed": float("nan")}, good]  # fmt: skip
    path.write_text(json.dumps({"schema": "localrun.runs/1", "runs": {HERE: rows}}))
    assert runs(path, HERE) == (ran(1.2),)


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    record_run(tmp_path / "state" / "runs.json", HERE, ran(1.0))
    assert runs(tmp_path / "state" / "runs.json", HERE) == ()


def test_runs_of_older_constants_are_kept_and_not_used(tmp_path: Path) -> None:
    record_run(tmp_path / "runs.json", HERE, replace(ran(2.0), figures=1))
    assert len(runs(tmp_path / "runs.json", HERE)) == 1
    assert not rates_for(tmp_path / "runs.json", HERE).calibrated
