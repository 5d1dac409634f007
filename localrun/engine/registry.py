"""Which engines there are, and which one serves when nobody named one: the build that ran faster here,
and until that is known a build made for this machine before a portable wheel."""

from __future__ import annotations

import os
from collections.abc import Sequence

from localrun.config import Config, paths
from localrun.engine.base import Engine, Handle
from localrun.engine.embedded import Embedded
from localrun.engine.in_process_engine import InProcessEngine
from localrun.engine.installed import installed
from localrun.engine.llama_server import LlamaServer
from localrun.engine.ollama import Ollama
from localrun.errors import EngineMissing, UsageError
from localrun.hardware.facts import Host


def engines(config: Config) -> dict[str, Engine]:
    """Every engine by name; adding one is adding it here."""
    built = () if config.llama_server else installed(paths(os.environ, config).data)
    server = config.llama_server or (str(built[0]) if built else "")
    found: tuple[Engine, ...] = (LlamaServer(server), Embedded(), Ollama(), InProcessEngine())
    return {engine.name: engine for engine in found}


def engine_of(config: Config, handle: Handle) -> Engine:
    """The engine that started `handle`. One of another version's is still a process that can be ended."""
    return engines(config).get(handle.engine) or Embedded()


def build_of(engine: Engine) -> str:
    """The name and build under which an engine's measured speeds are kept."""
    found = engine.available()
    return f"{engine.name} {found.version or found.path}"


def choose(config: Config, name: str = "", host: Host | None = None) -> Engine:
    """The engine called `name`, or the first usable one for "auto". Raises EngineMissing.

    `host`, the machine as it is: of several builds the one that ran faster on it comes first.
    """
    here = engines(config)
    wanted = name or config.engine
    if wanted != "auto":
        engine = here.get(wanted)
        if engine is None:
            raise UsageError(f"no engine {wanted!r} in this version", f"there are: auto, {', '.join(here)}")
        if not config.llama_server and wanted == "llama-server":
            engine = _by_speed(_servers(config, here), config, host)[0][0]
        found = engine.available()
        if not found.usable:
            raise EngineMissing(f"engine {wanted}: {found.why}", "use --engine auto")
        return engine
    why = []
    for candidate in _by_speed((*_servers(config, here), here["embedded"]), config, host)[0]:
        found = candidate.available()
        lacking = candidate.lacks() if found.usable and isinstance(candidate, LlamaServer) else ()
        if found.usable and not lacking:
            return candidate
        why.append(f"{candidate.name}: {found.why or f'{found.path} is too old, it lacks {lacking[0]}'}")
    raise EngineMissing("no engine here; " + "; ".join(why), "pip install xllamacpp")


def why(config: Config, host: Host) -> str:
    """Why "auto" takes what it takes, where measured speeds say it; empty where they say nothing."""
    here = engines(config)
    return _by_speed((*_servers(config, here), here["embedded"]), config, host)[1]


def _servers(config: Config, here: dict[str, Engine]) -> tuple[Engine, ...]:
    """Every llama-server that may be taken, in the usual order: ours, the newest first, then PATH's."""
    if config.llama_server:
        return (here["llama-server"],)
    built = [LlamaServer(str(path)) for path in installed(paths(os.environ, config).data)]
    return (*built, LlamaServer())


def _by_speed(
    candidates: Sequence[Engine], config: Config, host: Host | None
) -> tuple[tuple[Engine, ...], str]:
    """(the candidates, the one that ran faster here first; why). The usual order where nothing tells."""
    file = paths(os.environ, config).state / "runs.json"
    # A binary that the user named is the user's choice.
    if host is None or host.simulated or config.llama_server or not file.exists():
        return tuple(candidates), ""
    from localrun.engine.measured import runs_of_builds
    from localrun.engine.preference import prefer

    usable = {build_of(one): one for one in reversed(candidates) if one.available().usable}
    if len(usable) < 2:
        return tuple(candidates), ""
    builds = list(reversed(usable))
    best, reason = prefer(builds, runs_of_builds(file, host, builds))
    first = usable[best]
    return (first, *(one for one in candidates if one is not first)), reason
