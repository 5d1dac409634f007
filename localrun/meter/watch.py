"""From an engine's counters, read again and again, to rates: what `up` and `ps` show."""

from __future__ import annotations

from collections import deque

from localrun.meter.cache import Cache
from localrun.meter.values import Observation, Reading
from localrun.plan.kv_groups import KvGroup

#: Generation "now" is taken over this many seconds of readings.
_WINDOW = 3.0


class Watcher:
    """Turns observations into readings. `now` is any clock in seconds that never runs back."""

    def __init__(self, groups: tuple[KvGroup, ...]) -> None:
        self._cache = Cache(groups)
        self._tasks: dict[int, int] = {}
        self._last: Observation | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._first_token_ms = 0.0

    def update(self, seen: Observation, now: float) -> Reading:
        self._recent.append((now, self._new_tokens(seen)))
        while len(self._recent) > 2 and now - self._recent[0][0] > _WINDOW:
            self._recent.popleft()
        self._first_token(seen)
        self._last = seen
        return Reading(
            busy=seen.busy,
            rate_now=self._rate_now() if seen.busy else 0.0,
            rate_average=_rate(seen.generated_tokens, seen.generated_seconds),
            prompt_rate=_rate(seen.prompt_tokens, seen.prompt_seconds),
            first_token_ms=self._first_token_ms,
            kv=self._cache.update(seen),
            generated=seen.generated_tokens,
        )

    def _new_tokens(self, seen: Observation) -> int:
        """Tokens generated since the last observation, task by task: slots are reused."""
        current = dict(seen.generating)
        new = sum(max(0, count - self._tasks.get(task, 0)) for task, count in current.items())
        self._tasks = current
        return new

    def _rate_now(self) -> float:
        # The first entry's tokens were made before its time, so they do not count.
        tokens = sum(count for _, count in list(self._recent)[1:])
        return _rate(tokens, self._recent[-1][0] - self._recent[0][0])

    def _first_token(self, seen: Observation) -> None:
        """The engine counts a prompt's time when its first token is out; the growth is the newest's."""
        before = self._last.prompt_seconds if self._last else 0.0
        if seen.prompt_seconds > before:
            self._first_token_ms = (seen.prompt_seconds - before) * 1000.0


def _rate(tokens: int, seconds: float) -> float:
    # Engines count in microseconds; less than one is no measurement.
    return tokens / seconds if seconds >= 1e-6 else 0.0
