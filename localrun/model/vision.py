"""Vision encoders sized from their shape, before a projector file (mmproj) is here. Pure.

Tensors follow llama.cpp's `conversion/llava.py` and `llama4.py`, in F16 as publishers give them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from localrun.model.facts import ModelFile, Projector

#: The most tokens of one image, where llama.cpp sets it and no key of the file does (clip.cpp).
_MOST_TOKENS = {"pixtral": 1024}


class Vision(NamedTuple):
    """An encoder as the catalogue knows it."""

    kind: str
    n_layers: int
    n_embd: int
    n_ff: int
    n_head: int
    image_size: int  # pixels
    patch_size: int
    merge: int  # patches that become one token, along each side
    n_out: int  # the language model's embedding
    n_hidden: int  # width of the adapter, llama4's
    source: str


def tensors(v: Vision) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, dims in ggml's order) of the mmproj file of a pixtral or llama4 encoder."""
    e, gated = v.n_embd, v.kind == "pixtral"
    bias = not gated
    yield "v.patch_embd.weight", (v.patch_size, v.patch_size, 3, e) if gated else (v.patch_size**2 * 3, e)
    yield from _norm("v.pre_ln", e, bias)
    for il in range(v.n_layers):
        block = f"v.blk.{il}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield from _linear(f"{block}.{part}", e, e, bias)
        yield from _norm(f"{block}.ln1", e, bias)
        yield from _norm(f"{block}.ln2", e, bias)
        if gated:
            yield from _linear(f"{block}.ffn_gate", e, v.n_ff, bias)
        yield from _linear(f"{block}.ffn_up", e, v.n_ff, bias)
        yield from _linear(f"{block}.ffn_down", v.n_ff, e, bias)
    yield from _pixtral_head(v) if gated else _llama4_head(v)


def _norm(name: str, n: int, bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (n,)
    if bias:
        yield f"{name}.bias", (n,)


def _linear(name: str, n: int, to: int, bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (n, to)
    if bias:
        yield f"{name}.bias", (to,)


def _pixtral_head(v: Vision) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "mm.1.weight", (v.n_embd, v.n_out)
    yield "mm.2.weight", (v.n_out, v.n_out)
    yield "mm.input_norm.weight", (v.n_embd,)
    yield "mm.patch_merger.weight", (v.n_embd * v.merge**2, v.n_embd)
    yield "v.token_embd.img_break", (v.n_out,)


def _llama4_head(v: Vision) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "v.class_embd", (v.n_embd,)
    yield "v.position_embd.weight", (v.n_embd, (v.image_size // v.patch_size) ** 2 + 1)
    yield from _norm("v.post_ln", v.n_embd, True)
    yield "mm.model.mlp.1.weight", (v.n_embd * v.merge**2, v.n_hidden)
    yield "mm.model.mlp.2.weight", (v.n_hidden, v.n_hidden)
    yield "mm.model.fc.weight", (v.n_hidden, v.n_out)


def whole(name: str, dims: tuple[int, ...]) -> bool:
    """Whether the converter leaves this tensor in F32."""
    return len(dims) == 1 or "position_embd" in name


def projector_of(v: Vision, name: str) -> Projector:
    """What is published for an encoder in F16: the same sum for every file that the converter writes."""
    size = sum(_count(dims) * (4 if whole(n, dims) else 2) for n, dims in tensors(v))
    return Projector(
        ModelFile(name, size), v.kind, size, v.n_embd, v.n_ff, v.n_head, v.kind == "pixtral", v.patch_size,
        patches_of(v.kind, v.image_size, v.patch_size, v.merge), "rules",
    )  # fmt: skip


def _count(dims: tuple[int, ...]) -> int:
    n = 1
    for dim in dims:
        n *= dim
    return n


def patches_of(kind: str, image_size: int, patch_size: int, merge: int) -> int:
    if kind in _MOST_TOKENS:
        return _MOST_TOKENS[kind] * merge**2
    # One tile of a fixed size, its class token counted in.
    return (image_size // patch_size) ** 2 + 1 if patch_size else 0
