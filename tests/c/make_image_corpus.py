"""Writes tests/c/corpus/image: changes to an image of a vocabulary, as fuzz_image.c reads them.

python -m tests.c.make_image_corpus
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus" / "image"
NUMBERS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x20000001, 0xFF000010)
HEAD = 1 << 31


def change(where: int, number: int) -> bytes:
    return struct.pack("<II", where, number)


def corpus() -> dict[str, bytes]:
    r = random.Random(7)
    files = {"untouched": b""}
    for i, number in enumerate(NUMBERS):
        files[f"head_{i}"] = change(HEAD | r.randrange(0, 1536, 4), number)
        files[f"body_{i}"] = change(r.randrange(0, HEAD, 4), number)
    files["both"] = change(HEAD | 200, 3) + change(r.randrange(0, HEAD, 4), 5)
    return files


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in corpus().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
