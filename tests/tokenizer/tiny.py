"""A small GGUF vocabulary as a file, for tests: nothing here checks anything."""

from __future__ import annotations

from pathlib import Path

from tests import gguf_bytes
from tests.tokenizer.llama_cpp import letters

BYTES = [letters(bytes([i])) for i in range(256)]
WORDS = ("th", "the", "in", "ing", letters(b" the"))
MERGES = ("t h", "th e", "i n", "in g", f"{letters(b' ')} the")


def header(
    words: tuple[str, ...] = WORDS,
    merges: tuple[str, ...] = MERGES,
    pre: str = "gpt-2",
    model: str = "gpt2",
    more: tuple[bytes, ...] = (),
) -> bytes:
    pairs = [
        gguf_bytes.pair("general.architecture", "string", "llama"),
        gguf_bytes.pair("tokenizer.ggml.model", "string", model),
        gguf_bytes.pair("tokenizer.ggml.pre", "string", pre),
        gguf_bytes.pair("tokenizer.ggml.tokens", "array", ("string", [*BYTES, *words])),
        gguf_bytes.pair("tokenizer.ggml.merges", "array", ("string", list(merges))),
        gguf_bytes.pair("tokenizer.ggml.bos_token_id", "uint32", 3),
        *more,
    ]
    return gguf_bytes.header(pairs)


def write(path: Path, content: bytes | None = None) -> Path:
    path.write_bytes(header() if content is None else content)
    return path
