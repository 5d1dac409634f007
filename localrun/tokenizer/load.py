"""Which loader a file needs."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from localrun.errors import ModelError
from localrun.tokenizer.vocabulary import Vocabulary
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class Loaded:
    vocabulary: Vocabulary
    data: bytes | mmap.mmap  # the file's first bytes
    read: int  # so many of them are all that the vocabulary depends on, but for the file's size
    file_size: int


def load(path: Path) -> Loaded:
    """Reads the vocabulary of any file that carries one. Raises ModelError."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.peek(4).startswith(b"GGUF"):
                from localrun.tokenizer.from_gguf import read_gguf

                return Loaded(*read_gguf(file, size), size)
            data = file.read()
    except OSError as e:
        raise ModelError(f"{path} cannot be read: {e.strerror or e}") from None
    return Loaded(_parsed(path, data), data, len(data), len(data))


def _parsed(path: Path, data: bytes) -> Vocabulary:
    if data[:4096].lstrip().startswith(b"{"):
        from localrun.tokenizer.from_json import read_json

        return read_json(path, data)
    if data.startswith(b"\x0a"):
        from localrun.tokenizer.from_sentencepiece import read_sentencepiece

        return read_sentencepiece(path, data)
    from localrun.tokenizer.from_tiktoken import read_tiktoken

    return read_tiktoken(path, data)
