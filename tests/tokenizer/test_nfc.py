"""What the core calls plainly normal must be so: such text is never normalized."""

from __future__ import annotations

import unicodedata

from localrun.native.tok import is_plainly_nfc
from tests.tokenizer.texts import EVERY, NATURAL


def test_no_plainly_normal_character_decomposes_or_combines() -> None:
    second = set()
    for cp in EVERY:
        parts = unicodedata.decomposition(chr(cp)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            second.add(int(parts[1], 16))
    second |= {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}
    for cp in EVERY:
        if is_plainly_nfc(chr(cp).encode()):
            assert unicodedata.normalize("NFC", chr(cp)) == chr(cp), hex(cp)
            assert unicodedata.combining(chr(cp)) == 0, hex(cp)
            assert cp not in second, hex(cp)


def test_most_natural_text_is_plainly_normal() -> None:
    assert sum(is_plainly_nfc(text.encode()) for text in NATURAL.values()) >= 12
    assert not is_plainly_nfc("e\u0301".encode())
