"""The mapped buffer of an engine that really loads a model: from its first to its last byte in the file."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from localrun.plan.placement import mapped_span, place
from localrun.plan.values import Settings
from tests.oracle import GIB, host, sparse_model
from tests.sparse import TypeOf, mixed_types

#: Loads a model mapped, as a server does, and prints what each buffer holds of it.
LOADED = """
import ctypes as c, json, sys
from localrun.engine.dryrun import _Engine, _rows
engine = _Engine([])
params = engine.lib.llama_model_default_params()
params.n_gpu_layers, params.load_mode = 0, 1
model = engine.lib.llama_model_load_from_file(sys.argv[1].encode(), params)
context = engine.lib.llama_init_from_model(c.c_void_p(model), engine.lib.llama_context_default_params())
rows = _rows(engine.breakdown(c.c_void_p(context)))
name = engine.lib.ggml_backend_buft_name
print(json.dumps({name(c.c_void_p(b)).decode(): held for b, held, _, _ in rows}))
"""


@pytest.mark.parametrize("quant", ["Q4_0", "Q8_0", mixed_types], ids=["Q4_0", "Q8_0", "mixed"])
def test_the_engine_maps_the_span_that_is_planned(quant: str | TypeOf) -> None:
    model = sparse_model("smollm2", quant)
    run = subprocess.run(
        [sys.executable, "-c", LOADED, model.files[0].name], check=True, capture_output=True, text=True
    )
    held = json.loads(run.stdout.splitlines()[-1])
    assert held["CPU_Mapped"] == mapped_span(model, host(), Settings(512))
    assert held.get("CPU_REPACK", 0) == place(model, host(), Settings(512)).repacked


def test_a_span_covers_gpu_tensors_in_between_but_a_budget_does_not() -> None:
    model, machine = sparse_model("v3.2"), host((24 * GIB,))
    case = Settings(4096, n_gpu_layers=99, n_cpu_moe=99)
    on_cpu = place(model, machine, case).weights[-1]
    assert on_cpu < mapped_span(model, machine, case) < model.files[0].bytes


def test_nothing_is_mapped_without_mmap() -> None:
    assert mapped_span(sparse_model("smollm2"), host(), Settings(512, mmap=False)) == 0
