"""The doctor's report as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localrun.doctor.values import Finding
from localrun.show.text import Style, printable

SCHEMA = "localrun.doctor/1"
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor_lines(about: Sequence[str], findings: Sequence[Finding], style: Style) -> list[str]:
    """What stops a run first; below each finding the one command that mends it."""
    width = max((len(f.name) for f in findings), default=0)
    lines = [style("dim", printable(line)) for line in about]
    for f in findings:
        mark = style(_COLOURS[f.severity], f"{f.severity:<4}")
        lines.append(f"{mark}  {f.name:<{width}}  {printable(f.text)}")
        if f.fix:
            lines.append(f"{'':<{width + 6}}  $ {printable(f.fix)}")
    counts = {s: sum(f.severity == s for f in findings) for s in ("fail", "warn")}
    if counts["fail"]:
        verdict = style("red", f"{_many(counts['fail'], 'thing')} would stop or change a run")
    elif counts["warn"]:
        verdict = f"nothing stops a run; {_many(counts['warn'], 'thing')} could be better"
    else:
        verdict = style("green", "nothing is wrong")
    return [*lines, verdict]


def doctor_json(about: dict[str, Any], findings: Sequence[Finding], ok: bool) -> dict[str, Any]:
    rows = [{"check": f.name, "severity": f.severity, "text": f.text, "fix": f.fix} for f in findings]
    return {"schema": SCHEMA, "ok": ok, **about, "findings": rows}


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
