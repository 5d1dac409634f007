"""GGUF headers as bytes, right and wrong, for tests: nothing here checks anything."""

from __future__ import annotations

import struct
from typing import Any

CODES = {
    "uint8": (0, "B"), "int8": (1, "b"), "uint16": (2, "H"), "int16": (3, "h"), "uint32": (4, "I"), "int32": (5, "i"),
    "float32": (6, "f"), "bool": (7, "?"), "string": (8, ""), "array": (9, ""), "uint64": (10, "Q"),
    "int64": (11, "q"), "float64": (12, "d"),
}  # fmt: skip


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(kind: str, item: Any) -> bytes:
    """`item` without its type; an array is (element kind, list)."""
    if kind == "string":
        return text(item)
    if kind == "array":
        element, items = item
        head = struct.pack("<IQ", CODES[element][0], len(items))
        return head + b"".join(value(element, i) for i in items)
    return struct.pack("<" + CODES[kind][1], item)


def pair(key: str | bytes, kind: str, item: Any) -> bytes:
    return text(key) + struct.pack("<I", CODES[kind][0]) + value(kind, item)


def tensor(name: str | bytes, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def header(pairs: list[bytes], tensors: list[bytes] | None = None, version: int = 3) -> bytes:
    tensors = tensors or []
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs + tensors)


def every_type() -> bytes:
    """One pair of each type, arrays of each, nested ones, two tensors: 1 KB that holds all there is."""
    samples: dict[str, list[Any]] = {
        "uint8": [0, 255], "int8": [-128, 127], "uint16": [0, 65535], "int16": [-32768, 32767],
        "uint32": [0, 2**32 - 1], "int32": [-(2**31), 2**31 - 1], "float32": [0.5, -2.0], "bool": [True, False],
        "string": ["", "täxt\n"], "uint64": [0, 2**64 - 1], "int64": [-(2**63), 2**63 - 1], "float64": [1e300, -0.1],
    }  # fmt: skip
    pairs = [pair("general.architecture", "string", "llama"), pair("general.alignment", "uint32", 64)]
    pairs += [pair(f"one.{kind}", kind, items[1]) for kind, items in samples.items()]
    pairs += [pair(f"all.{kind}", "array", (kind, items)) for kind, items in samples.items()]
    pairs += [
        pair("nested", "array", ("array", [("uint8", [1, 2]), ("string", ["a"]), ("array", [("bool", [])])]))
    ]
    pairs += [pair("empty", "array", ("string", []))]
    tensors = [tensor("token_embd.weight", (256, 3), 12, 0), tensor("output_norm.weight", (5,), 0, 448)]
    return header(pairs, tensors)
