"""What a measurement is held against is what `plan` shows."""

from __future__ import annotations

from localrun.bench.foretold import foretold, held, seconds
from localrun.bench.values import Case
from localrun.bench.words import differing, in_words, only
from localrun.plan.planner import make_plan
from localrun.plan.rates import DEFAULT
from localrun.plan.values import Plan, Settings, Wanted
from tests.oracle import GIB, host, sparse_model


def plan(**wanted: object) -> Plan:
    return make_plan(sparse_model("smollm2"), host(), Wanted(**wanted), advise=False)  # type: ignore[arg-type]


def test_a_whole_batch_is_foretold_as_the_plan_does() -> None:
    one = plan(threads=2)
    assert foretold(one, Case(one.settings.ubatch_size, 0), DEFAULT) == one.speed.prompt


def test_generation_is_foretold_for_the_tokens_that_are_held() -> None:
    one = plan(threads=2)
    near, far = (foretold(one, Case(0, 16, depth), DEFAULT) for depth in (0, 4096))
    assert near
    assert far
    assert near.expected > far.expected
    assert held(Case(0, 16, 4096)) == 4104


def test_a_prompt_behind_others_is_not_foretold() -> None:
    assert foretold(plan(), Case(128, 0, 64), DEFAULT) is None


def test_how_long_it_takes_counts_the_warm_up() -> None:
    one = plan(threads=1)
    case = Case(0, 64)
    band = foretold(one, case, DEFAULT)
    assert band
    assert seconds([(case, band), (Case(8, 0, 8), None)], 3) == 4 * 64 / band.expected


def test_settings_in_words_are_those_that_speed_depends_on() -> None:
    plain = Settings(4096, threads=2)
    assert in_words(plain) == "t 2, ctk f16, ctv f16, ngl 0"
    assert in_words(Settings(8192, threads=2, cache_ram=GIB, ctx_checkpoints=3)) == in_words(plain)
    other = Settings(4096, threads=2, cache_type_k="q8_0", mmap=False, override_tensor=("a=CPU", "b=CPU"))
    assert in_words(other) == "t 2, ctk q8_0, ctv f16, ngl 0, ot a=CPU;b=CPU, mmap false"
    assert only(other, differing([plain, other])) == "ctk q8_0, ot a=CPU;b=CPU, mmap false"
