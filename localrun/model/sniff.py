"""What a file is that claims to be a GGUF and is not, by its first bytes: people meet these often."""

from __future__ import annotations

#: Bytes of a file's start that `what_it_is` wants.
SNIFF_BYTES = 512

_FETCH_AGAIN = "fetch the model again"
_CONVERT = "llama.cpp wants GGUF: look for a GGUF repository of this model"

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, the model itself was not fetched", "run git lfs pull"),
    (b"PK\x03\x04", "a zip archive (PyTorch weights are)", _CONVERT),
    (b"\x80\x02", "a Python pickle (old PyTorch weights are)", _CONVERT),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "unpack it first"),
    (b"\xfd7zXZ", "an xz archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"tjgg", "a GGJT file, which llama.cpp left in 2023", _CONVERT),
    (b"fmgg", "a GGMF file, which llama.cpp left in 2023", _CONVERT),
    (b"lmgg", "a GGML file, which llama.cpp left in 2023", _CONVERT),
    (b"\x7fELF", "a program", "name the model's file"),
    (b"Entry not found", "a server's error message", _FETCH_AGAIN),
    (b"Invalid username", "a server's error message", "set HF_TOKEN, then fetch the model again"),
    (b"Access to model", "a server's refusal", "accept the model's terms, set HF_TOKEN, fetch it again"),
)


def what_it_is(start: bytes) -> tuple[str, str]:
    """(what the file looks like, what to do); start: its first SNIFF_BYTES or all of them."""
    for prefix, what, hint in _STARTS:
        if start.startswith(prefix):
            return what, hint
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "a web page, likely an error that was saved in place of the model", _FETCH_AGAIN
    if int.from_bytes(start[:8], "little") < 1 << 30 and start[8:10] in (b'{"', b"{ ", b"{\n"):
        return "a safetensors file", _CONVERT
    if text.startswith((b"{", b"[")):
        return "a JSON text", "name the model's file"
    if not start.strip(b"\0"):
        return "nothing but zeros, as a download leaves that only reserved its space", _FETCH_AGAIN
    return "not a model that is known here", "give a GGUF file"
