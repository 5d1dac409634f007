"""From a model and a machine to a plan: the planner as one pure function.

plan = make_plan(model, host)                    one file
plan = make_plan(offers, host, Wanted(...))      a catalogue entry: every quantization it has
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from localrun.hardware.facts import Gpu, Host
from localrun.model.facts import Model
from localrun.plan import advice, instead
from localrun.plan.choose import Choice, Offer, choose, choose_quant, refine
from localrun.plan.compute import CONTEXT
from localrun.plan.fit import RANK, Candidate
from localrun.plan.memory import budget, companions, ram_budget
from localrun.plan.rates import DEFAULT, Rates
from localrun.plan.speed import speed_of
from localrun.plan.values import Kv, Plan, Wanted
from localrun.units import MIB
from localrun.value import replace

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
    offers: Sequence[Offer] = () if isinstance(model, Model) else model
    chosen, choice = _chosen(model, host, wanted, rates)
    smallest = min((o.bytes for o in offers), default=chosen.weights_bytes)
    if _may_hide(choice.found, host, wanted) and _may_do_alone(choice.found, host, smallest):
        bare = _without(host, host.gpus)
        other, alone = _chosen(model, bare, wanted, rates)
        if RANK[alone.found.verdict] > RANK[choice.found.verdict]:
            chosen, choice, host = other, alone, bare
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
            alternatives=instead.for_disk(plan, wanted, every(), to_download, rates)
            if no_room and to_download
            else instead.alternatives(plan, wanted, every, rates),
            fixes=advice.fixes(plan, choice, wanted),
            ladder=advice.ladder(plan, choice, wanted),
        )
    return plan


def _chosen(model: Model | Sequence[Offer], host: Host, wanted: Wanted, rates: Rates) -> tuple[Model, Choice]:
    if isinstance(model, Model):
        return model, choose(model, host, wanted, rates)
    return choose_quant(model, host, wanted, rates)


def _may_hide(found: Candidate, host: Host, wanted: Wanted) -> bool:
    """Whether a plan without the GPUs could be better: never for RAM, but any visible card takes a context and
    a graph, through which the largest weight in RAM passes, and a small card has no room for that."""
    free = not wanted.n_gpu_layers and wanted.tensor_split is None and wanted.override_tensor is None
    return free and found.verdict == "too-big" and bool(host.gpus) and not any(g.unified for g in host.gpus)


def _may_do_alone(found: Candidate, host: Host, smallest: int) -> bool:
    """Whether RAM could do better, by size: what pages already can only fit whole, all but unloaded blocks."""
    return found.verdict == "too-big" or smallest * 0.9 <= ram_budget(host)


def _without_full_cards(host: Host) -> Host:
    """`host` less the cards that have no room for a driver's context and a graph: others may be free."""
    full = [g for g in host.gpus if not g.unified and budget(g) <= CONTEXT[g.backend] + _GRAPH]
    return _without(host, full)


def _without(host: Host, left: Sequence[Gpu]) -> Host:
    """`host` with some GPUs left out, which the engine then does not see; the rest is numbered anew."""
    if not left:
        return host
    kept = [gpu for gpu in host.gpus if gpu not in left]
    names = ", ".join(f"GPU {gpu.index} ({gpu.name})" for gpu in left)
    return replace(
        host,
        gpus=tuple(replace(gpu, index=i) for i, gpu in enumerate(kept)),
        unused=tuple(left),
        notes=(*host.notes, f"left out, for too little is free on it: {names}"),
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
