"""The model inside this process, measured by the decode loop's own clock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from localrun.bench.values import Case
from localrun.engine.bench import rate

if TYPE_CHECKING:
    from localrun.engine.in_process import InProcess


class InProcessBench:
    """No server, no sampling beyond the greedy one in C: what remains is `llama_decode`."""

    def __init__(self, model: InProcess) -> None:
        self._model = model
        self.pid = os.getpid()

    def measure(self, case: Case, turn: int) -> float:
        del turn  # the loop keeps nothing but the tokens in front
        found = self._model.measure(case.n_prompt, case.n_gen, case.depth)
        spent = found.prompt_ns if case.n_prompt else found.generate_ns
        return rate({"tokens": case.tokens, "ns": spent}, "tokens", "ns", 1e-9, case.tokens)
