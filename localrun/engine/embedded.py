"""The embedded engine: xllamacpp, hosted in a child process so that a crash is not ours."""

from __future__ import annotations

import sys

from localrun.engine import allocation, client, process
from localrun.engine.base import Allocation, Availability, Handle
from localrun.errors import UsageError
from localrun.meter.values import Observation
from localrun.plan.values import Plan
from localrun.recipe.argv import to_argv
from localrun.recipe.environment import environment
from localrun.recipe.values import Launch, Recipe


class Process:
    """What all engines that are a llama-server process share."""

    name = ""

    def start(self, recipe: Recipe, name: str, log: str) -> Handle:
        return process.spawn(recipe, name, log)

    def ready(self, handle: Handle) -> bool:
        return process.ready(handle)

    def stop(self, handle: Handle, grace: float) -> None:
        process.stop(handle, grace)

    def observe(self, handle: Handle) -> Observation | None:
        return client.observe(handle.endpoint, handle.api_key)

    def allocation(self, handle: Handle) -> tuple[Allocation, ...]:
        return allocation.parse_allocation(process.log_head(handle))


class Embedded(Process):
    name = "embedded"

    def available(self) -> Availability:
        import importlib.metadata
        import importlib.util

        if importlib.util.find_spec("xllamacpp") is None:
            return Availability(False, why="the package xllamacpp is not installed")
        return Availability(True, path=sys.executable, version=importlib.metadata.version("xllamacpp"))

    def recipe(self, plan: Plan, launch: Launch) -> Recipe:
        if launch.rpc:
            raise UsageError(
                "the embedded engine has no RPC", "--engine llama-server, of a build that has it"
            )
        # -P: a file in the current folder must not stand in for a module.
        argv = (sys.executable, "-P", "-m", "localrun.engine.host", *to_argv(plan.settings, launch))
        return Recipe(self.name, argv, environment(launch, plan.host), plan.settings, launch)
