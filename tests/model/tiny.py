"""Small GGUF files of any content, right or wrong: a true header and a few KiB of zeros."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

Tensors = dict[str, tuple[int, ...]]

KEYS: dict[str, Any] = {
    "block_count": 2,
    "context_length": 512,
    "embedding_length": 64,
    "feed_forward_length": 128,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "vocab_size": 96,
}


def dense(layers: int = 2) -> Tensors:
    """The tensors of a llama with KEYS' shape."""
    found: Tensors = {
        "token_embd.weight": (64, 96),
        "output_norm.weight": (64,),
        "output.weight": (64, 96),
    }
    for il in range(layers):
        found |= {
            f"blk.{il}.attn_norm.weight": (64,),
            f"blk.{il}.attn_q.weight": (64, 64),
            f"blk.{il}.attn_k.weight": (64, 32),
            f"blk.{il}.attn_v.weight": (64, 32),
            f"blk.{il}.attn_output.weight": (64, 64),
            f"blk.{il}.ffn_norm.weight": (64,),
            f"blk.{il}.ffn_gate.weight": (64, 128),
            f"blk.{il}.ffn_up.weight": (64, 128),
            f"blk.{il}.ffn_down.weight": (128, 64),
        }
    return found


def experts(n: int) -> Tensors:
    """The expert tensors of one block."""
    return {
        "blk.1.ffn_gate_inp.weight": (64, n),
        "blk.1.ffn_gate_exps.weight": (64, 32, n),
        "blk.1.ffn_up_exps.weight": (64, 32, n),
        "blk.1.ffn_down_exps.weight": (32, 64, n),
    }


def write(
    path: Path,
    keys: dict[str, Any] | None = None,
    tensors: Tensors | None = None,
    *,
    architecture: str = "llama",
    general: dict[str, Any] | None = None,
    cut: int = 0,
) -> Path:
    """Writes F16 tensors (vectors F32), zeros all; keys of `ARCHITECTURE.` and `general` ones by full name.

    cut: bytes that are missing at the end.
    """
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {**KEYS, **(keys or {})}.items():
        if value is not None:
            _add(writer, f"{architecture}.{key}", value)
    for key, value in (general or {}).items():
        _add(writer, key, value)
    size = 0
    for name, dims in (dense() if tensors is None else tensors).items():
        flat = len(dims) == 1
        n = math.prod(dims) * (4 if flat else 2)
        writer.add_tensor_info(name, tuple(reversed(dims)), np.dtype(np.float32 if flat else np.float16), n)
        size += -(-n // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for file in writer.fout or []:
        file.flush()
    writer.close()
    start = -(-path.stat().st_size // 32) * 32
    with path.open("r+b") as file:
        file.truncate(start + size - cut)
    return path


def _add(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif value < 0:
        writer.add_int32(key, value)
    elif value < 1 << 32:
        writer.add_uint32(key, value)
    else:
        writer.add_uint64(key, value)
