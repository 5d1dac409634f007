"""Which engines there are, and which one serves when nobody named one."""

from __future__ import annotations

import os

from localrun.config import Config, paths
from localrun.engine.base import Engine, Handle
from localrun.engine.embedded import Embedded
from localrun.engine.llama_server import LlamaServer
from localrun.engine.ollama import Ollama
from localrun.errors import EngineMissing, UsageError

#: In the order of preference: a build made for this machine before a portable wheel.
_AUTO = ("llama-server", "embedded")


def engines(config: Config) -> dict[str, Engine]:
    """Every engine by name; adding one is adding it here."""
    from localrun.engine.installed import installed

    built = () if config.llama_server else installed(paths(os.environ, config).data)
    server = config.llama_server or (str(built[0]) if built else "")
    found: tuple[Engine, ...] = (LlamaServer(server), Embedded(), Ollama())
    return {engine.name: engine for engine in found}


def engine_of(config: Config, handle: Handle) -> Engine:
    """The engine that started `handle`. One of another version's is still a process that can be ended."""
    return engines(config).get(handle.engine) or Embedded()


def choose(config: Config, name: str = "") -> Engine:
    """The engine called `name`, or the first usable one for "auto". Raises EngineMissing."""
    here = engines(config)
    wanted = name or config.engine
    if wanted != "auto":
        engine = here.get(wanted)
        if engine is None:
            raise UsageError(f"no engine {wanted!r} in this version", f"there are: auto, {', '.join(here)}")
        found = engine.available()
        if not found.usable:
            raise EngineMissing(f"engine {wanted}: {found.why}", "use --engine auto")
        return engine
    why = []
    for candidate in (here[usual] for usual in _AUTO):
        found = candidate.available()
        lacking = candidate.lacks() if found.usable and isinstance(candidate, LlamaServer) else ()
        if found.usable and not lacking:
            return candidate
        why.append(f"{candidate.name}: {found.why or f'{found.path} is too old, it lacks {lacking[0]}'}")
    raise EngineMissing("no engine here; " + "; ".join(why), "pip install xllamacpp")
