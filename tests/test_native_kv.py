"""KV sizes and the ledger of cells, from Python; the figures themselves stand in tests/c."""

from __future__ import annotations

import pytest

from localrun.errors import UsageError
from localrun.native import Freed, Group, KvLayer, Ledger, kv_bytes, kv_cells

SCOUT = (KvLayer(8, 128, 128, count=12), KvLayer(8, 128, 128, windowed=True, count=36))
V32 = (KvLayer(1, 576, 0, dim_index=128, count=61),)


@pytest.mark.parametrize(
    ("n_ctx", "kind", "wanted"),
    [(4096, "f16", 351_797_248), (32768, "q8_0", 1_495_138_304), (163840, "f16", 14_071_889_920)],
)  # fmt: skip
def test_deepseek_v32_takes_what_the_dry_run_says(n_ctx: int, kind: str, wanted: int) -> None:
    size = kv_bytes(V32, n_ctx, type_k=kind, type_v=kind)
    assert size.bytes == wanted
    assert size.bytes == size.row_bytes * size.cells * size.streams
    one_by_one = [KvLayer(1, 576, 0, dim_index=128)] * 61
    assert kv_bytes(one_by_one, n_ctx, type_k=kind, type_v=kind) == size


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"n_ctx": 131072, "n_seq": 4}, 11_576_279_040),
        ({"n_ctx": 131072, "n_seq": 4, "unified": True}, 11_349_786_624),
        ({"n_ctx": 32768, "type_k": "q8_0", "type_v": "q8_0"}, 1_537_474_560),
        ({"n_ctx": 32768, "n_ubatch": 2048}, 3_120_562_176),
        ({"n_ctx": 32768, "swa_full": True}, 6_442_450_944),
    ],
)
def test_scout_takes_what_the_dry_run_says(settings: dict[str, object], wanted: int) -> None:
    assert kv_bytes(SCOUT, window=8192, **settings).bytes == wanted  # type: ignore[arg-type]


def test_cells_come_in_multiples_of_256_for_each_stream() -> None:
    split = kv_cells(1000, n_seq=3)
    assert (split.cells, split.streams) == (512, 3)
    assert (kv_cells(1000, n_seq=3, unified=True).cells, kv_cells(1000, unified=True).streams) == (1024, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_ctx": 0}, {"n_ctx": -1}, {"n_ctx": 2**41}, {"n_ctx": 4096, "n_seq": 0}, {"n_ctx": 4096, "n_ubatch": 2**32},
        {"n_ctx": 4096, "type_k": "q4_K"}, {"n_ctx": 4096, "type_k": "Q4_0"}, {"n_ctx": 4096, "type_k": "q8_0"},
    ],
)  # fmt: skip
def test_what_no_cache_can_be_is_a_usage_error(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        kv_bytes(V32, **wrong)  # type: ignore[arg-type]


def test_a_ledger_counts_what_a_cache_holds() -> None:
    size = kv_bytes(SCOUT, 32768, window=8192)
    ledger = Ledger(
        [Group(size.cells, size.row_bytes), Group(size.swa_cells, size.swa_row_bytes, "chunk", 8192)]
    )
    assert ledger.read().bytes_capacity == size.bytes
    assert ledger.add(0, 10_000)
    found = ledger.read()
    assert found.group_cells == (10_000, 10_000 - 8192)
    assert found.bytes == sum(found.group_bytes)
    assert ledger.until_full(0) == found.until_full == 32768 - 10_000
    assert not ledger.add(0, 32768)
    assert ledger.read() == found
    assert ledger.remove(0, 9_000) == Freed(1_000, 1_000 * size.row_bytes + 1_000 * size.swa_row_bytes, 0)
    assert ledger.remove(0, 100, 200).tokens == 100
    assert ledger.set(0, 7)
    assert (ledger.read().tokens, ledger.read().high_water) == (7, 10_000)


def test_a_ledger_of_windows_alone_never_fills() -> None:
    ledger = Ledger([Group(512, 10, "window", 300)], n_seq=2)
    assert ledger.set(1, 10**9)
    assert ledger.until_full(1) is None
    assert ledger.read().until_full is None
    assert ledger.remove(1, 10**8).recompute == 300


def test_a_ledger_that_cannot_be_is_refused() -> None:
    for make in (
        lambda: Ledger([]),
        lambda: Ledger([Group(1, 1)], 0),
        lambda: Ledger([Group(1, 1, "window")]),
    ):
        with pytest.raises(ValueError, match="ledger"):
            make()
    with pytest.raises(ValueError, match="ledger"):
        Ledger([Group(1, 1)]).add(1, 1)
