"""The tensors of a GGUF file from the model's shape alone: names and dims, in the file's order.

Follows llama.cpp's `load_arch_tensors` of each architecture and what `conversion/` writes, so that
a model can be sized before any of its bytes were fetched. Types are no business of this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from localrun.errors import ModelError
from localrun.model.facts import Shape

#: (name, dims), dims in ggml's order: dims[0] is the length of a row.
Named = tuple[str, tuple[int, ...]]


def tensor_list(
    architecture: str,
    shape: Shape,
    *,
    tied: bool = False,
    rope_freqs: bool = False,
    gate_bias: bool = True,
) -> tuple[Named, ...]:
    """All tensors of a file, as `llama-quantize` orders them: by block, then by name.

    tied: no `output.weight`, the embedding serves as the head. rope_freqs: `rope_freqs.weight`
    (llama3 scaling: Llama 3.1 and Scout have it). gate_bias: `exp_probs_b` (DeepSeek V3 has it,
    Mistral Large 3 has not). Raises ModelError for an architecture whose tensors are not known here.
    """
    blocks = _BLOCKS.get(architecture)
    if blocks is None:
        raise ModelError(
            f"the tensors of architecture {architecture!r} are not known without a file",
            "give a GGUF file, or hf:owner/repo, whose header lists them",
        )
    named: list[Named] = [
        ("token_embd.weight", (shape.n_embd, shape.n_vocab)),
        ("output_norm.weight", (shape.n_embd,)),
    ]
    if not tied:
        named.append(("output.weight", (shape.n_embd, shape.n_vocab)))
    if rope_freqs:
        named.append(("rope_freqs.weight", (shape.rope_dim // 2 or shape.head_dim_k // 2,)))
    for il in range(shape.n_layers):
        for name, dims in blocks(shape, il):
            if gate_bias or name != "exp_probs_b.bias":
                named.append((f"blk.{il}.{name}", dims))
    return tuple(sorted(named, key=file_order))


def block_tensors(architecture: str, shape: Shape, il: int) -> tuple[Named, ...]:
    """The tensors of one block, without `blk.N.`; () for an architecture that is not known here."""
    blocks = _BLOCKS.get(architecture)
    return tuple(blocks(shape, il)) if blocks else ()


def file_order(tensor: Named) -> tuple[int, str]:
    """The key by which `llama-quantize` sorts: the block's number (-1 outside of blocks), then the name."""
    name = tensor[0]
    if name.startswith("blk."):
        number = name[4:].partition(".")[0]
        if number.isdigit():
            return int(number), name
    return -1, name


def parameters(named: tuple[Named, ...]) -> int:
    """The number of elements in all, `rope_freqs` not counted: it holds no learnt parameter."""
    return sum(elements(dims) for name, dims in named if name != "rope_freqs.weight")


def elements(dims: tuple[int, ...]) -> int:
    n = 1
    for dim in dims:
        n *= dim
    return n


def _llama(s: Shape, il: int) -> Iterator[Named]:
    yield from _attention(s, il)
    if s.n_expert:
        yield from _experts(s, s.n_ff_expert or s.n_ff[il])
    else:
        yield from _dense(s, il)


def _llama4(s: Shape, il: int) -> Iterator[Named]:
    yield from _attention(s, il)
    if s.n_expert and (il + 1) % s.moe_every == 0:
        yield from _experts(s, s.n_ff_expert)
        yield from _shared_expert(s, s.n_ff_expert)
    else:
        yield from _dense(s, il)


def _deepseek2(s: Shape, il: int) -> Iterator[Named]:
    yield from _latent_attention(s, il)
    if il < s.n_dense_lead:
        yield from _dense(s, il)
    else:
        yield from _experts(s, s.n_ff_expert)
        yield "exp_probs_b.bias", (s.n_expert,)
        yield from _shared_expert(s, s.n_ff_expert * s.n_expert_shared)
    if il >= s.n_layers - s.n_nextn:
        yield from _next_token(s)


