"""What a cache holds, by the ledger, from what an engine says of its slots."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from localrun.meter.cache import Cache
from localrun.meter.values import Observation
from localrun.plan.kv_groups import KvGroup, kv_groups
from localrun.plan.values import Settings
from tests.shapes import MODELS

PLAIN = (KvGroup("full", "full", 1000, 1, 10),)
SCOUT = kv_groups(MODELS["scout"].shape, Settings(32768), "llama4")


def seen(*held: int, capacity: int = 1000, **more: int) -> Observation:
    return replace(Observation(sum(held), capacity, 0, (), held=held), **more)  # type: ignore[arg-type]


def test_tokens_and_bytes_in_use_and_what_is_left() -> None:
    found = Cache(PLAIN).update(seen(400))
    assert (found.tokens, found.capacity, found.bytes, found.bytes_capacity) == (400, 1000, 4_000, 10_000)
    assert (found.until_full, found.high_water) == (600, 400)


def test_a_chunk_that_is_over_takes_no_bytes_any_more() -> None:
    found = Cache(SCOUT).update(seen(10_000, capacity=32768))
    full, chunked = found.groups
    assert (full.name, full.cells, full.bytes) == ("full", 10_000, 10_000 * 12 * 4096)
    assert (chunked.name, chunked.cells, chunked.bytes) == ("chunked", 10_000 - 8192, 1_808 * 36 * 4096)
    assert found.bytes == full.bytes + chunked.bytes
    assert found.bytes_capacity == full.bytes_capacity + chunked.bytes_capacity


def test_the_most_is_kept_between_two_looks_and_the_engine_s_own_counts_too() -> None:
    cache = Cache(PLAIN)
    cache.update(seen(700))
    assert cache.update(seen(20)).high_water == 700
    assert cache.update(seen(20, tokens_most=900)).high_water == 900


def test_slots_of_their_own_streams_fill_one_by_one() -> None:
    split = (KvGroup("full", "full", 500, 2, 10),)
    found = Cache(split).update(seen(450, 30))
    assert (found.tokens, found.capacity, found.until_full) == (480, 1000, 50)


def test_slots_that_share_one_cache_fill_it_together() -> None:
    # llama-server tells the whole context as each slot's.
    found = Cache(PLAIN).update(seen(450, 30, capacity=2000))
    assert (found.tokens, found.capacity, found.until_full) == (480, 1000, 520)


def test_a_slot_is_full_where_the_engine_says_that_its_context_ends() -> None:
    assert Cache(PLAIN).update(seen(450, capacity=500)).until_full == 50
    assert Cache(PLAIN).update(seen(600, capacity=500)).until_full == 0


def test_an_engine_that_tells_of_no_slots_still_has_its_capacity() -> None:
    found = Cache((KvGroup("full", "full", 512, 2, 10),)).update(Observation(0, 1024, 0, ()))
    assert (found.tokens, found.capacity, found.bytes_capacity) == (0, 1024, 10_240)


def test_layers_that_all_slide_are_never_full() -> None:
    found = Cache((KvGroup("windowed", "window", 512, 1, 10, 256),)).update(seen(5_000, capacity=8192))
    assert (found.until_full, found.bytes, found.capacity) == (None, 2_560, 8192)


@given(
    groups=st.sampled_from((PLAIN, SCOUT, (KvGroup("full", "full", 256, 3, 7),))),
    looks=st.lists(st.lists(st.integers(-5, 50_000), max_size=5), max_size=5),
)
def test_whatever_an_engine_says_no_more_is_in_use_than_there_is(
    groups: tuple[KvGroup, ...], looks: list[list[int]]
) -> None:
    cache = Cache(groups)
    for held in looks:
        found = cache.update(seen(*held, capacity=40_000))
        assert 0 <= found.bytes <= found.bytes_capacity
        assert found.tokens >= 0
        for group in found.groups:
            assert 0 <= group.cells <= group.cells_capacity
