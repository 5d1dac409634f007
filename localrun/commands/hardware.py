"""`hardware`: what was detected, and where each figure comes from."""

from __future__ import annotations

from typing import Any

from localrun.commands.base import App, put, put_json
from localrun.commands.machine import machine
from localrun.show.hardware_text import hardware_lines
from localrun.show.plan_json import hardware_json

_MEANS = (
    "read: stated by the system, a driver or a device",
    "measured: by localrun on this machine, kept by the hardware's identity",
    "computed: from figures that were read",
    "estimated: from a table of known parts; a run that was measured replaces it",
    "given: by --hardware, --vram, --ram or --disk-free",
)


def run(app: App, options: dict[str, Any], as_json: bool) -> None:
    host = machine(app, options, measure=True)
    app.because(_MEANS)
    if as_json:
        put_json(hardware_json(host))
        return
    for line in hardware_lines(host, app.out):
        put(line)
