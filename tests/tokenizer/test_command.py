"""What `localrun tokenize` prints."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from localrun.errors import UsageError
from localrun.tokenizer.command import tokenize_command
from tests.tokenizer.references import gguf_path, reference
from tests.tokenizer.texts import CODE, NATURAL


def printed(*args: Any, **options: Any) -> str:
    return "".join(tokenize_command(*args, **options))


def test_ids_count_and_pieces() -> None:
    path = gguf_path("gpt-2")
    assert printed(path, "Hello world") == "15496 995"
    assert printed(path, "Hello world", "count") == "2"
    assert printed(path, "Hello\n😀", "pieces").splitlines() == [
        '  15496  "Hello"',
        '    198  "\\n"',
        '  47249  "\\xf0\\x9f\\x98"',
        '    222  "\\x80"',
    ]


def test_json_holds_what_is_shown() -> None:
    path = gguf_path("gpt-2")
    assert json.loads(printed(path, "Hello world", "pieces", json=True)) == {
        "schema": "localrun.tokenize/1",
        "rules": "own",
        "count": 2,
        "ids": [15496, 995],
        "pieces": ["Hello", " world"],
    }
    assert "ids" not in json.loads(printed(path, "Hello world", "count", json=True))


def test_special_tokens_and_the_engines_rules() -> None:
    path = reference("llama4").path
    assert printed(path, "<|begin_of_text|>", special=True) == "200000"
    assert printed(path, "ÉTAT") != tokenize_command(path, "ÉTAT", rules="llama.cpp")


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(UsageError, match="letters"):
        printed(gguf_path("gpt-2"), "a", "letters")


def test_a_stream_is_read_in_parts_and_says_what_its_text_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localrun.tokenizer.blocks.BLOCK", 256)
    text = "".join(NATURAL.values()) + CODE[:20000]
    for path in (gguf_path("gpt-2"), reference("mistral-v1").path):  # by blocks, and as a whole
        for show in ("ids", "pieces", "count"):
            for as_json in (False, True):
                wanted = printed(path, text, show, json=as_json)
                assert printed(path, io.BytesIO(text.encode()).read, show, json=as_json) == wanted
    assert printed(gguf_path("gpt-2"), io.BytesIO(b"").read) == ""
