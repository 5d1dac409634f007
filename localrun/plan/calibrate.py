"""From measured runs to Rates: what this machine really reaches, and how far to trust it. Pure.

A run is kept beside what the uncalibrated figures foretold for it, by what the time is spent on. The part
that takes most of it is the one that a run tells about; the median over models is what counts, so that
neither a model that ran a hundred times nor one wild measurement decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, isfinite, log
from types import MappingProxyType
from zlib import crc32

from localrun.plan.kv import kv_cache
from localrun.plan.rates import DEFAULT, FILL, Rates
from localrun.plan.speed import Traffic, fingerprint
from localrun.plan.values import Plan
from localrun.value import dataclass, replace

#: A run that is off by more says something of itself, not of the machine: it counts as if off by this.
_MOST_OFF = 4.0
#: Models that ran -> the narrowest band that may be claimed.
_BANDS = (0.30, 0.20, 0.15, 0.12)
_PARTS = ("vram", "ram", "disk", "fixed")
#: Runs of one model that count, the newest: what the machine was like last month matters less.
_RECENT = 9


def figures(base: Rates = DEFAULT) -> int:
    """A number that changes with the constants: what older ones foretold cannot be compared."""
    return crc32(repr([(name, _plain(getattr(base, name))) for name in base.__match_args__]).encode())


def _plain(value: object) -> object:
    return sorted(value.items()) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run, and what the uncalibrated figures foretold."""

    model: str  # fingerprint
    generation: float  # measured tokens per second
    prompt: float  # measured, 0 = not measured
    vram: float  # foretold seconds of one token, by part
    ram: float
    disk: float
    fixed: float
    foretold_prompt: float
    ram_bandwidth: float  # that was reckoned with, bytes per second
    held: int = FILL  # tokens in the cache
    figures: int = 0  # of the constants

    @property
    def seconds(self) -> float:
        return 1.0 / self.generation

    @property
    def foretold(self) -> float:
        return self.vram + self.ram + self.disk + self.fixed


def run_of(plan: Plan, generation: float, prompt: float = 0.0, held: int = FILL) -> Run:
    """A measurement of `plan` as it runs: tokens per second with about `held` tokens in the cache."""
    traffic = Traffic.of(plan.model, plan.host, plan.settings, DEFAULT)
    kv = kv_cache(plan.model.shape, plan.settings, plan.model.architecture)
    costs = traffic.costs(plan.settings, plan.memory, kv, held)
    return Run(
        fingerprint(plan.model),
        generation,
        prompt,
        costs.vram,
        costs.ram,
        costs.disk,
        costs.fixed,
        traffic.prompt(plan.settings, plan.memory),
        float(plan.host.ram.bandwidth),
        held,
        figures(),
    )


def calibrate(runs: Iterable[Run], ram_bandwidth: float = 0.0, base: Rates = DEFAULT) -> Rates:
    """Rates as the runs show them; `base` where there are none.

    `ram_bandwidth`: what was measured, 0 = nothing. Runs that were foretold from another figure, or by
    other constants, are left out.
    """
    by_model = _by_model(runs, ram_bandwidth, figures(base))
    if not by_model:
        return replace(base, low=0.75, high=1.25) if ram_bandwidth else base
    scales = {part: _scale(by_model, part) for part in ("vram", "ram", "disk")}
    rates = replace(
        base,
        vram_time=base.vram_time * scales["vram"],
        ram_time=base.ram_time * scales["ram"],
        disk_time=base.disk_time * scales["disk"],
        prompt_time=base.prompt_time * _prompt_scale(by_model),
    )
    off = {model: _middle([_off(run, scales) for run in ran]) for model, ran in by_model.items()}
    width = _width(list(off.values()), base)
    return replace(rates, models=MappingProxyType(off), low=1.0 - width, high=1.0 + width, calibrated=True)


def _by_model(runs: Iterable[Run], ram_bandwidth: float, version: int) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        amounts = (run.generation, run.prompt, run.foretold, run.ram_bandwidth)
        usable = all(isfinite(x) and x >= 0 for x in amounts) and run.generation > 0 and run.foretold > 0
        same = not ram_bandwidth or abs(run.ram_bandwidth / ram_bandwidth - 1.0) < 0.1
        if usable and same and run.figures == version:
            found.setdefault(run.model, []).append(run)
    return {model: ran[-_RECENT:] for model, ran in found.items()}


def _scale(by_model: dict[str, list[Run]], part: str) -> float:
    """Measured seconds of one part over foretold ones: the median of the models whose time it takes."""
    values = []
    for ran in by_model.values():
        told = [_implied(run, part) for run in ran if _dominant(run) == part]
        if told:
            values.append(_middle(told))
    return _median(values)


def _dominant(run: Run) -> str:
    return max(_PARTS, key=lambda part: getattr(run, part))


def _implied(run: Run, part: str) -> float:
    amount: float = getattr(run, part)
    return _within((run.seconds - (run.foretold - amount)) / amount)


def _off(run: Run, scales: dict[str, float]) -> float:
    """Measured seconds over those that the scaled parts give."""
    scaled = run.fixed + run.vram * scales["vram"] + run.ram * scales["ram"] + run.disk * scales["disk"]
    return _within(run.seconds / scaled)


def _prompt_scale(by_model: dict[str, list[Run]]) -> float:
    return _median(_medians(by_model, lambda run: run.foretold_prompt / run.prompt if run.prompt else 0.0))


def _medians(by_model: dict[str, list[Run]], ratio: Callable[[Run], float]) -> list[float]:
    told = ([_within(x) for x in map(ratio, ran) if x > 0] for ran in by_model.values())
    return [_middle(values) for values in told if values]


def _middle(values: Sequence[float]) -> float:
    """Of one model's runs the middle; of two in the middle the quicker, for neighbours only slow a run."""
    return sorted(values)[(len(values) - 1) // 2]


def _median(values: Sequence[float]) -> float:
    """Of several models. Where the count is even, the figures of the trade (1.0) are one more voice."""
    voices = sorted([*values, 1.0] if len(values) % 2 == 0 else values)
    return voices[len(voices) // 2]


def _within(ratio: float) -> float:
    return min(max(ratio, 1.0 / _MOST_OFF), _MOST_OFF)


def _width(off: Sequence[float], base: Rates) -> float:
    """Half of the band: one and a half times what the models are off by, in the middle."""
    floor = _BANDS[min(len(off), len(_BANDS) - 1)]
    spread = exp(1.5 * _middle([abs(log(x)) for x in off])) - 1.0
    return min(max(floor, spread), 1.0 - base.low)
