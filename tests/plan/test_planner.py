"""The planner as a function: what more memory, a fixed flag and a hopeless machine do to a plan."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localrun.errors import UsageError
from localrun.hardware.facts import Gpu, Host
from localrun.hardware.profiles import profile
from localrun.model.catalog import load_catalog
from localrun.model.sized import model_for, quants_of
from localrun.plan.choose import Offer
from localrun.plan.fit import RANK
from localrun.plan.memory import memory
from localrun.plan.planner import make_plan
from localrun.plan.values import Plan, Wanted
from localrun.recipe.argv import parse_argv, to_argv
from localrun.recipe.values import Launch
from localrun.show.plan_text import plan_lines
from localrun.show.text import Style
from localrun.units import GIB, format_size

MODELS = ("deepseek-v3.2", "llama-4-scout", "llama-3.1-70b", "llama-3.1-8b", "smollm2")


@lru_cache
def offers(name: str) -> tuple[Offer, ...]:
    entry = load_catalog().entry(name)
    models = [model_for(entry, quant) for quant in quants_of(entry)]
    return tuple(Offer(m.quant, m.weights_bytes, lambda m=m: m) for m in models)


@lru_cache
def one(name: str) -> Offer:
    """The offer nearest to four bits."""
    return min(
        offers(name),
        key=lambda o: abs(o.bytes - sorted(p.bytes for p in offers(name))[len(offers(name)) // 2]),
    )


def machine(vram: float, ram: float, gpus: int = 1, disk: float = 2000.0) -> Host:
    """GiB of each; `vram` per card, 0 for none."""
    base = profile("rtx-4090")
    card = replace(base.gpus[0], vram_total=int(vram * GIB), vram_free=int(vram * GIB))
    cards: tuple[Gpu, ...] = tuple(replace(card, index=i) for i in range(gpus)) if vram else ()
    memory = replace(base.ram, total=int(ram * GIB), available=int(ram * GIB))
    return replace(base, gpus=cards, ram=memory, disk_free=int(disk * GIB))


def plan_of(name: str, host: Host, **wanted: object) -> Plan:
    return make_plan(one(name).model(), host, Wanted(**wanted), advise=False)  # type: ignore[arg-type]


def within_budget(plan: Plan) -> bool:
    cpu = plan.memory[-1]
    return all(d.total <= d.budget for d in plan.memory[:-1]) and (
        cpu.total <= cpu.budget or (plan.verdict == "pages" and cpu.total - cpu.mapped <= cpu.budget)
    )


sizes = st.tuples(
    st.sampled_from(MODELS),
    st.sampled_from([0.0, 0.8, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 80.0]),
    st.floats(4.0, 768.0),
    st.integers(1, 4),
)


@given(sizes, st.sampled_from(["balanced", "speed", "context", "quality"]))
@settings(max_examples=60, deadline=None)
def test_no_device_is_over_its_budget(case: tuple[str, float, float, int], goal: str) -> None:
    name, vram, ram, gpus = case
    plan = plan_of(name, machine(vram, ram, gpus), goal=goal)
    assert plan.verdict == "too-big" or within_budget(plan)


@given(sizes, st.sampled_from([4096, 32768]), st.floats(1.0, 3.0), st.booleans())
@settings(max_examples=80, deadline=None)
def test_more_memory_is_never_worse(
    case: tuple[str, float, float, int], ctx: int, factor: float, more_vram: bool
) -> None:
    """With quant and context fixed, more VRAM or RAM gives no worse verdict and no slower plan."""
    name, vram, ram, gpus = case
    less = plan_of(name, machine(vram, ram, gpus), ctx_size=ctx, goal="speed")
    larger = machine(vram * factor, ram, gpus) if more_vram and vram else machine(vram, ram * factor, gpus)
    more = plan_of(name, larger, ctx_size=ctx, goal="speed")
    assert RANK[more.verdict] >= RANK[less.verdict]
    if more.verdict == less.verdict != "too-big":
        assert more.speed.generation.expected >= less.speed.generation.expected * 0.999


@given(st.sampled_from(["llama-3.1-70b", "llama-3.1-8b", "llama-4-scout"]), st.floats(3.0, 80.0))
@settings(max_examples=40, deadline=None)
def test_one_layer_more_would_not_fit(name: str, vram: float) -> None:
    """A card is filled: with one layer more, or one layer's experts more, it would be over its budget."""
    host = machine(vram, 128)
    plan = plan_of(name, host, ctx_size=8192, cache_type_k="f16", ubatch_size=512)
    s, whole = plan.settings, plan.model.shape.n_layers + 1
    assert s.n_gpu_layers > 0
    more = replace(s, n_gpu_layers=min(s.n_gpu_layers + 1, whole), override_tensor=())
    if s.n_gpu_layers == whole and s.n_cpu_moe:
        more = replace(more, n_cpu_moe=s.n_cpu_moe - 1)
    if more != s:
        assert memory(plan.model, plan.host, more)[0].total > plan.memory[0].budget
    bare = plan_of(name, machine(0, 128), ctx_size=8192, cache_type_k="f16", ubatch_size=512)
    assert plan.speed.generation.expected > bare.speed.generation.expected


