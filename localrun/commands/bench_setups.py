"""The combinations that `bench` measures: each planned, or found running, before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from localrun import benching
from localrun.bench import sweep
from localrun.bench.values import Case, Failed
from localrun.benching import Setup
from localrun.commands.base import App
from localrun.errors import DoesNotFit, LocalrunError, ModelError, UsageError
from localrun.plan.kv import context
from localrun.plan.memory import memory
from localrun.plan.planner import make_plan
from localrun.plan.rates import Rates
from localrun.plan.values import Plan, Wanted
from localrun.up import Prepared, check_verdict


def setups(
    app: App,
    base: Prepared,
    asked: Sequence[Wanted],
    cases: Sequence[Case],
    rates: Rates,
    options: dict[str, Any],
) -> tuple[list[Setup], list[Failed]]:
    """Every combination planned before one is measured, and those that cannot be.

    Raises the first refusal where all are refused.
    """
    found: list[Setup] = []
    refused: list[tuple[Wanted, LocalrunError]] = []
    for one in asked:
        record = benching.idle(app.session, base, one)
        try:
            if record is not None and record.settings is not None:
                memories = memory(base.plan.model, base.plan.host, record.settings)
                plan = replace(base.plan, settings=record.settings, memory=memories)
                _check_room(plan, cases)
            else:
                plan = _plan(base, one, cases, rates)
                check_verdict(plan, bool(options.get("force")), base.typed)
        except (UsageError, ModelError, DoesNotFit) as wrong:
            refused.append((one, wrong))
            continue
        found.append(Setup(replace(base, plan=plan), record))
    if not found:
        raise refused[0][1]
    return found, [Failed(_fixed(one), str(wrong), wrong.hint) for one, wrong in refused]


def _fixed(one: Wanted) -> str:
    fixed = (("t", one.threads), ("ctk", one.cache_type_k), ("ctv", one.cache_type_v))
    return ", ".join(f"{short} {value}" for short, value in fixed if value) or "the plan's settings"


def _plan(base: Prepared, one: Wanted, cases: Sequence[Case], rates: Rates) -> Plan:
    """The plan for one combination; a context that nobody named is as large as the cases need."""
    plan = make_plan(base.plan.model, base.plan.host, one, rates, advise=False)
    need = sweep.needed(cases)
    if one.ctx_size is None and _room(plan) < need:
        plan = make_plan(base.plan.model, base.plan.host, replace(one, ctx_size=need), rates, advise=False)
    _check_room(plan, cases)
    return plan


def _room(plan: Plan) -> int:
    """Tokens that one request may have: llama-server keeps each to the trained context."""
    cells, trained = context(plan.model.shape, plan.settings).cells, plan.model.shape.n_ctx_train
    return min(cells, trained) if trained else cells


def _check_room(plan: Plan, cases: Sequence[Case]) -> None:
    longest = max(cases, key=lambda case: case.depth + case.tokens)
    need, room = sweep.needed(cases), _room(plan)
    if need > room:
        larger = need <= (plan.model.shape.n_ctx_train or need)
        raise UsageError(
            f"{longest.name} needs a context of {need}, and there is one of {room}",
            f"-c {need}" if larger else "smaller -p, -n or -d: the model was trained on no more",
        )
