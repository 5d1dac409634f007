"""How soon a GGUF file's vocabulary encodes its first word: llama.cpp's vocab-only load, ours, and ours from a sidecar.

    python -m bench.tokenizer_load [--write]

Llama 3's vocabulary, one thread, CPU time of this process, interleaved, medians. `again` is right after another load,
in memory that the system need not clear anew: on a virtual machine that clearing can take longer than all the rest.
`keep` is what writing the sidecar adds, once. `cold` is a first text with tables of our own, and with those that lie
in the sidecar. With --write the result is kept in bench/results/tokenizer_load.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.machine import describe, keep
from bench.tokenizer import seconds
from localrun.tokenizer import Tokenizer, tokenizer
from tests.tokenizer.llama_cpp import LlamaCpp
from tests.tokenizer.references import gguf_path

ROUNDS = 15


def english() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def run() -> dict[str, Any]:
    path, text = gguf_path("llama-bpe"), english()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.sidecar_folder = lambda: Path(folder)
        work: dict[str, Callable[[], Any]] = {
            "llama.cpp": lambda: LlamaCpp(path).encode("a"),
            "localrun": lambda: Tokenizer.open(path, cache=False).encode("a"),
            "localrun again": lambda: Tokenizer.open(path, cache=False).encode("a"),
            "sidecar": lambda: Tokenizer.open(path, cache=True).encode("a"),
        }
        written = seconds(work["sidecar"])
        spent: dict[str, list[float]] = {name: [] for name in (*work, "cold made", "cold kept")}
        for _ in range(ROUNDS):
            for name, one in work.items():
                spent[name].append(seconds(one))
            for name, cache in (("cold made", False), ("cold kept", True)):
                fresh = Tokenizer.open(path, cache=cache)
                spent[name].append(seconds(lambda t=fresh: t.encode_array(text)))
    ms = {name: round(statistics.median(times) * 1e3, 2) for name, times in spent.items()}
    return {
        "machine": describe(),
        "unit": "ms of CPU, medians",
        **ms,
        "keep": round(written * 1e3 - ms["localrun"], 1),
        "llama.cpp / localrun": round(ms["llama.cpp"] / ms["localrun"], 1),
        "llama.cpp / localrun again": round(ms["llama.cpp"] / ms["localrun again"], 1),
        "llama.cpp / sidecar": round(ms["llama.cpp"] / ms["sidecar"], 1),
        "cold kept / made": round(ms["cold kept"] / ms["cold made"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    keep("tokenizer_load", run(), parser.parse_args().write)


if __name__ == "__main__":
    main()
