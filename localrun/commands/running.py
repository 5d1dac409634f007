"""`ps`, `down`, `logs`, `env`: what runs."""

from __future__ import annotations

import shlex
import sys

from localrun import running
from localrun import up as verbs
from localrun.commands.base import App, put, put_json
from localrun.engine import state
from localrun.errors import UsageError
from localrun.show.running_text import ps_lines, status_json

PS_SCHEMA = "localrun.ps/1"


def ps(app: App, as_json: bool) -> None:
    good, bad = running.records(app.session)
    found = [running.status(app.session, record) for record in good]
    stray = running.lost(app.session)
    # A record that is still starting belongs to the `up` that wrote it.
    shown = [s for s in found if s.alive or s.record.state == "starting"]
    if as_json:
        put_json({"schema": PS_SCHEMA, "running": [status_json(s) for s in shown]})
    else:
        for line in ps_lines(shown, app.out):
            put(line)
    for name, handle in stray:
        app.tell(
            f"{name}: an engine without a record runs as process {handle.pid}; localrun down {name} stops it"
        )
    for broken in bad:
        app.tell(f"{broken.path}: not a readable record ({broken.why}); ignored")
    running.forget_dead(app.session)


def down(app: App, name: str | None, everything: bool, as_json: bool) -> None:
    stopped = running.down(app.session, name, everything)
    if as_json:
        put_json({"stopped": list(stopped)})
        return
    put("\n".join(f"stopped {n}" for n in stopped) if stopped else "nothing runs")


def logs(app: App, name: str | None, follow: bool) -> None:
    good, _ = running.records(app.session)
    chosen = _log_name(app, name, good)
    path = app.session.paths.state / "logs" / f"{state.file_name(chosen)}.log"
    if not path.exists():
        raise UsageError(f"no log of {chosen}", "localrun ps lists what runs")
    record = next((r for r in good if r.name == chosen), None)

    def going() -> bool:
        return follow and record is not None and running.is_alive(record)

    for part in running.follow(path, going):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def _log_name(app: App, name: str | None, good: tuple[state.Record, ...]) -> str:
    """The record that `name` means; else the name itself, whose last log may still be there."""
    if name is None:
        return running.find(app.session, None).name
    for record in good:
        if running.normal(record.name) == running.normal(name):
            return record.name
    folder = app.session.paths.state / "logs"
    for path in sorted(folder.glob("*.log")) if folder.is_dir() else ():
        if running.normal(path.stem) == running.normal(name):
            return path.stem
    return name


def env(app: App, name: str | None, as_json: bool) -> None:
    variables = verbs.shell_exports(running.find(app.session, name))
    if as_json:
        put_json(dict(variables))
        return
    for key, value in variables:
        put(f"export {key}={shlex.quote(value)}")
