"""The C core, plain values in and out: the only package that imports localrun._ffi."""

from localrun.native.array import Array, Value
from localrun.native.gguf import Header, Metadata, NeedMore, TensorInfo, read_header

__all__ = ["Array", "Header", "Metadata", "NeedMore", "TensorInfo", "Value", "read_header"]
