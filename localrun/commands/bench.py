"""`bench`: how fast a model runs here, beside what the plan said and what was measured before."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from localrun import benching
from localrun.bench import sweep
from localrun.bench.foretold import foretold, held, seconds
from localrun.bench.values import Case, Earlier, Failed, Measured, Report, disturbed
from localrun.bench.words import in_words
from localrun.benching import Outcome, Progress, Setup
from localrun.commands import calibration
from localrun.commands.base import App, put, put_json
from localrun.commands.bench_setups import setups
from localrun.commands.benchers import opener
from localrun.commands.plan import planned, wanted
from localrun.commands.up import prepare
from localrun.engine import bench_history
from localrun.engine.registry import build_of
from localrun.errors import EngineError, LocalrunError
from localrun.hardware.identity import identity
from localrun.plan.rates import Rates
from localrun.plan.speed import fingerprint
from localrun.plan.values import Plan
from localrun.show.bench_text import bench_lines, history_lines, progress_line
from localrun.up import Prepared


def run(app: App, name: str | None, options: dict[str, Any], as_json: bool) -> None:
    lists, numbers = _lists(options), _numbers(options)
    # What is swept is left to the plan until each combination has its own.
    single = {**options, **{key: v[0] if len(v) == 1 else None for key, v in lists.items()}}
    if options.get("history"):
        _history(app, name, single, as_json)
        return
    for path in filter(None, (options.get("output"), options.get("svg"))):
        _check_writable(path)
    base = prepare(app, name, single)
    rates = calibration.rates(app, base.plan.host, options.get("engine") or "")
    cases = _cases(numbers, base.plan)
    asked = sweep.swept(replace(wanted(app, single), cache_ram=0), *lists.values())
    chosen, refused = setups(app, base, asked, cases, rates, options)
    repetitions = int(options["repetitions"])
    earlier = bench_history.load(history_file(app), _key(base.plan))
    _announce(app, chosen, cases, repetitions, rates)
    with _showing(app, chosen, repetitions) as told:
        opened = opener(app, options.get("port") is not None, rates)
        outcome = benching.measure(chosen, cases, repetitions, rates, opened, told)
    report = _report(chosen[0].prepared, outcome, refused, repetitions, earlier)
    _keep(app, report, chosen)
    if report.results or report.interrupted:
        _put(app, report, options, as_json)
    if report.interrupted:
        raise KeyboardInterrupt
    _complain(report, len(asked))


def _complain(report: Report, settings: int) -> None:
    """Raises EngineError when anything failed: of one setting its own reason."""
    if not report.failures:
        return
    first = report.failures[0]
    some = f"{len(report.failures)} of {settings} settings could not be measured; {first.what}: "
    raise EngineError((some if settings > 1 else "") + first.why, first.hint)


def history_file(app: App) -> Path:
    return app.session.paths.state / "bench.json"


def _key(plan: Plan) -> str:
    return bench_history.key_of(identity(plan.host), fingerprint(plan.model))


def _lists(options: dict[str, Any]) -> dict[str, Sequence[Any]]:
    """What is swept: threads, types of keys and of values; empty where not given. Raises UsageError."""
    threads, k, v = (options.get(key) for key in ("threads", "cache_type_k", "cache_type_v"))
    return {
        "threads": sweep.counts(threads, "-t", 1) if threads is not None else (),
        "cache_type_k": sweep.cache_types(k, "-ctk") if k is not None else (),
        "cache_type_v": sweep.cache_types(v, "-ctv") if v is not None else (),
    }


def _numbers(options: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """What is measured, where it was given. Raises UsageError before anything is fetched."""
    flags = {"n_prompt": "-p", "n_gen": "-n", "n_depth": "-d"}
    found = {
        key: sweep.counts(options[key], flag) for key, flag in flags.items() if options.get(key) is not None
    }
    if not any((*found.get("n_prompt", (1,)), *found.get("n_gen", (1,)))):
        sweep.cases((), (), (0,))  # which says that nothing is left
    return found


def _check_writable(path: str) -> None:
    """Before minutes are spent. Raises LocalrunError."""
    folder = Path(path).absolute().parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise LocalrunError(f"cannot write {path}: no such folder, or not writable")


def _cases(numbers: dict[str, tuple[int, ...]], plan: Plan) -> tuple[Case, ...]:
    prompts, generated = sweep.usual(plan.speed)
    return sweep.cases(
        numbers.get("n_prompt", prompts), numbers.get("n_gen", generated), numbers.get("n_depth", (0,))
    )


def _announce(
    app: App, setups: Sequence[Setup], cases: Sequence[Case], repetitions: int, rates: Rates
) -> None:
    about = sum(
        seconds([(case, foretold(s.prepared.plan, case, rates)) for case in cases], repetitions)
        for s in setups
    )
    first = setups[0]
    what = ", ".join(case.name for case in cases)
    times = f"{repetitions} repetitions" + (
        f" with each of {len(setups)} settings" if len(setups) > 1 else ""
    )
    app.tell(f"{app.err('bold', first.prepared.name)}  {what}; {times}; about {about:.0f} s (estimated)")
    for s in setups:
        if s.record is not None:
            app.tell(f"  {s.record.name} runs with these settings: measured there, its cache is used")


@contextlib.contextmanager
def _showing(app: App, setups: Sequence[Setup], repetitions: int) -> Iterator[Callable[[Progress], None]]:
    """What shows how far it is: one line drawn anew in a terminal, a line for each case elsewhere."""
    settings = [s.settings for s in setups]

    def text(progress: Progress) -> str:
        return progress_line(progress, settings, repetitions)

    if sys.stderr.isatty():
        from localrun.show.live import line

        with line(app.no_color) as draw:
            yield lambda progress: draw(text(progress))
        return
    yield lambda progress: app.tell(text(progress)) if progress.turn == 0 else None


def _report(
    first: Prepared,
    outcome: Outcome,
    refused: Sequence[Failed],
    repetitions: int,
    earlier: tuple[Earlier, ...],
) -> Report:
    return Report(
        name=first.name,
        plan=first.plan,
        engine=first.engine.name,
        build=build_of(first.engine),
        date=benching.now(),
        repetitions=repetitions,
        results=tuple(outcome.results),
        failures=(*refused, *outcome.failures),
        earlier=earlier,
        interrupted=outcome.interrupted,
    )


def _keep(app: App, report: Report, setups: Sequence[Setup]) -> None:
    """For the history; and what a later plan can be calibrated with."""
    for one in report.results:
        s = one.spread
        line = Earlier(
            report.date, report.build, one.case, in_words(one.settings), round(s.median, 4), round(s.stdev, 4),
            len(one.rates),
        )  # fmt: skip
        bench_history.keep(history_file(app), _key(report.plan), line)
    for setup in setups:
        cpu = setup.prepared.plan.host.cpu
        mine = [one for one in report.results if one.settings == setup.settings]
        if setup.settings.threads <= cpu.cores and not any(disturbed(one, cpu.threads_total) for one in mine):
            _calibrate(app, setup.prepared, mine)


def _calibrate(app: App, prepared: Prepared, mine: Sequence[Measured]) -> None:
    """More threads than cores say nothing of the machine, nor does a prompt behind others."""
    prompts = [one for one in mine if one.case.n_prompt and not one.case.depth]
    prompt = max(prompts, key=lambda one: one.case.n_prompt).spread.median if prompts else 0.0
    for one in mine:
        if one.case.n_gen:
            tokens = one.case.n_gen * len(one.rates)
            calibration.keep(
                app, prepared.plan, prepared.engine, tokens, one.spread.median, prompt, held(one.case)
            )


def _put(app: App, report: Report, options: dict[str, Any], as_json: bool) -> None:
    if options.get("output") or as_json:
        import json

        from localrun.show.bench_json import bench_json

        document = bench_json(report)
        if options.get("output"):
            _write(options["output"], json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        if as_json:
            put_json(document)
    if options.get("svg") and report.results:
        from localrun.show.bench_svg import bench_svg

        _write(options["svg"], bench_svg(report))
    if not as_json:
        put("\n".join(bench_lines(report, app.out)))


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as failed:
        raise LocalrunError(f"cannot write {path}: {failed.strerror}") from None


def _history(app: App, name: str | None, options: dict[str, Any], as_json: bool) -> None:
    target, plan = planned(app, name, options, advise=False)
    earlier = bench_history.load(history_file(app), _key(plan))
    if as_json:
        from localrun.show.bench_json import history_json

        put_json(history_json(target.name, identity(plan.host), earlier))
    else:
        put("\n".join(history_lines(target.name, earlier, app.out)))
