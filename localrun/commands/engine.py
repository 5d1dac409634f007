"""`engine list` and `engine install`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from localrun.commands.base import App, put, put_json
from localrun.commands.calibration import run_file
from localrun.engine import native_build, registry
from localrun.engine.install import Choice, choose, run_pip
from localrun.engine.inventory import default_first, inventory, uses_gpu
from localrun.engine.measured import runs_of_builds
from localrun.engine.preference import speeds
from localrun.engine.tools import pinned, tools
from localrun.errors import EngineError, UsageError
from localrun.hardware.facts import Host
from localrun.hardware.probe import detect
from localrun.model.sources import Net
from localrun.show.engine_text import Building, engine_json, engine_lines


def list_engines(app: App, as_json: bool) -> None:
    host = detect(app.session.paths.models)
    config = app.session.config
    found = default_first(inventory(app.session), config, host)
    ran = speeds(runs_of_builds(run_file(app), host, (one.build for one in found if one.used)))
    why = registry.why(config, host)
    if config.llama_server or config.engine != "auto":
        why = "the settings name it"
    if as_json:
        put_json(engine_json(found, host.gpus, ran, why))
        return
    put("\n".join(engine_lines(found, host.gpus, app.out, ran, why, _short)))
    for note in host.notes:
        app.tell(f"note: {note}")


def install(app: App, native: bool, jobs: int | None, as_json: bool) -> None:
    """Says the exact command and why, asks, runs it. Raises EngineError, FetchError."""
    host = detect(app.session.paths.models)
    choice = choose(host, tools(), _pin(), native=native)
    for line in choice.why:
        app.tell(line)
    if choice.kind == "none":
        raise EngineError("no engine for this machine's GPU can be had as it is", "update the driver first")
    if choice.kind == "wheel":
        _wheel(app, host, choice, as_json)
    else:
        _native(app, host, choice, jobs or 0, as_json)


def _wheel(app: App, host: Host, choice: Choice, as_json: bool) -> None:
    app.tell(f"$ {shlex.join(choice.command)}")
    here = next((e for e in inventory(app.session) if e.kind == "xllamacpp"), None)
    if here is not None and here.release == _pin() and uses_gpu(here.seen, host.gpus) is not False:
        _installed(as_json, "wheel", "xllamacpp", choice.backend, "that engine is already here")
        return
    if app.offline:
        raise UsageError("engine install needs the network, and --offline forbids it")
    if not _agreed(app, "run this?"):
        return
    said = run_pip(choice, os.environ)
    if any(e.kind == "llama-server" for e in inventory(app.session)):
        app.tell("`up` takes llama-server first; `--engine embedded` takes this one")
    _installed(as_json, "wheel", "xllamacpp", choice.backend, said)


def _native(app: App, host: Host, choice: Choice, jobs: int, as_json: bool) -> None:
    have = tools()
    build = native_build.decide(
        host.system,
        host.arch,
        host.cpu.features,
        cores=host.cpu.cores,
        ram=host.ram.available,
        backend=choice.backend,
        nvcc=have.nvcc,
        ninja=bool(have.ninja),
        jobs=jobs,
    )
    paths = app.session.paths
    target = native_build.folder_of(build, paths) / "bin"
    app.tell(f"$ {shlex.join(build.configure('llama.cpp', 'build'))}")
    app.tell(f"$ {shlex.join(build.compile('build'))}")
    log = _short(str(paths.state / native_build.LOG))
    app.tell(f"into {_short(str(target))}; about 20 minutes of one CPU core, log in {log}")
    if (target / "llama-server").exists():
        app.tell("that engine is already here")
    elif not _agreed(app, "build it?"):
        return
    progress = Building()
    try:
        made = native_build.install(build, paths, Net(os.environ, app.offline), progress)
    finally:
        progress.done()
    _installed(as_json, "native", str(made), choice.backend, f"installed {_short(str(made))}")
    server = made / "llama-server"
    first = next(iter(default_first(inventory(app.session), app.session.config, host)), None)
    if first is None or first.path.resolve() != server.resolve():
        app.tell(f"`up` takes it after: export LOCALRUN_LLAMA_SERVER={shlex.quote(str(server))}")


def _installed(as_json: bool, kind: str, what: str, backend: str, said: str) -> None:
    if as_json:
        put_json({"schema": "localrun.engine-install/1", "kind": kind, "installed": what, "backend": backend})
    else:
        put(said)


def _agreed(app: App, question: str) -> bool:
    if app.yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("engine install needs --yes here: there is no terminal to ask on")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    app.tell("nothing installed")
    return False


def _pin() -> str:
    if pin := pinned():
        return pin
    import importlib.metadata

    try:
        return importlib.metadata.version("xllamacpp")
    except importlib.metadata.PackageNotFoundError:
        raise EngineError("localrun's own package metadata is missing", "pip install localrun") from None


def _short(text: str) -> str:
    home = str(Path.home())
    return text.replace(home + os.sep, "~" + os.sep) if len(home) > 1 else text
