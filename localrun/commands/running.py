"""`ps`, `down`, `logs`, `env`: what runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from localrun import running
from localrun import up as verbs
from localrun.commands.base import App, put, put_json
from localrun.engine import state
from localrun.errors import UsageError
from localrun.show.running_text import ps_lines, status_json
from localrun.show.text import printer

PS_SCHEMA = "localrun.ps/1"


_MEANS = (
    "planned memory: computed before the launch, by device",
    "measured memory: what the engine says it allocated, and what its processes hold now",
    "speeds: measured by the engine over its last requests",
    "KV fill: counted by localrun from the engine's slots",
)


def ps(app: App, as_json: bool) -> None:
    running.forget_dead(app.session)
    good, bad = running.records(app.session)
    found = [running.status(app.session, record) for record in good]
    app.because(_MEANS if found else ())
    if as_json:
        put_json({"schema": PS_SCHEMA, "running": [status_json(s) for s in found]})
    else:
        for line in ps_lines(found, app.out):
            put(line)
    for s in found:
        if s.state == "failed":
            app.tell(f"{s.record.name} ended by itself: localrun logs {s.record.name}")
    for name, handle in running.lost(app.session):
        app.tell(
            f"{name}: an engine without a record runs as process {handle.pid}; localrun down {name} stops it"
        )
    for broken in bad:
        app.tell(f"{broken.path}: not a readable record ({broken.why}); ignored")


def down(app: App, name: str | None, everything: bool, as_json: bool) -> None:
    stopped = running.down(app.session, name, everything)
    running.forget_dead(app.session)
    if as_json:
        put_json({"stopped": list(stopped)})
        return
    put("\n".join(f"stopped {n}" for n in stopped) if stopped else "nothing runs")


def logs(app: App, name: str | None, follow: bool, as_json: bool = False) -> None:
    good, _ = running.records(app.session)
    path, record = _log(app, name, good)

    def going() -> bool:
        return follow and record is not None and running.is_alive(record)

    if as_json:
        _log_lines(path, running.follow(path, going))
        return
    # A log quotes the model's file, which may hold what steers a terminal.
    shown = printer(sys.stdout)
    for part in running.follow(path, going):
        shown(part)


def _log_lines(path: Path, parts: Iterable[bytes]) -> None:
    """One object a line: {"name": ..., "line": ...}, each as soon as it is whole."""
    import json

    def tell(line: bytes) -> None:
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        put(json.dumps({"name": path.stem, "line": text}, ensure_ascii=False))

    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            tell(line)
        sys.stdout.flush()
    if rest:
        tell(rest)


def _log(app: App, name: str | None, good: tuple[state.Record, ...]) -> tuple[Path, state.Record | None]:
    """The log that `name` means, of a model that runs or ran. No name: the only one's, or the newest."""
    folder = app.session.paths.state / "logs"
    if name is None:
        alive = [record for record in good if running.is_alive(record)]
        newest = sorted(folder.glob("*.log"), key=lambda p: p.stat().st_mtime)[-1:]
        if alive or not newest:
            record = running.find(app.session, None)
            return Path(record.handle.log), record
        return newest[0], None
    known = running.matching(good, name)
    if known is not None:
        return Path(known.handle.log), known
    for path in sorted(folder.glob("*.log")):
        if running.normal(path.stem) == running.normal(state.file_name(name)):
            return path, None
    raise UsageError(f"no log of {name}", "localrun ps lists what runs")


def env(app: App, name: str | None, as_json: bool) -> None:
    variables = verbs.shell_exports(running.find(app.session, name))
    if as_json:
        put_json(dict(variables))
        return
    for key, value in variables:
        put(f"export {key}={shlex.quote(value)}")
