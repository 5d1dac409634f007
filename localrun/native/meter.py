"""How fast tokens come. One thread writes, any may read; no clock is looked at here."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from localrun._ffi import ffi, lib
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """One moment of a meter: of the newest request, but for the totals. 0 = nothing to tell yet."""

    rate_now: float  # tokens per second over the window; falls while no token comes
    rate_average: float  # tokens per second, first to last token
    rate_prompt: float  # prompt tokens per second
    first_ns: int  # time to first token; while `waiting`, the time so far
    p50_ns: int  # intervals between tokens, within 1/32 of the truth
    p90_ns: int
    p99_ns: int
    min_ns: int  # exact, as is the maximum
    max_ns: int
    tokens: int
    prompt_tokens: int
    tokens_total: int  # of all requests
    requests: int
    waiting: bool  # for the first token


class Meter:
    """Counts tokens; every `now` is nanoseconds of one steady clock, as time.monotonic_ns().

    One thread calls `prompt_start` and `token`, any thread `snapshot`.
    """

    __slots__ = ("_lock", "_memory", "_meter", "_times", "token")

    #: (now): one token came. A list takes the time and the C core gets all of them with the next snapshot or
    #: request: a call into C gives the GIL away and takes it back, which alone costs more than all else.
    token: Callable[[int], None]

    def __init__(self) -> None:
        size = lib.lr_meter_bytes()
        self._memory = ffi.new("uint64_t[]", -(-size // 8))
        out = ffi.new("lr_meter **")
        status = lib.lr_meter_init(self._memory, size, out)
        assert status == lib.LR_OK
        self._meter = out[0]
        self._lock = Lock()
        self._times: list[int] = []
        self.token = self._times.append

    def prompt_start(self, now: int, prompt_tokens: int = 0) -> None:
        """A request begins: all but the totals starts anew."""
        with self._lock:
            self._flush()
            lib.lr_meter_prompt(self._meter, now, prompt_tokens)

    def tokens(self, now: int, n: int) -> None:
        """`n` tokens came at once; they share the time since the last."""
        with self._lock:
            self._flush()
            lib.lr_meter_tokens(self._meter, now, n)

    def snapshot(self, now: int, window: int = 2_000_000_000) -> MeterSnapshot:
        """What it says at `now`; `window` ns is what the current rate is made of."""
        with self._lock:
            self._flush()
            return snapshot_of(lambda r: lib.lr_meter_read(self._meter, now, window, r))

    def _flush(self) -> None:
        n = len(self._times)
        if n == 0:
            return
        # Only what was counted: the writer may append in the meantime.
        times = self._times[:n]
        del self._times[:n]
        lib.lr_meter_push(self._meter, times, n)


def snapshot_of(read: Callable[[Any], int]) -> MeterSnapshot:
    """What `read` fills in: the status that it returns may ask for another try."""
    r = ffi.new("lr_meter_reading *")
    while (status := read(r)) == lib.LR_AGAIN:
        pass
    assert status == lib.LR_OK
    return MeterSnapshot(
        r.rate_now, r.rate_average, r.rate_prompt, r.first_ns, r.p50_ns, r.p90_ns, r.p99_ns, r.min_ns, r.max_ns,
        r.tokens, r.prompt_tokens, r.tokens_total, r.requests, bool(r.waiting),
    )  # fmt: skip
