"""Ollama as an engine: a keeper process of ours that drives a server, found or started.

A running server is used when the plan needs nothing that only its environment can say; otherwise
`ollama serve` is started beside it, with the plan's environment, on the plan's port.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from localrun.engine import client, process
from localrun.engine.base import Availability, Handle
from localrun.engine.embedded import Process
from localrun.engine.failures import explain
from localrun.engine.ollama_address import Address, server_address
from localrun.engine.ollama_task import ERROR, HINT, READY, Task, to_argv
from localrun.errors import EngineError, EngineMissing, UsageError
from localrun.hardware import system
from localrun.meter.values import Observation
from localrun.plan.values import Plan
from localrun.recipe.values import Launch, Recipe

if TYPE_CHECKING:
    from localrun.recipe.ollama_env import Environment

#: Ollama's log line of a child: `msg="starting llama-server" cmd="... --port 40985 ..."`.
_STARTED = re.compile(r'"starting llama-server"[^\n]* --port (\d{2,5}) ')
#: Variables whose absence changes speed at most, never whether the plan holds.
_HARMLESS = frozenset(
    {
        "OLLAMA_KEEP_ALIVE",
        "OLLAMA_LOAD_TIMEOUT",
        "OLLAMA_MAX_LOADED_MODELS",
        "LLAMA_ARG_CACHE_RAM",
        "LLAMA_ARG_CTX_CHECKPOINTS",
    }
)


class Ollama(Process):
    name = "ollama"

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def available(self) -> Availability:
        import importlib.util

        if importlib.util.find_spec("ollama") is None:
            return Availability(False, why="the package ollama is not installed")
        if path := shutil.which("ollama", path=self._environment.get("PATH")):
            return Availability(True, path=path)
        found = find_server(self._environment.get("OLLAMA_HOST", ""))
        if found is None:
            return Availability(False, why="no ollama on PATH and no server answers")
        return Availability(True, path=found.url)

    def recipe(self, plan: Plan, launch: Launch) -> Recipe:
        if launch.api_key:
            raise UsageError(
                "Ollama's server cannot ask for an API key", "leave --api-key out, or --engine auto"
            )
        from localrun.recipe.ollama_env import split_plan

        environment = split_plan(plan, _ASSUMED).environment
        binary = shutil.which("ollama", path=self._environment.get("PATH")) or ""
        running = find_server(self._environment.get("OLLAMA_HOST", ""))
        needed = {n for n, v in environment if n not in _HARMLESS and (n, v) != ("OLLAMA_NUM_PARALLEL", "1")}
        if running and running.scheme == "http" and not running.path and not (needed and binary):
            launch = replace(launch, host=running.host, port=running.port)
            return self._recipe(plan, launch, (), server=running.url)
        if not binary:
            raise EngineMissing(
                "no ollama on PATH and no server answers", "ollama.com/download, or --engine auto"
            )
        private = self._private(environment, launch, alone=running is None)
        return self._recipe(plan, launch, private, serve=binary)

    def _recipe(
        self, plan: Plan, launch: Launch, environment: Environment, serve: str = "", server: str = ""
    ) -> Recipe:
        from localrun.recipe.modelfile_plan import parameters_for

        tag, files = self._source(plan, launch)
        pairs = tuple((c.name, c.args) for c in parameters_for(plan))
        task = Task(launch.alias, serve, server, tag, files, pairs)
        # -P: a file in the current folder must not stand in for a module.
        argv = (sys.executable, "-P", "-m", "localrun.engine.ollama_keeper", *to_argv(task))
        return Recipe(self.name, argv, environment, plan.settings, launch)

    def _source(self, plan: Plan, launch: Launch) -> tuple[str, tuple[str, ...]]:
        """A model that Ollama has already is served under its name; any other from its files."""
        from localrun.model.ollama_store import folders, name_of_blob

        path = Path(launch.model)
        for folder in folders(self._environment, Path.home()):
            if path.parent == folder / "blobs" and (name := name_of_blob(folder, path)):
                return name.short, ()
        files = tuple(f.name for f in plan.model.files if os.path.isabs(f.name)) or (launch.model,)
        return "", (*files, launch.mmproj) if launch.mmproj else files

    def _private(self, environment: Environment, launch: Launch, alone: bool) -> Environment:
        ours = {
            **dict(environment),
            "OLLAMA_HOST": Address("http", launch.host, launch.port).authority,
            "OLLAMA_KEEP_ALIVE": "-1",
            "OLLAMA_NO_CLOUD": "1",
            # Ollama does not show these, but passes its environment on: they are what we measure by.
            "LLAMA_ARG_ENDPOINT_METRICS": "1",
            "LLAMA_ARG_ENDPOINT_SLOTS": "1",
        }
        if not alone:
            # A server that starts deletes unused blobs, among them another one's upload in progress.
            ours["OLLAMA_NOPRUNE"] = "1"
        return tuple(sorted(ours.items()))

    def ready(self, handle: Handle) -> bool:
        status = process.exit_status(handle.pid)
        if status is not None or not system.process_alive(handle.pid, handle.created):
            raise EngineError(*_why(process.log_tail(handle), status))
        return READY in process.log_tail(handle) or READY in process.log_head(handle)

    def observe(self, handle: Handle) -> Observation | None:
        """What the llama-server below a server of our own says; of another server only the context.

        Ollama itself counts no tokens outside of its answers.
        """
        if port := _child_port(handle):
            return client.observe(f"http://127.0.0.1:{port}")
        from localrun.engine.ollama_client import Server

        try:
            loaded = Server(server_address(handle.endpoint.removesuffix("/v1")), quick=2.0).loaded()
        except (EngineError, UsageError):
            return None
        return Observation(0, max((m.ctx_size for m in loaded), default=0), 0, ())


def _child_port(handle: Handle) -> int:
    """The port of the newest llama-server that our `ollama serve` says it started; 0 for none."""
    for part in (process.log_tail, process.log_head):
        if found := _STARTED.findall(part(handle)):
            return int(found[-1])
    return 0


#: Which server is assumed before one answers.
_ASSUMED = (0, 33, 0)


def find_server(ollama_host: str = "") -> Address | None:
    """The server that OLLAMA_HOST names, if one answers there. Raises UsageError for a bad value."""
    from localrun.engine.ollama_client import Server

    address = server_address(ollama_host)
    try:
        Server(address, quick=2.0).version()
    except EngineError:
        return None
    return address


def _why(log: str, status: int | None) -> tuple[str, str]:
    """The keeper's own last word, and where it has none, what llama-server's log tells."""
    hint = ""
    for line in reversed(log.splitlines()):
        if line.startswith(HINT):
            hint = line.removeprefix(HINT)
        elif line.startswith(ERROR):
            return line.removeprefix(ERROR), hint
    return explain(log, status)
