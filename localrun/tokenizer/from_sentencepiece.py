"""A SentencePiece model: a protocol buffer, of which few fields matter here (sentencepiece_model.proto)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from pathlib import Path

from localrun.errors import ModelError
from localrun.native.tok import NORMAL
from localrun.tokenizer.vocabulary import Vocabulary, pack

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_BPE = 2


def read_sentencepiece(path: Path, data: bytes) -> Vocabulary:
    """Raises ModelError for a file that is none, or a model that is not BPE."""
    try:
        return _read(data)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError):
        raise ModelError(f"{path} is no SentencePiece model, or not a whole one") from None


def _read(data: bytes) -> Vocabulary:
    names: list[bytes] = []
    scores, types = array("f"), bytearray()
    kind, prefix, name, extra = 1, True, "", True
    for field, value in _fields(data):
        if field == _PIECES and isinstance(value, bytes):
            piece = dict(_fields(value))
            names.append(_bytes(piece[1]))
            scores.append(struct.unpack("<f", _bytes(piece.get(2, b"\0\0\0\0")))[0])
            types.append(int(piece.get(3, NORMAL)))  # the numbers are those of llama.cpp
        elif field == _TRAINER and isinstance(value, bytes):
            kind = int(dict(_fields(value)).get(3, 1))
        elif field == _NORMALIZER and isinstance(value, bytes):
            rules = dict(_fields(value))
            name = _bytes(rules.get(1, b"")).decode()
            prefix, extra = bool(rules.get(3, 1)), bool(rules.get(4, 1))
    if kind != _BPE or name not in ("identity", "") or extra:
        raise ModelError("a SentencePiece model that is not plain BPE is not handled")
    return Vocabulary(
        kind="spm",
        tokens=pack(names),
        count=len(names),
        types=bytes(types),
        scores=scores.tobytes(),
        space_prefix=prefix,
        bos=names.index(b"<s>") if b"<s>" in names else None,
        eos=names.index(b"</s>") if b"</s>" in names else None,
        add_bos=True,
    )


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise IndexError
        if size > len(data) - at:
            raise IndexError
        yield key >> 3, data[at : at + size]
        at += size
