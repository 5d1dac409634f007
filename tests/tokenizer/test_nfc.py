"""What the core calls plainly normal must be so: such text is never normalized."""

from __future__ import annotations

import unicodedata

from localrun.native.tok import plainly_nfc
from localrun.tokenizer.tokenizer import _nfc
from tests.tokenizer.texts import EVERY, NATURAL


def is_plainly_nfc(text: bytes) -> bool:
    return plainly_nfc(text) == len(text)


def test_lines_are_normalized_like_the_whole() -> None:
    lines = [
        "plain",
        "e\u0301",
        "",
        "\u0301 starts",
        "हिन्दी क\u093c",
        "\u1112\u1161\u11ab",
        *NATURAL.values(),
        "a\u0323\u0302",
    ]
    for text in ("\n".join(lines), "\n".join(lines[::-1]) + "\n", "\n\u0301", "e\u0301", "\n", ""):
        assert _nfc(text.encode()).decode() == unicodedata.normalize("NFC", text)


def test_no_plainly_normal_character_decomposes_or_combines() -> None:
    second = set()
    for cp in EVERY:
        parts = unicodedata.decomposition(chr(cp)).split()
        if (
            len(parts) == 2
            and not parts[0].startswith("<")
            and unicodedata.normalize("NFC", chr(cp)) == chr(cp)
        ):
            second.add(int(parts[1], 16))
    second |= {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    for cp in EVERY:
        if is_plainly_nfc(f"a{chr(cp)}".encode()):
            assert unicodedata.normalize("NFC", chr(cp)) == chr(cp), hex(cp)
            assert cp not in second, hex(cp)
            # A mark that sorts is well only behind a character that does not.
            alone = unicodedata.combining(chr(cp)) == 0
            assert is_plainly_nfc(chr(cp).encode()) == alone, hex(cp)
            assert is_plainly_nfc(f"a{chr(cp)}{chr(cp)}".encode()) == alone, hex(cp)


def test_most_natural_text_is_plainly_normal() -> None:
    assert sum(is_plainly_nfc(text.encode()) for text in NATURAL.values()) >= 14
    assert not is_plainly_nfc("e\u0301".encode())
