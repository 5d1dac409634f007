"""Writes tests/c/corpus/tok: small vocabularies with texts, as fuzz_tok.c reads them.

python -m tests.c.make_tok_corpus
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus" / "tok"
MERGES, RANKS, SPM = range(3)
PATTERNS = 10  # LR_PRES


def case(kind: int, pre: int, flags: int, words: list[tuple[bytes, bool]], text: bytes) -> bytes:
    """`flags`: 1 llama.cpp's rules, 2 ignore merges, 4 space prefix, 8 letters. A word is a token, or a merge."""
    packed = b"".join(bytes((len(word) | merge << 7,)) + word for word, merge in words)
    return bytes((kind + 3 * pre, flags, len(packed))) + packed + text


def corpus() -> dict[str, bytes]:
    words = [(b"wo", False), (b"w o", True), (b"\xe4\xb8\xad", False), (b"ab", False), (b"a b", True)]
    text = "don't stop, HTTPServer: 1234 中文 É\u0301x\n\n  \t y <user><|end|> the".encode()
    files = {f"pattern_{pre}": case(MERGES, pre, pre & 1, words, text) for pre in range(PATTERNS)}
    files["ranks"] = case(RANKS, 2, 2, words[:1], text)
    files["spm"] = case(
        SPM, 0, 4, [(b" t", False), ("é".encode(), False), (b"x ", False)], text + b" \xe2\x96\x81a"
    )
    files["spm_malformed"] = case(SPM, 0, 5, [], b"a \xe4 b\xff\xe2\x96")
    files["letters"] = case(
        MERGES, 0, 8, [("Ġa".encode(), False), ("Ġ a".encode(), True), (b"\xff", False)], b" a b"
    )
    files["empty_token"] = case(MERGES, 0, 0, [(b"", False)], b"abc")
    files["half_merge"] = case(MERGES, 0, 0, [(b"ab", True)], b"abc")
    return files


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in corpus().items():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
