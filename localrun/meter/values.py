"""What a running engine does, as values: measured now, with units in the names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """What an engine says of itself at one moment. Counters are totals since its start."""

    tokens_held: int  # in all slots' caches
    tokens_capacity: int
    busy: int  # requests being worked on
    generating: tuple[tuple[int, int], ...]  # (task, tokens generated so far) of each busy slot
    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    generated_tokens: int = 0
    generated_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment of a running engine. Rates are tokens per second; 0 = nothing measured yet."""

    busy: int  # requests being worked on
    rate_now: float  # generation over the last seconds
    rate_average: float  # generation since the start, the engine's own count
    prompt_rate: float  # prompt tokens, the engine's own average
    first_token_ms: float  # of the newest request
    kv_tokens: int
    kv_capacity: int
    kv_bytes: int
    kv_capacity_bytes: int
    generated: int = 0  # tokens since the start
