"""A real file read by the real header reader: the default model, byte for byte against the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.model.header import read_model
from localrun.plan.memory import memory
from localrun.plan.values import Settings
from tests.oracle import GIB, accounts, host
from tests.shapes import MODELS
from tests.sparse import write_sparse

pytestmark = pytest.mark.engine


def test_the_default_model_takes_what_is_planned(default_model: Path) -> None:
    model = read_model(default_model)
    cases = [
        Settings(4096),
        Settings(8192, parallel=4),
        Settings(2048, cache_type_k="q8_0", cache_type_v="q8_0"),
    ]
    for case, account in zip(cases, accounts(model, cases), strict=True):
        (cpu,) = memory(model, host(), case)
        real = account["CPU"]
        assert (cpu.weights, cpu.kv) == (real.weights, real.kv)
        assert abs(cpu.compute - real.compute) <= real.compute // 100 + 4096


@pytest.mark.parametrize("which", list(MODELS))
def test_the_header_reader_sees_the_shape_that_was_written(which: str, tmp_path: Path) -> None:
    """The readers' shape and tensors give the same plan as those the file was made from."""
    written = write_sparse(tmp_path / "model.gguf", which, "Q8_0")
    read = read_model(Path(written.files[0].name))
    case = Settings(20000, parallel=2, n_gpu_layers=40, n_cpu_moe=30)
    machine = host((24 * GIB, 16 * GIB))
    assert [(d.weights, d.kv) for d in memory(read, machine, case)] == [
        (d.weights, d.kv) for d in memory(written, machine, case)
    ]
