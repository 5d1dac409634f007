"""What the tests of fetching share: an environment that leads to a fake hub only, a small wanted file,
a progress that records, and processes that fetch and can be killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from localrun.config import Paths, paths
from localrun.model.sources import Net, Request, Source, WheelSource
from tests.fakes.hub import Hub, make_wheel, sha256

CONTENT = random.Random(1).randbytes(700_001)
NAME, PROJECT, MEMBER = "demo.Q4_1.gguf", "demo-model", "demo_model/demo.Q4_1.gguf"

_OURS = ("PIP_", "HF_", "LOCALRUN_", "XDG_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC")


def clean_env(home: Path, hub: Hub | None = None) -> dict[str, str]:
    """The environment of a user who has only this hub."""
    env = {k: v for k, v in os.environ.items() if not k.upper().startswith(_OURS)}
    env |= {"HOME": str(home), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    if hub is not None:
        env |= {"PIP_INDEX_URL": hub.index, "HF_ENDPOINT": hub.url}
    return env


def wanted(*sources: Source, content: bytes = CONTENT) -> Request:
    return Request(NAME, sha256(content), len(content), sources)


def wheel_source(hub: Hub, content: bytes = CONTENT, version: str = "1.0") -> WheelSource:
    """Puts a wheel with the content into the hub's index, and names it with its pins."""
    wheel = make_wheel(PROJECT, version, {"demo_model/__init__.py": b"", MEMBER: content})
    hub.add_wheel(PROJECT, version, wheel)
    return WheelSource(PROJECT, version, MEMBER, sha256(wheel), len(wheel))


class Recorder:
    """A progress that remembers; its `waits` are the sleeps that a Net was asked for."""

    def __init__(self) -> None:
        self.steps: list[list[object]] = []  # [name, total, bytes so far]
        self.open = 0
        self.waits: list[float] = []

    def start(self, name: str, total: int) -> None:
        self.steps.append([name, total, 0])
        self.open += 1

    def advance(self, n: int) -> None:
        self.steps[-1][2] += n  # type: ignore[operator]

    def done(self) -> None:
        self.open -= 1


def net(env: dict[str, str], recorder: Recorder | None = None, offline: bool = False) -> Net:
    return Net(env, offline=offline, sleep=recorder.waits.append if recorder else lambda _: None)


def where(env: dict[str, str]) -> Paths:
    return paths(env)


#: Forks one fetching process for each line on standard input (the libraries are imported only once):
#: prints its pid, later how it ended.
_NURSERY = """
import os, pickle, sys
import httpx2, zipfile
from localrun.model.fetch import ensure
request, paths, net_env, options, kill_at = pickle.loads(sys.stdin.buffer.read(int(sys.argv[1])))
from localrun.model.sources import Net
class Killer:
    left = kill_at
    def start(self, name, total): pass
    def done(self): pass
    def advance(self, n):
        if self.left >= 0:
            self.left -= n
            if self.left < 0: os.kill(os.getpid(), 9)
for line in sys.stdin.buffer:
    Killer.left = int(line)
    pid = os.fork()
    if pid == 0:
        try: ensure(request, paths, Net(net_env, **options), Killer()); os._exit(0)
        except Exception as e: print(repr(e), file=sys.stderr, flush=True); os._exit(1)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Runs `ensure` in processes of their own, one after another; `options` are a Net's."""

    def __init__(self, request: Request, env: dict[str, str], **options: int) -> None:
        import pickle

        data = pickle.dumps((request, where(env), env, options, -1))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY, str(len(data))],
            env=env | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin
        self._process.stdin.write(data)

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def begin(self, kill_at: int = -1) -> int:
        """Starts a fetch and returns its pid; `kill_at`: it kills itself after so many bytes of progress."""
        assert self._process.stdin
        self._process.stdin.write(f"{kill_at}\n".encode())
        return int(self._line())

    def ended(self) -> int:
        """How it ended: 0, 1 or minus the signal."""
        return int(self._line())

    def _line(self) -> bytes:
        assert self._process.stdout
        line = b""
        while not line.endswith(b"\n"):
            byte = self._process.stdout.read(1)
            assert byte, self._process.communicate()[1]
            line += byte
        return line
