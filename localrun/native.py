"""The C core, as plain values in and out: the only importer of localrun._ffi."""

from __future__ import annotations

from localrun._ffi import ffi, lib


def status_text(status: int) -> str:
    return str(ffi.string(lib.lr_status_text(status)).decode("ascii"))
