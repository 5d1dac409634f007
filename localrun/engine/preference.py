"""Which of several builds to take: the one that ran faster here, as far as their runs can be compared. Pure.

A run is held against what was foretold for it, so that other settings of one model may be compared; runs
whose foretold times lie far apart (other placement, another context) are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, isfinite, log

from localrun.plan.calibrate import Run
from localrun.value import dataclass

#: Runs of the build that has fewer -> less than this is noise, and the usual order stays.
_MARGINS = (1.0, 1.25, 1.1, 1.03)
#: Foretold times of two runs that may be compared are at most so many times apart.
_ALIKE = 1.25
#: Newest runs of a model that count.
_RECENT = 9


@dataclass(frozen=True, slots=True)
class Speeds:
    """What builds reached with one model: the one that most of them ran."""

    model: str = ""  # its architecture and quantization
    rates: Mapping[str, float] | None = None  # build -> tokens per second


def prefer(builds: Sequence[str], runs: Mapping[str, Sequence[Run]]) -> tuple[str, str]:
    """(the build to take, why); `builds` in the usual order, the reason empty where none can be compared."""
    best, why = builds[0], ""
    for build in builds[1:]:
        ratio, count = faster(runs.get(build, ()), runs.get(best, ()))
        if not count:
            continue
        times = f"{max(ratio, 1 / ratio):.2f} times as fast here as"
        told = f"(measured, {count} run{'s' * (count > 1)} of each)"
        if ratio > _MARGINS[min(count, 3)]:
            best, why = build, f"{build} generated {times} {best} {told}"
        elif ratio > 1:
            why = why or f"{build} generated {times} {best}, too little to tell them apart {told}"
        else:
            why = why or f"{best} generated {times} {build} {told}"
    return best, why


def faster(one: Sequence[Run], other: Sequence[Run]) -> tuple[float, int]:
    """(how many times as fast `one` is on the models that both ran alike, runs of the one with fewer).

    (1.0, 0) where none can be compared.
    """
    ratios, count = [], 0
    for model in dict.fromkeys(run.model for run in one if _sane(run)):
        mine, theirs = _of(model, one), _of(model, other)
        a = [run for run in mine if any(_alike(run, their) for their in theirs)]
        b = [run for run in theirs if any(_alike(run, my) for my in mine)]
        if a and b:
            # Seconds over foretold ones: what the settings make of it falls out.
            ratios.append(log(_off(b) / _off(a)))
            count = max(count, min(len(a), len(b)))
    return (exp(sum(ratios) / len(ratios)), count) if ratios else (1.0, 0)


def _off(runs: Sequence[Run]) -> float:
    """The middle of what they are off by; of two the quicker, for neighbours only slow a run."""
    return sorted(run.seconds / run.foretold for run in runs)[(len(runs) - 1) // 2]


def speeds(runs: Mapping[str, Sequence[Run]]) -> Speeds:
    """Tokens per second by build, of the model that most builds ran, in settings like those of its last run."""
    ran: dict[str, list[str]] = {}
    for build, some in runs.items():
        for model in dict.fromkeys(run.model for run in some if _sane(run)):
            ran.setdefault(model, []).append(build)
    if not ran:
        return Speeds()
    model = max(ran, key=lambda name: len(ran[name]))
    last = _of(model, runs[ran[model][0]])[-1]
    found = {
        build: [run.generation for run in _of(model, runs[build]) if _alike(run, last)]
        for build in ran[model]
    }
    rates = {build: sorted(some)[len(some) // 2] for build, some in found.items() if some}
    return Speeds(" ".join(model.split()[:2]), rates)


def _sane(run: Run) -> bool:
    return all(isfinite(x) and x > 0 for x in (run.generation, run.foretold))


def _of(model: str, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.model == model and _sane(run)][-_RECENT:]


def _alike(a: Run, b: Run) -> bool:
    return a.figures == b.figures and 1 / _ALIKE <= a.foretold / b.foretold <= _ALIKE
