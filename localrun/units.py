"""Bytes and rates as text, both ways: GiB is 2**30 bytes and GB is 1e9, never mixed."""

from __future__ import annotations

import re

from localrun.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

_UNITS = {
    "": 1,
    "b": 1,
    **dict.fromkeys(("k", "kib"), KIB),
    **dict.fromkeys(("m", "mib"), MIB),
    **dict.fromkeys(("g", "gib"), GIB),
    **dict.fromkeys(("t", "tib"), TIB),
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes of `24GiB`, `24G` (= GiB), `24GB` (= 24e9) or plain bytes. Raises UsageError."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"not a size: {text!r}", "write it as 24GiB, 24GB, 24G or plain bytes")
    whole, _, fraction = match[1].partition(".")
    if not fraction:
        return int(whole) * unit
    # Integer arithmetic: a float loses bytes above 2**53.
    scale = int("1" + "0" * len(fraction))
    return (int(whole) * scale + int(fraction)) * unit // scale


def format_size(n: int) -> str:
    """`n` bytes in binary units with one decimal: `23.4 GiB`, `512 MiB` below one GiB, `0 B`."""
    if n < 0:
        return "-" + format_size(-n)
    for unit, name, digits in ((TIB, "TiB", 2), (GIB, "GiB", 1), (MIB, "MiB", 0), (KIB, "KiB", 0)):
        # Rounded first, so that 1023.99 MiB reads as 1.0 GiB and not as 1024 MiB.
        if n >= unit or round(n / unit, digits) >= 1:
            return f"{n / unit:.{digits}f} {name}"
    return f"{n} B"


def format_rate(bytes_per_second: float) -> str:
    """A bandwidth in decimal units, as vendors print it: `1008 GB/s`."""
    if bytes_per_second >= 1e9:
        value = bytes_per_second / 1e9
        return f"{value:.0f} GB/s" if value >= 100 else f"{value:.1f} GB/s"
    return f"{bytes_per_second / 1e6:.0f} MB/s"


def format_count(n: int) -> str:
    """A count of parameters or tokens: `671.9B`, `135M`, `8192`."""
    for unit, name in ((10**12, "T"), (10**9, "B"), (10**6, "M")):
        if n >= unit:
            value = n / unit
            return f"{value:.0f}{name}" if value >= 100 and name == "M" else f"{value:.1f}{name}"
    return str(n)
