"""How fast the embedded engine generates here: counted in its own CPU time, which neighbours take little of."""

from __future__ import annotations

import json
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from localrun.engine import process
from localrun.engine.base import Handle
from localrun.plan.values import Settings
from localrun.recipe.argv import to_argv
from localrun.recipe.values import Launch, Recipe


@dataclass(frozen=True, slots=True)
class Measured:
    """Tokens per second. The first two by the process's CPU time, which one thread spends all of."""

    generation: float
    prompt: float
    wall_generation: float  # the engine's own clock, slower where others use the machine
    wall_prompt: float
    held: int  # tokens in the cache, on average while it generated


@contextmanager
def running(model: Path, settings: Settings, log: Path) -> Iterator[Handle]:
    """The engine that `localrun up` starts without a GPU; ended on leaving."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = Launch(str(model), "random", port=port)
    argv = (sys.executable, "-P", "-m", "localrun.engine.host", *to_argv(settings, launch))
    handle = process.spawn(Recipe("embedded", argv, (), settings, launch), "speed", str(log))
    try:
        deadline = time.monotonic() + 120
        while not process.ready(handle):
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-2000:]
            time.sleep(0.05)
        yield handle
    finally:
        process.stop(handle, 5.0)


def measure(
    model: Path,
    settings: Settings,
    log: Path,
    *,
    tokens: int = 24,
    prompt: int = 96,
    held: int = 8,
    rounds: int = 3,
) -> Measured:
    """Generates `tokens` behind `held`, `rounds` times, and the best counts: others only ever slow it.

    The cost of a request without the generated tokens is measured by itself and taken off.
    `prompt` 0 leaves the prompt's speed out.
    """
    with running(model, settings, log) as handle:
        engine = psutil.Process(handle.pid)
        _ask(handle, [7] * held, 2)
        first, generated, wall, prompts, wall_prompts = [], [], [], [], []
        for _ in range(rounds):
            first.append(_cpu(engine, lambda: _ask(handle, [7] * held, 1))[0])
            spent, answer = _cpu(engine, lambda: _ask(handle, [7] * held, 1 + tokens))
            generated.append(spent)
            wall.append(answer["timings"]["predicted_ms"] / 1e3 / (tokens + 1))
            if prompt:
                spent, answer = _cpu(engine, lambda: _ask(handle, [9] * prompt, 1, again=True))
                prompts.append(spent)
                wall_prompts.append(answer["timings"]["prompt_ms"] / 1e3 / prompt)
    rate = tokens / max(min(generated) - min(first), 1e-9)
    prompt_rate = (prompt - 1) / max(min(prompts) - min(first), 1e-9) if prompt else 0.0
    return Measured(
        rate, prompt_rate, 1 / min(wall), 1 / min(wall_prompts) if prompt else 0.0, held + tokens // 2
    )


def _cpu(engine: psutil.Process, ask: Any) -> tuple[float, dict[str, Any]]:
    def spent() -> float:
        times = engine.cpu_times()
        return float(times.user + times.system)

    before = spent()
    answer = ask()
    return spent() - before, answer


def _ask(handle: Handle, prompt: list[int], n: int, again: bool = False) -> dict[str, Any]:
    """llama-server's own /completion: token ids in, exactly `n` tokens out.

    A prompt that was there before is taken from the cache but for one token, unless it is wanted `again`.
    """
    body = {"prompt": prompt, "n_predict": n, "ignore_eos": True, "cache_prompt": not again}
    url = handle.endpoint.removesuffix("/v1") + "/completion"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=240) as response:
        answer: dict[str, Any] = json.load(response)
    assert answer["timings"]["predicted_n"] == n, answer
    return answer
