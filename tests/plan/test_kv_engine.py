"""The cache, byte for byte, against the engine's dry run of models of full real size."""

from __future__ import annotations

import pytest

from localrun.plan.kv import kv_cache
from localrun.plan.values import Settings
from tests.oracle import accounts, product, sparse_model
from tests.shapes import MODELS

TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
GRID = [
    *product(ctx_size=(300, 4096, 20000), parallel=(1, 3), kv_unified=(False, True), ubatch_size=(128, 2048)),
    *product(ctx_size=(33000,), parallel=(2,), swa_full=(False, True), ubatch_size=(512, 1024)),
    *product(ctx_size=(131072,), flash_attn=("on", "off", "auto")),
    *(Settings(12345, cache_type_k=kind, cache_type_v=kind) for kind in TYPES),
]


@pytest.mark.parametrize("which", MODELS)
def test_every_cache_of_the_grid_equals_the_engines(which: str) -> None:
    named = MODELS[which]
    wrong = [
        f"{case}: planned {planned}, engine {real}"
        for case, account in zip(GRID, accounts(sparse_model(which), GRID), strict=True)
        if (planned := kv_cache(named.shape, case, named.architecture).bytes)
        != (real := sum(device.kv for device in account.values()))
    ]
    assert not wrong, f"{len(wrong)} of {len(GRID)}: " + "; ".join(wrong[:3])


def test_the_grid_is_as_large_as_promised() -> None:
    assert len(GRID) * len(MODELS) >= 200


@pytest.mark.parametrize(("k", "v"), [("q8_0", "f16"), ("f16", "q4_0"), ("q4_0", "q8_0"), ("f32", "f16")])
def test_keys_and_values_of_different_types(k: str, v: str) -> None:
    for which in ("llama-8b", "scout", "smollm2"):
        case = Settings(9000, cache_type_k=k, cache_type_v=v)
        named = MODELS[which]
        (account,) = accounts(sparse_model(which), [case])
        assert account["CPU"].kv == kv_cache(named.shape, case, named.architecture).bytes
