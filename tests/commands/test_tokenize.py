"""`localrun tokenize` on the real default model."""

from __future__ import annotations

from tests.user import User


def test_ids_pieces_and_count_agree(owner: User) -> None:
    ids = owner("tokenize", "smollm2", "Hello world").out.split()
    told = owner("tokenize", "smollm2", "Hello world", "--pieces", "--json").json()
    assert [str(i) for i in told["ids"]] == ids
    assert "".join(told["pieces"]) == "Hello world"
    assert owner("tokenize", "smollm2", "--count", given="Hello world").out.strip() == str(len(ids))


def test_a_file_and_the_engines_rules(owner: User) -> None:
    (owner.home / "text.txt").write_text("naïve café 中文", encoding="utf-8")
    own = owner("tokenize", "smollm2", "--file", "text.txt").out
    engine = owner("tokenize", "smollm2", "--file", "text.txt", "--as", "llama.cpp").out
    assert own == engine != ""


def test_wrong_usage_is_one_line(owner: User) -> None:
    both = owner("tokenize", "smollm2", "text", "--file", "x")
    assert both.code == 2
    absent = owner("tokenize", "llama-3.1-8b", "text")
    assert absent.code == 2
    assert "localrun pull llama-3.1-8b" in absent.err
    missing = owner("tokenize", "smollm2", "--file", "nowhere")
    assert missing.code == 1
    assert "Traceback" not in missing.err
