"""`up`: the main job, step by step, and the watch that follows."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localrun import running
from localrun import up as verbs
from localrun.commands import calibration, residual
from localrun.commands.base import App, put, put_json
from localrun.commands.beside import launched, obtained
from localrun.commands.plan import command_of, planned, serving, wanted
from localrun.engine import registry
from localrun.engine.in_process_engine import no_endpoint
from localrun.engine.state import Record
from localrun.model.header import read_model
from localrun.plan.planner import make_plan
from localrun.recipe.chat_templates import template_file
from localrun.serving import launch_for
from localrun.show.plan_json import plan_json
from localrun.show.running_text import by_device, live_line, status_json
from localrun.units import format_size
from localrun.up import Prepared
from localrun.value import replace


def prepare(app: App, name: str | None, options: dict[str, Any], fetch: bool = True) -> Prepared:
    """Everything that can be decided before a process starts. Raises what refuses it.

    Without `fetch` a model that is not here stands under its published name: for --dry-run.
    """
    chosen = serving(options)
    registry.choose(app.session.config, chosen.engine)  # none here: said before anything is read
    target, plan = planned(app, name, options, advise=False)
    engine = registry.choose(app.session.config, chosen.engine, plan.host)
    path = target.path
    if path is None and not fetch:
        path = Path(plan.model.files[0].name)
        app.tell(f"{target.name} is not on this machine yet: localrun pull {target.pulled_as}")
    elif path is None:
        if plan.verdict == "too-big":
            # Once more with advice: a refusal says what would work.
            _, plan = planned(app, name, options)
        verbs.check_verdict(plan, chosen.force, target.pulled_as)
        app.tell(f"{target.name}: {plan.model.quant}, {format_size(target.to_download(plan.model))} to fetch")
        path = target.obtain(plan)
        model = read_model(path, target.name)
        if plan.companions:
            projector, draft = obtained(app, target, plan, path)
            model = replace(model, projector=projector, draft=draft)
        known = calibration.rates(app, plan.host, chosen.engine)
        plan = make_plan(model, plan.host, wanted(app, options), known, advise=False)
    elif fetch and plan.model.projector:
        projector, _ = obtained(app, target, plan, path)
        plan = replace(plan, model=replace(plan.model, projector=projector))
    launch = launched(launch_for(app.session.config, target.name, path, chosen), plan.model)
    launch = replace(launch, chat_template_file=template_file(plan.model))
    app.because((*plan.reasons, f"engine {engine.name}: {engine.available().path}"))
    return Prepared(target.name, plan, engine, launch, path, target.pulled_as)


def run(
    app: App, name: str | None, options: dict[str, Any], detach: bool, dry_run: bool, as_json: bool
) -> None:
    began = time.monotonic()
    if registry.choose(app.session.config, options.get("engine") or "").name == "in-process":
        raise no_endpoint()  # before anything is fetched for it
    prepared = prepare(app, name, options, fetch=not dry_run)
    if dry_run:
        _show_recipe(prepared, options.get("port") is not None, as_json)
        return
    # What runs already is joined, whatever room it leaves.
    if not any(r.name == prepared.name and running.is_alive(r) for r in running.records(app.session)[0]):
        verbs.check_verdict(prepared.plan, bool(options.get("force")), prepared.typed)
    _announce(app, prepared)
    named, joined = options.get("port") is not None, False
    try:
        record, fresh = verbs.start(app.session, prepared, named, app.tell, detach=detach)
        joined = not fresh
        _serving(app, record, prepared, time.monotonic() - began if fresh else None)
        if as_json:
            put_json(status_json(running.status(app.session, record)))
        if not detach:
            _watch(app, record, prepared if not joined else None)
    except BaseException as wrong:
        ended = running.end_own(app.session)
        if isinstance(wrong, KeyboardInterrupt):
            for other in ended:
                app.tell(f"stopped {other}")
            if joined:
                app.tell(f"{prepared.name} goes on; localrun down {prepared.name} stops it")
        raise


def _show_recipe(prepared: Prepared, named_port: bool, as_json: bool) -> None:
    launch = prepared.launch
    port = verbs.free_port(launch.host, launch.port, named_port)
    placed = replace(prepared, launch=replace(launch, port=port))
    argv, environment = command_of(verbs.recipe_for(placed))
    if as_json:
        put_json(plan_json(prepared.plan, argv, environment))
        return
    settings = [f"{key}={shlex.quote(value)}" for key, value in environment.items()]
    put(" ".join([*settings, shlex.join(argv)]))


def _announce(app: App, prepared: Prepared) -> None:
    plan = prepared.plan
    memory = ", ".join(
        f"{d.device} {format_size(d.total)} of {format_size(d.budget)} free" for d in plan.memory
    )
    app.tell(
        f"{app.err('bold', prepared.name)}  {plan.model.quant}, {format_size(plan.model.weights_bytes)}; "
        f"{plan.verdict}: {memory} (computed)"
    )
    for reason in plan.reasons:
        app.tell(f"  {reason}")
    if app.session.config.engine == "auto" and (why := registry.why(app.session.config, plan.host)):
        app.tell(f"  {why}")


def _serving(app: App, record: Record, prepared: Prepared, seconds: float | None) -> None:
    """`seconds`: how long the start took; None: it ran before."""
    if seconds is None:
        app.tell(
            f"{record.name} already runs (process {record.handle.pid}); localrun down {record.name} stops it"
        )
        if record.ctx_size != prepared.plan.settings.ctx_size:
            app.tell(f"  as it was started, with context {record.ctx_size}; other settings need a new start")
    else:
        taken = by_device(running.measured_memory(record))
        app.tell(
            f"ready after {seconds:.1f} s with {record.handle.engine}, context {record.ctx_size}; "
            f"planned {by_device(record.planned)}{_later(prepared)}, measured {taken}"
        )
        if said := residual.keep(app, record.allocated, prepared.plan, prepared.engine):
            app.tell(f"  {said}")
    app.tell(f"{app.err('green', 'serving')}  {record.handle.endpoint}")
    app.tell(f'  ask it: localrun run {record.name} "Hello"    clients: eval "$(localrun env {record.name})"')


def _later(prepared: Prepared) -> str:
    cache = prepared.plan.settings.cache_ram
    return f" (and up to {format_size(cache)} of prompt cache later)" if cache else ""


def _watch(app: App, record: Record, prepared: Prepared | None) -> None:
    """Show what it does until it is stopped; what was measured calibrates later plans."""
    last: running.Status | None = None

    def watched(interval: float) -> Iterator[running.Status]:
        nonlocal last
        for status in verbs.watch(app.session, record, interval):
            last = status
            yield status

    try:
        if sys.stderr.isatty():
            from localrun.show.live import follow

            follow(app.no_color, (live_line(s) for s in watched(0.5)))
        else:
            _plain_lines(app, watched(1.0))
    finally:
        if prepared is not None and last is not None and last.reading is not None:
            r = last.reading
            calibration.keep(app, prepared.plan, prepared.engine, r.generated, r.rate_average, r.prompt_rate)
    app.tell(f"{record.name} was stopped")


def _plain_lines(app: App, statuses: Iterator[running.Status]) -> None:
    """Plain lines only when something was said: a log of an idle model stays short."""
    last = None
    for status in statuses:
        seen = (status.reading.generated, status.reading.busy) if status.reading else None
        if seen is not None and seen != last:
            app.tell(live_line(status))
            last = seen
