"""Whole GGUF files of a few hundred KB with random weights, which llama.cpp loads and runs.

Byte-level vocabulary of 258 tokens; the architectures and key figures of the real models, made small.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from localrun.model.facts import Shape
from localrun.model.tensors import tensor_list
from tests import sparse
from tests.shapes import Named

_LAYERS = 4
_VOCAB = 258
_PLAIN = Shape(
    n_layers=_LAYERS,
    n_embd=64,
    n_vocab=_VOCAB,
    n_ctx_train=4096,
    n_head=(4,) * _LAYERS,
    n_head_kv=(2,) * _LAYERS,
    head_dim_k=16,
    head_dim_v=16,
    n_ff=(96,) * _LAYERS,
    rope_dim=16,
)
_MLA = replace(
    _PLAIN,
    n_head_kv=(1,) * _LAYERS,
    head_dim_k=48,
    head_dim_v=32,
    n_expert=16,
    n_expert_used=2,
    n_expert_shared=1,
    n_ff_expert=32,
    n_dense_lead=1,
    kv_lora_rank=32,
    q_lora_rank=32,
    mla_head_dim_k=32,
    mla_head_dim_v=16,
)
_TINY = {
    "llama": Named("llama", _PLAIN),
    "llama4": Named(
        "llama4",
        replace(
            _PLAIN, n_expert=4, n_expert_used=1, n_expert_shared=1, n_ff_expert=32, moe_every=1, swa_window=8192,
            swa_layers=(True, True, True, False),
        ),
    ),
    "deepseek2": Named("deepseek2", _MLA),
    "deepseek32": Named("deepseek32", replace(_MLA, indexer_heads=4, indexer_head_dim=64, indexer_top_k=64)),
}  # fmt: skip
ARCHITECTURES = tuple(_TINY)


def write(path: Path, architecture: str) -> Path:
    """A file of this architecture at `path`; the same bytes every time."""
    import gguf
    import numpy as np

    named = _TINY[architecture]
    random = np.random.default_rng(7)
    writer = _writer(path, architecture)
    sparse._write_keys(writer, named)
    writer.tokenizer()
    for name, dims in tensor_list(architecture, named.shape):
        rows = tuple(reversed(dims))
        data = np.ones(rows) if "norm" in name else random.normal(0, 0.05, rows)
        writer.add_tensor(name, data.astype(np.float32), raw_dtype=gguf.GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _writer_class() -> Any:
    import gguf

    class Writer(gguf.GGUFWriter):
        """`sparse` says there is no vocabulary; here there is one."""

        def add_tokenizer_model(self, model: str) -> None:
            super().add_tokenizer_model("gpt2")

        def tokenizer(self) -> None:
            self.add_tokenizer_pre("llama-bpe")
            self.add_token_list([*_bytes(), "<s>", "</s>"])
            self.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 2)
            self.add_token_merges(["t 1"])
            self.add_bos_token_id(256)
            self.add_eos_token_id(257)

    return Writer


def _writer(path: Path, architecture: str) -> Any:
    return _writer_class()(path, architecture)


def _bytes() -> list[str]:
    """GPT-2's 256 characters that stand for bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return [chr(b) if b in shown else chr(256 + hidden.index(b)) for b in range(256)]
