"""Writes tests/c/corpus/gguf: one small header for each thing that can be right or wrong with one.

    python -m tests.c.make_corpus

The first byte of a file is the fuzz target's: 0 = part of a file, 1 = the whole, 129 = 64 bytes more follow.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tests.gguf_bytes import every_type, header, pair, tensor, text

FOLDER = Path(__file__).parent / "corpus" / "gguf"


def raw_pair(key: bytes, kind: int, rest: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + rest


def corpus() -> dict[str, bytes]:
    count = struct.pack("<Q", 2**63)
    deep = b"".join(struct.pack("<IQ", 9, 1) for _ in range(8)) + struct.pack("<IQ", 0, 0)
    one = [tensor("t", (8,), 0, 0)]
    wrong = {
        "magic": b"GGML" + every_type()[4:],
        "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "version_1": header([], version=1),
        "version_99": header([], version=99),
        "many_keys": b"GGUF" + struct.pack("<IQQ", 3, 0, 10**6),
        "counts_2_63": b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63),
        "key_2_63": header([count + b"key and more"]),
        "key_utf8": header([pair(b"\xff\xfe", "uint8", 1)]),
        "key_empty": header([pair("", "uint8", 1)]),
        "key_twice": header([pair("k", "uint8", 1), pair("k", "uint8", 2)]),
        "string_2_63": header([raw_pair(b"k", 8, count)]),
        "string_utf8": header([pair("k", "string", b"\xc3")]),
        "array_2_63": header([raw_pair(b"k", 9, struct.pack("<I", 0) + count)]),
        "array_string_2_63": header([raw_pair(b"k", 9, struct.pack("<IQ", 8, 2) + text("a") + count)]),
        "array_deep": header([raw_pair(b"k", 9, deep)]),
        "array_type": header([raw_pair(b"k", 9, struct.pack("<IQ", 77, 1))]),
        "value_type": header([raw_pair(b"k", 13, b"\0" * 8)]),
        "alignment_0": header([pair("general.alignment", "uint32", 0)], one),
        "alignment_48": header([pair("general.alignment", "uint32", 48)], one),
        "name_long": header([], [tensor("n" * 64, (8,), 0, 0)]),
        "name_twice": header([], [tensor("t", (8,), 0, 0), tensor("t", (8,), 0, 32)]),
        "dims_5": header([], [tensor("t", (1, 1, 1, 1, 1), 0, 0)]),
        "dims_2_63": header([], [tensor("t", (2**63, 2), 0, 0)]),
        "dims_product": header([], [tensor("t", (2**32, 2**32), 0, 0)]),
        "tensor_type": header([], [tensor("t", (256,), 31, 0)]),
        "tensor_row": header([], [tensor("t", (100,), 12, 0)]),
        "offset_unaligned": header([], [tensor("t", (8,), 0, 1)]),
        "offset_overlap": header([], [tensor("t", (9,), 0, 0), tensor("u", (8,), 0, 32)]),
        "offset_gap": header([], [tensor("t", (8,), 0, 0), tensor("u", (8,), 0, 96)]),
        "outside": header([], [tensor("t", (1 << 20,), 0, 0)]),
    }
    right = {"every_type": every_type(), "nothing": header([]), "one_tensor": header([], one)}
    files = {f"right_{name}": b"\0" + data for name, data in right.items()}
    files |= {f"whole_{name}": b"\x81" + data for name, data in right.items()}
    return files | {f"wrong_{name}": b"\x01" + data for name, data in wrong.items()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = corpus()
    for old in FOLDER.iterdir():
        if old.name not in files:
            old.unlink()
    for name, data in files.items():
        assert len(data) < 4096
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()
