"""The groups of a cache: named by what they keep, and together the whole, to the byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.plan.kv import KV_TYPES, kv_cache
from localrun.plan.kv_groups import KvGroup, kv_groups
from localrun.plan.values import Settings
from tests.shapes import MODELS


def groups(which: str, **settings: object) -> tuple[KvGroup, ...]:
    named = MODELS[which]
    return kv_groups(named.shape, Settings(**settings), named.architecture)  # type: ignore[arg-type]


@given(
    which=st.sampled_from(sorted(MODELS)),
    ctx_size=st.integers(1, 200_000),
    parallel=st.integers(1, 5),
    unified=st.booleans(),
    swa_full=st.booleans(),
    ubatch=st.sampled_from((1, 128, 512, 2048)),
    kind=st.sampled_from(sorted(KV_TYPES)),
)
def test_the_groups_are_the_whole_cache_to_the_byte(
    which: str, ctx_size: int, parallel: int, unified: bool, swa_full: bool, ubatch: int, kind: str
) -> None:
    settings = Settings(
        max(ctx_size, 256 * parallel), kind, kind, parallel=parallel, kv_unified=unified, swa_full=swa_full,
        ubatch_size=ubatch,
    )  # fmt: skip
    named = MODELS[which]
    whole = kv_cache(named.shape, settings, named.architecture)
    found = kv_groups(named.shape, settings, named.architecture)
    assert sum(g.cells * g.streams * g.row_bytes for g in found) == whole.bytes
    assert {g.streams for g in found} == {whole.streams}


@pytest.mark.parametrize(
    ("which", "settings", "wanted"),
    [
        ("llama-8b", {"ctx_size": 4096}, (KvGroup("full", "full", 4096, 1, 32 * 4096),)),
        ("v3.2-stripped", {"ctx_size": 4096}, (KvGroup("MLA", "full", 4096, 1, 61 * 1152),)),
        ("v3.2", {"ctx_size": 4096},
         (KvGroup("MLA", "full", 4096, 1, 61 * 1152), KvGroup("indexer", "full", 4096, 1, 61 * 256))),
        ("v3.2-mtp", {"ctx_size": 4096},
         (KvGroup("MLA", "full", 4096, 1, 61 * 1152), KvGroup("indexer", "full", 4096, 1, 61 * 256))),
        ("scout", {"ctx_size": 32768},
         (KvGroup("full", "full", 32768, 1, 12 * 4096), KvGroup("chunked", "chunk", 8704, 1, 36 * 4096, 8192))),
        ("scout", {"ctx_size": 32768, "parallel": 2},
         (KvGroup("full", "full", 16384, 2, 12 * 4096), KvGroup("chunked", "chunk", 8704, 2, 36 * 4096, 8192))),
        ("scout", {"ctx_size": 32768, "swa_full": True},
         (KvGroup("full", "full", 32768, 1, 12 * 4096), KvGroup("chunked", "full", 32768, 1, 36 * 4096))),
    ],
)  # fmt: skip
def test_layers_are_grouped_by_what_they_keep(
    which: str, settings: dict[str, object], wanted: tuple[KvGroup, ...]
) -> None:
    assert groups(which, **settings) == wanted


def test_windows_of_other_models_slide() -> None:
    shape = MODELS["scout"].shape
    assert [g.kind for g in kv_groups(shape, Settings(32768), "gemma3")] == ["full", "window"]
