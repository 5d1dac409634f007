"""The engine's own account of memory: exact bytes out of a child process, and clear words when it fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from localrun.engine import dryrun
from localrun.engine.dryrun import EngineMemory, dry_run, dry_runs
from localrun.errors import EngineError, EngineMissing
from localrun.plan.values import Settings
from tests.oracle import sparse_model


@pytest.fixture
def model() -> str:
    return sparse_model("smollm2").files[0].name


def test_a_model_is_accounted_for_by_buffer(model: str) -> None:
    rows = dry_run(model, Settings(4096))
    assert {row.device for row in rows} == {"CPU", "CPU_REPACK"}
    assert sum(row.context for row in rows) == 30 * 2 * 192 * 2 * 4096
    assert all(isinstance(row, EngineMemory) and row.model > 0 for row in rows)


def test_many_settings_share_one_child(model: str) -> None:
    sizes = [sum(r.context for r in rows) for rows in dry_runs(model, [Settings(4096), Settings(8192)])]
    assert sizes[1] == 2 * sizes[0]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (Settings(4096, override_tensor=("exps=CUDA3",)), "no buffer 'CUDA3', only CPU"),
        (Settings(4096, cache_type_v="q8_0", flash_attn="off"), "requires flash_attn"),
    ],
)
def test_what_the_engine_refuses_comes_back_in_its_words(model: str, settings: Settings, word: str) -> None:
    with pytest.raises(EngineError, match=word):
        dry_run(model, settings)


def test_keys_and_values_of_different_types_are_refused_for_mla() -> None:
    with pytest.raises(EngineError, match="different K"):
        dry_run(sparse_model("v3.2").files[0].name, Settings(4096, cache_type_k="q8_0"))


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No such file"):
        dry_run(str(tmp_path / "none.gguf"), Settings(4096))


def test_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("not a model")
    with pytest.raises(EngineError, match="dry run failed"):
        dry_run(str(path), Settings(4096))


def test_a_model_cut_short(tmp_path: Path, model: str) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(Path(model).read_bytes()[:30000])
    with pytest.raises(EngineError, match="dry run failed"):
        dry_run(str(path), Settings(4096))


def test_an_engine_that_hangs_is_given_up(model: str) -> None:
    with pytest.raises(EngineError, match="took longer"):
        dry_run(model, Settings(4096), timeout=0.001)


def test_an_engine_that_aborts_is_an_error_with_its_last_line(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'x.cpp:1: GGML_ASSERT(n > 0) failed' >&2\nkill -ABRT $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(EngineError, match="GGML_ASSERT"):
        dry_run(model, Settings(4096))


def test_an_engine_that_is_not_installed_is_missing(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    answer = json.dumps({"error": "xllamacpp is not installed", "missing": True})
    python.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(EngineMissing, match="not installed"):
        dry_run(model, Settings(4096))


def test_what_the_engine_prints_before_the_answer_is_passed_over() -> None:
    assert dryrun._answer(b'noise\n{"memory": []}') == {"memory": []}
    assert dryrun._answer(b"noise") is None
