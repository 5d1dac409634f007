"""What measured runs make of the rates: one is believed, many agree on it, a wild one is outvoted."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localrun.hardware.profiles import profile
from localrun.plan.calibrate import Run, calibrate, figures, run_of
from localrun.plan.planner import make_plan
from localrun.plan.rates import DEFAULT
from localrun.plan.values import Wanted
from tests.plan.test_speed import model_of


def ran(off: float, model: str = "m", part: str = "ram", bandwidth: float = 50e9, prompt: float = 0.0) -> Run:
    """A run that took `off` times as long as foretold: 100 ms, nearly all of it in one part."""
    parts = {"vram": 0.0, "ram": 0.0, "disk": 0.0, "fixed": 0.002} | {part: 0.098}
    return Run(
        model, 10.0 / off, prompt, **parts, foretold_prompt=100.0, ram_bandwidth=bandwidth, figures=figures()
    )


def width(runs: list[Run]) -> float:
    rates = calibrate(runs)
    return rates.high - rates.low


def test_nothing_measured_changes_nothing() -> None:
    assert calibrate([]) == DEFAULT


def test_a_measured_bandwidth_alone_narrows_the_band_and_is_no_calibration() -> None:
    rates = calibrate([], ram_bandwidth=40e9)
    assert (rates.low, rates.high) == (0.75, 1.25)
    assert not rates.calibrated


def test_one_run_sets_the_machine_right() -> None:
    rates = calibrate([ran(1.5)])
    assert rates.calibrated
    assert rates.ram_time == pytest.approx((0.15 - 0.002) / 0.098)
    assert rates.vram_time == rates.disk_time == 1.0
    assert rates.models["m"] == pytest.approx(1.0)
    assert rates.high - rates.low < DEFAULT.high - DEFAULT.low


def test_each_part_is_judged_by_the_runs_that_spend_their_time_in_it() -> None:
    rates = calibrate([ran(1.2, "a", "vram"), ran(2.0, "b", "ram"), ran(0.8, "c", "disk")])
    assert rates.vram_time == pytest.approx(1.2, rel=0.01)
    assert rates.ram_time == pytest.approx(2.0, rel=0.02)
    assert rates.disk_time == pytest.approx(0.8, rel=0.01)


def test_a_wild_run_is_outvoted_wherever_it_stands() -> None:
    sane = [ran(1.1, "a"), ran(1.15, "b"), ran(1.2, "c")]
    for wild in (ran(50.0, "w"), ran(0.01, "w")):
        for runs in itertools.permutations([*sane, wild]):
            assert 1.0 <= calibrate(runs).ram_time <= 1.25
            assert width(list(runs)) <= width(sane[:1])


def test_of_two_that_contradict_each_other_the_nearer_to_the_known_figures_counts() -> None:
    assert calibrate([ran(1.1, "a"), ran(3.0, "b")]).ram_time == pytest.approx(1.1, rel=0.01)
    assert calibrate([ran(0.5, "a"), ran(2.0, "b")]).ram_time == 1.0


def test_a_model_that_ran_often_has_one_voice() -> None:
    often = [ran(2.0, "a")] * 50
    assert calibrate([*often, ran(1.1, "b"), ran(1.1, "c")]).ram_time == pytest.approx(1.1, rel=0.01)


def test_the_newest_runs_of_a_model_are_those_that_count() -> None:
    assert calibrate([ran(3.0)] * 50 + [ran(1.2)] * 9).ram_time == pytest.approx(1.2, rel=0.01)


def test_what_is_left_of_a_model_is_its_own() -> None:
    rates = calibrate([ran(1.0, "a"), ran(1.0, "b"), ran(1.4, "c")])
    assert rates.ram_time == pytest.approx(1.0)
    assert rates.models["c"] == pytest.approx(1.4, rel=0.02)
    assert rates.models["a"] == pytest.approx(1.0)


@given(st.lists(st.floats(0.05, 20.0), min_size=1, max_size=12))
@settings(max_examples=100)
def test_no_runs_give_a_wider_band_than_none_or_a_senseless_scale(offs: list[float]) -> None:
    rates = calibrate([ran(off, f"m{i}") for i, off in enumerate(offs)])
    assert DEFAULT.low <= rates.low < 1.0 < rates.high <= DEFAULT.high
    assert 0.2 < rates.ram_time < 5.0
    assert all(0.2 < factor < 5.0 for factor in rates.models.values())


@given(st.floats(0.5, 2.0), st.integers(1, 8), st.integers(1, 8))
def test_more_runs_that_agree_never_widen_the_band(off: float, n: int, more: int) -> None:
    runs = [ran(off, f"m{i}") for i in range(n + more)]
    assert width(runs) <= width(runs[:n])


def test_prompts_are_calibrated_by_themselves() -> None:
    rates = calibrate([ran(1.0, prompt=50.0)])
    assert rates.prompt_time == pytest.approx(2.0)
    assert rates.ram_time == pytest.approx(1.0)
    assert calibrate([ran(1.0)]).prompt_time == 1.0


def test_runs_that_cannot_be_compared_are_left_out() -> None:
    old, elsewhere = replace(ran(3.0), figures=1), ran(3.0, bandwidth=20e9)
    senseless = [replace(ran(1.0), generation=x) for x in (0.0, -1.0, float("nan"), float("inf"))]
    assert calibrate([old, *senseless]) == DEFAULT
    assert calibrate([elsewhere], ram_bandwidth=50e9).calibrated is False
    assert calibrate([ran(1.2), elsewhere], ram_bandwidth=50e9).ram_time == pytest.approx(1.2, rel=0.01)


def test_other_constants_have_another_number() -> None:
    assert figures() != figures(replace(DEFAULT, ram=0.5))
    assert figures() != figures(replace(DEFAULT, cpu_types={"F16": 1.0}))


@pytest.mark.parametrize("name", ["rtx-4090", "m3-max-36gb", "cpu"])
@pytest.mark.parametrize("off", [0.7, 1.0, 1.6])
def test_a_plan_made_after_a_run_foretells_that_run(name: str, off: float) -> None:
    host, model = profile(name), model_of("llama-8b")
    before = make_plan(model, host, Wanted(ctx_size=4096), advise=False)
    measured = before.speed.generation.expected / off
    run = run_of(before, measured, prompt=before.speed.prompt.expected / 2)
    rates = calibrate([run])
    after = make_plan(model, host, Wanted(ctx_size=4096), rates=rates, advise=False)
    assert after.speed.calibrated
    assert after.speed.generation.expected == pytest.approx(measured, rel=0.02)
    assert after.speed.generation.low < measured < after.speed.generation.high
    assert after.speed.prompt.expected == pytest.approx(before.speed.prompt.expected / 2, rel=0.01)
