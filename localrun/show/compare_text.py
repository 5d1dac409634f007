"""Plan against engine, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localrun.plan.compare import Difference, total_share
from localrun.show.text import Style, table
from localrun.units import format_size


def compare_lines(differences: Sequence[Difference], engine: str, style: Style) -> list[str]:
    rows = [["", "component", "planned", engine, "difference"]]
    for d in differences:
        rows.append([d.device, d.component, format_size(d.planned), format_size(d.taken), _off(d)])
    lines = table(rows, right=(2, 3, 4))
    total = f"in all {total_share(differences):+.2%} of the plan (measured)"
    return [style("bold", lines[0]), *lines[1:], total]


def _off(d: Difference) -> str:
    exact = d.taken - d.planned
    if exact == 0:
        return "to the byte"
    return f"{exact:+d} B ({d.share:+.2%})"


def compare_json(differences: Sequence[Difference], engine: str) -> dict[str, Any]:
    return {
        "engine": engine,
        "components": [
            {"device": d.device, "component": d.component, "planned": d.planned, "engine": d.taken}
            for d in differences
        ],
        "total_share": round(total_share(differences), 6),
    }
