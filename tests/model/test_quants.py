"""Quantization rules against `llama-quantize --dry-run` itself, whose answers lie in golden/quantize.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from localrun.errors import ModelError
from localrun.model.ggml_types import FILE_TYPES, TYPES, tensor_bytes
from localrun.model.quant_rules import DEFAULT_TYPE
from localrun.model.quants import is_standard, placed, quant_name, scaled, sized_types
from tests.golden.make_quantize import MODELS, OUT, digest, dry_run
from tests.sparse import write_sparse

GOLDEN: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8"))


def ours(which: str, quant: str, imatrix: bool = False) -> dict[str, Any]:
    named = MODELS[which]
    tensors = sized_types(
        named.architecture,
        named.shape,
        quant,
        imatrix=imatrix,
        tied=named.tied,
        rope_freqs=named.rope_freqs,
        gate_bias=named.gate_bias,
    )
    return digest((name, type_) for name, _, type_, _ in tensors)


@pytest.mark.parametrize("which", MODELS)
def test_every_tensor_gets_the_type_that_llama_quantize_gives_it(which: str) -> None:
    """All quants, with and without an importance matrix: over 500 pairs of model and quant in all."""
    keys = [key for key in GOLDEN if key.split()[0] == which]
    assert len(keys) > 35
    for key in keys:
        _, quant, *more = key.split()
        if quant in ("F16", "BF16") and which.startswith("v3.2") and which != "v3.2-stripped":
            continue  # the next test
        assert ours(which, quant, imatrix=bool(more)) == GOLDEN[key], key


@pytest.mark.parametrize("quant", ["F16", "BF16"])
def test_floating_files_keep_the_indexers_projection_whole(quant: str) -> None:
    """Those come from the converter, which leaves it F32 where llama-quantize would not."""
    theirs, mine = GOLDEN[f"v3.2 {quant}"]["types"], ours("v3.2", quant)["types"]
    assert theirs[quant] - mine[quant] == mine["F32"] - theirs["F32"] == 61


def test_an_importance_matrix_moves_types() -> None:
    """Else the cases with one would prove nothing."""
    moved = [key for key in GOLDEN if key.endswith(" imatrix") and GOLDEN[key] != GOLDEN[key[:-8]]]
    assert len(moved) > 20


@pytest.mark.parametrize(
    ("which", "quant", "weights"),
    [
        ("v3.2", "Q4_K_M", 404_967_883_776),
        ("v3.2", "Q8_0", 714_186_001_408),
        ("v3.2-stripped", "Q4_K_M", 404_488_847_360),
        ("scout", "Q4_K_M", 65_346_798_336),
        ("smollm2", "Q4_1", 96_576_768),  # the built-in default's own file
    ],
)
def test_weights_to_the_byte(which: str, quant: str, weights: int) -> None:
    named = MODELS[which]
    flags = {"tied": named.tied, "rope_freqs": named.rope_freqs}
    tensors = sized_types(named.architecture, named.shape, quant, **flags)
    assert sum(size for *_, size in tensors) == weights


def test_offsets_follow_each_other_padded_to_32() -> None:
    tensors = placed(sized_types("llama", MODELS["smollm2"].shape, "Q4_K_M", tied=True))
    end = 0
    for tensor in tensors:
        assert tensor.offset == -(-end // 32) * 32
        end = tensor.offset + tensor.bytes


def test_types_agree_with_the_gguf_package() -> None:
    import gguf

    for kind, (block, size) in gguf.GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # gguf-py gives it 40 bytes; ggml-common.h and every file 36
            assert TYPES[kind.name] == (int(kind), block, size)


def test_file_types_agree_with_the_gguf_package() -> None:
    import gguf

    for kind in gguf.LlamaFileType:
        name = kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        if int(kind) in FILE_TYPES:
            assert FILE_TYPES[int(kind)] == name


@pytest.mark.parametrize(
    ("text", "quant"),
    [
        ("q4_k_m", "Q4_K_M"),
        ("Q4-K-M", "Q4_K_M"),
        ("Q4_K", "Q4_K_M"),
        ("ud-q2_k_xl", "UD-Q2_K_XL"),
        ("fp16", "F16"),
    ],
)
def test_spellings_of_a_quant(text: str, quant: str) -> None:
    assert quant_name(text) == quant


def test_a_quant_without_rules_is_refused() -> None:
    assert not is_standard("UD-Q2_K_XL")
    with pytest.raises(ModelError, match="no rule says how UD-Q2_K_XL is made"):
        sized_types("llama", MODELS["smollm2"].shape, "UD-Q2_K_XL")


def test_more_bits_make_no_smaller_file() -> None:
    order = (
        "Q2_K",
        "Q3_K_S",
        "Q3_K_M",
        "Q3_K_L",
        "Q4_K_S",
        "Q4_K_M",
        "Q5_K_S",
        "Q5_K_M",
        "Q6_K",
        "Q8_0",
        "F16",
        "F32",
    )
    for which, named in MODELS.items():
        flags = {"tied": named.tied, "rope_freqs": named.rope_freqs, "gate_bias": named.gate_bias}
        sizes = [
            sum(size for *_, size in sized_types(named.architecture, named.shape, q, **flags)) for q in order
        ]
        assert sizes == sorted(sizes), which


def test_a_scaled_model_has_the_size_it_was_told_and_keeps_its_vectors() -> None:
    tensors = sized_types("llama4", MODELS["scout"].shape, "Q2_K", rope_freqs=True)
    found = scaled(tensors, 42_200_000_000)
    assert sum(size for *_, size in found) == 42_200_000_000
    for before, after in zip(tensors, found, strict=True):
        assert after[:3] == before[:3]
        if "_exps" not in before[0]:
            assert after == before


def test_a_model_cannot_be_scaled_to_nothing() -> None:
    tensors = sized_types("llama", MODELS["smollm2"].shape, "Q4_0", tied=True)
    with pytest.raises(ModelError, match="too few"):
        scaled(tensors, 1000)


def test_sizes_are_whole_blocks() -> None:
    assert tensor_bytes("Q4_K", (512, 3)) == 2 * 144 * 3
    assert all(type_ in TYPES for type_ in DEFAULT_TYPE.values())


@pytest.mark.skipif("LOCALRUN_LLAMA_QUANTIZE" not in os.environ, reason="names no llama-quantize binary")
@pytest.mark.parametrize("which", ["smollm2", "v3.2", "scout", "mixtral"])
def test_a_real_llama_quantize_still_gives_the_golden_answers(
    tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run it against a newer llama.cpp: what fails here are rules that have changed."""
    monkeypatch.setattr("tests.sparse.MODELS", MODELS)
    write_sparse(tmp_path / "m.gguf", which, "F16")
    for quant in ("Q2_K", "Q3_K_M", "Q4_K_M", "IQ2_M", "IQ4_XS", "MXFP4_MOE"):
        assert (
            dry_run(os.environ["LOCALRUN_LLAMA_QUANTIZE"], tmp_path / "m.gguf", quant)
            == GOLDEN[f"{which} {quant}"]
        )
