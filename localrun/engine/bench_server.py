"""A llama-server, ours or embedded, measured by its own clock over token ids that nobody wrote."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from localrun.bench.values import Case
from localrun.engine import client
from localrun.engine.base import Engine, Handle
from localrun.engine.bench import last_words, rate
from localrun.errors import EngineError


class ServerBench:
    """Prompts are pseudo-random ids, so that a mixture's experts are asked for as text would."""

    def __init__(
        self,
        engine: Engine,
        handle: Handle,
        n_vocab: int,
        patience: Callable[[Case], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`patience`: seconds that a case may take."""
        self._engine, self._handle, self._n_vocab = engine, handle, n_vocab
        self._patience, self._sleep = patience, sleep
        self.pid = handle.pid
        self._filled = 0  # tokens that the last `_fill` left in the cache
        self._fill_ms = 0.0

    def measure(self, case: Case, turn: int) -> float:
        if case.depth != self._filled:
            self._fill(case)
        before = tokens(case.depth, 0, self._n_vocab)
        if case.n_prompt:
            return self._prompt(case, [*before, *tokens(case.n_prompt, turn + 1, self._n_vocab)])
        # The first token comes from the prompt's logits: what follows it is what was decoded.
        timings = self._ask(case, before or tokens(1, turn + 1, self._n_vocab), case.n_gen + 1)
        if _whole(timings, "predicted_n") != case.n_gen + 1:
            raise EngineError(f"the engine generated {timings.get('predicted_n')} tokens of {case.n_gen + 1}")
        return rate(timings, "predicted_n", "predicted_ms", 1e-3, case.n_gen)

    def _fill(self, case: Case) -> None:
        """The tokens that a case lies behind; what it is told took is kept for caches that cannot be cut."""
        if case.depth:
            ids = tokens(case.depth, 0, self._n_vocab)
            timings = self._ask(case, ids, 1, fresh=True)
            self._fill_ms = 1e3 * case.depth / rate(timings, "prompt_n", "prompt_ms", 1e-3, case.depth)
        self._filled = case.depth

    def _prompt(self, case: Case, ids: list[int]) -> float:
        timings = self._ask(case, ids, 1)
        done = _whole(timings, "prompt_n")
        if done == len(ids) and case.depth:
            # A windowed cache that was not cut but read anew: the part in front is taken off.
            whole = 1e3 * done / rate(timings, "prompt_n", "prompt_ms", 1e-3, done)
            spent = whole - self._fill_ms
            return rate({"n": done, "ms": spent}, "n", "ms", 1e-3, case.n_prompt)
        if done != case.n_prompt:
            raise EngineError(f"the engine read {timings.get('prompt_n')} tokens of {case.n_prompt}")
        return rate(timings, "prompt_n", "prompt_ms", 1e-3, case.n_prompt)

    def _ask(self, case: Case, ids: list[int], n: int, fresh: bool = False) -> dict[str, Any]:
        body = {
            "prompt": ids,
            "n_predict": n,
            "ignore_eos": True,
            "cache_prompt": bool(case.depth) and not fresh,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "id_slot": 0,
            "response_fields": ["timings"],
        }
        try:
            answer = client.complete(self._handle.endpoint, body, self._handle.api_key, self._patience(case))
        except client.Refused:
            raise
        except EngineError:
            last_words(self._engine, self._handle, self._sleep)
            raise
        timings = answer.get("timings")
        if not isinstance(timings, dict):
            raise EngineError("the engine tells no timings")
        return timings


def tokens(n: int, turn: int, n_vocab: int) -> list[int]:
    """`n` ids spread over the vocabulary, the same for the same `turn`."""
    state, out = (turn * 0x9E3779B1 + 12345) & 0xFFFFFFFF, []
    for _ in range(n):
        # Numerical Recipes' generator; its low bits are poor, so the high ones choose.
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append((state >> 8) % max(n_vocab, 1))
    return out


def _whole(timings: dict[str, Any], key: str) -> int:
    value = timings.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
