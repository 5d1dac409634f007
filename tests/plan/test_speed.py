"""Speed as a pure function: what published machines reach, what costs time, and what never is exceeded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localrun.hardware.facts import Host
from localrun.hardware.profiles import profile
from localrun.model.facts import Model, Tensor
from localrun.model.ggml_types import TYPES, tensor_bytes
from localrun.model.tensors import tensor_list
from localrun.plan.kv import kv_cache
from localrun.plan.memory import memory
from localrun.plan.rates import DEFAULT, Rates
from localrun.plan.speed import Costs, Traffic, fingerprint, speed_of
from localrun.plan.values import Settings
from tests.published import RUNS, Published, foretold
from tests.shapes import MODELS, Named
from tests.sparse import plain_types


def model_of(which: str | Named, quant: str = "Q4_0") -> Model:
    """A model without a file: the shape's tensors, all of them in one type."""
    named = MODELS[which] if isinstance(which, str) else which
    type_of = plain_types(quant)
    tensors = []
    for name, dims in tensor_list(named.architecture, named.shape, tied=named.tied):
        kind = type_of(name, dims)
        tensors.append(Tensor(name, dims, kind, tensor_bytes(kind, dims)))
    size = sum(t.bytes for t in tensors)
    return Model("m", named.architecture, quant, named.shape, tuple(tensors), (), size, size * 2, size * 2)


def machine(cores: int = 8, bandwidth: float = 50e9, gpu: bool = False) -> Host:
    host = profile("rtx-4090")
    return replace(
        host,
        cpu=replace(host.cpu, cores=cores, features=("avx2",)),
        ram=replace(host.ram, bandwidth=int(bandwidth), total=10**12, available=10**12),
        gpus=host.gpus if gpu else (),
    )


def costs(model: Model, host: Host, settings: Settings, held: int = 512, rates: Rates = DEFAULT) -> Costs:
    traffic = Traffic.of(model, host, settings, rates)
    kv = kv_cache(model.shape, settings, model.architecture)
    return traffic.costs(settings, memory(model, host, settings), kv, held)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.what}, {run.quant}")
def test_published_runs_lie_within_their_band(run: Published) -> None:
    band = foretold(run).generation
    assert (band.low <= run.rate <= band.high) == (not run.outside)


def test_no_uncalibrated_band_promises_more_than_the_bandwidths_allow() -> None:
    for run in RUNS:
        model_bound = foretold(run)
        assert model_bound.generation.low < model_bound.generation.expected <= model_bound.generation.high


def test_threads_help_until_the_memory_is_what_waits() -> None:
    model = model_of("llama-8b")
    rates = [
        1 / costs(model, machine(64), Settings(4096, threads=n), held=0).total for n in (1, 2, 4, 32, 64)
    ]
    assert rates[1] > 1.9 * rates[0]
    assert rates[2] > rates[1]
    assert rates[4] < 1.05 * rates[3]
    assert rates[4] < 50e9 / model.weights_bytes * 1.2


def test_what_it_waits_for_is_named() -> None:
    model = model_of("llama-8b")
    assert costs(model, machine(2, 200e9), Settings(4096, threads=2)).bound_by == "cpu cores"
    assert costs(model, machine(32, 40e9), Settings(4096, threads=32)).bound_by == "ram bandwidth"
    gpu = costs(model, machine(gpu=True), Settings(4096, threads=8, n_gpu_layers=33))
    assert gpu.bound_by == "vram bandwidth"


def test_a_token_takes_longer_the_more_is_held() -> None:
    model, host = model_of("llama-8b"), machine()
    times = [costs(model, host, Settings(32768, threads=8), held=n).total for n in (0, 2048, 16384)]
    assert times == sorted(times)
    assert times[2] - times[1] == pytest.approx((times[1] - times[0]) * 7, rel=0.01)


def test_no_more_can_be_held_than_the_context_has() -> None:
    model, host, settings = model_of("llama-8b"), machine(), Settings(512, threads=8)
    assert costs(model, host, settings, 512) == costs(model, host, settings, 5000)


def test_chunked_layers_stop_growing_at_their_window() -> None:
    model, host, settings = model_of("scout"), machine(), Settings(65536, threads=8)
    at = [costs(model, host, settings, held=n).ram for n in (0, 8192, 16384, 32768)]
    # Twice as many more tokens, seen by 12 of 48 layers.
    assert at[3] - at[2] == pytest.approx((at[1] - at[0]) * 2 / 4, rel=0.01)


