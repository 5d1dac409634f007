"""The vocabulary in a GGUF file's header."""

from __future__ import annotations

import contextlib
import mmap
from io import BufferedReader
from typing import Any

from localrun.errors import ModelError
from localrun.native import Array, Header, NeedMore, read_header
from localrun.tokenizer.pre import Pre, by_name
from localrun.tokenizer.vocabulary import Vocabulary

_KEY = "tokenizer.ggml."


#: Read at first: as much as most headers with a vocabulary take.
FIRST = 8 << 20


def read_gguf(file: BufferedReader, size: int) -> tuple[Vocabulary, bytes | mmap.mmap, int]:
    """The vocabulary, and bytes of the file from its start, of which so many are the header that it was read from.

    Raises HeaderError for a file that is no GGUF, ModelError for a vocabulary that is not handled.
    """
    header, data = _header(file, size)
    return _vocabulary(header.metadata), data, min(header.data_offset, len(data))


def _header(file: BufferedReader, size: int) -> tuple[Header, bytes | mmap.mmap]:
    # Bytes of our own, not a map of the file: what is parsed and what is remembered of it must be the same.
    room = FIRST
    while True:
        data = _read(file, min(room, size))
        try:
            return read_header(data, size), data
        except NeedMore as more:
            if len(data) < min(room, size):
                raise  # it was cut meanwhile
            room = max(more.bytes, 2 * room)
            file.seek(0)


def _read(file: BufferedReader, size: int) -> bytes | mmap.mmap:
    if size < FIRST // 4 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return file.read(size)
    # On huge pages: to be given its memory page by page takes longer than the reading.
    data = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        data.madvise(mmap.MADV_HUGEPAGE)
    count = file.readinto(data)
    return data if count == size else data[:count]


def _vocabulary(metadata: Any) -> Vocabulary:
    model = metadata.get(_KEY + "model")
    if model == "gpt2":
        return _bpe(metadata, by_name(str(metadata.get(_KEY + "pre", "gpt-2"))))
    if model == "llama":
        return _spm(metadata)
    raise ModelError(
        f"a vocabulary of the kind {str(model)[:64]!r} is not handled", "handled are byte-level BPE and SPM"
    )


def _bpe(metadata: Any, pre: Pre) -> Vocabulary:
    merges = metadata.get(_KEY + "merges")
    if not isinstance(merges, Array) or merges.type != "string":
        raise ModelError("the vocabulary has no merges")
    return Vocabulary(
        kind="merges",
        merges=merges.view(),
        merge_count=len(merges),
        pre=pre.pattern,
        letters=True,
        ignore_merges=pre.ignore_merges,
        ignore_merges_llama_cpp=pre.ignore_merges_llama_cpp,
        nfc=pre.nfc,
        **_common(metadata, pre.add_bos),
    )


def _spm(metadata: Any) -> Vocabulary:
    scores = metadata.get(_KEY + "scores")
    if not isinstance(scores, Array) or scores.type != "float32":
        raise ModelError("the vocabulary has no scores")
    return Vocabulary(
        kind="spm",
        scores=scores.view(),
        space_prefix=bool(metadata.get(_KEY + "add_space_prefix", True)),
        **_common(metadata, True),
    )


def _common(metadata: Any, add_bos: bool) -> dict[str, Any]:
    tokens = metadata.get(_KEY + "tokens")
    if not isinstance(tokens, Array) or tokens.type != "string":
        raise ModelError("the file has no vocabulary")
    types = metadata.get(_KEY + "token_type")
    return {
        "tokens": tokens.view(),
        "count": len(tokens),
        # The lowest byte of each int32: the types are small numbers.
        "types": bytes(types.view()[::4]) if isinstance(types, Array) and types.type == "int32" else None,
        "bos": _token(metadata, "bos_token_id", len(tokens)),
        "eos": _token(metadata, "eos_token_id", len(tokens)),
        "add_bos": bool(metadata.get(_KEY + "add_bos_token", add_bos)),
    }


def _token(metadata: Any, name: str, count: int) -> int | None:
    token = metadata.get(_KEY + name)
    if token is None:
        return None
    if not isinstance(token, int) or not 0 <= token < count:
        raise ModelError(f"{name} is {token}, but the vocabulary has {count} tokens")
    return token
