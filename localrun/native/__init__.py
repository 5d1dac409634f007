"""The C core, plain values in and out: the only package that imports localrun._ffi."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localrun.native.array import Array, Value
    from localrun.native.gguf import Header, Metadata, NeedMore, TensorInfo, read_header
    from localrun.native.kv import KvLayer, KvSize, kv_bytes, kv_cells
    from localrun.native.ledger import Freed, Group, Ledger, LedgerReading
    from localrun.native.loop import GREEDY, Loop, Request, Sampling, State
    from localrun.native.membw import ram_bandwidth
    from localrun.native.meter import Meter, MeterSnapshot

__all__ = [
    "GREEDY", "Array", "Freed", "Group", "Header", "KvLayer", "KvSize", "Ledger", "LedgerReading", "Loop", "Metadata",
    "Meter", "MeterSnapshot", "NeedMore", "Request", "Sampling", "State", "TensorInfo", "Value", "kv_bytes", "kv_cells",
    "ram_bandwidth", "read_header",
]  # fmt: skip

_HOME = {
    "array": ("Array", "Value"),
    "gguf": ("Header", "Metadata", "NeedMore", "TensorInfo", "read_header"),
    "kv": ("KvLayer", "KvSize", "kv_bytes", "kv_cells"),
    "ledger": ("Freed", "Group", "Ledger", "LedgerReading"),
    "loop": ("GREEDY", "Loop", "Request", "Sampling", "State"),
    "membw": ("ram_bandwidth",),
    "meter": ("Meter", "MeterSnapshot"),
}


def __getattr__(name: str) -> Any:
    # A plan reads one header and has no use for the rest: a start of localrun is counted in milliseconds.
    for module, names in _HOME.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"localrun.native.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
