"""A few repetitions as the figures that are shown."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, sqrt
from typing import Literal

from localrun.plan.values import Band
from localrun.value import dataclass

Place = Literal["below", "within", "above"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Tokens per second. The median counts: one repetition that a neighbour disturbed does not move it."""

    median: float
    low: float
    high: float
    stdev: float  # of the sample; 0 of a single one

    @classmethod
    def of(cls, rates: Sequence[float]) -> Spread:
        """Raises ValueError without any."""
        if not rates:
            raise ValueError("no repetition was measured")
        ordered, n = sorted(rates), len(rates)
        median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
        mean = fsum(ordered) / n
        variance = fsum((rate - mean) ** 2 for rate in ordered) / (n - 1) if n > 1 else 0.0
        return cls(median, ordered[0], ordered[-1], sqrt(variance))


def place(rate: float, band: Band) -> Place:
    """Where a measured rate lies against what was foretold."""
    return "below" if rate < band.low else "above" if rate > band.high else "within"


def change(now: float, before: float) -> float:
    """Per cent; 0 where there is nothing to compare with."""
    return (now / before - 1.0) * 100.0 if before > 0 else 0.0
