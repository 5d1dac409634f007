"""What every engine's benchmark does: one timed repetition of one case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Protocol

from localrun.bench.values import Case
from localrun.engine.base import Engine, Handle
from localrun.errors import EngineError

#: Tokens per second that no machine reaches.
_FASTEST = 1e8


#: How long a process that has just broken off an answer may take to be gone, seconds.
_DYING = 3.0
_LOOK = 0.05


class Bencher(Protocol):
    """An engine with its model loaded, asked by nobody else."""

    pid: int  # of the process that computes, with its children; 0 = unknown

    def measure(self, case: Case, turn: int) -> float:
        """Tokens per second of one repetition; `turn` makes its prompt differ. Raises EngineError."""
        ...


def rate(answer: Mapping[str, Any], count: str, time: str, unit: float, tokens: int) -> float:
    """`tokens` over the time that the engine states, `unit` seconds each. Raises EngineError for nonsense.

    `count` names how many tokens the engine says that it took: fewer is another measurement.
    """
    done, spent = answer.get(count), answer.get(time)
    if not isinstance(done, int) or not isinstance(spent, (int, float)) or not isfinite(spent):
        raise EngineError(f"the engine tells no timings: {count} {done!r}, {time} {spent!r}")
    seconds = spent * unit
    if done < tokens or seconds <= 0 or tokens / seconds > _FASTEST:
        raise EngineError(f"the engine's timings make no sense: {done} of {tokens} tokens in {seconds:g} s")
    return float(tokens / seconds)


def last_words(engine: Engine, handle: Handle, sleep: Callable[[float], None], answers: bool = True) -> None:
    """Raises EngineError with the log's reason where the engine is gone, or going.

    `answers`: its readiness is a question that it answers, so that one which does lives on.
    """
    for _ in range(int(_DYING / _LOOK)):
        if engine.ready(handle) and answers:
            return
        sleep(_LOOK)
