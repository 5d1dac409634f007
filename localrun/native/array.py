"""The values of a header's pairs: scalars at once, arrays as views that decode what is asked for."""

from __future__ import annotations

import array
import mmap
import sys
from collections.abc import Iterator, Sequence
from struct import Struct, unpack_from
from typing import Any, overload

from localrun._ffi import ffi, lib
from localrun.errors import HeaderError

#: By lr_gguf_type: the format's names, and the codes of `struct` and `array`; strings and arrays have none.
NAMES = tuple(ffi.string(lib.lr_gguf_type_name(i)).decode("ascii") for i in range(lib.LR_GGUF_TYPES))
_CODES = "BbHhIif?  Qqd"
_STRUCTS = tuple(Struct("<" + code) if code != " " else None for code in _CODES)
#: Up to this many bytes a value is read with the header, so that it outlives a map that is closed.
SMALL = 1 << 16
Source = bytes | mmap.mmap
_BOOL, _STRING, _ARRAY = lib.LR_GGUF_BOOL, lib.LR_GGUF_STRING, lib.LR_GGUF_ARRAY


class Span:
    """Bytes of a header: read at once where they are few, else out of the file when asked for."""

    __slots__ = ("_bytes", "_source", "offset", "size")

    def __init__(self, source: Source, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size
        self._source = source
        self._bytes = source[offset : offset + size] if size <= SMALL else None

    def view(self) -> memoryview:
        """The same without a copy: a map that it lies in cannot be closed meanwhile."""
        if self._bytes is None:
            return memoryview(self._source)[self.offset : self.offset + self.size]
        return memoryview(self.read())

    def read(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._source[self.offset : self.offset + self.size]
        return self._bytes


def scalar(raw: bytes, at: int, kind: int) -> int | float | bool:
    """The number at this byte."""
    form = _STRUCTS[kind]
    assert form is not None
    value: int | float | bool = form.unpack_from(raw, at)[0]
    return value


class Array(Sequence[Any]):
    """An array in a header, undecoded: `type` of its elements, `offset` and `nbytes` of them in the file.

    An element is an int, float, bool or str, or an Array where arrays are nested. Strings that are not UTF-8
    raise HeaderError when they are asked for; `raw(i)` gives their bytes.
    """

    __slots__ = ("_count", "_kind", "_parts", "_span", "key", "nbytes", "offset", "type")

    def __init__(self, span: Span, key: str, count: int, kind: int) -> None:
        self._span, self._kind, self._count = span, kind, count
        self._parts: tuple[Any, Any] | list[Array] | None = None
        self.key = key
        self.type = NAMES[kind]
        self.offset = span.offset
        self.nbytes = span.size

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> list[Any]: ...
    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(self._count))]
        i = self._place(i)
        if self._kind == _STRING:
            return self._text(i, self.raw(i))
        if self._kind == _ARRAY:
            return self._nested()[i]
        return scalar(self._span.read(), i * lib.lr_gguf_type_bytes(self._kind), self._kind)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __repr__(self) -> str:
        return f"<{self._count} x {self.type}>"

    def raw(self, i: int) -> bytes:
        """The bytes of string `i`, whether they are UTF-8 or not."""
        starts, lengths = self._strings()
        i = self._place(i)
        return self._span.read()[starts[i] : starts[i] + lengths[i]]

    def view(self) -> memoryview:
        """All elements as they stand in the file; strings each behind their length in 8 bytes."""
        return self._span.view()

    def toarray(self) -> array.array[Any]:
        """Numbers as an array.array: one copy, no object for each. TypeError for strings and arrays."""
        code = _CODES[self._kind]
        if code == " ":
            raise TypeError(f"an array of {self.type} is none of numbers")
        out = array.array("B" if self._kind == _BOOL else code)
        out.frombytes(self.view())
        if sys.byteorder == "big":
            out.byteswap()
        return out

    def tolist(self) -> list[Any]:
        """Every element decoded; arrays within it as lists too."""
        if self._kind == _STRING:
            starts, lengths = self._strings()
            spans = zip(ffi.unpack(starts, self._count), ffi.unpack(lengths, self._count), strict=True)
            raw = self._span.read()
            try:
                return [raw[at : at + n].decode() for at, n in spans]
            except UnicodeDecodeError:
                return [self._text(i, self.raw(i)) for i in range(self._count)]
        if self._kind == _ARRAY:
            return [inner.tolist() for inner in self._nested()]
        if self._kind == _BOOL:
            return [byte != 0 for byte in self.view()]
        return self.toarray().tolist()

    def _place(self, i: int) -> int:
        place = i + self._count if i < 0 else i
        if not 0 <= place < self._count:
            raise IndexError(f"element {i} of {self._count}")
        return place

    def _text(self, i: int, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise HeaderError(f"string {i} of {self.key} is not UTF-8") from None

    def _strings(self) -> tuple[Any, Any]:
        if self._kind != _STRING:
            raise TypeError(f"an array of {self.type} holds no strings")
        if self._parts is None:
            starts = ffi.new("uint64_t[]", self._count)
            lengths = ffi.new("uint32_t[]", self._count)
            raw = ffi.from_buffer(self._span.read())
            if lib.lr_gguf_strings(raw, len(raw), 0, self._count, starts, lengths) != lib.LR_OK:
                raise HeaderError(f"the strings of {self.key} do not lie where the header had them")
            self._parts = (starts, lengths)
        assert isinstance(self._parts, tuple)
        return self._parts

    def _nested(self) -> list[Array]:
        """Arrays lie one behind the other, each behind its element type and its count."""
        if self._parts is None:
            raw, at, parts = self._span.read(), 0, []
            for _ in range(self._count):
                kind, count = unpack_from("<IQ", raw, at)
                size = _span(raw, at + 12, kind, count)
                # Positions stay the file's: the part is cut out of a source that begins where the whole does.
                inner = Span(raw, at + 12, size)
                inner.offset += self.offset
                parts.append(Array(inner, self.key, count, kind))
                at += 12 + size
            self._parts = parts
        assert isinstance(self._parts, list)
        return self._parts


def _span(raw: bytes, at: int, kind: int, count: int) -> int:
    """The bytes of `count` elements from `at` on; the walk has found that they lie within `raw`."""
    start = at
    if kind not in (_STRING, _ARRAY):
        return int(count * lib.lr_gguf_type_bytes(kind))
    for _ in range(count):
        if kind == _STRING:
            at += 8 + unpack_from("<Q", raw, at)[0]
        else:
            inner, n = unpack_from("<IQ", raw, at)
            at += 12 + _span(raw, at + 12, inner, n)
    return at - start


Value = str | int | float | bool | Array
