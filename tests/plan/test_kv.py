"""Cache sizes against published byte figures, and what an engine refuses, without an engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localrun.errors import UsageError
from localrun.plan.kv import KvLayout, context, kv_cache, windowed_cells
from localrun.plan.values import Settings
from tests.shapes import MODELS


def cache(which: str, **settings: object) -> KvLayout:
    named = MODELS[which]
    return kv_cache(named.shape, Settings(**settings), named.architecture)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("which", "settings", "expected"),
    [
        ("v3.2", {"ctx_size": 4096}, 351_797_248),
        ("v3.2", {"ctx_size": 32768, "cache_type_k": "q8_0", "cache_type_v": "q8_0"}, 1_495_138_304),
        ("v3.2", {"ctx_size": 163840}, 14_071_889_920),
        ("v3.2-stripped", {"ctx_size": 163840}, 11_513_364_480),
        ("scout", {"ctx_size": 131072, "parallel": 4}, 11_576_279_040),
        ("scout", {"ctx_size": 131072, "parallel": 4, "kv_unified": True}, 11_349_786_624),
        ("scout", {"ctx_size": 32768, "cache_type_k": "q8_0", "cache_type_v": "q8_0"}, 1_537_474_560),
        ("scout", {"ctx_size": 32768, "ubatch_size": 2048}, 3_120_562_176),
        ("scout", {"ctx_size": 32768, "swa_full": True}, 6_442_450_944),
        ("llama-8b", {"ctx_size": 131072}, 17_179_869_184),
    ],
)
def test_the_cache_has_the_bytes_that_llama_cpp_allocates(
    which: str, settings: dict[str, object], expected: int
) -> None:
    assert cache(which, **settings).bytes == expected


def test_the_layers_add_up_to_the_whole_cache() -> None:
    for which in MODELS:
        layout = cache(which, ctx_size=20000, parallel=3)
        assert sum(layout.per_layer) == layout.bytes
        assert len(layout.per_layer) == MODELS[which].shape.n_layers


def test_a_next_token_block_caches_nothing() -> None:
    assert cache("v3.2-mtp", ctx_size=4096).bytes == cache("v3.2", ctx_size=4096).bytes
    assert cache("v3.2-mtp", ctx_size=4096).per_layer[-1] == 0


def test_a_token_costs_what_the_growing_layers_store() -> None:
    assert cache("v3.2", ctx_size=32768).bytes_per_token == 61 * (576 + 128) * 2
    assert cache("scout", ctx_size=4096).bytes_per_token == 48 * 2 * 1024 * 2
    assert cache("scout", ctx_size=131072).bytes_per_token == 12 * 2 * 1024 * 2, "windows do not grow"


def test_one_more_slot_rounds_each_share_up_to_256_cells() -> None:
    shape = MODELS["llama-8b"].shape
    size = context(shape, Settings(ctx_size=10000, parallel=3))
    assert (size.cells, size.streams, size.total) == (3584, 3, 10752)
    shared = context(shape, Settings(ctx_size=10000, parallel=3, kv_unified=True))
    assert (shared.cells, shared.streams) == (10240, 1)


def test_context_zero_means_the_trained_one() -> None:
    assert cache("llama-8b", ctx_size=0).cells == 131072


def test_a_batch_larger_than_the_context_is_cut() -> None:
    assert context(MODELS["llama-8b"].shape, Settings(ctx_size=300, ubatch_size=2048)).ubatch == 300


def test_windowed_cells_never_exceed_the_context() -> None:
    shape = MODELS["scout"].shape
    assert windowed_cells(shape, Settings(ctx_size=4096)) == 4096
    assert windowed_cells(shape, Settings(ctx_size=131072)) == 8704
    assert windowed_cells(shape, Settings(ctx_size=131072, swa_full=True)) == 131072


@pytest.mark.parametrize(
    ("which", "settings", "word"),
    [
        ("v3.2", {"cache_type_k": "q8_0"}, "must be the same"),
        ("llama-8b", {"cache_type_v": "q8_0", "flash_attn": "off"}, "flash attention"),
        ("llama-8b", {"cache_type_k": "q2_K"}, "not a cache type"),
        ("llama-8b", {"parallel": 0}, "positive"),
        ("llama-8b", {"ctx_size": -1}, "positive"),
        ("llama-8b", {"batch_size": 0}, "positive"),
        ("llama-8b", {"ctx_size": 256, "parallel": 300}, "slots"),
    ],
)
def test_what_the_engine_refuses_is_refused_in_words_that_name_the_flag(
    which: str, settings: dict[str, object], word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        cache(which, **{"ctx_size": 4096, **settings})


def test_blocks_must_divide_the_head() -> None:
    named = MODELS["llama-8b"]
    odd = replace(named.shape, head_dim_k=80, head_dim_v=80)
    with pytest.raises(UsageError, match="blocks of 32"):
        kv_cache(odd, Settings(4096, cache_type_k="q8_0"), "llama")


def test_an_unknown_architecture_is_sized_by_its_heads_within_a_band() -> None:
    named = MODELS["scout"]
    layout = kv_cache(named.shape, Settings(131072), "something-new")
    assert not layout.exact
    assert layout.low < layout.bytes < layout.high
    full = kv_cache(named.shape, Settings(131072, swa_full=True), "llama4")
    assert layout.high == full.bytes, "were every layer to cache the whole context"
    assert kv_cache(named.shape, Settings(4096), "llama4").exact
