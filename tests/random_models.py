"""GGUF files with random weights and real layer shapes, which the engine loads and generates with.

What a matrix takes to multiply does not depend on what stands in it, so speed can be measured on models
that nobody trained. Blocks are random bytes whose scales are set small and finite, one tile over and over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localrun.model.facts import Shape
from localrun.model.tensors import elements, file_order, tensor_list
from tests import sparse
from tests.shapes import V3, Named
from tests.sparse import ALIGNMENT, TypeOf, plain_types

_TILE = 8 << 20  # bytes of random blocks that are written again and again
#: type -> (offset in a block, half-precision scale): values of about 0.02, so that nothing overflows.
SCALES: dict[str, tuple[tuple[int, float], ...]] = {
    "Q4_0": ((0, 4e-3),),
    "Q4_1": ((0, 4e-3), (2, -3e-2)),
    "Q5_0": ((0, 2e-3),),
    "Q5_1": ((0, 2e-3), (2, -3e-2)),
    "Q8_0": ((0, 3e-4),),
    "Q2_K": ((80, 2e-3), (82, 3e-3)),
    "Q3_K": ((108, 3e-4),),
    "Q4_K": ((0, 1e-4), (2, 7e-4)),
    "Q5_K": ((0, 5e-5), (2, 7e-4)),
    "Q6_K": ((208, 1e-5),),
    "IQ1_S": ((0, 2e-3),),
    "IQ2_XXS": ((0, 3e-4),),
    "IQ2_XS": ((0, 3e-4),),
    "IQ2_S": ((0, 3e-4),),
    "IQ3_XXS": ((0, 3e-4),),
    "IQ3_S": ((0, 1e-4),),
    "IQ4_NL": ((0, 3e-4),),
    "IQ4_XS": ((0, 1e-5),),
    "TQ1_0": ((52, 2e-2),),
    "TQ2_0": ((64, 2e-2),),
}


def dense(layers: int, embd: int, heads: int, kv: int, ff: int, vocab: int, head_dim: int = 128) -> Shape:
    """A llama's shape."""
    return Shape(
        n_layers=layers,
        n_embd=embd,
        n_vocab=vocab,
        n_ctx_train=8192,
        n_head=(heads,) * layers,
        n_head_kv=(kv,) * layers,
        head_dim_k=head_dim,
        head_dim_v=head_dim,
        n_ff=(ff,) * layers,
        rope_dim=head_dim,
    )


def routed(base: Shape, experts: int, used: int, ff: int) -> Shape:
    """`base` with routed experts in every layer, as mixtral has them."""
    return replace(base, n_expert=experts, n_expert_used=used, n_ff_expert=ff)


def mixture(most: str, some: str, share: Callable[[int], bool] = lambda il: il % 2 == 1) -> TypeOf:
    """`most` everywhere but the head and, in layers that `share` picks, attn_v and ffn_down: as Q4_K_M."""

    def type_of(name: str, dims: tuple[int, ...]) -> str:
        picked = "attn_v" in name or "ffn_down" in name
        if name == "output.weight" or (picked and share(int(name.split(".")[1]))):
            return plain_types(some)(name, dims)
        return plain_types(most)(name, dims)

    return type_of


def latent(layers: int, embd: int, heads: int, experts: int, used: int, ff: int, vocab: int) -> Shape:
    """DeepSeek V3's attention and experts, fewer and smaller."""
    wide = dense(layers, embd, heads, 1, 4 * ff, vocab, V3.rope_dim)
    return replace(
        V3,
        n_layers=layers,
        n_embd=embd,
        n_vocab=vocab,
        n_ctx_train=8192,
        n_head=wide.n_head,
        n_head_kv=wide.n_head_kv,
        n_ff=wide.n_ff,
        n_expert=experts,
        n_expert_used=used,
        n_ff_expert=ff,
        n_dense_lead=1,
        q_lora_rank=768,
    )


def chunked(layers: int, embd: int, heads: int, kv: int, experts: int, ff: int, vocab: int) -> Shape:
    """Llama 4's layers: one expert of many, one shared, three of four layers chunked."""
    return replace(
        routed(dense(layers, embd, heads, kv, 2 * ff, vocab), experts, 1, ff),
        n_expert_shared=1,
        swa_window=8192,
        swa_layers=tuple(il % 4 < 3 for il in range(layers)),
    )


@dataclass(frozen=True, slots=True)
class Case:
    """A model to measure: what it is made of."""

    name: str
    named: Named
    types: TypeOf | str


