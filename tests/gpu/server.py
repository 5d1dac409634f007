"""One llama-server run: what it allocates, and how fast it generates and reads a prompt."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localrun.engine.allocation import parse_allocation

#: Tokens of the prompt, so that the cache holds about what a predicted rate assumes, and tokens generated.
PROMPT, GENERATED = 1984, 128
_START, _ANSWER = 300.0, 300.0  # seconds


class ServerFailed(Exception):
    """Its last line that says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    allocated: dict[str, int]  # bytes by device, as llama.cpp's log says: weights, cache and graph
    parts: dict[str, dict[str, int]]  # the same by component
    used: int  # bytes of the card, as `used_now` gives them, at their most
    generation: float  # tokens per second
    prompt: float
    runs: tuple[float, ...]  # generation, each run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(
    argv: Sequence[str], port: int, log: Path, used_now: Callable[[], int], rounds: int = 3
) -> Measured:
    """Starts `argv`, asks it `rounds` times, ends it. Raises ServerFailed."""
    with _server(argv, port, log):
        used = used_now()
        _complete(port, 32, 8)  # the first tokens load kernels
        answers = []
        for _ in range(rounds):
            answers.append(_complete(port, PROMPT, GENERATED))
            used = max(used, used_now())
    runs = sorted(float(a["predicted_per_second"]) for a in answers)
    prompts = sorted(float(a["prompt_per_second"]) for a in answers)
    found = parse_allocation(log.read_text(encoding="utf-8", errors="replace"))
    parts = {a.device: {"weights": a.weights + a.repack, "kv": a.kv, "compute": a.compute} for a in found}
    return Measured(
        {device: sum(sizes.values()) for device, sizes in parts.items()},
        parts, used, runs[len(runs) // 2], prompts[len(prompts) // 2], tuple(runs),
    )  # fmt: skip


@contextlib.contextmanager
def _server(argv: Sequence[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + _START
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(_why(log, process.poll()))
            time.sleep(0.2)
        yield
    except (OSError, urllib.error.URLError) as error:
        raise ServerFailed(f"{error}; {_why(log, process.poll())}") from error
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _healthy(port: int) -> bool:
    with contextlib.suppress(OSError, urllib.error.URLError), _open(port, "/health") as answer:
        return bool(answer.status == 200)
    return False


def _open(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=_ANSWER)


def _complete(port: int, prompt: int, n: int) -> dict[str, Any]:
    """The timings of one answer to a prompt of random tokens, none of them from the cache."""
    # Tokens 3 to 258 are the bytes; those after them are names that mean nothing.
    tokens = [random.randrange(260, 2000) for _ in range(prompt)]
    body = {"prompt": tokens, "n_predict": n, "ignore_eos": True, "cache_prompt": False, "temperature": 1.0}
    with _open(port, "/completion", body) as answer:
        return dict(json.load(answer)["timings"])


def _why(log: Path, status: int | None) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if "error" in line.lower() or "failed" in line.lower()]
    return f"exit {status}: {(errors or lines or ['no output'])[-1].strip()}"
