"""The in-process engine as one engine among others: whether it is here, and that it serves nobody but its caller."""

from __future__ import annotations

from localrun.engine.base import Allocation, Availability, Handle
from localrun.errors import UsageError
from localrun.meter.values import Observation
from localrun.plan.values import Plan
from localrun.recipe.values import Launch, Recipe


def no_endpoint() -> UsageError:
    return UsageError(
        "the in-process engine serves no endpoint: it lives in the command that uses it",
        "localrun run NAME --engine in-process, or localrun bench; --engine embedded for an endpoint",
    )


class InProcessEngine:
    name = "in-process"

    def available(self) -> Availability:
        import importlib.metadata

        from localrun.engine.libllama import find

        found = find()
        if not found:
            return Availability(False, why="neither llama-cpp-python nor xllamacpp is installed")
        version = importlib.metadata.version(found[0].package)
        return Availability(True, path=found[0].path, version=f"{found[0].package} {version}")

    def recipe(self, plan: Plan, launch: Launch) -> Recipe:
        del plan, launch
        raise no_endpoint()

    def start(self, recipe: Recipe, name: str, log: str) -> Handle:
        del recipe, name, log
        raise no_endpoint()

    def ready(self, handle: Handle) -> bool:
        del handle
        raise no_endpoint()

    def stop(self, handle: Handle, grace: float) -> None:
        """Nothing of it outlives its command."""

    def observe(self, handle: Handle) -> Observation | None:
        del handle
        return None

    def allocation(self, handle: Handle) -> tuple[Allocation, ...]:
        del handle
        return ()
