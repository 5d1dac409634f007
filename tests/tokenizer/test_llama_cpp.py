"""With rules="llama.cpp" the ids are those that llama.cpp feeds the model, mistakes included."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest

from localrun.tokenizer import Tokenizer
from tests.fixtures_sdist import sdist_file
from tests.tokenizer.llama_cpp import LlamaCpp, as_gguf
from tests.tokenizer.texts import CODE, EVERY, NATURAL, beyond_unicode, random_bytes, random_text

VECTORS = (
    "llama-bpe", "gpt-2", "qwen2", "qwen35", "deepseek-llm", "deepseek-coder", "command-r", "starcoder", "refact",
    "mpt", "llama-spm", "phi-3",
)  # fmt: skip
MADE = ("deepseek-v3", "llama4", "tekken")
SEPARATOR = "\n__ggml_vocab_test__\n"


def path_of(name: str) -> Path:
    return as_gguf(name) if name in MADE else sdist_file(f"vendor/llama.cpp/models/ggml-vocab-{name}.gguf")


@functools.cache
def pair(name: str) -> tuple[Tokenizer, LlamaCpp]:
    return Tokenizer.open(path_of(name), "llama.cpp"), LlamaCpp(path_of(name))


@pytest.mark.parametrize("name", VECTORS)
def test_llama_cpps_own_vectors(name: str) -> None:
    file = f"vendor/llama.cpp/models/ggml-vocab-{name}.gguf"
    texts = sdist_file(file + ".inp").read_bytes().decode().split(SEPARATOR)
    rows = sdist_file(file + ".out").read_text().splitlines()
    assert len(rows) == len(texts) - 1 > 40
    for text, row in zip(texts, rows, strict=False):
        assert pair(name)[0].encode(text) == [int(token) for token in row.split()], text


def check(name: str, count: int, seed: int) -> None:
    tokenizer, llama_cpp = pair(name)
    r = random.Random(seed)
    for i in range(count):
        special = bool(i & 1)
        text = random_text(r, i)
        assert tokenizer.encode(text, special) == llama_cpp.encode(text, special), ascii(text)
        raw = random_bytes(r, i)
        if not beyond_unicode(raw):
            assert tokenizer.encode(raw, special) == llama_cpp.encode(raw, special), raw


@pytest.mark.parametrize("name", [*VECTORS, *MADE])
def test_natural_text_code_random_strings_and_bytes_that_are_no_utf8(name: str) -> None:
    tokenizer, llama_cpp = pair(name)
    for text in (*NATURAL.values(), CODE):
        assert tokenizer.encode(text) == llama_cpp.encode(text), text
    check(name, 800, seed=11)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*VECTORS, *MADE])
def test_many_random_strings_and_bytes(name: str) -> None:
    check(name, 4_000, seed=12)


@pytest.mark.parametrize("name", ["llama-bpe", "qwen35", "llama4", "deepseek-v3", "llama-spm"])
def test_every_tenth_block_of_code_points(name: str) -> None:
    tokenizer, llama_cpp = pair(name)
    for at in range(0, len(EVERY), 5120):
        text = "\n.\n".join(f"a{chr(cp)}b {chr(cp)}1" for cp in EVERY[at : at + 512])
        assert tokenizer.encode(text) == llama_cpp.encode(text), hex(EVERY[at])


def test_the_two_rules_differ_where_llama_cpp_departs_from_the_model() -> None:
    own, llama_cpp = Tokenizer.open(path_of("llama4")), pair("llama4")[0]
    for text in ("ÉTAT", "हिन्दी", "ACIÓN's"):
        assert own.encode(text) != llama_cpp.encode(text)
        assert own.decode(own.encode(text)) == llama_cpp.decode(llama_cpp.encode(text)) == text
