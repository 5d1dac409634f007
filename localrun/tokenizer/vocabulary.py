"""A vocabulary as its file has it: what every loader answers and the core is made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vocabulary:
    kind: str  # merges | ranks | spm
    tokens: bytes | memoryview  # packed: each behind its length in 8 bytes
    count: int
    types: bytes | None = None  # llama.cpp's token types, one byte each
    scores: bytes | memoryview | None = None  # float32, for spm
    merges: bytes | memoryview = b""  # packed "left right"
    merge_count: int = 0
    pre: str = "gpt-2"  # a name in localrun.native.tok.PRES
    letters: bool = False  # normal tokens are written in GPT-2's letters for bytes
    ignore_merges: bool = False
    ignore_merges_llama_cpp: bool = False  # the same, as llama.cpp does for this model
    space_prefix: bool = False
    nfc: bool = False  # the model's own tokenizer normalizes text first; llama.cpp never does
    bos: int | None = None
    eos: int | None = None
    add_bos: bool = False  # a prompt for this model begins with bos


def pack(strings: Iterable[bytes]) -> bytes:
    """Strings as GGUF writes them."""
    parts: list[bytes] = []
    for text in strings:
        parts += (len(text).to_bytes(8, "little"), text)
    return b"".join(parts)
