"""Lists of token ids whose ints are made once and shared: twice as fast as making them anew.

An id in a list is an object that Python would allocate for each token. Here each vocabulary keeps one object for each
id, and the core makes lists of them. It runs under ctypes, which holds Python's lock during the call; what it uses of
Python is the stable ABI.
"""

from __future__ import annotations

import ctypes
from array import array
from typing import Any

from localrun._ffi import ffi, lib

_MAKE = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
    ctypes.c_void_p, ctypes.c_void_p,
)(int(ffi.cast("uintptr_t", ffi.addressof(lib, "lr_list_make"))))  # fmt: skip


def _address(name: str) -> Any:
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p)


_NEW, _SET, _HOLD = _address("PyList_New"), _address("PyList_SetItem"), _address("Py_IncRef")


class Ints:
    """The ints from 0 to `count` - 1, ready to stand in many lists."""

    def __init__(self, count: int) -> None:
        self._ints = list(range(count))
        self._places = array("Q" if ctypes.sizeof(ctypes.c_void_p) == 8 else "L", map(id, self._ints))
        self._at = self._places.buffer_info()[0]

    def list_of(self, ids: array[int]) -> list[int]:
        """ValueError for an id that is not there."""
        at, count = ids.buffer_info()
        made: list[int] = _MAKE(at, count, self._at, len(self._ints), _NEW, _SET, _HOLD)
        return made
