"""Other models of the catalogue that do work where the one asked for does not."""

from __future__ import annotations

from localrun.commands.offers import offers_of
from localrun.errors import LocalrunError
from localrun.hardware.facts import Host
from localrun.model.catalog import load_catalog
from localrun.plan.planner import make_plan
from localrun.plan.quality import loss
from localrun.plan.values import Alternative, Wanted
from localrun.units import format_count

#: Slower than this nobody wants to hear of, tokens per second.
_USABLE = 3.0
#: The first of these that works is named: the most capable first. Judgement, as any such list is.
_CAPABLE = (
    "deepseek-v3.1",
    "llama-4-maverick",
    "llama-4-scout",
    "llama-3.1-70b",
    "mistral-small-3.2",
    "llama-3.1-8b",
    "smollm2",
)


def other_models(name: str, host: Host, wanted: Wanted, machine: str = "") -> tuple[Alternative, ...]:
    """At most one: the most capable model that fits here and answers at a usable speed.

    `machine`: the flags that the user described the machine with, to be typed again.
    """
    catalog = load_catalog()
    room = host.ram.available + sum(gpu.vram_free for gpu in host.gpus if not gpu.unified)
    for other in _CAPABLE:
        if other == name or catalog.find(other) is None:
            continue
        entry = catalog.entry(other)
        offers = [
            offer for offer in offers_of(entry) if offer.bytes < min(room * 0.9, host.disk_free or room)
        ]
        if not offers:
            continue
        try:
            # The one nearest to four bits that has room: a name and a rough speed are enough here.
            offer = min(offers, key=lambda o: abs(loss(o.quant) - loss("Q4_K_M")))
            plan = make_plan([offer], host, Wanted(goal=wanted.goal), advise=False)
        except LocalrunError:
            continue
        if plan.verdict == "fits" and plan.speed.generation.expected >= _USABLE:
            goal = f" --for {wanted.goal}" if wanted.goal != "balanced" else ""
            typed = f"localrun plan {other} --quant {plan.model.quant}{goal}{machine}"
            what = f"{typed}: {entry.title}, {format_count(entry.parameters)}"
            return (Alternative(what, "fits", plan.speed.generation.expected),)
    return ()
