"""A user with a home of their own, who types `localrun ...`: what the end-to-end tests drive."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from localrun.hardware import system

#: Set in the environment of every process that a test starts, and so inherited by all of theirs.
MARKER = "LOCALRUN_TEST"
_OURS = (
    "LOCALRUN_",
    "XDG_",
    "HF_",
    "HUGGINGFACE_",
    "OLLAMA_",
    "LLAMA_",
    "CUDA_",
    "NO_COLOR",
    "OPENAI_",
    "PYTHONDONT",
    "PYTHONUNBUFFERED",
)
#: Errors, as in the suite; but what an interrupt cut off is closed by the interpreter, which would say so.
WARNINGS = "error,ignore::ResourceWarning"
T = TypeVar("T")
_numbers = itertools.count(1)


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment without anyone's settings, and without a llama-server on PATH."""
    found = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    path = found.get("PATH", os.defpath).split(os.pathsep)
    found["PATH"] = os.pathsep.join(p for p in path if not Path(p, "llama-server").exists())
    return {**found, "HOME": str(home), MARKER: f"{os.getpid()}-{next(_numbers)}", "PYTHONWARNINGS": WARNINGS}


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended. `code` is the shell's: 128 + the signal that killed it."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


@dataclass(slots=True)
class User:
    """`user("ps", "--json")` runs a command to its end; `user.start(...)` leaves it running."""

    home: Path
    env: dict[str, str]
    _started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.home / ".local/state/localrun"

    @property
    def run_folder(self) -> Path:
        return self.state / "run"

    def __call__(
        self,
        *args: str | Path,
        given: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 90.0,
        prefix: Sequence[str] = (),
        **popen: Any,
    ) -> Done:
        """Run a command and wait. `given` is its standard input; None is an empty one. `prefix` runs it."""
        data = given.encode() if isinstance(given, str) else given
        done = subprocess.run(
            [*prefix, *self.command(*args)],
            input=data if data is not None else b"",
            capture_output=True,
            env={**self.env, **(env or {})},
            cwd=self.home,
            timeout=timeout,
            check=False,
            **popen,
        )
        return Done(shell_code(done.returncode), done.stdout.decode(), done.stderr.decode())

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None, **popen: Any) -> Background:
        """Start a command in a process group of its own, as a shell does."""
        process = subprocess.Popen(
            self.command(*args),
            stdin=popen.pop("stdin", subprocess.DEVNULL),
            stdout=popen.pop("stdout", subprocess.PIPE),
            stderr=popen.pop("stderr", subprocess.PIPE),
            env={**self.env, **(env or {})},
            cwd=self.home,
            start_new_session=popen.pop("start_new_session", True),
            **popen,
        )
        self._started.append(process)
        return Background(process)

    @staticmethod
    def command(*args: str | Path) -> list[str]:
        return [sys.executable, "-m", "localrun", *map(str, args)]

    def records(self) -> list[dict[str, Any]]:
        """What the state folder holds, read without a command: cheap enough to ask again and again."""
        found = []
        for path in sorted(self.run_folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                found.append(json.loads(path.read_bytes()))
        return found

    def is_ready(self) -> bool:
        return [r["state"] for r in self.records()] == ["ready"]

    def is_loading(self) -> bool:
        """The engine was spawned, and its record says so."""
        return any(r["handle"]["pid"] for r in self.records())

    def ps(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("ps", "--json").json()["running"]
        return found

    def endpoint(self, name: str | None = None) -> str:
        """The server's root, without /v1."""
        (one,) = [r for r in self.ps() if name in (None, r["name"])]
        return str(one["endpoint"]).removesuffix("/v1")

    def processes(self) -> list[int]:
        """Everything that runs and that a command of this user started."""
        return marked(self.env[MARKER])

    def engines(self) -> list[int]:
        """The engines among them: the leaders of their groups that carry localrun's own marker."""
        suffix = f"@{self.state}"
        found = system.find_by_environment("LOCALRUN_INSTANCE")
        return [pid for pid, _, value in found if value.endswith(suffix)]

    def finish(self) -> list[int]:
        """End what still runs. Returns the processes that a test left, its own background ones apart."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
            process.wait()
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left


@dataclass(slots=True)
class Background:
    """A command that runs. `wait` returns as `user(...)` would have."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 60.0) -> Done:
        out, err = self.process.communicate(timeout=timeout)
        return Done(shell_code(self.process.returncode), (out or b"").decode(), (err or b"").decode())


def shell_code(returned: int) -> int:
    return 128 - returned if returned < 0 else returned


def marked(token: str) -> list[int]:
    """The processes of this machine, this one apart, that carry the token."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
                dead = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
            except OSError:
                continue
            if not dead and f"{MARKER}={token}".encode() in environment.split(b"\0"):
                found.append(int(entry.name))
    return found


def until(question: Callable[[], T], patience: float = 30.0, what: str = "it") -> T:
    """The first true answer. Fails after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (answer := question()):
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what}"
        time.sleep(0.01)
    return answer
