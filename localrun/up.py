"""The main job: the only file that knows the order of the stages.

hardware + model -> plan -> recipe -> run -> meter
"""

from __future__ import annotations

import errno
import os
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from localrun import running
from localrun.config import Session
from localrun.engine import interrupts, process, state
from localrun.engine.base import Engine, Handle
from localrun.engine.registry import build_of
from localrun.errors import DoesNotFit, EngineError, PortInUse, StateError, UsageError
from localrun.hardware import system
from localrun.plan.kv_groups import kv_groups
from localrun.plan.values import Plan
from localrun.recipe.values import Launch, Recipe

#: How many ports above the default are tried.
_PORTS = 100
#: How often a port that was free is lost to someone before the engine has it.
_LOST = 5
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything decided, nothing started."""

    name: str
    plan: Plan
    engine: Engine
    launch: Launch
    path: Path  # the file that will be served
    typed: str = ""  # what names it to other commands, where `name` does not


def recipe_for(prepared: Prepared) -> Recipe:
    return prepared.engine.recipe(prepared.plan, prepared.launch)


def check_verdict(plan: Plan, force: bool, typed: str = "") -> None:
    """Refuse what cannot run, unless forced. Paging from disk is slow but honest: it runs.

    `typed`: what names the model to `localrun plan`, where its own name does not.
    """
    if plan.verdict == "too-big" and not force:
        best = plan.alternatives[0].change if plan.alternatives else ""
        why = plan.reasons[0] if plan.reasons else "does not fit"
        again = shlex.quote(typed or plan.model.name)
        hint = f"what would work: {best}; localrun plan {again} says more" if best else ""
        raise DoesNotFit(f"{plan.model.name} does not fit: {why}", hint or "--force launches it all the same")


def free_port(host: str, port: int, named: bool) -> int:
    """`port`, or the next free one unless the user named it. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, port + 1 if named else min(port + _PORTS, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the engine does: a connection in TIME_WAIT does not hold a port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
                return candidate
            except PermissionError:
                raise PortInUse(
                    f"port {candidate} may not be used by this user", "choose one above 1023"
                ) from None
            except OSError as failed:
                if isinstance(failed, socket.gaierror) or failed.errno == errno.EADDRNOTAVAIL:
                    raise UsageError(f"{host} is not an address of this machine") from None
    if named:
        raise PortInUse(f"port {port} is in use", "choose another with --port, or leave it out")
    raise PortInUse(f"ports {port} to {port + _PORTS - 1} are all in use", "choose one with --port")


def start(
    session: Session,
    prepared: Prepared,
    named_port: bool,
    told: Told,
    sleep: Callable[[float], None] = time.sleep,
    detach: bool = False,
) -> tuple[state.Record, bool]:
    """Start and wait until requests are answered: (record, whether this call started it).

    Whatever goes wrong on the way, Ctrl-C included, no process and no record is left behind. Once it
    is ready it belongs to this process (`running.end_own`), or with `detach` to nobody.
    """
    name, folder = prepared.name, session.paths.state
    with state.locked(folder, name, waiting=lambda: told(f"another localrun is starting {name}; waiting")):
        already = _already(session, name)
        if already:
            _same_model(already, prepared)
            return already, False
        launch, first = prepared.launch, prepared.launch.port
        for lost in range(_LOST):
            port = free_port(launch.host, first, named_port)
            try:
                placed = replace(prepared, launch=replace(launch, port=port))
                return _launch(session, placed, sleep, detach), True
            except PortInUse:
                # Someone took it between our question and the engine's bind.
                if named_port or lost == _LOST - 1:
                    raise
                first = port + 1
        raise AssertionError("the loop returns or raises")


def _launch(
    session: Session, prepared: Prepared, sleep: Callable[[float], None], detach: bool
) -> state.Record:
    name, folder, engine = prepared.name, session.paths.state, prepared.engine
    recipe = recipe_for(prepared)
    log = _log_path(session, name)
    record = _record(prepared, Handle(engine.name, 0, 0.0, recipe.endpoint, log=str(log)))
    state.write(folder, record)
    try:
        with interrupts.held():
            handle = engine.start(recipe, running.instance(session, name), str(log))
            record = replace(record, handle=handle)
            state.write(folder, record)
        _wait(engine, handle, session.config.ready_timeout, sleep)
        owner = 0 if detach else record.owner
        record = replace(record, state="ready", owner=owner, allocated=engine.allocation(handle))
        state.write(folder, record)
    except BaseException as wrong:
        # `running.end` removes the record before it stops the engine.
        stopped = record.handle.pid > 0 and not state.path_of(folder, name).exists()
        with interrupts.held():
            if record.handle.pid > 0:
                engine.stop(record.handle, running.GRACE)
            state.remove(folder, name)
        if stopped and isinstance(wrong, EngineError):
            raise EngineError(f"{name} was stopped while it started") from None
        raise
    return record


def _same_model(record: state.Record, prepared: Prepared) -> None:
    """Two files of one name are two models. Raises UsageError."""
    if record.model != str(prepared.path):
        raise UsageError(
            f"{record.name} already runs, from another file: {record.model}",
            f"stop that one first: localrun down {record.name}",
        )


def _already(session: Session, name: str) -> state.Record | None:
    """The record of `name` if it runs; what a crash left of it is cleared away."""
    for record in running.records(session)[0]:
        if record.name == name:
            if record.state == "ready" and running.is_alive(record):
                return record
            running.end(session, name, record.handle)
    for lost, handle in running.lost(session):
        if lost == name:
            process.stop(handle, running.GRACE)
    state.remove(session.paths.state, name)
    return None


def _wait(engine: Engine, handle: Handle, patience: float, sleep: Callable[[float], None]) -> None:
    """Until the engine answers. A log that still grows counts as progress: big models load long."""
    size, deadline = -1, time.monotonic() + patience
    while not engine.ready(handle):
        now_size = _size(handle.log)
        if now_size != size:
            size, deadline = now_size, time.monotonic() + patience
        if time.monotonic() > deadline:
            raise EngineError(
                f"the engine said nothing for {patience:g} s and does not answer",
                f"its log: {handle.log}; more patience: LOCALRUN_READY_TIMEOUT",
            )
        sleep(0.01)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _log_path(session: Session, name: str) -> Path:
    logs = session.paths.state / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as failed:
        raise StateError(f"cannot use {logs}: {failed.strerror}", "set XDG_STATE_HOME") from None
    return logs / f"{state.file_name(name)}.log"


def _prompt_cache(plan: Plan, device: str) -> int:
    """What only requests fill, bytes: not there yet when the load is measured."""
    return plan.settings.cache_ram if device == "CPU" else 0


def _record(prepared: Prepared, handle: Handle) -> state.Record:
    plan = prepared.plan
    return state.Record(
        schema=state.SCHEMA,
        name=prepared.name,
        state="starting",
        handle=handle,
        model=str(prepared.path),
        ctx_size=plan.settings.ctx_size,
        planned={d.device: d.total - _prompt_cache(plan, d.device) for d in plan.memory},
        kv_bytes=plan.kv.bytes,
        kv_cells=plan.kv.cells,
        kv_bytes_per_token=plan.kv.bytes_per_token,
        started=time.time(),
        gpus=plan.host.gpus,
        owner=os.getpid(),
        owner_created=system.process_create_time(os.getpid()) or 0.0,
        kv_groups=kv_groups(plan.model.shape, plan.settings, plan.model.architecture),
        settings=plan.settings,
        build=build_of(prepared.engine),
    )


def watch(
    session: Session, record: state.Record, interval: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[running.Status]:
    """What it does, every `interval` seconds, until it is stopped elsewhere. EngineError if it dies."""
    watcher = running.watcher(record)
    engine = running.engine_of(session, record)
    path = state.path_of(session.paths.state, record.name)
    while True:
        now = running.status(session, record, watcher)
        if not now.alive:
            if not path.exists():
                return  # `localrun down` in another terminal
            engine.ready(record.handle)  # raises with the reason
        yield now
        sleep(interval)


def shell_exports(record: state.Record) -> tuple[tuple[str, str], ...]:
    """The variables that make an OpenAI client use this model."""
    return (
        ("OPENAI_BASE_URL", record.handle.endpoint),
        ("OPENAI_API_KEY", record.handle.api_key or "localrun"),
        ("OPENAI_MODEL", record.name),
    )