@given(st.sampled_from(MODELS), st.sampled_from([0.0, 12.0, 24.0]), st.floats(8.0, 512.0))
@settings(max_examples=30, deadline=None)
def test_more_memory_never_slows_the_goal_speed_down(name: str, vram: float, ram: float) -> None:
    """Over all quants too: `--for speed` may take a smaller quant, never a slower plan."""
    rates = []
    for factor in (1.0, 1.5, 3.0):
        plan = make_plan(offers(name), machine(vram * factor, ram), Wanted(goal="speed"), advise=False)
        rates.append((RANK[plan.verdict], plan.speed.generation.expected))
    assert [rank for rank, _ in rates] == sorted(rank for rank, _ in rates)


@given(
    sizes, st.sampled_from([512, 4096, 20000, 131072]), st.sampled_from(["f16", "q8_0"]), st.integers(1, 4)
)
@settings(max_examples=60, deadline=None)
def test_a_plan_survives_its_argv(
    case: tuple[str, float, float, int], ctx: int, kind: str, slots: int
) -> None:
    name, vram, ram, gpus = case
    plan = plan_of(
        name, machine(vram, ram, gpus), ctx_size=ctx, cache_type_k=kind, cache_type_v=kind, parallel=slots
    )
    launch = Launch("/models/m.gguf", name, port=8099)
    assert parse_argv(to_argv(plan.settings, launch)) == (plan.settings, launch)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("ctx_size", 12345),
        ("cache_type_k", "q4_0"),
        ("ubatch_size", 256),
        ("parallel", 3),
        ("threads", 2),
        ("n_gpu_layers", 7),
        ("n_cpu_moe", 40),
        ("flash_attn", "on"),
    ],
)
def test_a_flag_that_the_user_set_is_kept(flag: str, value: object) -> None:
    plan = plan_of("llama-4-scout", machine(24, 128), **{flag: value})
    assert getattr(plan.settings, flag) == value


def test_a_user_override_is_kept_and_counted() -> None:
    pattern = r"blk\.(1|2)\.ffn_.*_exps=CPU"
    plan = plan_of("llama-4-scout", machine(80, 128), override_tensor=(pattern,))
    assert plan.settings.override_tensor == (pattern,)
    assert plan.memory[-1].weights > plan_of("llama-4-scout", machine(80, 128)).memory[-1].weights


def test_a_model_that_fits_the_gpu_is_on_it_whole() -> None:
    plan = plan_of("llama-3.1-8b", machine(24, 64))
    assert plan.verdict == "fits"
    assert plan.settings.n_gpu_layers == 33
    assert plan.settings.n_cpu_moe == 0
    assert plan.speed.bound_by == "vram bandwidth"


def test_experts_go_to_ram_before_layers_do() -> None:
    plan = plan_of("deepseek-v3.2", machine(24, 768))
    assert plan.verdict == "fits"
    assert plan.settings.n_gpu_layers == 62
    assert 50 < plan.settings.n_cpu_moe <= 61


def test_context_is_reduced_before_the_plan_is_refused() -> None:
    plan = plan_of("llama-3.1-8b", machine(0, 7))
    assert plan.verdict == "fits"
    assert plan.settings.ctx_size < 32768
    assert any("reduced from 32768" in reason for reason in plan.reasons)


def test_what_ram_cannot_hold_pages_and_says_so() -> None:
    plan = make_plan(offers("deepseek-v3.2"), machine(24, 64))
    assert plan.verdict == "pages"
    assert plan.speed.bound_by == "disk"
    assert plan.speed.generation.high < 3
    assert any("read from disk" in reason for reason in plan.reasons)
    assert any("GiB of RAM" in a.change and a.verdict == "fits" for a in plan.alternatives)


def test_a_hopeless_machine_is_told_what_would_do() -> None:
    """8 GiB of RAM and no room to page the dense part: what is over, and by how much."""
    plan = plan_of("llama-3.1-70b", machine(0, 1.5))
    assert plan.verdict == "too-big"
    assert "over" in plan.reasons[0]


