"""A catalogue entry as what the planner chooses from."""

from __future__ import annotations

from localrun.model.entry import Entry
from localrun.model.sized import model_for, quants_of, repo_of
from localrun.plan.choose import Offer


def offers_of(entry: Entry) -> list[Offer]:
    """What an entry is published as; a size that is not published is computed by the rules."""

    def offer(quant: str) -> Offer:
        found = repo_of(entry, quant)
        size = found[1].bytes if found and found[1].bytes else model_for(entry, quant).weights_bytes
        return Offer(quant, size, lambda: model_for(entry, quant))

    return [offer(quant) for quant in quants_of(entry)]