def test_the_indexer_limits_what_attention_reads() -> None:
    """Beyond its top 2048 tokens only the indexer's own keys cost more."""
    host, settings = machine(), Settings(65536, threads=8)
    sparse, full = (
        costs(model_of(which), host, settings, held=32768).ram
        - costs(model_of(which), host, settings, 2048).ram
        for which in ("v3.2", "v3.2-stripped")
    )
    assert sparse < full / 2


def test_only_the_chosen_experts_are_read() -> None:
    scout = model_of("scout")
    time = costs(scout, machine(64, 100e9), Settings(512, threads=64), held=0).ram
    assert time * 100e9 < scout.weights_bytes / 3


def test_repacked_weights_are_multiplied_faster() -> None:
    model, host = model_of("llama-8b"), machine(1, 500e9)
    plain, packed = (
        costs(model, host, Settings(512, threads=1, repack=repack), held=0).ram for repack in (False, True)
    )
    assert packed < plain


def test_every_type_of_weights_has_a_rate_of_its_own() -> None:
    """All that llama.cpp multiplies on the CPU; the rest takes a cautious one."""
    unmeasured = {"Q8_1", "Q8_K", "NVFP4", "Q1_0", "Q2_0", "I8", "I16", "I32", "I64", "F64"}
    assert set(TYPES) - unmeasured == set(DEFAULT.cpu_types)


def test_a_gpu_takes_the_time_off_the_cpu() -> None:
    model, host = model_of("llama-8b"), machine(gpu=True)
    none, half, whole = (costs(model, host, Settings(512, threads=8, n_gpu_layers=n)) for n in (0, 16, 33))
    assert none.vram == 0 < half.vram < whole.vram
    assert none.ram > half.ram > whole.ram == 0
    assert none.total > half.total > whole.total


def test_experts_that_run_on_the_cpu_are_costed_there_and_the_hop_too() -> None:
    model, host = model_of("scout"), machine(gpu=True)
    here, there = (
        costs(model, host, Settings(512, threads=8, n_gpu_layers=49, n_cpu_moe=n)) for n in (0, 48)
    )
    assert here.ram == 0 < there.ram
    assert there.fixed > here.fixed


def test_one_expert_a_token_is_as_good_as_a_dense_layer() -> None:
    assert DEFAULT.gpu_experts(1) == 1.0
    assert DEFAULT.gpu_routed < DEFAULT.gpu_experts(8) < DEFAULT.gpu_experts(2) < 1.0


def test_scales_stretch_the_part_that_they_name() -> None:
    model, host, settings = model_of("scout"), machine(gpu=True), Settings(512, n_gpu_layers=49, n_cpu_moe=48)
    base = costs(model, host, settings)
    slow = costs(model, host, settings, rates=replace(DEFAULT, vram_time=2.0, ram_time=3.0))
    assert slow.vram == pytest.approx(2 * base.vram)
    assert slow.ram == pytest.approx(3 * base.ram)
    assert slow.fixed == base.fixed


def test_a_model_that_ran_is_foretold_by_its_own_factor_and_no_other_is() -> None:
    ours, other = model_of("llama-8b"), model_of("llama-8b", "Q8_0")
    rates = replace(DEFAULT, models={fingerprint(ours): 1.5})
    host, settings = machine(), Settings(512, threads=8)
    assert costs(ours, host, settings, rates=rates).total == pytest.approx(
        1.5 * costs(ours, host, settings).total
    )
    assert costs(other, host, settings, rates=rates) == costs(other, host, settings)


def test_a_prompt_is_read_faster_than_answers_are_written() -> None:
    for which in ("llama-8b", "scout", "v3.2"):
        model, host, settings = model_of(which), machine(16), Settings(4096, threads=16)
        traffic = Traffic.of(model, host, settings, DEFAULT)
        kv = kv_cache(model.shape, settings, model.architecture)
        speed = speed_of(traffic, settings, memory(model, host, settings), kv)
        assert speed.prompt.expected > speed.generation.expected
        assert speed.prompt.low < speed.prompt.expected < speed.prompt.high
        assert not speed.calibrated
