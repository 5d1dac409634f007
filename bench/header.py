"""How fast a header is read: ours, a walk in plain Python, and gguf-py's GGUFReader, on the same file.

    python -m bench.header [--write]

One process, one thread, CPU time; --write keeps the result in bench/results/header.json.
"""

from __future__ import annotations

import argparse
import mmap
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.machine import describe, keep
from localrun.native import read_header
from tests.fixtures_sdist import sdist_file

VOCAB = "vendor/llama.cpp/models/ggml-vocab-llama-bpe.gguf"
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def read_ours(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found = read_header(mapped, len(mapped))
    assert len(found.metadata["tokenizer.ggml.merges"]) == 280_147  # type: ignore[arg-type]


def read_ours_decoded(path: Path) -> None:
    found = read_header(path.read_bytes())
    for item in found.metadata.values():
        if hasattr(item, "tolist"):
            item.tolist()


def read_plain(path: Path) -> None:
    """The least that plain Python can do: positions only, no checks."""
    data = path.read_bytes()
    u32, u64 = struct.Struct("<I").unpack_from, struct.Struct("<Q").unpack_from
    at, found = 24, {}

    def skip(at: int, kind: int) -> int:
        if kind == 8:
            return at + 8 + int(u64(data, at)[0])
        return at + WIDTHS[kind]

    for _ in range(u64(data, 16)[0]):
        start = at + 8
        at = start + u64(data, at)[0]
        key, kind = data[start:at].decode(), u32(data, at)[0]
        at += 4
        found[key] = at
        if kind != 9:
            at = skip(at, kind)
            continue
        element, count = u32(data, at)[0], u64(data, at + 4)[0]
        at += 12
        if element == 8:
            for _ in range(count):
                at += 8 + u64(data, at)[0]
        else:
            at += count * WIDTHS[element]
    assert len(found) == 20


def read_gguf_py(path: Path) -> None:
    import gguf

    assert len(gguf.GGUFReader(path).fields) == 23


def seconds(read: Callable[[Path], None], path: Path, rounds: int) -> float:
    """The median round's CPU seconds; one round more goes before, for the page cache."""
    times = []
    for i in range(rounds + 1):
        start = time.process_time()
        read(path)
        if i > 0 or rounds == 1:
            times.append(time.process_time() - start)
    return sorted(times)[len(times) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    path = sdist_file(VOCAB)
    ours = seconds(read_ours, path, 200)
    decoded = seconds(read_ours_decoded, path, 9)
    plain = seconds(read_plain, path, 5)
    theirs = seconds(read_gguf_py, path, 1)
    result: dict[str, Any] = {
        "file": {"name": path.name, "bytes": path.stat().st_size},
        "cpu_ms": {
            "localrun": round(ours * 1e3, 3),
            "localrun, every array decoded to a list": round(decoded * 1e3, 1),
            "plain Python, positions only": round(plain * 1e3, 1),
            "gguf-py GGUFReader": round(theirs * 1e3, 1),
        },
        "times_faster_than": {
            "plain Python, positions only": round(plain / ours),
            "gguf-py GGUFReader": round(theirs / ours),
        },
        "wanted": {"times_faster_than gguf-py GGUFReader": 1000, "cpu_ms localrun at most": 5},
        "machine": describe(),
    }
    keep("header", result, write)


if __name__ == "__main__":
    main()
