"""What `localrun tokenize` prints."""

from __future__ import annotations

import json

import pytest

from localrun.errors import UsageError
from localrun.tokenizer.command import tokenize_command
from tests.tokenizer.references import gguf_path, reference


def test_ids_count_and_pieces() -> None:
    path = gguf_path("gpt-2")
    assert tokenize_command(path, "Hello world") == "15496 995"
    assert tokenize_command(path, "Hello world", "count") == "2"
    assert tokenize_command(path, "Hello\n😀", "pieces").splitlines() == [
        '  15496  "Hello"',
        '    198  "\\n"',
        '  47249  "\\xf0\\x9f\\x98"',
        '    222  "\\x80"',
    ]


def test_json_holds_what_is_shown() -> None:
    path = gguf_path("gpt-2")
    assert json.loads(tokenize_command(path, "Hello world", "pieces", json=True)) == {
        "schema": "localrun.tokenize/1",
        "rules": "own",
        "count": 2,
        "ids": [15496, 995],
        "pieces": ["Hello", " world"],
    }
    assert "ids" not in json.loads(tokenize_command(path, "Hello world", "count", json=True))


def test_special_tokens_and_the_engines_rules() -> None:
    path = reference("llama4").path
    assert tokenize_command(path, "<|begin_of_text|>", special=True) == "200000"
    assert tokenize_command(path, "ÉTAT") != tokenize_command(path, "ÉTAT", rules="llama.cpp")


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(UsageError, match="letters"):
        tokenize_command(gguf_path("gpt-2"), "a", "letters")
