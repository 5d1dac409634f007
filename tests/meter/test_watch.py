"""Rates from counters that are read now and then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.meter.values import Observation
from localrun.meter.watch import Watcher
from localrun.plan.kv_groups import KvGroup

GROUPS = (KvGroup("full", "full", 1000, 1, 10),)
IDLE = Observation(tokens_held=0, tokens_capacity=1000, busy=0, generating=())


def busy(tokens: int, task: int = 1, **more: float) -> Observation:
    return replace(IDLE, busy=1, generating=((task, tokens),), tokens_held=30 + tokens, **more)  # type: ignore[arg-type]


def test_the_first_look_knows_no_rate_now() -> None:
    assert Watcher(GROUPS).update(busy(500), 100.0).rate_now == 0.0


def test_tokens_between_two_looks_make_the_rate() -> None:
    watcher = Watcher(GROUPS)
    watcher.update(busy(10), 100.0)
    assert watcher.update(busy(30), 101.0).rate_now == pytest.approx(20.0)


def test_a_new_task_in_the_slot_counts_from_its_own_start() -> None:
    watcher = Watcher(GROUPS)
    watcher.update(busy(900, task=1), 100.0)
    assert watcher.update(busy(15, task=2), 101.0).rate_now == pytest.approx(15.0)


def test_two_slots_add_up() -> None:
    watcher = Watcher(GROUPS)
    watcher.update(replace(IDLE, busy=2, generating=((1, 0), (2, 0))), 0.0)
    assert watcher.update(replace(IDLE, busy=2, generating=((1, 8), (2, 12))), 2.0).rate_now == pytest.approx(
        10.0
    )


def test_an_idle_engine_has_no_rate_now_and_keeps_its_average() -> None:
    watcher = Watcher(GROUPS)
    watcher.update(busy(10), 100.0)
    reading = watcher.update(replace(IDLE, generated_tokens=60, generated_seconds=2.0), 100.5)
    assert (reading.rate_now, reading.rate_average) == (0.0, 30.0)


def test_the_rate_forgets_what_is_older_than_its_window() -> None:
    watcher = Watcher(GROUPS)
    for second in range(10):
        watcher.update(busy(100 * second), float(second))
    for second in range(10, 20):
        reading = watcher.update(busy(900 + 10 * (second - 9)), float(second))
    assert reading.rate_now == pytest.approx(10.0)


def test_the_first_token_s_time_is_the_newest_request_s() -> None:
    watcher = Watcher(GROUPS)
    assert watcher.update(IDLE, 0.0).first_token_ms == 0.0
    assert watcher.update(busy(1, prompt_seconds=0.25), 1.0).first_token_ms == pytest.approx(250.0)
    assert watcher.update(busy(9, prompt_seconds=0.25), 2.0).first_token_ms == pytest.approx(250.0)
    assert watcher.update(busy(1, task=2, prompt_seconds=0.35), 3.0).first_token_ms == pytest.approx(100.0)


def test_an_engine_that_was_started_anew_has_no_negative_rates() -> None:
    watcher = Watcher(GROUPS)
    watcher.update(busy(500, prompt_seconds=9.0, generated_tokens=500), 1.0)
    reading = watcher.update(busy(2, prompt_seconds=0.1, generated_tokens=2), 2.0)
    assert reading.rate_now >= 0
    assert reading.first_token_ms >= 0


LOOKS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5000), st.floats(0, 10), st.floats(0, 60)), max_size=40
)


@given(LOOKS)
def test_whatever_the_counters_do_rates_are_finite_and_not_negative(
    looks: list[tuple[int, int, float, float]],
) -> None:
    watcher, now = Watcher(GROUPS), 0.0
    for task, tokens, seconds, step in looks:
        now += step
        seen = busy(
            tokens, task=task, prompt_seconds=seconds, generated_tokens=tokens, generated_seconds=seconds
        )
        reading = watcher.update(seen if task else IDLE, now)
        for rate in (reading.rate_now, reading.rate_average, reading.prompt_rate, reading.first_token_ms):
            assert 0 <= rate < float("inf")
