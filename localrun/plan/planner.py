"""From a model and a machine to a plan: the planner as one pure function.

plan = make_plan(model, host)                    one file
plan = make_plan(offers, host, Wanted(...))      a catalogue entry: every quantization it has
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from localrun.hardware.facts import Host
from localrun.model.facts import Model
from localrun.plan import advice
from localrun.plan.choose import Choice, Offer, choose, choose_quant, refine
from localrun.plan.rates import DEFAULT, Rates
from localrun.plan.speed import speed_of
from localrun.plan.values import Kv, Plan, Wanted


def make_plan(
    model: Model | Sequence[Offer],
    host: Host,
    wanted: Wanted | None = None,
    rates: Rates = DEFAULT,
    to_download: Callable[[Model], int] | None = None,
    advise: bool = True,
    others: Callable[[], Sequence[Offer]] = tuple,
) -> Plan:
    """What would run, where every byte goes, how fast, and why. Raises UsageError, ModelError.

    `to_download` tells the bytes of a model that are not on this machine yet and need room on its disk.
    `others` gives quantizations that were not asked for, to name one where the plan does not fit.
    `advise=False` leaves out alternatives, fixes and the context ladder, which take further searches.
    """
    wanted = wanted or Wanted()
    offers: Sequence[Offer] = ()
    if isinstance(model, Model):
        chosen, choice = model, choose(model, host, wanted, rates)
    else:
        offers = model
        chosen, choice = choose_quant(offers, host, wanted, rates)
    choice = refine(choice)
    plan = _plan(chosen, host, choice)
    plan = replace(plan, reasons=advice.reasons(plan, choice, wanted))
    missing = to_download(chosen) if to_download else 0
    if missing > host.disk_free > 0:
        plan = replace(plan, verdict="too-big", reasons=(advice.no_disk(missing, host), *plan.reasons))
    if advise:
        plan = replace(
            plan,
            alternatives=advice.alternatives(
                plan, wanted, lambda: offers if len(offers) > 1 else others(), rates
            ),
            fixes=advice.fixes(plan, choice, wanted),
            ladder=advice.ladder(plan, choice, wanted),
        )
    return plan


def _plan(model: Model, host: Host, choice: Choice) -> Plan:
    found = choice.found
    speed = speed_of(choice.fitter.traffic_for(found.settings), found.settings, found.memory, found.kv)
    return Plan(
        verdict=found.verdict,
        model=model,
        host=host,
        settings=found.settings,
        memory=found.memory,
        kv=Kv(found.kv.bytes, found.kv.cells * found.kv.streams, found.kv.bytes_per_token),
        speed=speed,
        reasons=(),
    )
