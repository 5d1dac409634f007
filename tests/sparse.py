"""GGUF files of full real size on a few MB of disk: a true header, then a hole.

llama.cpp loads and dry-runs them as it would the real file; every weight reads as zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localrun.model.facts import Model, ModelFile, Shape, Tensor
from localrun.model.tensors import tensor_list
from tests.shapes import MODELS, Named

#: The type of one tensor, from its name and dims.
TypeOf = Callable[[str, tuple[int, ...]], str]
ALIGNMENT = 32


def plain_types(quant: str) -> TypeOf:
    """`quant` for every matrix, F32 for vectors and router weights, as quantizing keeps them.

    A row that the block size does not divide takes Q8_0 (kv_b's 128 under 256-blocks), then F16.
    """
    import gguf

    def type_of(name: str, dims: tuple[int, ...]) -> str:
        if len(dims) == 1 or name.endswith(("ffn_gate_inp.weight", "indexer.proj.weight")):
            return "F32"
        for choice in (quant, "Q8_0"):
            block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[choice]][0]
            if dims[0] % block == 0:
                return choice
        return "F16"

    return type_of


def mixed_types(name: str, dims: tuple[int, ...]) -> str:
    """A mixture in the manner of Q4_K_M: Q6_K for the head and every second down projection."""
    if name == "output.weight" or ("ffn_down" in name and int(name.split(".")[1]) % 2):
        return plain_types("Q6_K")(name, dims)
    return plain_types("Q4_K")(name, dims)


def write_sparse(path: Path, which: str, types: TypeOf | str) -> Model:
    """Writes the model named in `tests.shapes` to `path`, sparse; gives what a header reader should say."""
    import gguf

    named = MODELS[which]
    type_of = plain_types(types) if isinstance(types, str) else types
    writer = gguf.GGUFWriter(path, named.architecture)
    _write_keys(writer, named)
    tensors: list[Tensor] = []
    offset = parameters = 0
    for name, dims in tensor_list(
        named.architecture,
        named.shape,
        tied=named.tied,
        rope_freqs=named.rope_freqs,
        gate_bias=named.gate_bias,
    ):
        kind = gguf.GGMLQuantizationType[type_of(name, dims)]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        n = math.prod(dims)
        nbytes = n // block * size
        # The writer wants numpy's order, and for quantized types the row in bytes.
        rows = tuple(reversed(dims))
        raw = (*rows[:-1], rows[-1] // block * size) if block > 1 else rows
        dtype = _dtype(kind)
        writer.add_tensor_info(name, raw, dtype, nbytes, raw_dtype=kind)
        tensors.append(Tensor(name, dims, kind.name, nbytes, offset))
        offset += -(-nbytes // ALIGNMENT) * ALIGNMENT
        parameters += n
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for file in writer.fout or []:
        file.flush()
    writer.close()
    data_offset = -(-path.stat().st_size // ALIGNMENT) * ALIGNMENT
    with path.open("r+b") as file:
        file.truncate(data_offset + offset)
    quant = types if isinstance(types, str) else "mixed"
    return Model(
        name=which,
        architecture=named.architecture,
        quant=quant,
        shape=named.shape,
        tensors=tuple(tensors),
        files=(ModelFile(str(path), data_offset + offset, data_offset),),
        weights_bytes=sum(t.bytes for t in tensors),
        parameters=parameters,
        parameters_active=parameters,
        vocab_type="none",
    )


def _dtype(kind: Any) -> Any:
    import gguf
    import numpy as np

    plain = {gguf.GGMLQuantizationType.F32: np.float32, gguf.GGMLQuantizationType.F16: np.float16}
    return np.dtype(plain.get(kind, np.uint8))


def _write_keys(w: Any, named: Named) -> None:
    s = named.shape
    w.add_vocab_size(s.n_vocab)
    w.add_tokenizer_model("none")
    w.add_context_length(s.n_ctx_train)
    w.add_embedding_length(s.n_embd)
    w.add_block_count(s.n_layers)
    w.add_feed_forward_length(s.n_ff[0])
    w.add_head_count(s.n_head[0])
    w.add_head_count_kv(s.n_head_kv[0])
    w.add_key_length(s.head_dim_k)
    w.add_value_length(s.head_dim_v)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(s.rope_dim)
    if s.n_expert:
        w.add_expert_count(s.n_expert)
        w.add_expert_used_count(s.n_expert_used)
        w.add_expert_feed_forward_length(s.n_ff_expert)
    if named.architecture == "llama4":
        w.add_interleave_moe_layer_step(s.moe_every)
    if s.kv_lora_rank:
        _write_latent_keys(w, s, sigmoid=named.gate_bias)


def _write_latent_keys(w: Any, s: Shape, sigmoid: bool) -> None:
    import gguf

    w.add_leading_dense_block_count(s.n_dense_lead)
    w.add_kv_lora_rank(s.kv_lora_rank)
    w.add_q_lora_rank(s.q_lora_rank)
    if s.mla_head_dim_k:
        w.add_key_length_mla(s.mla_head_dim_k)
        w.add_value_length_mla(s.mla_head_dim_v)
    w.add_expert_shared_count(s.n_expert_shared)
    w.add_expert_weights_scale(2.5)
    w.add_expert_weights_norm(True)
    w.add_expert_gating_func(
        gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX
    )
    if sigmoid:
        w.add_expert_group_count(8)
        w.add_expert_group_used_count(4)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(40.0)
    w.add_rope_scaling_orig_ctx_len(4096)
    w.add_rope_scaling_yarn_log_mul(0.1)
    if s.n_nextn:
        w.add_nextn_predict_layers(s.n_nextn)
    if s.indexer_heads:
        w.add_indexer_head_count(s.indexer_heads)
        w.add_indexer_key_length(s.indexer_head_dim)
        w.add_indexer_top_k(s.indexer_top_k)
