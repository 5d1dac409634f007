"""Every quantization of a model on one machine, best first: the table behind the choice."""

from __future__ import annotations

from collections.abc import Sequence

from localrun.errors import LocalrunError
from localrun.hardware.facts import Host
from localrun.plan.choose import Offer, choose, utility
from localrun.plan.rates import DEFAULT, Rates
from localrun.plan.values import Verdict, Wanted
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    quant: str
    bytes: int
    verdict: Verdict
    rate: float  # generation, tokens per second
    ctx_size: int
    why_not: str = ""  # an error that kept this quantization from being planned


def survey(
    offers: Sequence[Offer], host: Host, wanted: Wanted | None = None, rates: Rates = DEFAULT
) -> tuple[Row, ...]:
    """One row for each offer, in the order that the goal prefers; those that cannot be read come last."""
    wanted = wanted or Wanted()
    rows: list[tuple[tuple[float, ...], Row]] = []
    failed: list[Row] = []
    for offer in offers:
        try:
            found = choose(offer.model(), host, wanted, rates).found
        except LocalrunError as wrong:
            failed.append(Row(offer.quant, offer.bytes, "too-big", 0.0, 0, str(wrong)))
            continue
        row = Row(offer.quant, offer.bytes, found.verdict, found.rate, found.settings.ctx_size)
        rows.append((utility(found, offer.quant, wanted.goal), row))
    rows.sort(key=lambda pair: pair[0], reverse=True)
    return (*(row for _, row in rows), *failed)
