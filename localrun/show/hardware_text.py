"""A machine as text, each figure with its source."""

from __future__ import annotations

from localrun.hardware.facts import Host, Source
from localrun.show.text import Style, printable, table
from localrun.units import format_rate, format_size

#: How far an estimated bandwidth may be off: spread of the machines behind the table.
_BAND = {"estimated": " ±40 %"}


def hardware_lines(host: Host, style: Style) -> list[str]:
    """The page of `localrun hardware`."""
    read: Source = "given" if host.simulated else "read"
    now = "given" if host.simulated else "measured"
    cpu, ram = host.cpu, host.ram
    rows = [
        ["machine", f"{printable(host.name)}, {host.system} {host.arch}", read],
        ["CPU", printable(cpu.name), read],
        ["cores", f"{cpu.cores} usable, {cpu.threads} of {cpu.threads_total} threads", read],
        ["features", " ".join(cpu.features) or "-", read],
        ["RAM", format_size(ram.total) + (f", limited by {ram.limited_by}" if ram.limited_by else ""), read],
        ["RAM available", format_size(ram.available), now],
        ["RAM bandwidth", _rate(ram.bandwidth, ram.bandwidth_source), ram.bandwidth_source],
        ["disk free", format_size(host.disk_free), now],
    ]
    for gpu in host.gpus:
        label = f"GPU {gpu.index}"
        rows += [
            [
                label,
                f"{printable(gpu.name)} ({gpu.backend}{', unified memory' if gpu.unified else ''})",
                read,
            ],
            ["  VRAM", f"{format_size(gpu.vram_free)} free of {format_size(gpu.vram_total)}", now],
            ["  bandwidth", _rate(gpu.bandwidth, gpu.bandwidth_source), gpu.bandwidth_source],
        ]
    if not host.gpus:
        rows.append(["GPU", "none that an engine can use", read])
    lines = [style("bold", lines) if i == 0 else lines for i, lines in enumerate(table(rows))]
    return lines + [f"note: {printable(note)}" for note in host.notes]


def _rate(bandwidth: int, source: Source) -> str:
    return format_rate(bandwidth) + _BAND.get(source, "") if bandwidth else "not measured yet"
