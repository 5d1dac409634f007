"""Pieces equal to those of the regular expressions, without any vocabulary."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from localrun._ffi import ffi, lib

from localrun.native.tok import PRES
from tests.tokenizer.references import LLAMA3_PATTERN, LLAMA4_PATTERN, tokenizer_json
from tests.tokenizer.texts import CODE, NATURAL, random_text

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pieces(pre: str, text: str) -> list[str]:
    raw = text.encode()
    ends, count = ffi.new("size_t[]", len(raw)), ffi.new("size_t *")
    assert lib.lr_split_all(PRES[pre], lib.LR_RULES_OWN, raw, len(raw), ends, len(raw), count) == lib.LR_OK
    bounds = [0, *ffi.unpack(ends, count[0])]
    return [raw[a:b].decode() for a, b in itertools.pairwise(bounds)]


def reference(pre: str) -> Callable[[str], list[str]]:
    from tokenizers import Regex, pre_tokenizers

    def split(pattern: str) -> Any:
        return pre_tokenizers.Split(Regex(pattern), "isolated")

    def from_json(name: str) -> Any:
        steps = json.loads(tokenizer_json(name).read_bytes())["pre_tokenizer"]["pretokenizers"]
        row = [split(s["pattern"]["Regex"]) for s in steps if s["type"] == "Split"]
        if any(s["type"] == "Digits" for s in steps):
            row.append(pre_tokenizers.Digits(individual_digits=True))
        return pre_tokenizers.Sequence(row)

    rows: dict[str, Callable[[], Any]] = {
        "gpt-2": lambda: split(GPT2_PATTERN),
        "digits": lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), split(GPT2_PATTERN)]
        ),
        "llama3": lambda: split(LLAMA3_PATTERN),
        "gpt-4o": lambda: split(LLAMA4_PATTERN),
        "deepseek-v3": lambda: from_json("deepseek-v3.2"),
    }
    chosen = rows.get(pre, lambda: from_json(pre))()
    return lambda text: [text[a:b] for _, (a, b) in chosen.pre_tokenize_str(text)]


@pytest.mark.parametrize("pre", [pre for pre in PRES if pre != "tekken"])
def test_pieces_are_those_of_the_regular_expression(pre: str) -> None:
    split, r = reference(pre), random.Random(1)
    for text in (*NATURAL.values(), CODE, *(random_text(r, i) for i in range(2000))):
        assert pieces(pre, text) == split(text), ascii(text)


@pytest.mark.parametrize("pre", PRES)
def test_pieces_join_to_the_text_and_none_is_empty(pre: str) -> None:
    r = random.Random(2)
    for i in range(500):
        text = random_text(r, i)
        found = pieces(pre, text)
        assert "".join(found) == text
        assert all(found)


def test_the_count_of_pieces_is_told_when_the_room_is_too_small() -> None:
    ends, count = ffi.new("size_t[1]"), ffi.new("size_t *")
    assert lib.lr_split_all(0, 0, b"one two three", 13, ends, 1, count) == lib.LR_FULL
    assert count[0] == 3
    assert lib.lr_split_all(0, 0, b"", 0, ends, 1, count) == lib.LR_OK
    assert count[0] == 0
    for pre, rules in ((-1, 0), (lib.LR_PRES, 0), (0, 2)):
        assert lib.lr_split_all(pre, rules, b"a", 1, ends, 1, count) == lib.LR_E_ARGUMENT
