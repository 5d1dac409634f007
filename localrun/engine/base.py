"""The one interface that every engine meets.

An engine turns a plan into a recipe (pure, what `--dry-run` prints), starts it, and answers
what it is doing. `Handle` is all that is needed to find it again from another process, so it
is what the state file holds. Engines that are processes of ours share `process.py`.
"""

from __future__ import annotations

from typing import Protocol

from localrun.meter.values import Observation
from localrun.plan.values import Plan
from localrun.recipe.values import Launch, Recipe
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can be used here: `path` says which one, `why` what is missing."""

    usable: bool
    path: str = ""
    version: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Handle:
    """A started engine, as it can be found again. `pid` with `created` outlives pid reuse."""

    engine: str
    pid: int
    created: float  # the process's start, seconds since the epoch as the system tells it
    endpoint: str  # OpenAI base URL
    api_key: str = ""
    log: str = ""
    alias: str = ""  # the name under which it serves its model


@dataclass(frozen=True, slots=True)
class Allocation:
    """What the engine really took, by device, read from its log. Bytes."""

    device: str
    weights: int = 0
    kv: int = 0
    compute: int = 0
    output: int = 0
    repack: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.output + self.repack


class Engine(Protocol):
    """The five questions; all but `recipe` may raise EngineError."""

    name: str

    def available(self) -> Availability:
        """Whether this engine can be used on this machine. Quick, no network."""
        ...

    def recipe(self, plan: Plan, launch: Launch) -> Recipe:
        """The process, or the calls, that serve `plan`. Raises EngineMissing."""
        ...

    def start(self, recipe: Recipe, name: str, log: str) -> Handle:
        """Start and return at once; everything the engine prints goes to the file `log`."""
        ...

    def ready(self, handle: Handle) -> bool:
        """True once requests are answered. Raises EngineError with the reason when it died."""
        ...

    def stop(self, handle: Handle, grace: float) -> None:
        """End it and all it started: politely for `grace` seconds, then for sure."""
        ...

    def observe(self, handle: Handle) -> Observation | None:
        """What it is doing now; None while it does not answer."""
        ...

    def allocation(self, handle: Handle) -> tuple[Allocation, ...]:
        """What it took, by device; empty where it does not tell."""
        ...
