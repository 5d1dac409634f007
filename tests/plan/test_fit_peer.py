"""Our placements are never slower than those of llama.cpp's `--fit`, by the same model of speed.

--fit's answers for the whole grid are committed (bench/results/fit.json); some are asked of the engine again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.fit import CONTEXTS, GPUS, MODELS, RAM, Case, ask, compare, judged, known, machine, model
from localrun.plan.choose import base
from localrun.plan.fit import Fitter
from localrun.plan.rates import DEFAULT
from localrun.plan.values import Settings, Wanted
from tests.fakes.gpu import build
from tests.plan.fit_peer import compact, expand

KNOWN = known()
EXPERTS = r"blk\.{}\.ffn_(up|down|gate_up|gate)_(ch|)exps=CPU"


@pytest.mark.parametrize("ram", RAM)
@pytest.mark.parametrize("which", MODELS)
def test_our_plan_is_never_slower_than_fits_own(which: str, ram: int) -> None:
    """Same model, same context, same cache types, whatever the GPUs and the RAM."""
    found = [
        compare(case, ram, expand(KNOWN[case.key]))
        for case in (Case(which, gpus, ctx) for gpus in GPUS for ctx in CONTEXTS)
    ]
    lost = {r.case.key: round(r.ratio, 4) for r in found if r.lost}
    assert not lost
    assert any(r.theirs for r in found)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("which", "gpus"),
    [
        ("scout", (24,)),
        ("scout", (12, 24)),
        ("llama-70b", (24, 24)),
        ("llama-8b", (8,)),
        pytest.param("v3.2", (24,), marks=pytest.mark.slow),
    ],
)
def test_the_committed_answers_are_the_engines(which: str, gpus: tuple[int, ...], tmp_path: Path) -> None:
    """--fit, asked again in the embedded engine with GPUs that exist only in a dry run."""
    pytest.importorskip("xllamacpp")
    if build(tmp_path) is None:
        pytest.skip("no C compiler here to build the fake GPUs with")
    for key, answer in ask(which, gpus, tmp_path).items():
        assert answer == KNOWN[key], key


def test_a_placement_is_judged_alike_in_either_spelling() -> None:
    """Experts of the first layers in RAM, by -ncmoe or by --fit's patterns: the same cost and the same bytes."""
    host, wanted = machine((24,), 256), Wanted(ctx_size=8192, cache_type_k="f16", cache_type_v="f16")
    counted = replace(base(host, wanted), ctx_size=8192, n_gpu_layers=49, n_cpu_moe=40)
    named = replace(counted, n_cpu_moe=0, override_tensor=tuple(EXPERTS.format(il) for il in range(40)))
    ours = Fitter.of(model("scout"), host, wanted, counted, DEFAULT).evaluate(counted)
    theirs = judged(model("scout"), host, wanted, named)
    assert theirs.rate == pytest.approx(ours.rate, rel=1e-12)
    assert [d.weights for d in theirs.memory] == [d.weights for d in ours.memory]


def test_placements_survive_being_kept() -> None:
    placed = Settings(
        ctx_size=0,
        n_gpu_layers=62,
        tensor_split=(6.0, 56.0),
        override_tensor=(r"blk\.5\.ffn_down.*=CUDA1", *(EXPERTS.format(il) for il in (6, 7, 8, 11))),
    )
    assert expand(compact(placed)) == placed
    assert expand(compact(None)) is None
