"""The document of `localrun bench NAME --json`, and that of `--history`. Keys: docs/bench.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localrun.bench.statistics import change, place
from localrun.bench.values import Case, Earlier, Measured, Report
from localrun.bench.words import in_words
from localrun.hardware.identity import identity
from localrun.show.plan_json import band_json, settings_json

SCHEMA = "localrun.bench/1"
HISTORY_SCHEMA = "localrun.bench-history/1"


def bench_json(report: Report) -> dict[str, Any]:
    """Rates are tokens per second, dates UTC."""
    model = report.plan.model
    return {
        "schema": SCHEMA,
        "name": report.name,
        "date": report.date,
        "model": {
            "architecture": model.architecture,
            "quant": model.quant,
            "weights_bytes": model.weights_bytes,
            "parameters": model.parameters,
        },
        "hardware": identity(report.plan.host),
        "engine": report.engine,
        "build": report.build,
        "repetitions": report.repetitions,
        "interrupted": report.interrupted,
        "results": [_result(one, report) for one in report.results],
        "failures": [{"settings": f.what, "error": f.why, "hint": f.hint} for f in report.failures],
    }


def _result(one: Measured, report: Report) -> dict[str, Any]:
    s, planned = one.spread, one.planned
    before = previous(one, report.engine, report.earlier)
    return {
        "test": one.case.name,
        "n_prompt": one.case.n_prompt,
        "n_gen": one.case.n_gen,
        "n_depth": one.case.depth,
        "settings": settings_json(one.settings),
        "measured": {
            "median": round(s.median, 3),
            "min": round(s.low, 3),
            "max": round(s.high, 3),
            "stdev": round(s.stdev, 3),
            "samples": [round(rate, 3) for rate in one.rates],
            "source": "measured",
        },
        "planned": {**band_json(planned), "source": source(one)} if planned else None,
        "ratio": round(s.median / planned.expected, 4) if planned and planned.expected > 0 else None,
        "place": place(s.median, planned) if planned else None,
        "others_busy_cores": round(one.others, 2) if one.others is not None else None,
        "previous": {
            "date": before.date,
            "build": before.build,
            "median": round(before.median, 3),
            "change_percent": round(change(s.median, before.median), 2),
        }
        if before
        else None,
    }


def source(one: Measured) -> str:
    """Where the planned band comes from."""
    return "estimated from runs here" if one.calibrated else "estimated"


def previous(one: Measured, engine: str, earlier: Sequence[Earlier]) -> Earlier | None:
    """The newest earlier result of the same case with the same settings on this engine, of whatever build."""
    return _like(earlier, one.case, in_words(one.settings), engine)


def history_json(name: str, hardware: str, earlier: Sequence[Earlier]) -> dict[str, Any]:
    """Oldest first."""
    rows = []
    for i, e in enumerate(earlier):
        before = before_it(earlier, i)
        rows.append(
            {
                "date": e.date,
                "build": e.build,
                "test": e.case.name,
                "n_prompt": e.case.n_prompt,
                "n_gen": e.case.n_gen,
                "n_depth": e.case.depth,
                "settings": e.settings,
                "median": round(e.median, 3),
                "stdev": round(e.stdev, 3),
                "repetitions": e.repetitions,
                "change_percent": round(change(e.median, before.median), 2) if before else None,
            }
        )
    return {"schema": HISTORY_SCHEMA, "name": name, "hardware": hardware, "results": rows}


def before_it(earlier: Sequence[Earlier], i: int) -> Earlier | None:
    """The like result before the i-th."""
    one = earlier[i]
    return _like(earlier[:i], one.case, one.settings, one.build.split(" ", 1)[0])


def _like(earlier: Sequence[Earlier], case: Case, settings: str, engine: str) -> Earlier | None:
    """The newest. A build is told as the engine's name and its version."""
    return next(
        (
            e
            for e in reversed(earlier)
            if e.case == case and e.settings == settings and e.build.split(" ", 1)[0] == engine
        ),
        None,
    )
