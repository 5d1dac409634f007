"""Headers through the C core: what is right comes out as it went in, what is wrong says so and where."""

from __future__ import annotations

import contextlib
import mmap
import struct
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localrun.errors import HeaderError
from localrun.native import Array, Header, NeedMore, read_header
from tests.c.make_corpus import corpus
from tests.gguf_bytes import CODES, every_type, header, pair, tensor, text

GOOD = every_type()
DATA = -(-len(GOOD) // 64) * 64
FILE = GOOD.ljust(DATA, b"\0") + b"\0" * (448 + 20)

#: By file of the corpus, what the line must say.
SAYS = {
    "magic": "not a GGUF file: it begins with b'GGML'",
    "big_endian": "big-endian",
    "version_1": "version 1",
    "version_99": "unknown GGUF version (99)",
    "many_keys": "ends inside its header (at least 13000024 bytes are needed)",
    "counts_2_63": "9223372036854775808 claimed",
    "key_2_63": "9223372036854775808 bytes",
    "key_utf8": "a key that is not UTF-8: pair 0",
    "key_empty": "an empty key",
    "key_twice": "twice (first as pair 0): 'k'",
    "string_2_63": "impossible string length (9223372036854775808 bytes claimed): 'k'",
    "string_utf8": "a string that is not UTF-8: 'k'",
    "array_2_63": "9223372036854775808 elements claimed",
    "array_string_2_63": "impossible string length",
    "array_deep": "nested too deep: 'k'",
    "array_type": "unknown value type (77)",
    "value_type": "unknown value type (13)",
    "alignment_0": "power of two (0)",
    "alignment_48": "power of two (48)",
    "name_long": "too long (64 bytes",
    "name_twice": "twice (first as tensor 0): 't'",
    "dims_5": "too many dimensions (5",
    "dims_2_63": "too large",
    "dims_product": "too large",
    "tensor_type": "not known (31)",
    "tensor_row": "no whole number of blocks (100 elements)",
    "offset_unaligned": "not aligned (1)",
    "offset_overlap": "inside the one before (64 is the least)",
    "offset_gap": "behind the end of the one before (32 expected)",
    "outside": "behind the end of the file (4194",
}


def test_every_value_comes_out_as_it_went_in() -> None:
    found = read_header(FILE, len(FILE))
    assert (found.version, found.alignment, found.data_offset, found.data_bytes) == (3, 64, DATA, 448 + 64)
    assert found.metadata["one.float32"] == -2.0
    assert found.metadata["one.bool"] is False
    assert found.metadata["one.int64"] == 2**63 - 1
    assert found.metadata["one.string"] == "täxt\n"
    for kind in CODES.keys() - {"array"}:
        items = found.metadata[f"all.{kind}"]
        assert isinstance(items, Array)
        assert (items.type, len(items)) == (kind, 2)
        assert items[1] == items[-1] == items.tolist()[1] == found.metadata[f"one.{kind}"]
        assert items[:] == items.tolist() == list(items)
    nested = found.metadata["nested"]
    assert isinstance(nested, Array)
    assert nested.tolist() == [[1, 2], ["a"], [[]]]
    assert nested[1].offset == GOOD.index(text("a"), nested.offset)
    first, second = found.tensors
    assert (first.name, first.dims, first.type, first.offset, first.bytes) == (
        "token_embd.weight", (256, 3), "Q4_K", 0, 432,
    )  # fmt: skip
    assert (second.dims, second.type, second.offset, second.bytes) == ((5,), "F32", 448, 20)


def test_metadata_is_a_mapping_in_file_order() -> None:
    found = read_header(GOOD).metadata
    assert list(found)[:2] == ["general.architecture", "general.alignment"]
    assert "one.bool" in found
    assert "two.bool" not in found
    assert found.get("missing", 7) == 7
    assert len(found) == len(list(found.items())) == 28
    with pytest.raises(KeyError):
        found["missing"]


def test_arrays_of_numbers_become_one_block() -> None:
    found = read_header(header([pair("k", "array", ("int32", list(range(1000))))])).metadata["k"]
    assert isinstance(found, Array)
    numbers = found.toarray()
    assert numbers.typecode == "i"
    assert numbers.tolist() == list(range(1000))
    assert found.view().nbytes == found.nbytes == 4000
    strings = read_header(GOOD).metadata["all.string"]
    assert isinstance(strings, Array)
    with pytest.raises(TypeError, match="array of string"):
        strings.toarray()
    with pytest.raises(TypeError, match="holds no strings"):
        found.raw(0)
    with pytest.raises(IndexError):
        found[1000]
    with pytest.raises(IndexError):
        found[-1001]


def test_a_token_that_is_not_utf8_is_told_when_asked_for() -> None:
    tokens = read_header(header([pair("tokens", "array", ("string", [b"ok", b"\xff"]))])).metadata["tokens"]
    assert isinstance(tokens, Array)
    assert tokens[0] == "ok"
    assert tokens.raw(1) == b"\xff"
    with pytest.raises(HeaderError, match="string 1 of tokens is not UTF-8"):
        tokens[1]
    with pytest.raises(HeaderError, match="string 1 of tokens is not UTF-8"):
        tokens.tolist()


@pytest.mark.parametrize("name", sorted(SAYS))
def test_what_is_wrong_is_told_in_one_line_with_its_byte(name: str) -> None:
    data = corpus()[f"wrong_{name}"][1:]
    with pytest.raises(HeaderError) as caught:
        read_header(data, len(data))
    line = str(caught.value)
    assert SAYS[name] in line
    assert "\n" not in line
    assert name == "magic" or " at byte " in line
    assert not isinstance(caught.value, NeedMore)


def test_the_corpus_is_the_one_its_script_writes() -> None:
    folder = Path(__file__).parent / "c" / "corpus" / "gguf"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == corpus()
    assert {name.removeprefix("wrong_") for name in corpus() if name.startswith("wrong_")} == set(SAYS)


def test_a_hostile_name_stays_one_short_line() -> None:
    with pytest.raises(HeaderError) as caught:
        read_header(header([pair("k\n\x1b[31m" + "x" * 5000, "string", b"\xff")]))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_prefix_asks_for_more_and_a_file_that_ends_there_is_cut() -> None:
    for size in range(len(GOOD)):
        with pytest.raises(NeedMore) as more:
            read_header(GOOD[:size])
        assert size < more.value.bytes <= len(GOOD)
        with pytest.raises(NeedMore):
            read_header(GOOD[:size], len(FILE))
    for size in range(1, len(GOOD)):
        with pytest.raises(HeaderError, match="ends inside its header") as cut:
            read_header(GOOD[:size], size)
        assert not isinstance(cut.value, NeedMore)


def test_asking_for_what_is_needed_comes_to_an_end() -> None:
    size = rounds = 0
    while rounds < 50:
        try:
            read_header(GOOD[:size])
            break
        except NeedMore as more:
            size, rounds = more.bytes, rounds + 1
    assert size == len(GOOD)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(GOOD) * 8 - 1), st.integers(0, len(GOOD)), st.booleans())
