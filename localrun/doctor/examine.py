"""All checks over the facts, redacted: the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from localrun.doctor import machine_checks, setup_checks
from localrun.doctor.values import Facts, Finding

CHECKS = (*machine_checks.CHECKS, *setup_checks.CHECKS)
_ORDER = {"fail": 0, "warn": 1, "ok": 2}


def examine(facts: Facts, clean: Callable[[str], str] = str) -> tuple[Finding, ...]:
    """Every finding, what stops a run first. `clean` goes over each word of them."""
    found = (finding for check in CHECKS for finding in check(facts))
    cleaned = [Finding(f.name, f.severity, clean(f.text), clean(f.fix)) for f in found]
    return tuple(sorted(cleaned, key=lambda f: _ORDER[f.severity]))


def stops(findings: Iterable[Finding]) -> bool:
    """Whether anything keeps a model from running."""
    return any(finding.severity == "fail" for finding in findings)
