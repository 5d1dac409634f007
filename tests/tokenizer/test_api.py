"""What the Tokenizer promises a program that holds one."""

from __future__ import annotations

import random
import sys
import threading
from array import array
from pathlib import Path

import pytest

from localrun.errors import UsageError
from localrun.tokenizer import Tokenizer
from tests.tokenizer.references import gguf_path, ours
from tests.tokenizer.texts import CODE, NATURAL, random_text


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    return Tokenizer.open(gguf_path("gpt-2"))


def test_list_array_and_count_agree(gpt2: Tokenizer) -> None:
    for text in (*NATURAL.values(), CODE, ""):
        ids = gpt2.encode(text)
        assert gpt2.encode_array(text) == array("i", ids)
        assert gpt2.encode(text.encode()) == ids
        assert gpt2.count(text) == len(ids)


def test_decoding_gives_the_text_back(gpt2: Tokenizer) -> None:
    r = random.Random(4)
    for i in range(2000):
        text = random_text(r, i)
        assert gpt2.decode(gpt2.encode(text)) == text


def test_sentencepiece_gives_the_text_back_but_its_leading_space() -> None:
    tokenizer = ours("mistral-v1")
    for text in NATURAL.values():
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.piece(tokenizer.encode("so")[0]) == b" so"


def test_text_longer_than_one_call_of_the_core_is_seamless(gpt2: Tokenizer) -> None:
    text = "".join(NATURAL.values()) * 400
    once = gpt2.encode("".join(NATURAL.values()) * 4)
    ids = gpt2.encode_array(text)
    assert len(ids) > 1 << 18
    assert gpt2.decode(ids) == text
    assert ids[: len(once) // 2].tolist() == once[: len(once) // 2]


def test_one_piece_longer_than_one_call_of_the_core(gpt2: Tokenizer) -> None:
    text = "".join(random.Random(5).choices("abcdefghijklmnopqrstuvwxyz", k=200_000))
    assert gpt2.decode(gpt2.encode_array("One " + text)) == "One " + text


def test_a_stream_never_cuts_a_character(gpt2: Tokenizer) -> None:
    text = "naïve 😀 中文 हिन्दी"
    stream = gpt2.stream()
    parts = [stream.feed(token) for token in gpt2.encode(text)]
    assert "".join(parts) == text
    assert "\ufffd" not in "".join(parts)
    assert "" in parts
    assert stream.finish() == ""


def test_streams_of_any_tokens_say_what_decoding_says(gpt2: Tokenizer) -> None:
    r = random.Random(6)
    for _ in range(200):
        ids = [r.choice((r.randrange(len(gpt2)), r.randrange(94, 256))) for _ in range(20)]
        stream = gpt2.stream()
        assert "".join(map(stream.feed, ids)) + stream.finish() == gpt2.decode(ids)


def test_a_stream_that_ends_in_mid_character_says_so_and_starts_anew(gpt2: Tokenizer) -> None:
    stream = gpt2.stream()
    emoji = gpt2.encode("😀")
    assert len(emoji) > 1
    assert stream.feed(emoji[0]) == ""
    assert stream.finish() == "\ufffd"
    assert "".join(map(stream.feed, emoji)) == "😀"


def test_control_tokens_are_text_until_asked_for() -> None:
    tokenizer = ours("llama3")
    text = "<|begin_of_text|>Hi<|eot_id|>"
    ids = tokenizer.encode(text, special=True)
    assert ids == [128000, 13347, 128009]
    assert tokenizer.decode(ids) == "Hi"
    assert tokenizer.decode(ids, special=True) == text
    assert len(tokenizer.encode(text)) > 3
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.bos, tokenizer.add_bos) == (128000, True)


def test_the_longest_special_token_wins_and_the_last_text_is_kept() -> None:
    tokenizer = ours("llama3")
    text = "a<|reserved_special_token_1|><|reserved_special_token_10|><|reserved_special_token_"
    ids = tokenizer.encode(text, special=True)
    assert tokenizer.decode(ids, special=True) == text
    assert sum(token >= 128000 for token in ids) == 2


def test_nul_characters_are_characters(gpt2: Tokenizer) -> None:
    text = "a\0b\0\0 c"
    assert gpt2.decode(gpt2.encode(text)) == text


def test_a_lone_surrogate_is_a_replacement_character_and_a_pair_is_its_character(gpt2: Tokenizer) -> None:
    assert gpt2.encode("a\ud800b") == gpt2.encode("a\ufffdb")
    assert gpt2.encode("\ud83d\ude00") == gpt2.encode("😀")


def test_bytes_that_are_no_utf8_are_read_as_python_replaces_them(gpt2: Tokenizer) -> None:
    for raw in (
        b"\xff",
        b"a\xc3",
        b"\xe4\xb8a",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98",
        b"\xc0\xa0",
        b"\xf5\x80\x80\x80x",
    ):
        assert gpt2.encode(raw) == gpt2.encode(raw.decode(errors="replace"))


@pytest.mark.parametrize("bad", [[-1], [50257], [2**31], [-(2**40)], [1, 2, 99999]])
def test_ids_out_of_range_are_refused(gpt2: Tokenizer, bad: list[int]) -> None:
    with pytest.raises(IndexError):
        gpt2.decode(bad)
    with pytest.raises(IndexError):
        gpt2.piece(bad[-1])


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(UsageError, match="vllm"):
        Tokenizer.open(gguf_path("gpt-2"), "vllm")


def test_many_threads_share_one_tokenizer(gpt2: Tokenizer) -> None:
    texts = [*NATURAL.values(), CODE] * 8
    expected = [gpt2.encode(text) for text in texts]
    found: list[list[list[int]]] = []

    def work() -> None:
        found.append([gpt2.encode(text) for text in texts])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 6


def test_an_encoding_that_was_left_does_not_disturb_the_next(gpt2: Tokenizer) -> None:
    long = "word " * 200_000
    parts = gpt2._parts(long, False)
    next(parts)
    assert gpt2.count(long) == 200_001 == len(gpt2.encode(long))
    del parts
    assert gpt2.encode("word") == [4775]


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    from localrun.errors import ModelError

    for name, content in (("a.bin", b"\x89PNG\r\n"), ("b.json", b'{"a": 1}'), ("c.json", b"{"), ("d", b""),
                          ("e.model", b"\x0a\x05hello"), ("f.gguf", b"GGUF")):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError):
            Tokenizer.open(tmp_path / name)
    with pytest.raises(ModelError, match="cannot be read"):
        Tokenizer.open(tmp_path / "missing")


def test_long_lists_hold_the_same_ints_as_arrays_and_leak_none(gpt2: Tokenizer) -> None:
    text = CODE * 200
    ids = gpt2.encode(text)
    assert len(ids) > 8192
    assert ids == gpt2.encode_array(text).tolist()
    rare = next(i for i, token in enumerate(ids) if token > 1000)
    before = sys.getrefcount(ids[rare])
    for _ in range(3):
        gpt2.encode(text)
    after = sys.getrefcount(ids[rare])  # a name: pytest holds what stands in an assert
    assert after == before


def test_a_long_text_with_a_lone_surrogate_is_read_as_a_short_one(gpt2: Tokenizer) -> None:
    text = "word " * 5000
    assert gpt2.encode(text + "a\ud800") == gpt2.encode(text + "a\ufffd")
