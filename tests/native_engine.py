"""The native build of the suite: made once by our own installer, kept in the user's cache."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localrun.config import paths
from localrun.engine import native_build
from localrun.engine.tools import tools
from localrun.hardware.probe import detect
from localrun.model.sources import Net
from localrun.plan.values import Settings
from localrun.recipe.argv import to_argv
from localrun.recipe.values import Launch


def native_engine(jobs: int = 0) -> Path:
    """Its llama-server; LOCALRUN_TEST_ENGINE names one that is there already. Builds it if need be."""
    found = ready_engine()
    if found is not None:
        return found
    env = _home()
    build = _build(jobs or int(os.environ.get("LOCALRUN_TEST_JOBS", "0")))
    return native_build.install(build, paths(env), Net(env)) / "llama-server"


def ready_engine() -> Path | None:
    """The one that is there already."""
    if named := os.environ.get("LOCALRUN_TEST_ENGINE"):
        return Path(named)
    server = native_build.folder_of(_build(1), paths(_home())) / "bin" / "llama-server"
    return server if server.exists() else None


def _home() -> dict[str, str]:
    base = os.environ.get("LOCALRUN_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(base).expanduser() / "localrun" / "tests" / "native"
    return {
        **os.environ,
        **{f"XDG_{name}_HOME": str(home / name.lower()) for name in ("DATA", "CACHE", "STATE")},
    }


def _build(jobs: int) -> native_build.Build:
    host = detect()
    return native_build.decide(
        host.system,
        host.arch,
        host.cpu.features,
        cores=host.cpu.cores,
        ram=host.ram.available,
        ninja=bool(tools().ninja),
        jobs=jobs,
    )


@contextmanager
def serving(program: list[str], model: Path, log: Path) -> Iterator[tuple[str, int]]:
    """A server on a free port, the log in `log`; gives address and pid once it answers, and ends it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as out:
        child = subprocess.Popen([*program, *flags(model, port)], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 120
        while not _healthy(f"http://127.0.0.1:{port}/health"):
            assert child.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, "not ready"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", child.pid
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def post(url: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as reply:
        found: dict[str, object] = json.loads(reply.read())
        return found


def flags(model: Path, port: int) -> tuple[str, ...]:
    """One thread, one slot, no prompt cache: what two engines are compared with, as `up` would launch them."""
    settings = Settings(ctx_size=2048, flash_attn="on", threads=1)
    return to_argv(settings, Launch(str(model), "smollm2", port=port))


def answer(server: Path, model: Path, folder: Path) -> str:
    """What the server says to one chat; it must make sense."""
    with serving([str(server)], model, folder / "log") as (url, _):
        said = post(
            f"{url}/completion", {"prompt": "The capital of France is", "n_predict": 4, "temperature": 0}
        )
        assert "Paris" in str(said["content"]), said
        question = {"role": "user", "content": "What is gravity?"}
        body: dict[str, object] = {"messages": [question], "max_tokens": 24, "temperature": 0}
        choices = post(f"{url}/v1/chat/completions", body)["choices"]
        assert isinstance(choices, list)
        told = str(choices[0]["message"]["content"])
        assert "physics" in told, told
        return told
