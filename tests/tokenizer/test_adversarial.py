"""Texts that make tokenizers slow or wrong: repeats, one endless piece, everything at once."""

from __future__ import annotations

import random

import pytest

from tests.tokenizer.references import ours, reference

R = random.Random(8)
LOWER = "abcdefghijklmnopqrstuvwxyz"
SIZE = 20_000


def many(letters: str, count: int = SIZE) -> str:
    return "".join(R.choices(letters, k=count))


def hostile(size: int) -> dict[str, str]:
    """By name; of `size` characters or some more."""
    return {
        "one letter": "a" * size,
        "spaces": " " * size,
        "spaces and a word": " " * size + "end",
        "newlines": "\n" * size,
        "blank lines": " \n" * size,
        "dashes": "-" * size,
        "letters": many(LOWER, size),
        "pairs": "ab" * size,
        "capitals": many(LOWER.upper(), size),
        "mixed case": many("aB", size),
        "punctuation": many("!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", size),
        "digits": many("0123456789", size),
        "base64": many(LOWER + LOWER.upper() + "0123456789+/", size),
        "one ideograph": "中" * size,
        "ideographs": "".join(chr(R.randrange(0x4E00, 0x9FA5)) for _ in range(size)),
        "joined emoji": "👨\u200d👩\u200d👧" * (size // 5),
        "marks": "e" + "\u0301" * size,
        "quotes": "'" * size,
        "contractions": "it's" * size,
        "ideographs and capitals": "中A" * size,
    }


TEXTS = hostile(SIZE)


@pytest.mark.parametrize("name", ["llama-bpe", "deepseek-v3.2", "gpt-4o", "tekken", "mistral-v1"])
def test_endless_pieces_get_the_models_own_ids(name: str) -> None:
    for kind, text in TEXTS.items():
        if name != "mistral-v1" or len(text) <= SIZE:
            assert ours(name).encode(text) == reference(name).encode(text), kind


@pytest.mark.parametrize("kind", TEXTS)
def test_twenty_times_as_much_comes_back(kind: str) -> None:
    text = TEXTS[kind] * 20
    ids = ours("llama-bpe").encode_array(text)
    assert ours("llama-bpe").decode_bytes(ids) == text.encode()


@pytest.mark.parametrize("name", ["llama-bpe", "deepseek-v3.2", "gpt-4o"])
def test_digits_stay_in_threes_where_the_ids_fill_their_room(name: str) -> None:
    ids = ours(name).encode(many("0123456789", 300_000))
    assert {len(ours(name).piece(token)) for token in ids} == {3}