#: Real layers in small numbers: 0.3 to 6 GB, dense and routed, each family of quants.
CASES = (
    Case("llama Q4_K_M", Named("llama", dense(16, 2048, 32, 8, 8192, 128256, 64)), mixture("Q4_K", "Q6_K")),
    Case("llama Q8_0", Named("llama", dense(10, 1536, 12, 4, 5120, 49152)), "Q8_0"),
    Case("llama F16", Named("llama", dense(8, 2048, 16, 8, 5632, 32000)), "F16"),
    Case("llama IQ4_XS", Named("llama", dense(12, 3072, 24, 8, 8192, 32000)), mixture("IQ4_XS", "Q5_K")),
    Case("mixtral Q4_0", Named("llama", routed(dense(16, 2048, 32, 8, 4096, 32000, 64), 8, 2, 4096)), "Q4_0"),
    Case(
        "deepseek2 Q5_K", Named("deepseek2", latent(10, 2048, 16, 32, 6, 1408, 64000), gate_bias=True), "Q5_K"
    ),
    Case("llama4 Q3_K", Named("llama4", chunked(8, 2560, 20, 4, 16, 4096, 64000)), mixture("Q3_K", "Q5_K")),
    # The larger ones are the benchmark's.
    Case("llama 8B Q4_K_M", Named("llama", dense(32, 4096, 32, 8, 14336, 128256)), mixture("Q4_K", "Q6_K")),
    Case(
        "deepseek2 Q4_K_M",
        Named("deepseek2", latent(12, 2048, 16, 64, 6, 1408, 102400)),
        mixture("Q4_K", "Q6_K"),
    ),
    Case("llama4 Q4_K_M", Named("llama4", chunked(6, 5120, 40, 8, 8, 8192, 202048)), mixture("Q4_K", "Q6_K")),
    Case("llama Q2_K", Named("llama", dense(28, 3072, 24, 8, 8192, 128256)), mixture("Q2_K", "Q4_K")),
)


def write_random(path: Path, named: Named, types: TypeOf | str, seed: int = 1) -> None:
    """Writes a model of this shape that loads and generates; its tokens are `t0`, `t1` ... and mean nothing."""
    import gguf

    type_of = plain_types(types) if isinstance(types, str) else types
    tensors = [(name, dims, type_of(name, dims)) for name, dims in _ordered(named)]
    writer = gguf.GGUFWriter(path, named.architecture)
    sparse._write_keys(writer, named)
    _write_vocabulary(writer, named.shape.n_vocab)
    for name, dims, kind in tensors:
        number = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[number]
        rows = tuple(reversed(dims))
        dtype = sparse._dtype(number)
        # Types that numpy lacks are declared by the bytes of a row.
        raw = (*rows[:-1], rows[-1] // block * size) if dtype.itemsize == 1 else rows
        writer.add_tensor_info(name, raw, dtype, elements(dims) // block * size, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    _append(path, tensors, seed)


def _ordered(named: Named) -> Iterable[tuple[str, tuple[int, ...]]]:
    return sorted(
        tensor_list(
            named.architecture,
            named.shape,
            tied=named.tied,
            rope_freqs=named.rope_freqs,
            gate_bias=named.gate_bias,
        ),
        key=file_order,
    )


def _write_vocabulary(writer: Any, n: int) -> None:
    """A sentencepiece vocabulary: the control tokens, the 256 bytes, then names that no text contains."""
    for kept in writer.kv_data:
        kept.pop("tokenizer.ggml.model", None)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3] + [6] * 256  # gguf.TokenType: unknown, control, byte; 1 is normal
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*names, *(f"t{i}" for i in range(len(names), n))])
    writer.add_token_scores([0.0] * n)
    writer.add_token_types([*kinds, *[1] * (n - len(kinds))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _append(path: Path, tensors: Iterable[tuple[str, tuple[int, ...], str]], seed: int) -> None:
    """The data section, tensor by tensor, each padded to the alignment."""
    import gguf

    tiles: dict[str, memoryview] = {}
    with path.open("r+b") as file:
        at = file.seek(0, 2)
        file.write(bytes(-at % ALIGNMENT))
        for name, dims, kind in tensors:
            block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
            length = elements(dims) // block * size
            source = "norm" if "norm" in name else kind
            if source not in tiles:
                tiles[source] = memoryview(_tile(source, size, seed))
            tile, left = tiles[source], length
            while left:
                left -= file.write(tile[: min(left, len(tile))])
            file.write(bytes(-length % ALIGNMENT))


def _tile(kind: str, size: int, seed: int) -> bytes:
    """Whole blocks of one type, about 8 MiB of them. `norm` are the ones of a norm's weight."""
    import numpy as np

    random = np.random.default_rng(seed)
    if kind == "norm":
        return np.ones(_TILE // 4, np.float32).tobytes()
    if kind in ("F32", "F16", "BF16"):
        values = (random.standard_normal(_TILE // 4) * 0.02).astype(np.float32)
        if kind == "BF16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        return values.astype(np.float32 if kind == "F32" else np.float16).tobytes()
    blocks = random.integers(0, 256, (_TILE // size, size), np.uint8)
    if kind == "MXFP4":
        blocks[:, 0] = 120  # 2 ** (120 - 128)
    elif kind == "IQ1_M":
        # The scale's four hexadecimal digits sit in the top of four words: 0x18xx is 0.002.
        for word, digit in ((2, 8), (3, 1)):
            at = 49 + 2 * word
            blocks[:, at] = (blocks[:, at] & 0x0F) | (digit << 4)
    else:
        # All different, as trained ones are: the engine looks them up in a table that no first cache holds.
        for offset, scale in SCALES[kind]:
            spread = np.exp(random.normal(0.0, 0.4, len(blocks))) * scale
            blocks[:, offset : offset + 2] = spread.astype(np.float16)[:, None].view(np.uint8)
    return blocks.tobytes()
