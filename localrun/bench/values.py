"""A benchmark as values: what is measured, what came out, what the plan had foretold."""

from __future__ import annotations

from localrun.bench.statistics import Spread
from localrun.plan.values import Band, Plan, Settings
from localrun.value import dataclass

#: Of a core: what an idle system does besides.
_SLACK = 0.3


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement in llama-bench's words: `n_prompt` tokens in, or `n_gen` out, behind `depth` tokens."""

    n_prompt: int  # one of the two is 0
    n_gen: int
    depth: int = 0  # tokens in the cache before

    @property
    def name(self) -> str:
        """`pp512`, `tg64`, `tg64 @ d4096`."""
        what = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return f"{what} @ d{self.depth}" if self.depth else what

    @property
    def tokens(self) -> int:
        """That one repetition is timed over."""
        return self.n_prompt or self.n_gen


@dataclass(frozen=True, slots=True)
class Measured:
    """One case with one plan's settings. Rates are tokens per second."""

    settings: Settings
    case: Case
    rates: tuple[float, ...]  # one a repetition, in the order they ran
    planned: Band | None  # None: the planner foretells nothing of the kind
    calibrated: bool = False  # `planned` knows runs of this machine
    others: float | None = None  # cores that other processes kept busy meanwhile; None = unknown

    @property
    def spread(self) -> Spread:
        return Spread.of(self.rates)


def disturbed(one: Measured, cores: int) -> bool:
    """Whether the engine's threads had to share the machine's `cores` (logical ones) with others."""
    return one.others is not None and one.others + one.settings.threads > cores + _SLACK


@dataclass(frozen=True, slots=True)
class Failed:
    """Settings that could not be measured, or not to the end."""

    what: str  # the settings, in words
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """A result that was kept: one line of the history."""

    date: str  # UTC, ISO 8601
    build: str  # of the engine
    case: Case
    settings: str  # those that speed depends on, in words
    median: float
    stdev: float
    repetitions: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one `localrun bench` found."""

    name: str
    plan: Plan  # of the first settings: the model and the machine
    engine: str
    build: str
    date: str  # UTC, ISO 8601
    repetitions: int  # asked for
    results: tuple[Measured, ...]
    failures: tuple[Failed, ...] = ()
    earlier: tuple[Earlier, ...] = ()  # on this hardware, oldest first, this one not among them
    interrupted: bool = False
