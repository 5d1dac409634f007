"""`bench`'s order of things: for each settings an engine, a warm-up, then repetition by repetition."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from localrun import running, up
from localrun.bench.foretold import foretold
from localrun.bench.values import Case, Failed, Measured
from localrun.bench.words import in_words
from localrun.config import Session
from localrun.engine import state
from localrun.engine.bench import Bencher
from localrun.engine.registry import build_of
from localrun.errors import EngineMissing, LocalrunError, StateError, UsageError
from localrun.hardware import system
from localrun.plan.rates import Rates
from localrun.plan.values import Plan, Settings, Wanted
from localrun.up import Prepared

#: A case may take so many times what was foretold, and this long on top of it where nothing was.
_SLACK = 20.0
#: Tokens of the first, untimed request: it reads the weights from disk and wakes the threads.
_WARM = 32
#: Shorter than this the system's ticks tell nothing, seconds.
_COUNTABLE = 0.5
#: Settings that a request's speed does not depend on, or that `bench` itself sets.
_ASIDE = {"cache_ram": 0, "ctx_checkpoints": 0, "ctx_size": 0}


@dataclass(frozen=True, slots=True)
class Setup:
    """One combination of settings, and where it is measured."""

    prepared: Prepared
    record: state.Record | None = None  # an engine that runs so already; None: one is started

    @property
    def settings(self) -> Settings:
        return self.prepared.plan.settings


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being measured: for the line that is drawn anew."""

    setup: int  # counted from 0
    case: Case | None  # None: the engine starts
    turn: int = 0  # -1: the warm-up
    last: tuple[Case, float] | None = None  # what came out before, tokens per second


@dataclass(slots=True)
class Outcome:
    """What was measured so far. Not frozen: an interrupt leaves what there is."""

    results: list[Measured] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    interrupted: bool = False


Told = Callable[[Progress], None]
Opened = Callable[[Setup], contextlib.AbstractContextManager[Bencher]]


def measure(
    setups: Sequence[Setup],
    cases: Sequence[Case],
    repetitions: int,
    rates: Rates,
    opened: Opened,
    told: Told,
) -> Outcome:
    """Everything, or as much as came out before Ctrl-C. What fails is noted, and the next is tried.

    Raises what would stop every other one too: UsageError, EngineMissing, StateError.
    """
    outcome = Outcome()
    for i, setup in enumerate(setups):
        found: dict[Case, list[float]] = {case: [] for case in cases}
        load = Load()
        try:
            told(Progress(i, None))
            with opened(setup) as bench, load.of(bench.pid):
                _repeat(bench, cases, repetitions, found, _of(i, told))
        except KeyboardInterrupt:
            outcome.interrupted = True
        except (UsageError, EngineMissing, StateError):
            raise
        except LocalrunError as failed:
            outcome.failures.append(Failed(in_words(setup.settings), str(failed), failed.hint))
        for case, measured in found.items():
            if measured:
                band = foretold(setup.prepared.plan, case, rates)
                outcome.results.append(
                    Measured(setup.settings, case, tuple(measured), band, rates.calibrated, load.others)
                )
        if outcome.interrupted:
            break
    return outcome


class Load:
    """What the rest of the machine does while something is measured: `others` cores, None = unknown."""

    def __init__(
        self,
        use: Callable[[int], system.CpuUse] = system.cpu_use,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._use, self._clock = use, clock
        self.others: float | None = None

    @contextlib.contextmanager
    def of(self, pid: int) -> Iterator[None]:
        """Count while the block runs, all but process `pid` and its children."""
        before, began = self._use(pid), self._clock()
        try:
            yield
        finally:
            after, wall = self._use(pid), self._clock() - began
            if before.process and after.process and wall >= _COUNTABLE:
                spent = (after.machine - before.machine) - (after.process - before.process)
                self.others = max(0.0, spent / wall)


def _of(setup: int, told: Told) -> Told:
    return lambda progress: told(replace(progress, setup=setup))


def _repeat(
    bench: Bencher, cases: Sequence[Case], repetitions: int, found: dict[Case, list[float]], told: Told
) -> None:
    """Turn by turn, so that what disturbs one moment does not fall on one case alone."""
    first = cases[0]
    told(Progress(0, first, -1))
    bench.measure(Case(min(_WARM, first.n_prompt or _WARM), 0), repetitions)
    for _, same in groupby(cases, key=lambda case: case.depth):
        deep, last = tuple(same), None
        for turn in range(repetitions):
            for case in deep:
                told(Progress(0, case, turn, last))
                last = case, bench.measure(case, turn)
                found[case].append(last[1])


def patience(session: Session, plan: Plan, rates: Rates) -> Callable[[Case], float]:
    """Seconds that a request may take before the engine counts as stuck."""

    def seconds(case: Case) -> float:
        one = foretold(plan, Case(max(case.n_prompt + case.depth, 1), 0), rates)
        each = foretold(plan, Case(0, max(case.n_gen, 1), case.depth), rates)
        slow = sum(
            n / band.expected
            for n, band in ((case.n_prompt + case.depth, one), (case.n_gen, each))
            if band and band.expected > 0
        )
        return float(session.config.ready_timeout) + _SLACK * slow

    return seconds


@contextlib.contextmanager
def private(
    session: Session, prepared: Prepared, named_port: bool, told: Callable[[str], None]
) -> Iterator[state.Record]:
    """An engine for this measurement alone, ended on leaving; `ps` shows it as bench:NAME meanwhile."""
    name = f"bench:{prepared.name}"
    for record in running.records(session)[0]:
        if record.name == name and running.is_alive(record):
            if running.is_owned(record) and record.owner != os.getpid():
                raise UsageError(
                    f"another bench of {prepared.name} runs: both would be wrong",
                    "wait for it, or localrun down " + name,
                )
            running.end(session, name, record.handle)
    try:
        yield up.start(session, replace(prepared, name=name), named_port, told)[0]
    finally:
        running.end_own(session)


def idle(session: Session, prepared: Prepared, wanted: Wanted) -> state.Record | None:
    """The running model, if it is this file with these settings, and nobody asks it anything now.

    Only of the build that would be started otherwise: what is measured is kept by build.
    """
    build = build_of(prepared.engine)
    for record in running.records(session)[0]:
        same = (
            record.name == prepared.name
            and record.model == str(prepared.path)
            and record.settings is not None
        )
        if not same or record.build != build or not matches(record.settings, wanted):
            continue
        seen = running.status(session, record)
        if seen.state == "ready" and seen.reading is not None and not seen.reading.busy:
            return record
    return None


def matches(settings: Settings | None, wanted: Wanted) -> bool:
    """Whether what the user fixed is what runs; what the planner would choose does not count."""
    if settings is None:
        return False
    fixed = {name: getattr(wanted, name, None) for name in Settings.__dataclass_fields__}
    return all(
        value is None or (name in _ASIDE and name != "ctx_size") or value == getattr(settings, name)
        for name, value in fixed.items()
    )


def now() -> str:
    """UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
