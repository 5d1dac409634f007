"""What lr_gguf found wrong, as one line that names the byte."""

from __future__ import annotations

from typing import Any

from localrun._ffi import ffi, lib
from localrun.errors import HeaderError

#: What an answer to `detail` means, by fault; the rest have none worth telling.
_DETAIL = {
    lib.LR_GGUF_VERSION: "{detail}",
    lib.LR_GGUF_TRUNCATED: "at least {detail} bytes are needed",
    lib.LR_GGUF_TOO_LONG: "{detail} claimed",
    lib.LR_GGUF_STRING_LONG: "{detail} bytes claimed",
    lib.LR_GGUF_ARRAY_LONG: "{detail} elements claimed",
    lib.LR_GGUF_VALUE_TYPE: "{detail}",
    lib.LR_GGUF_KEY_LONG: "{detail} bytes",
    lib.LR_GGUF_KEY_TWICE: "first as pair {detail}",
    lib.LR_GGUF_ALIGNMENT: "{detail}",
    lib.LR_GGUF_NAME_LONG: "{detail} bytes, llama.cpp takes 63",
    lib.LR_GGUF_NAME_TWICE: "first as tensor {detail}",
    lib.LR_GGUF_DIMENSIONS: "{detail} of at most 4",
    lib.LR_GGUF_SHAPE: "{detail}",
    lib.LR_GGUF_TENSOR_TYPE: "{detail}",
    lib.LR_GGUF_ROW: "{detail} elements",
    lib.LR_GGUF_UNALIGNED: "{detail}",
    lib.LR_GGUF_OVERLAP: "{detail} is the least",
    lib.LR_GGUF_GAP: "{detail} expected",
    lib.LR_GGUF_OUTSIDE: "{detail} bytes are needed, the file has {file_size}",
}
_HINT = {
    lib.LR_GGUF_BIG_ENDIAN: "fetch the little-endian file, or convert it with gguf-convert-endian",
    lib.LR_GGUF_VERSION_1: "fetch a newer conversion of this model",
    lib.LR_GGUF_VERSION: "a newer localrun may read it",
    lib.LR_GGUF_TRUNCATED: "the download is incomplete: fetch it again",
    lib.LR_GGUF_OUTSIDE: "the download is incomplete: fetch it again",
    lib.LR_GGUF_TENSOR_TYPE: "a newer localrun may know it",
}
_FIRST = frozenset((lib.LR_GGUF_MAGIC, lib.LR_GGUF_BIG_ENDIAN, lib.LR_GGUF_VERSION_1, lib.LR_GGUF_VERSION))
_KEY = frozenset((lib.LR_GGUF_KEY_EMPTY, lib.LR_GGUF_KEY_LONG, lib.LR_GGUF_KEY_UTF8))
_NAME = frozenset((lib.LR_GGUF_NAME_LONG, lib.LR_GGUF_NAME_UTF8))
_TENSOR = frozenset(
    (
        lib.LR_GGUF_NAME_TWICE, lib.LR_GGUF_DIMENSIONS, lib.LR_GGUF_SHAPE, lib.LR_GGUF_TENSOR_TYPE,
        lib.LR_GGUF_ROW, lib.LR_GGUF_UNALIGNED, lib.LR_GGUF_OVERLAP, lib.LR_GGUF_GAP, lib.LR_GGUF_OUTSIDE,
    )
)  # fmt: skip
_PAIR = frozenset(
    (
        lib.LR_GGUF_STRING_LONG, lib.LR_GGUF_ARRAY_LONG, lib.LR_GGUF_ARRAY_DEEP, lib.LR_GGUF_VALUE_TYPE,
        lib.LR_GGUF_KEY_TWICE, lib.LR_GGUF_STRING_UTF8, lib.LR_GGUF_ALIGNMENT,
    )
)  # fmt: skip


def header_error(walk: Any, view: memoryview) -> HeaderError:
    """The error for a walk that ended in LR_E_FORMAT over `view`."""
    fault = walk.fault
    what = ffi.string(lib.lr_gguf_fault_text(fault)).decode("ascii")
    if fault == lib.LR_GGUF_MAGIC:
        return HeaderError(f"not a GGUF file: it begins with {bytes(view[:4])!r}", "name a .gguf file")
    detail = _DETAIL.get(fault, "").format(detail=walk.detail, file_size=walk.file_size)
    return HeaderError(
        f"{what}{f' ({detail})' if detail else ''}{_where(walk, view)} at byte {walk.at}",
        _HINT.get(fault, ""),
    )


def _where(walk: Any, view: memoryview) -> str:
    """Which pair or tensor it was, named where its name was read."""
    fault, i = walk.fault, walk.index
    if fault in _KEY:
        return f": pair {i}"
    if fault in _NAME:
        return f": tensor {i}"
    if fault in _TENSOR:
        at, n = walk.tensors[i].name_at, walk.tensors[i].name_bytes
    elif fault in _PAIR:
        at, n = walk.kvs[i].key_at, walk.kvs[i].key_bytes
    else:
        return ""
    name = bytes(view[at : at + n]).decode("utf-8", "replace")
    # A name may be 64 KiB long, and any character may be in it: the line stays one line.
    return f": {name[:80]!a}"
