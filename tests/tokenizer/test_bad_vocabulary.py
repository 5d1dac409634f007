"""Vocabularies that contradict themselves are refused by name, never a crash, never wrong ids."""

from __future__ import annotations

import dataclasses
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from localrun.errors import ModelError
from localrun.tokenizer import Tokenizer
from localrun.tokenizer.vocabulary import Vocabulary, pack
from tests.tokenizer import tiny
from tests.tokenizer.llama_cpp import letters

BYTES = [letters(bytes([i])).encode() for i in range(256)]


def vocabulary(tokens: list[bytes], merges: list[bytes] | None = None, **more: Any) -> Vocabulary:
    rows = [b"a b"] if merges is None else merges
    fields: dict[str, Any] = {
        "kind": "merges",
        "letters": True,
        "merges": pack(rows),
        "merge_count": len(rows),
    }
    return Vocabulary(**{**fields, "tokens": pack(tokens), "count": len(tokens)} | more)


def packed(tokens: bytes, count: int) -> Vocabulary:
    return dataclasses.replace(vocabulary([]), tokens=tokens, count=count)


def test_a_small_vocabulary_works() -> None:
    tokenizer = Tokenizer(vocabulary([*BYTES, b"ab"]))
    assert tokenizer.encode("aab ab") == [97, 256, 32, 256]
    assert tokenizer.decode([97, 256, 32, 256]) == "aab ab"


BAD: dict[str, tuple[Vocabulary, str]] = {
    "no tokens": (vocabulary([]), "no tokens"),
    "an empty token": (vocabulary([*BYTES, b"ab", b""]), "empty token, at 257"),
    "a token twice": (vocabulary([*BYTES, b"ab", b"ab"]), "twice, at 257"),
    "an overlong token": (vocabulary([*BYTES, b"ab", b"x" * 65536]), "too long, at 257"),
    "an unknown merge": (vocabulary([*BYTES, b"ab"], [b"a b", b"a zz"]), "unknown token, at 1"),
    "a merge into nothing": (vocabulary([*BYTES, b"ab"], [b"a c"]), "unknown token, at 0"),
    "a merge cut inside a letter": (
        vocabulary([*BYTES, letters(b"\xc3a").encode()], [b"\xc3 \x83a"]),
        "unknown token, at 0",
    ),
    "a merge of what is no letter": (
        vocabulary([*BYTES, "日".encode(), "a日".encode()], ["a 日".encode()]),
        "unknown token, at 0",
    ),
    "half a merge": (vocabulary([*BYTES, b"ab"], [b"ab"]), "two halves, at 0"),
    "a merge without a right half": (vocabulary([*BYTES, b"ab"], [b"a "]), "two halves, at 0"),
    "no merges": (vocabulary([*BYTES], []), "no merges"),
    "a count that is too high": (vocabulary([*BYTES, b"ab"], count=300), "end early"),
    "a count beyond all memory": (vocabulary([*BYTES, b"ab"], count=2**60), "too many"),
    "a merge count that is too high": (vocabulary([*BYTES, b"ab"], merge_count=9), "end early"),
    "a length beyond the end": (packed(struct.pack("<Q", 2**63) + b"a", 1), "end early, at 0"),
    "fewer types than tokens": (vocabulary([*BYTES, b"ab"], types=b"\1" * 10), "fewer types"),
    "fewer scores than tokens": (vocabulary([*BYTES], kind="spm", scores=b"\0" * 10), "fewer scores"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_vocabulary_is_refused_by_name(name: str) -> None:
    bad, why = BAD[name]
    with pytest.raises(ModelError, match=why):
        Tokenizer(bad)


def test_a_million_tokens_are_only_many() -> None:
    count = 1_000_000
    tokens = [*BYTES, b"ab", *(b"zz%d" % i for i in range(count - 257))]
    tokenizer = Tokenizer(vocabulary(tokens))
    assert len(tokenizer) == count
    assert tokenizer.piece(count - 1) == tokens[-1]
    assert tokenizer.encode("ab") == [256]


def test_a_token_that_its_own_merges_never_make_is_never_answered() -> None:
    tokenizer = Tokenizer(vocabulary([*BYTES, b"ab", b"abc"]))
    assert tokenizer.encode("abc") == [256, 99]
    assert tokenizer.encode("abc") == [256, 99]
    assert Tokenizer(vocabulary([*BYTES, b"ab", b"abc"], ignore_merges=True)).encode("abc") == [257]


def test_of_a_merge_that_stands_twice_each_takes_its_own() -> None:
    twice = vocabulary([*BYTES, b"ab", b"bc"], [b"a b", b"b c", b"a b"])
    assert Tokenizer(twice, "llama.cpp").encode("abc") == [256, 99]
    assert Tokenizer(twice).encode("abc") == [97, 257]


def test_merges_may_come_in_any_order() -> None:
    eacute, blank = letters("é".encode()).encode(), letters(b" ").encode()
    made = [b"in", b"ing", b"ring", b"st", b"string", eacute, blank + eacute]
    rows = [b"i n", b"in g", b"r ing", b"s t", b"st ring", b"%b %b" % (blank, eacute)]
    rows.insert(0, " ".join((letters(b"\xc3"), letters(b"\xa9"))).encode())
    r = random.Random(1)
    for _ in range(20):
        r.shuffle(made)
        tokens = [*BYTES, *made]
        tokenizer = Tokenizer(vocabulary(tokens, rows))
        for text in ("string", " é", "ring"):
            assert tokenizer.encode(text) == [tokens.index(letters(text.encode()).encode())]


def test_bytes_without_a_token_are_dropped() -> None:
    tokens = [text for text in BYTES if text != b"x"]
    ids = {text: i for i, text in enumerate([*tokens, b"ab"])}
    known = vocabulary([*tokens, b"ab"])
    assert Tokenizer(known).encode("axb") == [ids[b"ab"]]  # as Hugging Face has it
    assert Tokenizer(known, "llama.cpp").encode("axb") == [ids[b"a"], ids[b"b"]]
    assert Tokenizer(known).encode("xxx") == []


def test_every_prefix_of_the_packed_tokens_is_refused() -> None:
    whole = pack([*BYTES[:40], b"ab"])
    for size in range(len(whole)):
        with pytest.raises(ModelError):
            Tokenizer(packed(whole[:size], 41))


@pytest.mark.parametrize("pre", ["falcon", "bloom", "kimi-k2", "", "a\nb", "x" * 100_000])
def test_a_pre_tokenizer_that_is_not_handled_is_named_in_one_short_line(pre: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        Tokenizer.open(tiny.write(tmp_path / "tiny.gguf", tiny.header(pre=pre)))
    assert str(refused.value) == f"the pre-tokenizer {pre[:64]!r} is not handled"
    assert refused.value.hint


def test_another_kind_of_vocabulary_is_named(tmp_path: Path) -> None:
    for model in ("t5", "rwkv", "x" * 100_000):
        with pytest.raises(ModelError, match=f"of the kind '{model[:64]}' is not handled"):
            Tokenizer.open(tiny.write(tmp_path / "tiny.gguf", tiny.header(model=model)))
