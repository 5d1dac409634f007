"""The room that whole layers leave on the GPUs is used, and used for nothing that was fixed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bench.fit import machine, model
from localrun.plan.boundary import _LAYERS, FIT_MARGIN
from localrun.plan.choose import base
from localrun.plan.fit import Fitter, on_gpu
from localrun.plan.memory import GPU_MARGIN, memory
from localrun.plan.planner import make_plan
from localrun.plan.rates import DEFAULT
from localrun.plan.values import Plan, Settings, Wanted

F16 = {"ctx_size": 8192, "cache_type_k": "f16", "cache_type_v": "f16"}
CASES = [("scout", (24,)), ("scout", (12, 24)), ("v3.2", (48,)), ("v3.2", (24, 24)), ("maverick", (80,))]


def plan_of(which: str, gpus: tuple[int, ...], **wanted: object) -> Plan:
    return make_plan(model(which), machine(gpus, 1024), Wanted(**{**F16, **wanted}), advise=False)  # type: ignore[arg-type]


def in_ram(which: str, settings: Settings) -> list[int]:
    """Bytes of the expert tensors in RAM of the layers about the boundary."""
    named = [
        re.compile(text.rpartition("=")[0]) for text in settings.override_tensor if text.endswith("=CPU")
    ]
    near = range(settings.n_cpu_moe - _LAYERS, settings.n_cpu_moe)
    return [
        tensor.bytes
        for tensor in model(which).tensors
        if "_exps." in tensor.name
        and (int(tensor.name.split(".")[1]) in near or any(p.search(tensor.name) for p in named))
    ]


@pytest.mark.parametrize(("which", "gpus"), CASES)
def test_no_expert_tensor_in_ram_would_still_fit(which: str, gpus: tuple[int, ...]) -> None:
    """With the smallest ubatch the room left on each GPU is less than any tensor about the boundary."""
    plan = plan_of(which, gpus, ubatch_size=512)
    assert plan.settings.n_cpu_moe
    assert all(0 <= d.budget - d.total < min(in_ram(which, plan.settings)) for d in plan.memory[:-1])


@pytest.mark.parametrize(("which", "gpus"), CASES)
def test_filling_never_slows_a_plan_down(which: str, gpus: tuple[int, ...]) -> None:
    """Against whole layers alone, as the search leaves them."""
    wanted = Wanted(**F16)  # type: ignore[arg-type]
    host = machine(gpus, 1024)
    settings = replace(base(host, wanted), ctx_size=8192)
    whole = Fitter.of(model(which), host, wanted, settings, DEFAULT).best(settings)
    assert on_gpu(whole)
    assert plan_of(which, gpus).speed.generation.expected >= whole.rate * 0.999


@pytest.mark.parametrize(("which", "gpus"), CASES)
def test_the_quick_sums_agree_with_a_walk_over_all_tensors(which: str, gpus: tuple[int, ...]) -> None:
    """A plan with patterns of its own has the memory that `memory` gives it, tensor by tensor."""
    plan = plan_of(which, gpus)
    assert plan.memory == memory(model(which), plan.host, plan.settings)


def test_a_larger_batch_takes_no_more_than_fit_would_leave_free() -> None:
    """The bytes of experts on the GPU fall by less than --fit's margin is wider than ours."""
    for which, gpus in CASES:
        small, chosen = plan_of(which, gpus, ubatch_size=512), plan_of(which, gpus)
        room = sum(d.budget - d.total for d in small.memory[:-1])
        lost = chosen.memory[-1].weights - small.memory[-1].weights
        assert lost + room <= len(gpus) * (FIT_MARGIN - GPU_MARGIN) or chosen.settings.ubatch_size == 512


@pytest.mark.parametrize("fixed", [{"n_cpu_moe": 40}, {"override_tensor": (r"blk\.0\.ffn_up_exps=CPU",)}])
def test_what_the_user_fixed_stays(fixed: dict[str, object]) -> None:
    settings = plan_of("scout", (24,), **fixed).settings
    for name, value in fixed.items():
        assert getattr(settings, name) == value
    assert settings.override_tensor == fixed.get("override_tensor", ())
