"""`doctor`: what is wrong with this machine's set-up, and the one command that mends it."""

from __future__ import annotations

import os
import platform

from localrun import __version__
from localrun.commands.base import App, put, put_json
from localrun.doctor.examine import examine, stops
from localrun.doctor.gather import gather, homes, user_name
from localrun.doctor.redact import redactor
from localrun.show.doctor_text import doctor_json, doctor_lines


def run(app: App, as_json: bool) -> int:
    """Prints the report; returns the exit code: 1 if anything stops a run."""
    facts = gather(app.session)
    config = app.session.config
    clean = redactor(os.environ, homes(os.environ), user_name(), (config.api_key,))
    findings = examine(facts, clean)
    host = facts.host
    about = {
        "localrun": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {host.arch}",
        "cpu": clean(f"{host.cpu.name}, {host.cpu.cores} cores"),
    }
    bad = stops(findings)
    if as_json:
        put_json(doctor_json(about, findings, not bad))
    else:
        lines = [f"localrun {__version__}, Python {about['python']}, {about['system']}, {about['cpu']}"]
        put("\n".join(doctor_lines(lines, findings, app.out)))
    return 1 if bad else 0
