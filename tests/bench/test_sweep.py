"""What a user writes, as what is measured; and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.bench.sweep import cache_types, cases, counts, needed, swept, usual
from localrun.bench.values import Case
from localrun.errors import UsageError
from localrun.plan.values import Band, Speed, Wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("512", (512,)), ("128,512", (128, 512)), (" 512 , 128,512", (512, 128)), ("0", (0,)),
        ("1-4", (1, 2, 3, 4)), ("1-8+3", (1, 4, 7)), ("128-512*2", (128, 256, 512)), ("4,1-2", (4, 1, 2)),
        ("7-7*2", (7,)),
    ],
)  # fmt: skip
def test_lists_and_ranges_are_read_as_llama_bench_does(text: str, wanted: tuple[int, ...]) -> None:
    assert counts(text, "-p") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "", ",", "1,", "-1", "1,-2", "x", "1.5", "4-2", "1-8*1", "1-8*0", "0-8*2", "1-8+0", "1--8", "1-2-3", "1e3",
        "999999999", "1-1000", "1-999999999", "٣", "1" * 5000, ",".join(str(i) for i in range(100)),
    ],
)  # fmt: skip
def test_what_is_no_list_of_counts_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        counts(text, "-p")
    assert "\n" not in str(refused.value)


@given(st.text(max_size=20))
def test_whatever_is_written_it_is_a_list_or_a_usage_error(text: str) -> None:
    try:
        found = counts(text, "-p")
    except UsageError:
        return
    assert 0 < len(found) <= 64
    assert all(n >= 0 for n in found)


def test_zero_threads_are_none() -> None:
    with pytest.raises(UsageError):
        counts("0,1", "-t", 1)


def test_types_are_taken_once_and_unknown_or_empty_ones_are_refused() -> None:
    assert cache_types("f16, q8_0,f16", "-ctk") == ("f16", "q8_0")
    for wrong in ("", "f16,", ",f16", " ", "f16,q9_9", "F16"):
        with pytest.raises(UsageError):
            cache_types(wrong, "-ctk")


def test_cases_run_depth_by_depth_prompts_first() -> None:
    assert cases((128, 0), (8,), (64, 0)) == (Case(128, 0), Case(0, 8), Case(128, 0, 64), Case(0, 8, 64))


def test_zeros_alone_leave_nothing_to_measure() -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        cases((0,), (0,), (0,))


def test_a_case_is_named_as_llama_bench_names_it() -> None:
    assert [c.name for c in (Case(512, 0), Case(0, 64), Case(0, 64, 4096))] == [
        "pp512",
        "tg64",
        "tg64 @ d4096",
    ]


def test_the_context_holds_the_longest_case_and_the_token_behind_it() -> None:
    assert needed((Case(512, 0), Case(0, 64, 1000))) == 1066


def speed(prompt: float, generation: float) -> Speed:
    bands = [Band(x * 0.8, x, x * 1.2) for x in (generation, prompt)]
    return Speed(bands[0], bands[1], "cpu cores")


def test_a_slow_model_is_measured_over_fewer_tokens() -> None:
    assert usual(speed(500, 30)) == ((128, 512), (64,))
    assert usual(speed(20, 3)) == ((128,), (16,))
    assert usual(speed(2, 0.5)) == ((64,), (16,))


def test_every_combination_is_planned_and_values_follow_the_keys() -> None:
    found = swept(Wanted(ctx_size=512), (1, 2), ("f16", "q8_0"), ())
    assert [(w.threads, w.cache_type_k, w.cache_type_v, w.ctx_size) for w in found] == [
        (1, "f16", None, 512), (2, "f16", None, 512), (1, "q8_0", None, 512), (2, "q8_0", None, 512),
    ]  # fmt: skip
    assert len(swept(Wanted(), (), ("f16", "q8_0"), ("f16", "q8_0"))) == 4


def test_without_lists_the_plan_s_own_settings_are_measured() -> None:
    assert swept(Wanted(threads=3), (), (), ()) == (Wanted(threads=3),)
