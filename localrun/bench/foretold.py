"""What the planner says of one case: the band that a measurement is held against. Pure."""

from __future__ import annotations

from dataclasses import replace

from localrun.bench.values import Case
from localrun.plan.kv import kv_cache
from localrun.plan.rates import Rates
from localrun.plan.speed import Traffic, speed_of
from localrun.plan.values import Band, Plan


def held(case: Case) -> int:
    """Tokens in the cache while it generates, on average."""
    return case.depth + case.n_gen // 2


def foretold(plan: Plan, case: Case, rates: Rates) -> Band | None:
    """Tokens per second of `case` with the plan's settings.

    None for a prompt behind others: the planner does not count what attention to them costs.
    """
    if case.n_prompt and case.depth:
        return None
    settings = plan.settings
    if case.n_prompt:
        settings = replace(settings, ubatch_size=min(settings.ubatch_size, case.n_prompt))
    traffic = Traffic.of(plan.model, plan.host, settings, rates)
    kv = kv_cache(plan.model.shape, settings, plan.model.architecture)
    speed = speed_of(traffic, settings, plan.memory, kv, held(case))
    return speed.prompt if case.n_prompt else speed.generation


def seconds(bands: list[tuple[Case, Band | None]], repetitions: int) -> float:
    """About how long all repetitions take; 0 = unknown."""
    return sum(
        (repetitions + 1) * case.tokens / band.expected for case, band in bands if band and band.expected > 0
    )
