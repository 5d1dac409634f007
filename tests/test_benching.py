"""The order of a benchmark, and what is left when it breaks off."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from localrun import benching
from localrun.bench.values import Case, disturbed
from localrun.benching import Load, Outcome, Progress, Setup, matches, measure
from localrun.config import Config, Session, paths
from localrun.engine.bench import Bencher
from localrun.errors import EngineError, EngineMissing, LocalrunError
from localrun.hardware.system import CpuUse
from localrun.plan.planner import make_plan
from localrun.plan.rates import DEFAULT
from localrun.plan.values import Settings, Wanted
from localrun.up import Prepared
from tests.oracle import host, sparse_model

CASES = (Case(64, 0), Case(0, 8), Case(64, 0, 128))


class Fake:
    """Each case at its own rate; breaks off at the `fails`-th."""

    def __init__(self, fails: int = 10**9, wrong: BaseException | None = None) -> None:
        self.pid, self.asked, self.open = 0, list[tuple[Case, int]](), 0
        self._fails, self._wrong = fails, wrong or EngineError("it died", "logs")

    @contextlib.contextmanager
    def opened(self, setup: Setup) -> Iterator[Bencher]:
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    def measure(self, case: Case, turn: int) -> float:
        self.asked.append((case, turn))
        if len(self.asked) == self._fails:
            raise self._wrong
        return 10.0 * case.tokens + turn


def setups(*threads: int) -> list[Setup]:
    found = []
    for n in threads:
        plan = make_plan(sparse_model("smollm2"), host(), Wanted(ctx_size=512, threads=n), advise=False)
        found.append(Setup(Prepared("m", plan, None, None, None)))  # type: ignore[arg-type]
    return found


def run(fake: Fake, *threads: int, told: list[Progress] | None = None) -> Outcome:
    return measure(
        setups(*threads or (1,)), CASES, 2, DEFAULT, fake.opened, (told if told is not None else []).append
    )


def test_turn_by_turn_within_a_depth_after_one_warm_up() -> None:
    fake, told = Fake(), list[Progress]()
    outcome = run(fake, told=told)
    warm, shallow, generated, deep = Case(32, 0), *CASES
    assert fake.asked == [
        (warm, 2), (shallow, 0), (generated, 0), (shallow, 1), (generated, 1), (deep, 0), (deep, 1)
    ]  # fmt: skip
    assert [(r.case, r.rates) for r in outcome.results] == [
        (shallow, (640.0, 641.0)), (generated, (80.0, 81.0)), (deep, (640.0, 641.0))
    ]  # fmt: skip
    assert [p.turn for p in told] == [0, -1, 0, 0, 1, 1, 0, 1]
    assert told[3].last == (shallow, 640.0)


@pytest.mark.parametrize("at", range(1, 9))
def test_an_interrupt_keeps_what_there_is_and_closes_the_engine(at: int) -> None:
    fake = Fake(at, KeyboardInterrupt())
    outcome = run(fake, 1, 2)
    assert (outcome.interrupted, fake.open) == (True, 0)
    assert sum(len(r.rates) for r in outcome.results) == max(at - 2, 0)
    assert not [r for r in outcome.results if r.settings.threads == 2]


def test_what_fails_is_noted_and_the_next_is_tried() -> None:
    fake = Fake(4)
    outcome = run(fake, 1, 2)
    assert [(f.why, f.hint) for f in outcome.failures] == [("it died", "logs")]
    assert outcome.failures[0].what.startswith("t 1")
    assert [(r.settings.threads, len(r.rates)) for r in outcome.results] == [
        (1, 1), (1, 1), (2, 2), (2, 2), (2, 2)
    ]  # fmt: skip


def test_an_engine_that_is_not_there_ends_it_all() -> None:
    with pytest.raises(EngineMissing):
        run(Fake(1, EngineMissing("no engine")), 1, 2)


def test_what_is_no_failure_of_the_engine_is_a_bug_and_shows() -> None:
    fake = Fake(1, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(fake)
    assert fake.open == 0


def load(before: CpuUse, after: CpuUse, seconds: float) -> float | None:
    uses, times = iter([before, after]), iter([5.0, 5.0 + seconds])
    counted = Load(lambda pid: next(uses), lambda: next(times))
    with contextlib.suppress(LocalrunError), counted.of(7):
        raise EngineError("counted all the same")
    return counted.others


def test_others_are_what_the_machine_did_but_the_engine_did_not() -> None:
    assert load(CpuUse(100.0, 3.0), CpuUse(130.0, 13.0), 10.0) == pytest.approx(2.0)
    assert load(CpuUse(100.0, 3.0), CpuUse(109.0, 13.0), 10.0) == 0.0, "ticks are coarse"


def test_what_cannot_be_counted_is_unknown() -> None:
    assert load(CpuUse(100.0, 0.0), CpuUse(130.0, 0.0), 10.0) is None
    assert load(CpuUse(100.0, 3.0), CpuUse(130.0, 0.0), 10.0) is None
    assert load(CpuUse(100.0, 3.0), CpuUse(100.1, 3.1), 0.1) is None


def test_threads_that_others_leave_room_for_are_not_disturbed() -> None:
    outcome = run(Fake())
    one = outcome.results[0]
    assert not disturbed(one, 1)
    assert [disturbed(replace(one, others=x), 4) for x in (0.0, 3.0, 3.2, 3.4)] == [False, False, False, True]


def test_a_running_model_matches_what_the_user_fixed_and_nothing_else() -> None:
    settings = Settings(4096, threads=2, n_gpu_layers=7, cache_ram=1 << 30)
    assert matches(settings, Wanted(cache_ram=0))
    assert matches(settings, Wanted(ctx_size=4096, threads=2))
    for other in (
        Wanted(threads=1),
        Wanted(ctx_size=8192),
        Wanted(cache_type_k="q8_0"),
        Wanted(ctx_size="max"),
    ):
        assert not matches(settings, other)
    assert not matches(None, Wanted())


def test_a_slow_model_may_take_its_time() -> None:
    (setup,) = setups(1)
    session = Session(Config(ready_timeout=60), paths({"HOME": "/nowhere"}))
    patience = benching.patience(session, setup.prepared.plan, DEFAULT)
    assert 60 < patience(Case(64, 0)) < patience(Case(640, 0)) < patience(Case(640, 0, 5000))
    assert patience(Case(0, 64)) > 60
