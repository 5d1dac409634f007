"""A GGUF header out of bytes: positions at first, so that a vocabulary costs nothing until it is asked."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from struct import Struct
from typing import Any

from localrun._ffi import ffi, lib
from localrun.errors import HeaderError
from localrun.native.array import Array, Source, Span, Value, scalar
from localrun.native.faults import header_error
from localrun.value import dataclass

Buffer = bytes | bytearray | memoryview | mmap.mmap

_KV = Struct("=4Q4I")  # lr_gguf_kv
_TENSOR = Struct("=7Q4I")  # lr_gguf_tensor
_STRING, _ARRAY = lib.LR_GGUF_STRING, lib.LR_GGUF_ARRAY
_TYPES = tuple(
    ffi.string(name).decode("ascii") if (name := lib.lr_ggml_type_name(i)) else ""
    for i in range(lib.LR_GGML_TYPES)
)


class NeedMore(HeaderError):
    """The bytes end inside the header, and the file may go on: `bytes` of it at least are needed."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"the header goes on: {needed} bytes of the file are needed at least")
        self.bytes = needed


@dataclass(frozen=True, slots=True)
class TensorInfo:
    name: str
    dims: tuple[int, ...]  # ggml order: dims[0] is the length of a row
    type: str  # ggml's name, "Q4_K"
    offset: int  # from the header's data_offset
    bytes: int  # without padding


class Metadata(Mapping[str, Value]):
    """A header's pairs in file order. A value is made when it is asked for."""

    __slots__ = ("_pairs",)

    def __init__(self, source: Source, rows: Iterable[tuple[int, ...]]) -> None:
        self._pairs = {
            source[key_at : key_at + key_bytes].decode(): (Span(source, at, size), count, kind, element)
            for key_at, at, size, count, key_bytes, kind, element, _ in rows
        }

    def __getitem__(self, key: str) -> Value:
        span, count, kind, element = self._pairs[key]
        if kind == _STRING:
            return span.read().decode()
        if kind == _ARRAY:
            return Array(span, key, count, element)
        return scalar(span.read(), 0, kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, key: object) -> bool:
        return key in self._pairs

    def __repr__(self) -> str:
        return f"<{len(self)} metadata pairs>"


@dataclass(frozen=True, slots=True)
class Header:
    version: int
    alignment: int
    data_offset: int  # where the tensors' bytes start in the file
    data_bytes: int  # of all tensors, the padding between them included
    metadata: Metadata
    tensors: tuple[TensorInfo, ...]


def read_header(buffer: Buffer, file_size: int = 0) -> Header:
    """The header of the GGUF file that begins with `buffer`, which may be a part of it.

    `file_size` is the whole file's; 0 = unknown, and then no tensor is held against the file's end. A map may
    be closed afterwards: what is over 64 KiB, as vocabularies are, can then no longer be read, all else can.
    Raises NeedMore when more of the file is needed, HeaderError when the file cannot be read as a model.
    """
    with memoryview(buffer).cast("B") as view, ffi.from_buffer(view) as data:
        walk = ffi.new("lr_gguf *")
        walk.data, walk.size = data, len(view)
        walk.file_size = max(file_size, len(view)) if file_size else 0
        walk.seed = int.from_bytes(os.urandom(8), "little")
        kvs, tensors = _walk(walk, view)
        source = buffer if isinstance(buffer, Source) else bytes(view[: walk.data_offset])
    return Header(
        version=walk.version,
        alignment=walk.alignment,
        data_offset=walk.data_offset,
        data_bytes=walk.data_bytes,
        metadata=Metadata(source, _KV.iter_unpack(ffi.buffer(kvs))),
        tensors=tuple(
            TensorInfo(source[at : at + n].decode(), dims[:n_dims], _TYPES[kind], offset, size)
            for at, offset, size, *dims4, n, n_dims, kind, _ in _TENSOR.iter_unpack(ffi.buffer(tensors))
            if (dims := tuple(dims4))
        ),
    )


def _walk(walk: Any, view: memoryview) -> tuple[Any, Any]:
    """The filled arrays of pairs and of tensors. The first call only counts: the file has a say in neither
    array before its bytes were found to be enough for that many."""
    status = lib.lr_gguf_walk(walk)
    kvs = tensors = slots = None
    if status == lib.LR_FULL:
        kvs = ffi.new("lr_gguf_kv[]", walk.n_kv)
        tensors = ffi.new("lr_gguf_tensor[]", walk.n_tensors)
        slots = ffi.new("uint32_t[]", walk.n_slots)
        walk.kvs, walk.kv_room = kvs, walk.n_kv
        walk.tensors, walk.tensor_room = tensors, walk.n_tensors
        walk.slots, walk.slot_room = slots, walk.n_slots
        status = lib.lr_gguf_walk(walk)
    if status == lib.LR_MORE:
        raise NeedMore(walk.need)
    if status != lib.LR_OK:
        raise header_error(walk, view)
    return kvs, tensors
