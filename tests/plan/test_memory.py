"""The sums by device: what is counted, what is mapped, what a machine can give."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localrun.plan.compute import CONTEXT, PROCESS, checkpoints, output_buffer
from localrun.plan.memory import GPU_MARGIN, RAM_MARGIN, Sizer, fits, kv_of, memory
from localrun.plan.values import Settings
from tests.oracle import GIB, host, sparse_model
from tests.shapes import MODELS

RIG = host((24 * GIB, 16 * GIB))


def test_a_device_is_the_sum_of_its_parts() -> None:
    for which in ("v3.2", "scout", "llama-70b"):
        for device in memory(sparse_model(which), RIG, Settings(8192, n_gpu_layers=30, n_cpu_moe=40)):
            parts = device.weights + device.kv + device.compute + device.overhead
            assert device.total == parts
            assert 0 <= device.mapped <= device.weights


def test_devices_come_in_order_with_the_cpu_last() -> None:
    assert [d.device for d in memory(sparse_model("smollm2"), RIG, Settings(512))] == [
        "CUDA0",
        "CUDA1",
        "CPU",
    ]
    assert [d.device for d in memory(sparse_model("smollm2"), host(), Settings(512))] == ["CPU"]


def test_the_sizer_gives_what_the_exact_walk_gives() -> None:
    for which in ("v3.2-mtp", "scout", "llama-8b", "smollm2"):
        model = sparse_model(which)
        for machine in (host(), host((24 * GIB,)), RIG):
            sizer = Sizer.of(model, machine, Settings(4096))
            for layers in (0, 1, 7, 99):
                for experts in (0, 5, 99):
                    for ctx in (4096, 40000):
                        case = Settings(ctx, n_gpu_layers=layers, n_cpu_moe=experts)
                        assert sizer.memory(case) == memory(model, machine, case)


def test_weights_are_mapped_unless_repacked_or_loaded() -> None:
    model = sparse_model("llama-8b", "Q4_0")
    (cpu,) = memory(model, host(), Settings(4096))
    assert cpu.mapped < cpu.weights // 2, "Q4_0 is repacked into anonymous memory on AVX2"
    (plain,) = memory(model, host(), Settings(4096, repack=False))
    assert plain.mapped == plain.weights
    (loaded,) = memory(model, host(), Settings(4096, repack=False, mmap=False))
    assert loaded.mapped == 0


def test_a_cpu_without_avx2_repacks_nothing() -> None:
    machine = host()
    old = replace(machine, cpu=replace(machine.cpu, features=("sse4_2",)))
    (cpu,) = memory(sparse_model("llama-8b", "Q4_0"), old, Settings(4096))
    assert cpu.mapped == cpu.weights


def test_budgets_leave_a_margin_and_never_go_below_zero() -> None:
    *_, cpu = memory(sparse_model("smollm2"), RIG, Settings(512))
    assert cpu.budget == RIG.ram.available - RAM_MARGIN
    tiny = host((GPU_MARGIN // 2,), ram=2 * GIB)
    gpu, cpu = memory(sparse_model("smollm2"), tiny, Settings(512))
    assert gpu.budget == 0
    assert not fits((gpu, cpu))


def test_every_visible_gpu_pays_for_its_drivers_context() -> None:
    devices = memory(sparse_model("llama-8b"), RIG, Settings(4096, n_gpu_layers=0))
    assert [d.overhead for d in devices[:2]] == [CONTEXT["cuda"]] * 2


def test_even_with_no_layer_on_it_the_first_gpu_works_on_large_batches() -> None:
    devices = memory(sparse_model("llama-8b"), RIG, Settings(4096, n_gpu_layers=0))
    assert devices[0].compute > 0
    assert devices[1].compute == 0
    small = memory(sparse_model("llama-8b"), RIG, Settings(4096, n_gpu_layers=0, ubatch_size=16))
    assert small[0].compute == 0


def test_the_host_pays_for_process_logits_and_prompt_cache() -> None:
    model = sparse_model("llama-8b")
    (plain,) = memory(model, host(), Settings(4096))
    (more,) = memory(model, host(), Settings(4096, cache_ram=GIB, parallel=4))
    assert plain.overhead > PROCESS + output_buffer(model.shape, Settings(4096))
    assert more.overhead - plain.overhead == GIB + 3 * 4 * model.shape.n_vocab


def test_checkpoints_cost_windowed_models_only() -> None:
    scout, dense = sparse_model("scout"), sparse_model("llama-8b")
    case = Settings(131072, ctx_checkpoints=2)
    assert checkpoints(scout.shape, case, kv_of(scout, case)) == 2 * 36 * 8192 * 4096
    assert checkpoints(dense.shape, case, kv_of(dense, case)) == 0
    full = replace(case, swa_full=True)
    assert checkpoints(scout.shape, full, kv_of(scout, full)) == 0


def test_a_cache_of_hot_experts_takes_its_room_on_the_first_gpu() -> None:
    model = sparse_model("scout")
    plain = memory(model, RIG, Settings(4096, n_gpu_layers=99, n_cpu_moe=48))
    more = memory(model, RIG, Settings(4096, n_gpu_layers=99, n_cpu_moe=48, moe_cache=GIB))
    assert [b.total - a.total for a, b in zip(plain, more, strict=True)] == [GIB, 0, 0]


def test_a_backend_that_was_not_compared_is_planned_with_more_room() -> None:
    cuda, case = host((24 * GIB,)), Settings(4096, n_gpu_layers=99)
    vulkan = replace(cuda, gpus=(replace(cuda.gpus[0], backend="vulkan"),))
    model = sparse_model("llama-8b")
    assert memory(model, vulkan, case)[0].device == "Vulkan0"
    assert memory(model, vulkan, case)[0].compute > memory(model, cuda, case)[0].compute


@pytest.mark.parametrize("which", MODELS)
def test_more_context_never_takes_less(which: str) -> None:
    model, machine = sparse_model(which), host((80 * GIB,))
    sizer = Sizer.of(model, machine, Settings(4096))
    for flash in ("on", "off"):
        totals = [
            sum(d.total for d in sizer.memory(Settings(ctx, n_gpu_layers=99, flash_attn=flash)))  # type: ignore[arg-type]
            for ctx in range(1024, 140_000, 4096)
        ]
        assert totals == sorted(totals)


@pytest.mark.parametrize("which", ["v3.2", "v3.2-stripped", "scout", "maverick", "large-3"])
def test_more_experts_in_ram_never_take_more_of_the_gpu(which: str) -> None:
    sizer = Sizer.of(sparse_model(which), host((80 * GIB,)), Settings(4096))
    for ctx in (4096, 65536):
        totals = [
            sizer.memory(Settings(ctx, n_gpu_layers=99, n_cpu_moe=n))[0].total
            for n in range(MODELS[which].shape.n_layers + 1)
        ]
        assert totals == sorted(totals, reverse=True)