def test_no_disk_room_forbids_a_download() -> None:
    host = machine(24, 512, disk=50)
    plan = make_plan(offers("deepseek-v3.2"), host, to_download=lambda m: sum(f.bytes for f in m.files))
    assert plan.verdict == "too-big"
    assert "disk" in plan.reasons[0]


def test_a_context_above_the_trained_one_is_warned_about() -> None:
    plan = plan_of("smollm2", machine(0, 32), ctx_size=32768)
    assert any("trained on 8192" in reason and "YaRN" in reason for reason in plan.reasons)
    shared = plan_of("smollm2", machine(0, 32), ctx_size=32768, parallel=4)
    assert not any("YaRN" in reason for reason in shared.reasons)


def test_types_that_the_model_refuses_are_one_clear_line() -> None:
    with pytest.raises(UsageError) as told:
        plan_of("deepseek-v3.2", machine(24, 512), cache_type_k="q8_0", cache_type_v="f16")
    assert "\n" not in str(told.value)


def test_several_cards_share_by_bytes_so_that_unequal_layers_fit() -> None:
    plan = plan_of("deepseek-v3.2", machine(24, 512, gpus=4))
    assert plan.verdict == "fits"
    assert len(plan.settings.tensor_split) == 4
    assert sum(plan.settings.tensor_split) == plan.settings.n_gpu_layers
    single = plan_of("deepseek-v3.2", machine(24, 512))
    assert plan.speed.generation.expected > single.speed.generation.expected


def test_unified_memory_is_counted_once() -> None:
    plan = make_plan(offers("llama-3.1-70b"), profile("m3-max-36gb"), advise=False)
    total = sum(d.total for d in plan.memory)
    assert plan.verdict == "fits"
    assert total <= plan.host.ram.available


@pytest.mark.parametrize(
    ("name", "vram"), [("llama-3.1-70b", 24), ("llama-3.1-8b", 48), ("llama-4-scout", 24)]
)
def test_the_ladder_grows_no_better_with_context(name: str, vram: int) -> None:
    plan = make_plan(one(name).model(), machine(vram, 96))
    ranks = [RANK[verdict] for _, verdict, _ in plan.ladder]
    assert ranks == sorted(ranks, reverse=True)
    rates = [rate for _, verdict, rate in plan.ladder if verdict == "fits"]
    assert len(rates) > 3
    assert all(later <= sooner * 1.001 for sooner, later in pairwise(rates))


@pytest.mark.parametrize(
    ("name", "vram"), [("llama-4-scout", 24), ("deepseek-v3.2", 24), ("llama-3.1-8b", 8)]
)
def test_the_ladder_agrees_with_the_plan_that_it_stands_beside(name: str, vram: int) -> None:
    plan = make_plan(one(name).model(), machine(vram, 600))
    assert plan.verdict == "fits"
    own = plan.speed.generation.expected
    for ctx, verdict, rate in plan.ladder:
        if ctx <= plan.settings.ctx_size:
            assert (verdict, rate >= own * 0.999) == ("fits", True), ctx
        assert (rate > 0) == (verdict != "too-big"), "what does not run has no speed"


def test_what_a_unified_machine_pages_is_counted_with_what_its_gpu_holds() -> None:
    """The GPU's bytes lie in the same RAM: a plan that pages for them is slowed by them, and says so."""
    plan = make_plan(offers("llama-4-scout"), profile("m3-max-36gb"), advise=False)
    cpu = plan.memory[-1]
    assert plan.verdict == "pages"
    assert cpu.total < cpu.budget, "by itself the CPU's part would fit"
    missing = sum(d.total for d in plan.memory) - cpu.budget
    assert plan.reasons[0].startswith(f"{format_size(missing)} of the weights have no room in RAM")
    quick = make_plan(
        plan.model,
        replace(plan.host, disk_bandwidth=1 << 50),
        Wanted(ctx_size=plan.settings.ctx_size, n_gpu_layers=49, n_cpu_moe=plan.settings.n_cpu_moe),
        advise=False,
    )
    assert quick.speed.generation.expected > plan.speed.generation.expected * 1.2, "the disk costs time"


def test_room_to_spare_on_a_unified_machine_is_what_both_leave() -> None:
    plan = make_plan(offers("llama-3.1-8b"), profile("m3-max-36gb"), advise=False)
    left = plan.memory[-1].budget - sum(d.total for d in plan.memory)
    gpu = plan.memory[0]
    assert plan.reasons[0].endswith(f"{format_size(min(left, gpu.budget - gpu.total))} to spare")
    assert left < plan.memory[-1].budget - plan.memory[-1].total


