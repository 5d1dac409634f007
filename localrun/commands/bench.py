"""`bench`: how fast a model runs here, beside what the plan said and what was measured before."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from localrun import benching, running
from localrun.bench import sweep
from localrun.bench.foretold import foretold, held, seconds
from localrun.bench.values import Case, Earlier, Failed, Measured, Report, disturbed
from localrun.bench.words import in_words
from localrun.benching import Outcome, Progress, Setup
from localrun.commands import calibration
from localrun.commands.base import App, put, put_json
from localrun.commands.benchers import opener
from localrun.commands.plan import planned, wanted
from localrun.commands.up import prepare
from localrun.engine import bench_history
from localrun.engine.registry import build_of
from localrun.errors import DoesNotFit, EngineError, LocalrunError, ModelError, UsageError
from localrun.hardware.identity import identity
from localrun.plan.kv import context
from localrun.plan.memory import memory
from localrun.plan.planner import make_plan
from localrun.plan.rates import Rates
from localrun.plan.speed import fingerprint
from localrun.plan.values import Plan, Wanted
from localrun.show.bench_text import bench_lines, history_lines, progress_line
from localrun.up import Prepared, check_verdict

#: The options that are lists here and one value elsewhere.
_LISTS = ("threads", "cache_type_k", "cache_type_v")


def run(app: App, name: str | None, options: dict[str, Any], as_json: bool) -> None:
    threads, type_k, type_v = _lists(options)
    single = {
        **options,
        **{key: (v or [None])[0] for key, v in zip(_LISTS, (threads, type_k, type_v), strict=True)},
    }
    if options.get("history"):
        _history(app, name, single, as_json)
        return
    for path in filter(None, (options.get("output"), options.get("svg"))):
        _check_writable(path)
    base = prepare(app, name, single)
    rates = calibration.rates(app, base.plan.host, options.get("engine") or "")
    cases = _cases(options, base.plan)
    asked = sweep.swept(replace(wanted(app, single), cache_ram=0), threads, type_k, type_v)
    setups, refused = _setups(app, base, asked, cases, rates, options)
    repetitions = int(options["repetitions"])
    earlier = bench_history.load(history_file(app), _key(base.plan))
    _announce(app, setups, cases, repetitions, rates)
    with _showing(app, setups, repetitions) as told:
        opened = opener(app, options.get("port") is not None, rates)
        outcome = benching.measure(setups, cases, repetitions, rates, opened, told)
    report = _report(setups[0].prepared, outcome, refused, repetitions, earlier)
    _keep(app, report, setups)
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


def _lists(options: dict[str, Any]) -> tuple[Sequence[int], Sequence[str], Sequence[str]]:
    """What is swept: threads, types of keys and of values; empty where not given. Raises UsageError."""
    threads, k, v = (options.get(key) for key in _LISTS)
    return (
        sweep.counts(threads, "-t", 1) if threads is not None else (),
        sweep.words(k, "-ctk") if k is not None else (),
        sweep.words(v, "-ctv") if v is not None else (),
    )


def _check_writable(path: str) -> None:
    """Before minutes are spent. Raises LocalrunError."""
    folder = Path(path).absolute().parent
    if Path(path).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise LocalrunError(f"cannot write {path}: no such folder, or not writable")


def _cases(options: dict[str, Any], plan: Plan) -> tuple[Case, ...]:
    prompts, generated = sweep.usual(plan.speed)
    p, n, d = (options.get(key) for key in ("n_prompt", "n_gen", "n_depth"))
    return sweep.cases(
        sweep.counts(p, "-p") if p is not None else prompts,
        sweep.counts(n, "-n") if n is not None else generated,
        sweep.counts(d, "-d") if d is not None else (0,),
    )


def _setups(
    app: App,
    base: Prepared,
    asked: Sequence[Wanted],
    cases: Sequence[Case],
    rates: Rates,
    options: dict[str, Any],
) -> tuple[list[Setup], list[Failed]]:
    """Every combination planned before one is measured, and those that cannot be.

    Raises the first refusal where all are refused.
    """
    found: list[Setup] = []
    refused: list[tuple[Wanted, LocalrunError]] = []
    for one in asked:
        record = benching.idle(app.session, base, one, options.get("engine") or "")
        try:
            if record is not None and record.settings is not None:
                memories = memory(base.plan.model, base.plan.host, record.settings)
                plan = replace(base.plan, settings=record.settings, memory=memories)
                _check_room(plan, cases)
            else:
                plan = _plan(base, one, cases, rates)
                check_verdict(plan, bool(options.get("force")))
        except (UsageError, ModelError, DoesNotFit) as wrong:
            refused.append((one, wrong))
            continue
        engine = running.engine_of(app.session, record) if record else base.engine
        found.append(Setup(replace(base, plan=plan, engine=engine), record))
    if not found:
        raise refused[0][1]
    return found, [Failed(_fixed(one), str(wrong), wrong.hint) for one, wrong in refused]


def _fixed(one: Wanted) -> str:
    fixed = (("t", one.threads), ("ctk", one.cache_type_k), ("ctv", one.cache_type_v))
    return ", ".join(f"{short} {value}" for short, value in fixed if value) or "the plan's settings"


def _plan(base: Prepared, one: Wanted, cases: Sequence[Case], rates: Rates) -> Plan:
    """The plan for one combination; a context that nobody named is as large as the cases need."""
    plan = make_plan(base.plan.model, base.plan.host, one, rates, advise=False)
    need = sweep.needed(cases)
    if one.ctx_size is None and _room(plan) < need:
        plan = make_plan(base.plan.model, base.plan.host, replace(one, ctx_size=need), rates, advise=False)
    _check_room(plan, cases)
    return plan


def _room(plan: Plan) -> int:
    """Tokens that one request may have: llama-server keeps each to the trained context."""
    cells, trained = context(plan.model.shape, plan.settings).cells, plan.model.shape.n_ctx_train
    return min(cells, trained) if trained else cells


def _check_room(plan: Plan, cases: Sequence[Case]) -> None:
    longest = max(cases, key=lambda case: case.depth + case.tokens)
    need, room = sweep.needed(cases), _room(plan)
    if need > room:
        larger = need <= (plan.model.shape.n_ctx_train or need)
        raise UsageError(
            f"{longest.name} needs a context of {need}, and there is one of {room}",
            f"-c {need}" if larger else "smaller -p, -n or -d: the model was trained on no more",
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