def test_a_flipped_bit_never_breaks_out(bit: int, cut: int, whole: bool) -> None:
    data = bytearray(FILE)
    data[bit // 8] ^= 1 << bit % 8
    read_whatever(bytes(data[: len(FILE) - cut]), whole)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_behind_the_magic_never_break_out(data: bytes, whole: bool) -> None:
    read_whatever(b"GGUF\x03\0\0\0" + data, whole)


def read_whatever(data: bytes, whole: bool) -> None:
    """All that a header offers, or an error of ours."""
    with contextlib.suppress(HeaderError):
        found = read_header(data, len(data) if whole else 0)
        for item in found.metadata.values():
            if isinstance(item, Array):
                with contextlib.suppress(HeaderError):
                    item.tolist()


def test_a_million_keys_are_read() -> None:
    # By comparing each with each it would take hours: the suite's limit on a test's time is what would fail.
    n = 1_000_000
    data = header([text(b"k%07d" % i) + b"\0\0\0\0\7" for i in range(n)])
    found = read_header(data, len(data)).metadata
    assert len(found) == n
    assert found[f"k{n - 1:07}"] == 7


def test_a_million_equal_keys_end_at_the_second() -> None:
    n = 1_000_000
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, n) + (text("same") + b"\0\0\0\0\7") * n
    with pytest.raises(HeaderError, match="pair 0"):
        read_header(data, len(data))


def test_a_claim_takes_no_memory() -> None:
    claims = b"GGUF" + struct.pack("<IQQ", 3, 10**7, 10**7)
    with pytest.raises(NeedMore) as more:
        read_header(claims)
    assert more.value.bytes == 24 + 10**7 * (13 + 24)
    with pytest.raises(HeaderError, match="ends inside"):
        read_header(claims, 10**6)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda b: memoryview(array("H", b))])
def test_any_bytes_like_thing_will_do(wrap: Callable[[bytes], bytes]) -> None:
    found: Header = read_header(wrap(GOOD + b"\0" * (len(GOOD) % 2)))
    assert found.metadata["general.architecture"] == "llama"


def test_a_map_may_be_closed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    many = ["token" * 4] * 10_000
    path.write_bytes(header([pair("few", "array", ("uint32", [1])), pair("many", "array", ("string", many))]))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found = read_header(mapped, len(mapped))
        tokens = found.metadata["many"]
        assert isinstance(tokens, Array)
        assert tokens.tolist() == many
        untouched = read_header(mapped, len(mapped)).metadata
    assert tokens[-1] == many[-1]
    assert list(found.metadata["few"]) == [1]  # type: ignore[arg-type]
    late = untouched["many"]
    assert isinstance(late, Array)
    assert len(late) == 10_000
    with pytest.raises(ValueError, match="closed"):
        late.tolist()


def test_an_unknown_file_size_lets_tensors_end_anywhere() -> None:
    data = header([], [tensor("t", (1 << 20,), 0, 0)])
    assert read_header(data).tensors[0].bytes == 1 << 22
    assert read_header(data, 1 << 23).data_offset == 64
