"""Running models as a table, as one live line, and as the contract's JSON."""

from __future__ import annotations

from typing import Any

from localrun.meter.values import Reading
from localrun.running import Status
from localrun.show.text import Style, printable, table
from localrun.units import format_size


def status_json(s: Status) -> dict[str, Any]:
    """One entry of `localrun ps --json`. Bytes, tokens per second, milliseconds."""
    r, reading = s.record, s.reading
    return {
        "name": r.name,
        "engine": r.handle.engine,
        "state": s.state,
        "pid": r.handle.pid,
        "endpoint": r.handle.endpoint,
        "model": r.model,
        "ctx_size": r.ctx_size,
        "planned": r.planned,
        "measured": s.measured,
        "allocated": {part.device: part.total for part in r.allocated},
        "kv": kv_json(s),
        "speed": {
            "prompt": round(reading.prompt_rate, 2) if reading else 0,
            "generation": round(reading.rate_average, 2) if reading else 0,
            "first_token_ms": round(reading.first_token_ms, 1) if reading else 0,
        },
        "uptime_s": round(s.uptime, 1),
    }


def kv_json(s: Status) -> dict[str, Any]:
    """The cache by the ledger: tokens and bytes in use, in all and by group of layers."""
    kv = s.reading.kv if s.reading else None
    return {
        "tokens_used": kv.tokens if kv else 0,
        "tokens_capacity": kv.capacity if kv else s.record.kv_cells,
        "bytes_used": kv.bytes if kv else 0,
        "bytes_capacity": s.record.kv_bytes,
        "high_water": kv.high_water if kv else 0,
        "until_full": kv.until_full if kv else None,
        "groups": [
            {
                "name": g.name,
                "cells_used": g.cells,
                "cells_capacity": g.cells_capacity,
                "bytes_used": g.bytes,
                "bytes_capacity": g.bytes_capacity,
            }
            for g in (kv.groups if kv else ())
        ],
    }


def ps_lines(statuses: list[Status], style: Style) -> list[str]:
    if not statuses:
        return ["nothing runs; start the default model: localrun up"]
    rows = [["name", "state", "engine", "memory planned", "measured", "KV", "tok/s", "up", "endpoint"]]
    for s in statuses:
        r = s.record
        rows.append(
            [
                printable(r.name),
                s.state,
                r.handle.engine,
                by_device(r.planned),
                by_device(s.measured) or "-",
                kv_fill(s.reading) if s.reading else "-",
                f"{s.reading.rate_average:.1f}" if s.reading else "-",
                duration(s.uptime),
                r.handle.endpoint,
            ]
        )
    lines = table(rows, right=(6, 7))
    return [style("bold", lines[0]), *lines[1:]]


def by_device(sizes: dict[str, int]) -> str:
    return ", ".join(f"{device} {format_size(size)}" for device, size in sizes.items())


def kv_fill(reading: Reading) -> str:
    """`512/8192 tokens, 12 MiB (6%), 7680 left`; with several groups the bytes of each that holds any."""
    kv = reading.kv
    share = kv.tokens / kv.capacity if kv.capacity else 0.0
    parts = [f"{g.name} {format_size(g.bytes)}" for g in kv.groups if g.bytes] if len(kv.groups) > 1 else []
    held = format_size(kv.bytes) + (f": {', '.join(parts)}" if parts else "")
    left = f", {kv.until_full} left" if kv.until_full is not None and kv.tokens else ""
    return f"{kv.tokens}/{kv.capacity} tokens, {held} ({share:.0%}){left}"


def most(reading: Reading) -> str:
    """The high-water mark, where it is above what is held now."""
    return f", {reading.kv.high_water} at most so far" if reading.kv.high_water > reading.kv.tokens else ""


def duration(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"


def live_line(s: Status) -> str:
    """What `up` keeps on the screen; every figure is measured."""
    reading = s.reading
    if reading is None:
        return "loading ..." if s.state == "starting" else "busy; no answer yet"
    parts = [
        f"{reading.rate_now:.1f} tok/s now" if reading.busy else "idle",
        f"{reading.rate_average:.1f} average",
        f"first token {reading.first_token_ms:.0f} ms" if reading.first_token_ms else "no request yet",
        f"KV {kv_fill(reading)}{most(reading)}",
        by_device({("RAM" if d == "CPU" else d): n for d, n in s.measured.items()}),
    ]
    return " | ".join(part for part in parts if part)
