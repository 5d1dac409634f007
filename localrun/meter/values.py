"""What a running engine does, as values: measured now, with units in the names."""

from __future__ import annotations

from localrun.value import dataclass


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
    held: tuple[int, ...] = ()  # tokens in each slot's cache; empty where the engine does not tell
    tokens_most: int = 0  # the most that one slot held since the start


@dataclass(frozen=True, slots=True)
class GroupReading:
    """The cache of layers that keep the same tokens: in use, and what there is."""

    name: str  # "full", "chunked", "windowed", "MLA", "indexer"
    cells: int
    cells_capacity: int
    bytes: int
    bytes_capacity: int


@dataclass(frozen=True, slots=True)
class CacheReading:
    """A KV cache at one moment."""

    tokens: int
    capacity: int  # tokens
    bytes: int
    bytes_capacity: int
    high_water: int  # the most tokens so far
    until_full: int | None  # tokens that the fullest slot can still take; None: it never fills
    groups: tuple[GroupReading, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment of a running engine. Rates are tokens per second; 0 = nothing measured yet."""

    busy: int  # requests being worked on
    rate_now: float  # generation over the last seconds
    rate_average: float  # generation since the start, the engine's own count
    prompt_rate: float  # prompt tokens, the engine's own average
    first_token_ms: float  # of the newest request
    kv: CacheReading
    generated: int = 0  # tokens since the start
