"""An engine as a process of ours: started in a group of its own, found again, ended for sure."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from localrun.engine import client
from localrun.engine.base import Handle
from localrun.engine.failures import explain, port_was_taken
from localrun.errors import EngineError, EngineMissing, PortInUse
from localrun.hardware import system
from localrun.recipe.values import Recipe

#: In the environment of every engine we start, so that one can be found when its record is lost.
INSTANCE = "LOCALRUN_INSTANCE"
#: How much of a log's start or end is read, bytes.
_PART = 1 << 20


def spawn(recipe: Recipe, name: str, log: str) -> Handle:
    """Start `recipe` as the leader of a new process group, output to `log`. Raises EngineError."""
    environment = {**_inherited(), **dict(recipe.environment), INSTANCE: name, "GGML_NO_BACKTRACE": "1"}
    try:
        # 0600: prompts may appear in an engine's log.
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    except OSError as failed:
        raise EngineError(f"cannot write the log {log}: {failed.strerror}") from None
    try:
        child = subprocess.Popen(
            recipe.argv,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            cwd=Path(log).parent,
        )
    except OSError as failed:
        raise EngineMissing(f"cannot start {recipe.argv[0]}: {failed.strerror}") from None
    finally:
        os.close(descriptor)
    # Whoever asks later may be another process; from here on only the pid counts.
    child.returncode = child.returncode if child.returncode is not None else 0
    created = system.process_create_time(child.pid) or 0.0
    launch = recipe.launch
    return Handle(recipe.engine, child.pid, created, recipe.endpoint, launch.api_key, log, launch.alias)


def _inherited() -> dict[str, str]:
    """Our environment without what llama-server takes for arguments: the recipe has said them all."""
    theirs = ("LLAMA_ARG_", "LLAMA_API_KEY", "LLAMA_LOG_")
    return {key: value for key, value in os.environ.items() if not key.startswith(theirs)}


def exit_status(pid: int) -> int | None:
    """The shell's count of a dead child's status, once; None if it lives or is not our child."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if done == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def log_tail(handle: Handle) -> str:
    """The end of the log, where a failure stands."""
    try:
        with Path(handle.log).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _PART))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def log_head(handle: Handle) -> str:
    """The start of the log, where the load tells of its buffers."""
    try:
        with Path(handle.log).open("rb") as file:
            return file.read(_PART).decode("utf-8", "replace")
    except OSError:
        return ""


def ready(handle: Handle) -> bool:
    """Whether /health answers. Raises EngineError with the log's reason when the process is gone,
    PortInUse when that is why.
    """
    if not system.process_alive(handle.pid, handle.created):
        log = log_tail(handle)
        raise (PortInUse if port_was_taken(log) else EngineError)(*explain(log, exit_status(handle.pid)))
    # Another engine may have taken the port first: its health is not ours, whatever it calls its model.
    return (
        client.healthy(handle.endpoint)
        and client.serves(handle.endpoint, handle.alias, handle.api_key)
        and not _another_listens(handle)
    )


def _another_listens(handle: Handle) -> bool:
    port = urlsplit(handle.endpoint).port or 0
    others = (pid for pid, _, _ in system.find_by_environment(INSTANCE) if pid != handle.pid)
    return any(system.listens(pid, port) for pid in others)


def stop(
    handle: Handle,
    grace: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """End the whole group: SIGTERM, `grace` seconds, SIGKILL. Returns when nothing of it is left.

    A pid that by now belongs to another process is left alone. Raises EngineError if the group
    cannot be ended.
    """
    # A leader that is gone may have left its group behind; one that is another's is left alone.
    there = system.process_create_time(handle.pid) is not None
    if handle.created and there and not system.is_same_process(handle.pid, handle.created):
        return
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        deadline = clock() + patience
        try:
            os.killpg(handle.pid, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise EngineError(f"not allowed to stop process {handle.pid}") from None
        while clock() < deadline:
            exit_status(handle.pid)  # reap it if it is our child: a zombie still counts as a group
            if not system.process_group_alive(handle.pid):
                return
            sleep(0.01)
    raise EngineError(f"process group {handle.pid} does not end", "see: ps -g " + str(handle.pid))
