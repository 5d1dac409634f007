"""A plan held against what an engine says it takes: component by component, in bytes."""

from __future__ import annotations

from collections.abc import Iterable

from localrun.plan.values import DeviceMemory
from localrun.value import dataclass

#: Components that an engine accounts for; `overhead` (process, driver, prompt cache) is in no breakdown.
COMPONENTS = ("weights", "kv", "compute")


@dataclass(frozen=True, slots=True)
class Taken:
    """What an engine says it took, or would take, on one device."""

    device: str
    weights: int
    kv: int
    compute: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One component of one device, bytes."""

    device: str
    component: str
    planned: int
    taken: int

    @property
    def share(self) -> float:
        """How much more (+) or less (-) was taken than planned, as a share of the plan."""
        return (self.taken - self.planned) / self.planned if self.planned else float(self.taken > 0)


def compare(memory: Iterable[DeviceMemory], taken: Iterable[Taken]) -> tuple[Difference, ...]:
    """Every component that either side knows of; devices in the plan's order."""
    found = {t.device: t for t in taken}
    rows = []
    for planned in memory:
        engine = found.get(planned.device, Taken(planned.device, 0, 0, 0))
        for component in COMPONENTS:
            pair = getattr(planned, component), getattr(engine, component)
            if any(pair):
                rows.append(Difference(planned.device, component, *pair))
    return tuple(rows)


def total_share(differences: Iterable[Difference]) -> float:
    """The whole residual: what was taken more than planned, as a share of the plan."""
    rows = tuple(differences)
    planned = sum(d.planned for d in rows)
    return (sum(d.taken for d in rows) - planned) / planned if planned else 0.0
