"""Which loader a file needs."""

from __future__ import annotations

from pathlib import Path

from localrun.errors import ModelError
from localrun.tokenizer.vocabulary import Vocabulary


def load(path: Path) -> Vocabulary:
    """Reads the vocabulary of any file that carries one. Raises ModelError."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        return _load(path, head)
    except OSError as e:
        raise ModelError(f"{path} cannot be read: {e.strerror or e}") from None


def _load(path: Path, head: bytes) -> Vocabulary:
    if head.startswith(b"GGUF"):
        from localrun.tokenizer.from_gguf import read_gguf

        return read_gguf(path)
    if head.lstrip().startswith(b"{"):
        from localrun.tokenizer.from_json import read_json

        return read_json(path)
    if head.startswith(b"\x0a"):
        from localrun.tokenizer.from_sentencepiece import read_sentencepiece

        return read_sentencepiece(path)
    from localrun.tokenizer.from_tiktoken import read_tiktoken

    return read_tiktoken(path)
