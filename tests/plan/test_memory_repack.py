"""Repacking by instruction set: llama.cpp's own tables, and the engine's word for AVX2 in the placement tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localrun.model.facts import Tensor
from localrun.plan.placement import place
from localrun.plan.repack import packed_bytes, repackable
from localrun.plan.values import Settings
from tests.oracle import host, sparse_model

AVX2, AVX512, AMX = frozenset({"avx2"}), frozenset({"avx2", "avx512f"}), frozenset({"avx2", "amx_int8"})
ARM, M4 = frozenset({"neon", "dotprod"}), frozenset({"neon", "dotprod", "i8mm"})


def weight(kind: str, rows: int = 4096, name: str = "blk.0.ffn_up.weight") -> Tensor:
    return Tensor(name, (4096, rows), kind, 0)


@pytest.mark.parametrize(
    ("kind", "sets", "repacked"),
    [
        ("Q4_0", AVX2, True),
        ("Q4_K", AVX2, True),
        ("Q6_K", AVX2, False),
        ("Q8_0", AVX2, False),
        ("Q2_K", AVX2, False),
        ("Q2_K", AVX512, True),
        ("Q6_K", AMX, True),
        ("Q8_0", AMX, True),
        ("F32", AMX, False),
        ("Q8_0", ARM, True),
        ("Q5_K", M4, True),
        ("Q4_0", frozenset(), False),
    ],
)
def test_a_type_is_repacked_where_the_instructions_are(
    kind: str, sets: frozenset[str], repacked: bool
) -> None:
    assert repackable(weight(kind), sets) == repacked


def test_rows_must_divide_into_groups() -> None:
    assert not repackable(weight("Q4_K", rows=4100), AVX2)
    assert repackable(weight("Q8_0", rows=4100), ARM), "by four on arm"


def test_of_three_dimensional_weights_only_experts_repack() -> None:
    experts = Tensor("blk.9.ffn_up_exps.weight", (4096, 2048, 8), "Q4_K", 0)
    heads = Tensor("blk.9.attn_k_b.weight", (4096, 512, 128), "Q4_K", 0)
    assert repackable(experts, AVX2)
    assert not repackable(heads, AVX2)


def test_tiles_take_more_than_the_file() -> None:
    size = 4096 * 4096 // 256 * 144
    tensor = Tensor("blk.0.ffn_up.weight", (4096, 4096), "Q4_K", size)
    assert packed_bytes(tensor, AVX2) == size
    assert packed_bytes(tensor, AMX) == size // 144 * 148


def test_a_native_build_repacks_what_the_wheels_do_not() -> None:
    model, machine = sparse_model("llama-8b", "Q2_K"), host()
    assert place(model, machine, Settings(512)).repacked == 0
    assert place(model, machine, Settings(512), build=frozenset({"avx2", "avx512f"})).repacked == 0, (
        "no such CPU"
    )
    able = (*machine.cpu.features, "avx512f")
    wide = replace(machine, cpu=replace(machine.cpu, features=able))
    assert place(model, wide, Settings(512)).repacked == 0, "the wheels are built for AVX2"
    assert place(model, wide, Settings(512), build=frozenset({"avx2", "avx512f"})).repacked > 0
