"""The ollama engine's process: makes the model on a server, loads it, and keeps it until SIGTERM.

Run as `python -m localrun.engine.ollama_keeper`, either with `--serve BINARY`, a server of our own
that inherits this environment and ends with us, or with `--server URL`, one that runs already and
from which only the model is taken away again. Prints `READY` when requests are answered; every
failure is one line that begins with `error:`, and exit status 1.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from localrun.engine import ollama_create
from localrun.engine.ollama_address import server_address
from localrun.engine.ollama_client import Server, refuse_cloud
from localrun.engine.ollama_task import ERROR, HINT, READY, Task, parse
from localrun.engine.process import INSTANCE
from localrun.errors import EngineError, EngineMissing, LocalrunError
from localrun.model.ollama_name import parse_name
from localrun.model.ollama_store import folders
from localrun.recipe.ollama_env import LLAMA_SERVER
from localrun.units import format_size

#: Until a server of ours answers; it looks for GPUs first.
_PATIENCE = 120.0
_FOREVER = -1
_HOLD = "10m"
#: Seconds between two looks at another's server, and looks between two renewals of _HOLD.
_LOOK, _RENEW = 5.0, 48


def names(task: Task) -> tuple[str, str]:
    """The names of the model without and with this plan's settings: equal tasks, equal names.

    They carry a digest of what they were made from, so that no name is ever made twice with
    different content and nothing of the user's is written over.
    """
    slug = re.sub(r"[^a-z0-9_.-]+", "-", task.alias.lower()).strip("-._")[:60] or "model"
    base = task.tag
    if not base:
        seen = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in task.files]
        base = f"localrun/{slug}:gguf-{_short(repr(seen))}"
    return base, f"localrun/{slug}:plan-{_short(repr((base, task.parameters)))}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Teller:
    """Progress as lines of a log: a new line for each new step and each further tenth of it."""

    def __init__(self) -> None:
        self._last = ("", -1)

    def __call__(self, what: str, done: int, total: int) -> None:
        tenth = done * 10 // total if total else -1
        if (what, tenth) != self._last:
            self._last = (what, tenth)
            say(f"{what} {format_size(done)} of {format_size(total)}" if total else what)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the log is our output


def main(argv: list[str]) -> int:
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    task = parse(argv)
    child: subprocess.Popen[bytes] | None = None
    loaded: tuple[Server, str] | None = None
    try:
        server = Server(server_address(task.server or os.environ.get("OLLAMA_HOST", "")))
        if task.serve:
            child = _start(task.serve)
            _wait(server, child)
        name = prepare(server, task)
        loaded = server, name
        # Of another's server the model is held by asking again, so that it goes when we are killed.
        server.load(name, _FOREVER if child else _HOLD)
        _report(server, name, int(dict(task.parameters).get("num_ctx", 0)))
        say(READY)
        _watch(server, child, name)
    except (LocalrunError, OSError) as failed:
        say(f"{ERROR}{failed}")
        say(f"{HINT}{getattr(failed, 'hint', '')}")
        return 1
    except SystemExit:
        return 0
    finally:
        _leave(child, loaded)
    return 0


def prepare(server: Server, task: Task) -> str:
    """Everything up to a model with this plan's settings on the server; its name."""
    have = server.version()
    if have < LLAMA_SERVER:
        say(f"this server is {'.'.join(map(str, have))}: below 0.30 LLAMA_ARG_* settings are not passed on")
    tell = Teller()
    base, name = names(task)
    if task.tag:
        refuse_cloud(task.tag)
        if not ollama_create.has(server, base):
            server.pull(base, tell)
        if server.show(base).remote:
            raise EngineError(f"{base} runs on Ollama's servers, not on this machine", "take a GGUF file")
    elif not ollama_create.has(server, base):
        want = ollama_create.wanted(ollama_create.commands_of(task.files, ()))
        ollama_create.create(server, base, want, tell, free=_free(server))
    want = ollama_create.wanted(ollama_create.commands_of((base,), task.parameters))
    ollama_create.create(server, name, want, tell)
    _alias(server, task.alias, name)
    say(f"serving {name}")
    return name


def _alias(server: Server, alias: str, name: str) -> None:
    """Let requests name the model as the user does, unless that name is the user's own model."""
    if parse_name(alias) is None:
        say(f"{alias} is no name for Ollama: requests must name {name}")
        return
    have = server.names()
    full = alias if ":" in alias else f"{alias}:latest"
    ours = {digest for n, digest in have.items() if n.startswith(name.partition(":")[0] + ":")}
    if full in have and have[full] not in ours:
        say(f"Ollama has a model of its own called {alias}: requests must name {name}")
    elif have.get(full) != have.get(name):
        server.copy(name, alias)


def _free(server: Server) -> int | None:
    """Bytes free where the server keeps models; None for one that is not here."""
    if not server.address.local:
        return None
    places = folders(os.environ, Path.home())
    folder = next((f for f in places if f.is_dir()), places[0])
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _start(binary: str) -> subprocess.Popen[bytes]:
    """`ollama serve` in our group, so that one signal ends both, and gone when we are killed."""
    # Our mark stays ours: by it a keeper is found again, and its children are found through it.
    environment = {k: v for k, v in os.environ.items() if k != INSTANCE}
    try:
        return subprocess.Popen(
            [binary, "serve"],
            stdin=subprocess.DEVNULL,
            env=environment,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
        )
    except OSError as failed:
        raise EngineMissing(f"cannot start {binary}: {failed.strerror}", "ollama.com/download") from None


def _die_with_parent() -> None:
    import ctypes

    pr_set_pdeathsig = 1  # sys/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _wait(server: Server, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        if child.poll() is not None:
            raise EngineError(f"ollama serve ended with status {child.returncode}", "its lines above say why")
        try:
            server.version()
            return
        except EngineError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _report(server: Server, name: str, ctx_size: int) -> None:
    for model in server.loaded():
        if model.name == name:
            say(
                f"ollama ps: context {model.ctx_size}, {format_size(model.size)} in memory, "
                f"{format_size(model.size_vram)} of it in VRAM"
            )
            if model.ctx_size < ctx_size:
                say(f"the plan's context is {ctx_size}: Ollama cut it to {model.ctx_size}")
            return
    raise EngineError(
        f"Ollama loaded {name} and let it go again", "less memory in use, or a smaller --ctx-size"
    )


def _watch(server: Server, child: subprocess.Popen[bytes] | None, name: str) -> None:
    """Until SIGTERM, which leaves as SystemExit; or until the server is gone."""
    if child is not None:
        raise EngineError(f"ollama serve ended with status {child.wait()}")
    for look in itertools.count(1):
        time.sleep(_LOOK)
        server.version()
        if look % _RENEW == 0:
            server.load(name, _HOLD)


def _leave(child: subprocess.Popen[bytes] | None, loaded: tuple[Server, str] | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if child is not None:
        child.terminate()
        child.wait()
    elif loaded is not None:
        server, name = loaded
        try:
            server.unload(name)
        except LocalrunError as failed:
            say(f"the model stays loaded: {failed}")


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
