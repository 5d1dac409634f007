"""How fast text becomes ids: ours, gigatoken and fastokens, interleaved, one thread, CPU time, medians.

    pip install gigatoken==0.10 fastokens==0.3.5
    python -m bench.tokenizer [--write] [VOCABULARY ...]

Texts: Python's own documentation (en), its standard library (code), Django's translations into 24 languages (multi).
`cold` is a fresh tokenizer's first text; `array` and `list` are later passes. With --write the result is kept in
bench/results/tokenizer.json. The ids of all three are compared first. `hostile`: seconds for texts of 1 MB that make
tokenizers slow, each time with another first character, so that nobody has seen the text before.
"""

from __future__ import annotations

import ast
import gc
import os
import re
import statistics
import sysconfig
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAYON_NUM_THREADS", "1")

from bench.machine import describe, keep
from localrun.tokenizer import Tokenizer
from tests.tokenizer.llama_cpp import LlamaCpp
from tests.tokenizer.references import NAMES, SPM, gguf_path, reference
from tests.tokenizer.test_adversarial import hostile
from tests.tokenizer.texts import NATURAL
from tests.tokenizer.wheels import cache_folder, download

VOCABULARIES = ("llama-bpe", "deepseek-v3.2", "qwen2", "gpt-4o", "mistral-v1")
DJANGO = "django==5.2.8"
LANGUAGES = (
    "ar", "bg", "bn", "de", "el", "es", "fa", "fi", "fr", "he", "hi", "ja", "ko", "ka", "pl", "pt_BR", "ru", "ta",
    "th", "tr", "uk", "vi", "zh_Hans", "zh_Hant",
)  # fmt: skip
ROUNDS = 7
HOSTILE = 1_000_000  # bytes
Encode = Callable[[Any, str], Any]


def translations(wheel: zipfile.ZipFile, language: str) -> str:
    names = [name for name in wheel.namelist() if f"/locale/{language}/" in name and name.endswith(".po")]
    found: list[str] = []
    for name in names:
        for block in re.findall(r'^msgstr(?:\[\d\])? ((?:".*"\n)+)', wheel.read(name).decode(), re.MULTILINE):
            found.append("".join(ast.literal_eval(line) for line in block.splitlines()))
    return "\n".join(filter(None, found))


def texts() -> dict[str, str]:
    from pydoc_data.topics import topics

    folder = cache_folder() / DJANGO
    folder.mkdir(exist_ok=True)
    wheels = [*folder.glob("*.whl")] or [download(DJANGO, folder)]
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:80]
    with zipfile.ZipFile(wheels[0]) as wheel:
        multi = "\n".join(translations(wheel, language) for language in LANGUAGES)
    return {
        "en": "\n".join(topics[name] for name in sorted(topics)),
        "code": "".join(path.read_text(encoding="utf-8") for path in sources)[:2_000_000],
        "multi": multi,
    }


def contestants(name: str) -> dict[str, tuple[Callable[[], Any], Encode, Encode]]:
    """By name: how to load, how to encode to an array, how to encode to a list."""
    import fastokens
    import gigatoken

    path = reference(name).path
    load = gigatoken.Tokenizer.from_sentencepiece if name in SPM else gigatoken.Tokenizer.from_json
    source: Any = str(path) if name in SPM else path.read_text(encoding="utf-8")
    found: dict[str, tuple[Callable[[], Any], Encode, Encode]] = {
        "localrun": (
            lambda: Tokenizer.open(path, cache=False),
            lambda t, s: t.encode_array(s),
            lambda t, s: t.encode(s),
        ),
        "gigatoken": (lambda: load(source), lambda t, s: t.encode(s), lambda t, s: t.encode(s).tolist()),
    }
    if name not in SPM:
        found["fastokens"] = (
            lambda: fastokens.Tokenizer.from_file(str(path)),
            lambda t, s: t.encode_batch_flat([s]),
            lambda t, s: list(t.encode(s).ids),
        )
    return found


def seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    kept = work()
    spent = time.process_time() - start
    del kept
    return spent


