"""Text is normalized as unicodedata does it, and only where it must be: what the core passes over must be normal."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from localrun.native.tok import nfc_spans
from localrun.tokenizer import Tokenizer
from localrun.tokenizer.tokenizer import _nfc
from tests.tokenizer import tiny
from tests.tokenizer.texts import EVERY, NATURAL

#: Those that this CPU has not fall back to "scalar".
TIERS = ("avx512", "avx2", "neon", "scalar")
CSRC = Path(__file__).parents[2] / "csrc"
NOTHING_NEAR = "x" * 70  # stretches that are nearer become one, which would hide a border in the wrong place
SECONDS = [
    cp
    for cp in EVERY
    if unicodedata.normalize("NFC", chr(cp)) != chr(cp)
    or unicodedata.combining(chr(cp))
    or 0x1160 <= cp < 0x1200
]
#: A mark of each combining class, and what composes though it is no mark.
COMPANY = [
    *{unicodedata.combining(chr(cp)): chr(cp) for cp in reversed(SECONDS)}.values(),
    *"\u0301\u0300\u0308\u0323\u0327\u0338\u0345\u093c\u09be\u0bbe\u0dcf\u1161\u11a8\u3099\U000110ba",
]
ATOMS = (
    *COMPANY, *"aeoqx\n \u00e9\u1ec7\u00c5\u212b\u0915\u0928\u0958\u09c7\u09df\u0bc6\u0bca\u1100\uac00\uac01\u304b",
    "\u304c", "\u4e2d", "\u0436", "\u0439", "\U0001f600", "\U00011099", "\U0002f800", "\u0378", "\ue000", "\U0001d15e",
    "\u0344", "\u0f73", "ordinary", "\u0441\u043b\u043e\u0432\u043e",
    "a good deal of text that is longer than half a window",
)  # fmt: skip


def same(texts: list[str]) -> bool:
    """Whether each of these is normalized as it should be, standing far from the others."""
    text = NOTHING_NEAR.join(["", *texts, ""])
    return _nfc(text.encode()).decode() == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("place", ["{}", "e{}", "e{}\u0301", "\u0323{}\u0323", "\u09c7{}", "\uac00{}"])
def test_every_character_is_normalized_in_any_company(place: str) -> None:
    for at in range(0, len(EVERY), 4096):
        assert same([place.format(chr(cp)) for cp in EVERY[at : at + 4096]]), hex(EVERY[at])


def test_every_pair_that_may_join_is_normalized() -> None:
    bases = {
        unicodedata.normalize("NFD", chr(cp))[0]
        for cp in EVERY
        if unicodedata.normalize("NFD", chr(cp)) != chr(cp)
    }
    for mark in COMPANY:
        assert same([base + mark for base in sorted(bases)]), hex(ord(mark))
        assert same([f"o{chr(cp)}{mark}" for cp in SECONDS]), hex(ord(mark))
        assert same([f"o{mark}{chr(cp)}" for cp in SECONDS]), hex(ord(mark))
    assert same([chr(cp) + chr(t) for cp in range(0xAC00, 0xAC00 + 588) for t in range(0x1160, 0x11FF, 7)])


@pytest.mark.parametrize("tier", TIERS)
def test_what_lies_outside_the_stretches_is_normal_wherever_they_are(tier: str) -> None:
    r = random.Random(tier)
    for _ in range(8000):
        text = "".join(r.choices(ATOMS, k=r.randint(1, 24)))
        raw, parts, at = text.encode(), [], 0
        for start, end in nfc_spans(raw, tier=tier):
            parts += raw[at:start].decode(), unicodedata.normalize("NFC", raw[start:end].decode())
            at = end
        assert "".join(parts) + raw[at:].decode() == unicodedata.normalize("NFC", text), ascii(text)


@pytest.mark.parametrize("tier", TIERS)
def test_a_mark_is_found_at_each_place_of_a_window(tier: str) -> None:
    for filler in "x\u00e9\u0436\u0e01\u4e2d\U0001f600":
        for before in range(70):
            raw = f"{filler * before}e\u0301{filler * 70}".encode()
            start = len(filler.encode()) * before
            assert nfc_spans(raw, tier=tier) == [(start, start + 3)]


def test_a_rare_mark_costs_its_surroundings_only() -> None:
    line = "word " * 10_000
    assert nfc_spans(f"{line}e\u0301{line}".encode()) == [(len(line), len(line) + 3)]
    assert nfc_spans(f"{line}e\u0301{line}".encode(), 1) == [(len(line), len(line) + 3)]


def test_there_may_be_more_stretches_than_are_found_at_a_time() -> None:
    assert same(["e\u0301"] * 3000)
    assert len(nfc_spans(NOTHING_NEAR.join(["e\u0301"] * 3000).encode())) == 3000
    assert len(nfc_spans(("e\u0301" * 3000).encode())) == 1


def test_normal_text_is_not_normalized() -> None:
    more = ("বাংলাদেশের ভাষা", "தமிழ்நாடு வாழ்க", "മലയാളം", "ಕನ್ನಡ", "ქართული", "قُرْآن", "сло́во")
    for text in (*NATURAL.values(), *more):
        assert bool(nfc_spans(text.encode())) != unicodedata.is_normalized("NFC", text), text


def test_lines_are_normalized_like_the_whole() -> None:
    lines = [
        "plain",
        "e\u0301",
        "",
        "\u0301 starts",
        "हिन्दी क\u093c",
        "\u1112\u1161\u11ab",
        *NATURAL.values(),
    ]
    for text in ("\n".join(lines), "\n".join(lines[::-1]) + "\n", "\n\u0301", "e\u0301", "\n", ""):
        assert _nfc(text.encode()).decode() == unicodedata.normalize("NFC", text)


def test_what_is_no_utf8_is_replaced_before_it_is_normalized(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(tiny.write(tmp_path / "v.gguf", tiny.header(pre="qwen2")), cache=False)
    assert tokenizer.decode(tokenizer.encode("e\u0301")) == "\u00e9"
    for raw in (b"e\xcc\x81\xff", b"e\xff\xcc\x81", b"e\xcc", b"e\xcc\x81\xcc", b"\xed\xa0\x80\xcc\x81"):
        expected = unicodedata.normalize("NFC", raw.decode("utf-8", "replace"))
        assert tokenizer.decode(tokenizer.encode(raw)) == expected
        assert tokenizer.encode(raw) == tokenizer.encode(expected)
    for text in ("e\u0301\ud800", "e\ud800\u0301", "\udfffe\u0301", "e\u0301\ud834\udd5e"):
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", whole)


def test_the_tables_are_what_their_generator_writes() -> None:
    kept = (CSRC / "lr_nfc_tables.h").read_text()
    version = re.search(r"Unicode ([\d.]+)\.", kept)
    if version is None or version[1] != unicodedata.unidata_version:
        pytest.skip("the tables are of another Unicode than this Python")
    made = subprocess.run([sys.executable, CSRC / "gen_nfc.py"], capture_output=True, text=True, check=True)
    assert made.stdout == kept
