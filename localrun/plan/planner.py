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
from localrun.plan.compute import CONTEXT
from localrun.plan.memory import budget, companions
from localrun.plan.rates import DEFAULT, Rates
from localrun.plan.speed import speed_of
from localrun.plan.values import Kv, Plan, Wanted
from localrun.units import MIB

#: The smallest graph that any model of use has.
_GRAPH = 64 * MIB


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
    wanted, host = wanted or Wanted(), _without_full_cards(host)
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
    no_room = missing > host.disk_free > 0
    if no_room:
        plan = replace(plan, verdict="too-big", reasons=(advice.no_disk(missing, host), *plan.reasons))
    if advise:

        def every() -> Sequence[Offer]:
            return offers if len(offers) > 1 else others()

        plan = replace(
            plan,
            alternatives=advice.for_disk(plan, every())
            if no_room
            else advice.alternatives(plan, wanted, every, rates),
            fixes=advice.fixes(plan, choice, wanted),
            ladder=advice.ladder(plan, choice, wanted),
        )
    return plan


def _without_full_cards(host: Host) -> Host:
    """`host` less the cards that have no room for a driver's context and a graph: others may be free.

    The rest is numbered as the engine will see it, for only those are named to it.
    """
    kept = [g for g in host.gpus if g.unified or budget(g) > CONTEXT[g.backend] + _GRAPH]
    if len(kept) == len(host.gpus):
        return host
    full = ", ".join(f"GPU {g.index} ({g.name})" for g in host.gpus if g not in kept)
    gpus = tuple(replace(g, index=i) for i, g in enumerate(kept))
    return replace(
        host, gpus=gpus, notes=(*host.notes, f"left out, for next to nothing is free on it: {full}")
    )


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
        companions=companions(model, host, found.settings),
    )