def _deepseek32(s: Shape, il: int) -> Iterator[Named]:
    yield from _deepseek2(s, il)
    yield "indexer.k_norm.weight", (s.indexer_head_dim,)
    yield "indexer.k_norm.bias", (s.indexer_head_dim,)
    yield "indexer.proj.weight", (s.n_embd, s.indexer_heads)
    yield "indexer.attn_k.weight", (s.n_embd, s.indexer_head_dim)
    yield "indexer.attn_q_b.weight", (s.q_lora_rank, s.indexer_heads * s.indexer_head_dim)


def _attention(s: Shape, il: int) -> Iterator[Named]:
    head, kv = s.n_head[il], s.n_head_kv[il]
    yield "attn_norm.weight", (s.n_embd,)
    yield "attn_q.weight", (s.n_embd, head * s.head_dim_k)
    yield "attn_k.weight", (s.n_embd, kv * s.head_dim_k)
    yield "attn_v.weight", (s.n_embd, kv * s.head_dim_v)
    yield "attn_output.weight", (head * s.head_dim_k, s.n_embd)
    yield "ffn_norm.weight", (s.n_embd,)


def _latent_attention(s: Shape, il: int) -> Iterator[Named]:
    """MLA: with `mla_head_dim_k` the split k_b and v_b of today's files, else the old files' kv_b."""
    head, rope = s.n_head[il], s.rope_dim
    key = s.mla_head_dim_k or s.head_dim_k
    value = s.mla_head_dim_v or s.head_dim_v
    yield "attn_norm.weight", (s.n_embd,)
    if s.q_lora_rank:
        yield "attn_q_a.weight", (s.n_embd, s.q_lora_rank)
        yield "attn_q_a_norm.weight", (s.q_lora_rank,)
        yield "attn_q_b.weight", (s.q_lora_rank, head * key)
    else:
        yield "attn_q.weight", (s.n_embd, head * key)
    yield "attn_kv_a_mqa.weight", (s.n_embd, s.kv_lora_rank + rope)
    yield "attn_kv_a_norm.weight", (s.kv_lora_rank,)
    if s.mla_head_dim_k:
        yield "attn_k_b.weight", (key - rope, s.kv_lora_rank, head)
        yield "attn_v_b.weight", (s.kv_lora_rank, value, head)
    else:
        yield "attn_kv_b.weight", (s.kv_lora_rank, head * (key - rope + value))
    yield "attn_output.weight", (head * value, s.n_embd)
    yield "ffn_norm.weight", (s.n_embd,)


def _dense(s: Shape, il: int) -> Iterator[Named]:
    yield "ffn_gate.weight", (s.n_embd, s.n_ff[il])
    yield "ffn_up.weight", (s.n_embd, s.n_ff[il])
    yield "ffn_down.weight", (s.n_ff[il], s.n_embd)


def _experts(s: Shape, n_ff: int) -> Iterator[Named]:
    yield "ffn_gate_inp.weight", (s.n_embd, s.n_expert)
    yield "ffn_gate_exps.weight", (s.n_embd, n_ff, s.n_expert)
    yield "ffn_up_exps.weight", (s.n_embd, n_ff, s.n_expert)
    yield "ffn_down_exps.weight", (n_ff, s.n_embd, s.n_expert)


def _shared_expert(s: Shape, n_ff: int) -> Iterator[Named]:
    yield "ffn_gate_shexp.weight", (s.n_embd, n_ff)
    yield "ffn_up_shexp.weight", (s.n_embd, n_ff)
    yield "ffn_down_shexp.weight", (n_ff, s.n_embd)


def _next_token(s: Shape) -> Iterator[Named]:
    """A next-token-prediction block's own parts, as DeepSeek publishes them: head and embedding included."""
    yield "nextn.eh_proj.weight", (2 * s.n_embd, s.n_embd)
    yield "nextn.enorm.weight", (s.n_embd,)
    yield "nextn.hnorm.weight", (s.n_embd,)
    yield "nextn.embed_tokens.weight", (s.n_embd, s.n_vocab)
    yield "nextn.shared_head_head.weight", (s.n_embd, s.n_vocab)
    yield "nextn.shared_head_norm.weight", (s.n_embd,)


_BLOCKS: dict[str, Callable[[Shape, int], Iterator[Named]]] = {
    "llama": _llama,
    "mistral3": _llama,
    "llama4": _llama4,
    "deepseek2": _deepseek2,
    "deepseek32": _deepseek32,
}
