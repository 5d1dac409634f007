"""The rules of CUDA_VISIBLE_DEVICES, as properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localrun.hardware.visible import visible

UUIDS = ["GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333", ""]


def test_unset_shows_all() -> None:
    assert visible(None, UUIDS) == [0, 1, 2, 3]
    assert visible("0", []) == []


def test_digits_are_read_as_strtol_reads_them() -> None:
    assert visible("2gpu, +1", UUIDS) == [2, 1]


def test_an_ambiguous_prefix_ends_the_list() -> None:
    assert visible("GPU-bbbb,GPU-aaaa,GPU-aaaa1", UUIDS) == [2]


def test_a_card_that_does_not_answer_keeps_its_number() -> None:
    assert visible("3,0", UUIDS) == [3, 0]


@given(st.text(alphabet="0123,- GPUaMIbx", max_size=24))
def test_any_text_gives_distinct_devices(value: str) -> None:
    chosen = visible(value, UUIDS)
    assert len(set(chosen)) == len(chosen)
    assert all(0 <= index < len(UUIDS) for index in chosen)


@given(st.permutations(range(4)))
def test_every_order_is_kept(order: list[int]) -> None:
    assert visible(",".join(map(str, order)), UUIDS) == order


@given(st.lists(st.integers(0, 3), unique=True, max_size=4), st.integers(4, 99))
def test_the_list_ends_at_the_first_unknown_device(start: list[int], unknown: int) -> None:
    value = ",".join(map(str, [*start, unknown, 0, 1, 2, 3]))
    assert visible(value, UUIDS) == start
