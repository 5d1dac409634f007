"""Ids equal to those of the program that each model was trained with."""

from __future__ import annotations

import random
import unicodedata
import zlib
from pathlib import Path

import pytest

from localrun.tokenizer import Tokenizer
from tests.tokenizer.references import (
    GGUF,
    HUGGING_FACE,
    NAMES,
    Encode,
    from_gguf,
    gguf_path,
    ours,
    reference,
)
from tests.tokenizer.texts import CODE, EVERY, NATURAL, random_text

#: What stands around each code point when all are tried one by one.
CONTEXTS = ("a%s", "%sb", "'%s", " %s ", "1%s2", "\n%sA", "É%s'S")
#: Most of them at once, where there is no time for one by one.
CONTEXTS_AT_ONCE = ("a%s '%s 1%s",)
# Digits since Unicode 17: Hugging Face's `Digits` knows them, no regular expression does yet.
NEWER_DIGITS = {*range(0x11DE0, 0x11DEA)}


def same_nfc(text: str) -> bool:
    """Hugging Face's NFC is that of an older Unicode than Python's: some fifty newer marks sort differently."""
    from tokenizers import normalizers

    return normalizers.NFC().normalize_str(text) == unicodedata.normalize("NFC", text)


def differences(
    tokenizer: Tokenizer, encode: Encode, texts: list[str]
) -> list[tuple[str, list[int], list[int]]]:
    found = ((text, tokenizer.encode(text), encode(text)) for text in texts)
    return [row for row in found if row[1] != row[2] and same_nfc(row[0])][:5]


def random_texts(name: str, count: int) -> list[str]:
    r = random.Random(zlib.crc32(name.encode()))
    return [random_text(r, i) for i in range(count)]


def gguf_reference(name: str) -> tuple[Tokenizer, Encode]:
    path = gguf_path(name)
    return Tokenizer.open(path), from_gguf(path, digits=name != "gpt-2", nfc=name == "command-r")


@pytest.mark.parametrize("name", NAMES)
def test_natural_text_and_code_get_the_models_own_ids(name: str) -> None:
    texts = [*NATURAL.values(), CODE, CODE + "\n".join(NATURAL.values())]
    assert differences(ours(name), reference(name).encode, texts) == []


@pytest.mark.parametrize("name", NAMES)
def test_random_strings_get_the_models_own_ids(name: str) -> None:
    assert differences(ours(name), reference(name).encode, random_texts(name, 1500)) == []


@pytest.mark.parametrize("name", GGUF)
def test_a_gguf_file_gets_the_ids_of_its_vocabulary_merges_and_steps(name: str) -> None:
    tokenizer, encode = gguf_reference(name)
    assert differences(tokenizer, encode, [*NATURAL.values(), CODE, *random_texts(name, 1500)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_100_000_random_strings_get_the_models_own_ids(name: str) -> None:
    assert differences(ours(name), reference(name).encode, random_texts(name + "!", 100_000)) == []


def context_texts(contexts: tuple[str, ...], step: int) -> list[str]:
    """Every code point in every context, some thousand to a text; `step` > 1 takes one block in so many."""
    texts = []
    for number, context in enumerate(contexts):
        for at in range(number % step * 1024, len(EVERY), 1024 * step):
            texts.append("\n.\n".join(context.replace("%s", chr(cp)) for cp in EVERY[at : at + 1024]))
    return texts


@pytest.mark.parametrize(
    "name", ["llama3", "llama4", "tekken", "deepseek-v3.2", "deepseek-llm", "mistral-v1"]
)
def test_code_points_in_context_get_the_models_own_ids(name: str) -> None:
    assert differences(ours(name), reference(name).encode, context_texts(CONTEXTS, step=40)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("llama-bpe", "gpt-4o")])
def test_every_code_point_in_context_gets_the_models_own_ids(name: str) -> None:
    texts = context_texts(CONTEXTS_AT_ONCE, step=1)
    if name in ("deepseek-llm", "deepseek-coder"):
        texts = ["".join(c for c in text if ord(c) not in NEWER_DIGITS) for text in texts]
    assert differences(ours(name), reference(name).encode, texts) == []


@pytest.mark.parametrize("name", [*HUGGING_FACE])
def test_special_tokens_are_found_when_asked_for(name: str) -> None:
    tokenizer, with_specials = ours(name), reference(name).encode_special
    assert with_specials is not None
    r = random.Random(3)
    specials = [tokenizer.piece(i).decode() for i in range(len(tokenizer) - 60, len(tokenizer))]
    specials = [text for text in specials if not text.startswith("\0")]
    for i in range(300):
        text = "".join(r.choice(specials) if r.random() < 0.4 else random_text(r, i) for _ in range(6))
        if same_nfc(text):
            assert tokenizer.encode(text, special=True) == with_specials(text), ascii(text)
            assert tokenizer.encode(text) == reference(name).encode(text), ascii(text)


def test_smollm_from_the_real_model_file(default_model: Path) -> None:
    encode = from_gguf(default_model, digits=True, nfc=False)
    texts = [*NATURAL.values(), CODE, *random_texts("smollm", 1500)]
    assert differences(Tokenizer.open(default_model), encode, texts) == []