def measure(name: str, text: str, loaded: dict[str, Any]) -> dict[str, dict[str, float]]:
    """MB/s by kind of pass and contestant."""
    makers = contestants(name)
    spent: dict[str, dict[str, list[float]]] = {
        kind: {who: [] for who in makers} for kind in ("cold", "array", "list")
    }
    for _ in range(2):
        for who, (load, to_array, _) in makers.items():
            fresh = load()
            gc.collect()
            spent["cold"][who].append(seconds(lambda f=fresh, e=to_array: e(f, text)))
    for _ in range(ROUNDS):
        for who, (_, to_array, _) in makers.items():
            spent["array"][who].append(seconds(lambda t=loaded[who], e=to_array: e(t, text)))
        for who, (_, _, to_list) in makers.items():
            spent["list"][who].append(seconds(lambda t=loaded[who], e=to_list: e(t, text)))
    size = len(text.encode()) / 1e6
    return {
        kind: {who: round(size / statistics.median(times), 1) for who, times in row.items()}
        for kind, row in spent.items()
    }


def against_llama_cpp() -> dict[str, float]:
    """Milliseconds from the GGUF file to a tokenizer that has encoded a word."""
    path = gguf_path("llama-bpe")
    ours = statistics.median(seconds(lambda: Tokenizer.open(path, cache=False).encode("a")) for _ in range(7))
    theirs = statistics.median(seconds(lambda: LlamaCpp(path).encode("a")) for _ in range(5))
    return {
        "localrun": round(ours * 1e3, 1),
        "llama.cpp vocab_only": round(theirs * 1e3, 1),
        "times": round(theirs / ours, 1),
    }


def decode_one() -> dict[str, float]:
    """Microseconds for one token to text, over those of a text."""
    tokenizer = Tokenizer.open(gguf_path("llama-bpe"), cache=False)
    stream, ids = tokenizer.stream(), tokenizer.encode(NATURAL["en"] * 200)
    spent = statistics.median(seconds(lambda: [*map(stream.feed, ids)]) for _ in range(7))
    return {"stream.feed": round(spent / len(ids) * 1e6, 3)}


def against_hostile_texts(name: str = "llama-bpe") -> dict[str, Any]:
    """Seconds by text and contestant; how many texts some other reads twice as fast."""
    made = contestants(name)
    loaded = {who: load() for who, (load, _, _) in made.items()}
    rows: dict[str, dict[str, float]] = {}
    for kind, longer in hostile(HOSTILE).items():
        text = longer.encode()[-HOSTILE:].decode(errors="ignore")
        spent: dict[str, list[float]] = {who: [] for who in made}
        for start in range(3):
            for who, (_, to_array, _) in made.items():
                fresh = text[start:]
                spent[who].append(seconds(lambda t=loaded[who], e=to_array, s=fresh: e(t, s)))
        rows[kind] = {who: round(statistics.median(times), 4) for who, times in spent.items()}
    best = {kind: min(s for who, s in row.items() if who != "localrun") for kind, row in rows.items()}
    return {
        "texts": rows,
        "worst": max(row["localrun"] for row in rows.values()),
        "worst_best_other": max(best.values()),
        "twice_as_fast_elsewhere": sum(row["localrun"] > 2 * best[kind] for kind, row in rows.items()),
    }


def run(names: list[str]) -> dict[str, Any]:
    corpus = texts()
    result: dict[str, Any] = {
        "machine": describe(),
        "unit": "MB/s of UTF-8, medians; ratio = localrun / best other",
        "bytes": {kind: len(text.encode()) for kind, text in corpus.items()},
        "load_gguf_ms": against_llama_cpp(),
        "decode_us": decode_one(),
        "hostile_s": against_hostile_texts(),
    }
    for name in names:
        loaded = {who: load() for who, (load, _, _) in contestants(name).items()}
        for kind, text in corpus.items():
            ids = loaded["localrun"].encode(text)
            same = {who: [*contestants(name)[who][2](t, text)] == ids for who, t in loaded.items()}
            row: dict[str, Any] = {"same_ids": same}
            for way, speeds in measure(name, text, loaded).items():
                best = max(speed for who, speed in speeds.items() if who != "localrun")
                row[way] = {**speeds, "ratio": round(speeds["localrun"] / best, 2)}
            result.setdefault(name, {})[kind] = row
    return result


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="VOCABULARY", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    keep("tokenizer", run(arguments.names or list(VOCABULARIES)), arguments.write)


if __name__ == "__main__":
    main()
