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
        "kv": {
            "tokens_used": reading.kv_tokens if reading else 0,
            "tokens_capacity": reading.kv_capacity if reading else r.kv_cells,
            "bytes_used": reading.kv_bytes if reading else 0,
            "bytes_capacity": r.kv_bytes,
        },
        "speed": {
            "prompt": round(reading.prompt_rate, 2) if reading else 0,
            "generation": round(reading.rate_average, 2) if reading else 0,
            "first_token_ms": round(reading.first_token_ms, 1) if reading else 0,
        },
        "uptime_s": round(s.uptime, 1),
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
    share = reading.kv_tokens / reading.kv_capacity if reading.kv_capacity else 0.0
    return f"{reading.kv_tokens}/{reading.kv_capacity} tokens, {format_size(reading.kv_bytes)} ({share:.0%})"


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
        f"KV {kv_fill(reading)}",
        by_device({("RAM" if d == "CPU" else d): n for d, n in s.measured.items()}),
    ]
    return " | ".join(part for part in parts if part)
