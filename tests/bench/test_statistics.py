"""Repetitions as figures."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.bench.statistics import Spread, change, place
from localrun.plan.values import Band

RATES = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=30)


@given(RATES)
def test_the_figures_are_the_textbook_s(rates: list[float]) -> None:
    found = Spread.of(rates)
    assert found.median == pytest.approx(statistics.median(rates))
    assert (found.low, found.high) == (min(rates), max(rates))
    assert found.stdev == pytest.approx(
        statistics.stdev(rates) if len(rates) > 1 else 0.0, rel=1e-6, abs=1e-6
    )
    assert found.low <= found.median <= found.high


def test_one_disturbed_repetition_does_not_move_the_median() -> None:
    assert Spread.of([30.0, 31.0, 2.0]).median == 30.0


def test_nothing_measured_has_no_figures() -> None:
    with pytest.raises(ValueError, match="no repetition"):
        Spread.of([])


def test_where_a_rate_lies_against_the_plan() -> None:
    band = Band(10.0, 12.0, 14.0)
    assert [place(rate, band) for rate in (9.9, 10.0, 14.0, 14.1)] == ["below", "within", "within", "above"]


def test_change_in_per_cent() -> None:
    assert change(11.0, 10.0) == pytest.approx(10.0)
    assert change(9.0, 10.0) == pytest.approx(-10.0)
    assert change(9.0, 0.0) == 0.0