def test_what_checkpoints_take_of_ram_is_said() -> None:
    plan = make_plan(offers("llama-4-scout"), machine(48, 128), advise=False)
    bare = memory(plan.model, plan.host, replace(plan.settings, ctx_checkpoints=0))
    taken = plan.memory[-1].total - bare[-1].total
    assert taken > GIB
    (said,) = [reason for reason in plan.reasons if "copies of the windowed cache" in reason]
    assert f"up to {format_size(taken)} of RAM" in said


def test_goals_pull_in_their_direction() -> None:
    host = machine(24, 128)
    by_goal = {
        goal: make_plan(offers("llama-3.1-70b"), host, Wanted(goal=goal), advise=False)  # type: ignore[arg-type]
        for goal in ("speed", "context", "quality", "balanced")
    }
    rates = {goal: plan.speed.generation.expected for goal, plan in by_goal.items()}
    assert rates["speed"] == max(rates.values())
    assert by_goal["context"].settings.ctx_size == max(p.settings.ctx_size for p in by_goal.values())
    assert by_goal["quality"].model.weights_bytes == max(p.model.weights_bytes for p in by_goal.values())


def test_threads_leave_room_for_a_busy_neighbour() -> None:
    """As many spinning threads as cores beside a busy program would be ten times slower."""
    host = machine(0, 32)
    quiet = plan_of("smollm2", host)
    busy = plan_of("smollm2", replace(host, cpu=replace(host.cpu, busy=host.cpu.threads_total - 2.0)))
    assert quiet.settings.threads == host.cpu.cores - 1
    assert busy.settings.threads == 2
    assert any("busy" in reason for reason in busy.reasons)


def test_windowed_models_keep_checkpoints_where_there_is_room() -> None:
    """Without one, a chat's next turn reads the whole prompt again."""
    roomy, tight = plan_of("llama-4-scout", machine(24, 256)), plan_of("llama-3.1-8b", machine(24, 64))
    assert roomy.settings.ctx_checkpoints == 4
    assert roomy.memory[-1].overhead > plan_of("llama-3.1-8b", machine(24, 256)).memory[-1].overhead
    assert tight.settings.ctx_checkpoints == 0


def test_a_full_card_does_not_block_a_free_one() -> None:
    """Another program holds the first of two cards: the second serves, as the engine's CUDA0."""
    host = machine(24, 64, gpus=2)
    first = replace(host.gpus[0], vram_free=300 << 20, uuid="GPU-full")
    plan = plan_of("llama-3.1-8b", replace(host, gpus=(first, replace(host.gpus[1], uuid="GPU-free"))))
    assert plan.verdict == "fits"
    assert [d.device for d in plan.memory] == ["CUDA0", "CPU"]
    assert [g.uuid for g in plan.host.gpus] == ["GPU-free"]
    assert any("left out" in note for note in plan.host.notes)
    assert plan_of("smollm2", machine(0.5, 32)).verdict == "fits"


@pytest.mark.parametrize("name", ["deepseek-v3.2", "llama-4-scout", "llama-3.1-70b"])
def test_a_small_card_is_hidden_where_it_would_be_in_the_way(name: str) -> None:
    """A large batch's weights pass through any card that is seen: one without room for them made it too big."""
    small, none = make_plan(offers(name), machine(1, 768)), make_plan(offers(name), machine(0, 768))
    assert small.verdict == none.verdict == "fits"
    assert small.speed.generation.expected >= none.speed.generation.expected * 0.999
    if not small.host.gpus:
        assert len(small.host.unused) == 1
        assert any("left out" in note for note in small.host.notes)


def test_a_full_disk_is_answered_with_what_has_room_on_it() -> None:
    """More RAM would not help a download."""
    host = machine(24, 64, disk=6)
    plan = make_plan(offers("llama-3.1-8b"), host, to_download=lambda m: sum(f.bytes for f in m.files))
    assert plan.verdict == "too-big"
    assert all(a.change.startswith("--quant") for a in plan.alternatives)
    assert plan.alternatives


def test_a_token_in_a_minute_is_not_shown_as_none() -> None:
    plan = make_plan(one("deepseek-v3.2").model(), replace(machine(24, 64), disk_bandwidth=10**8))
    assert 0 < plan.speed.generation.expected < 0.05
    text = "\n".join(plan_lines(plan, Style(False)))
    assert "0.0" not in [word for word in text.split() if word.replace(".", "").isdigit()]
