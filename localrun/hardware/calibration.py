"""Bandwidths measured on this machine, kept in a JSON file by hardware identity."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from localrun.hardware.facts import Host
from localrun.hardware.identity import identity
from localrun.units import GIB, MIB
from localrun.value import replace

_SCHEMA = "localrun.bandwidth/1"
_RAM_SPARE = GIB  # below this a measurement would push others out
_DISK_CHUNK = 4 * MIB
_DISK_CHUNKS = 64


def load(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Identity -> {"ram": bytes per second, "disk": ...}. A missing or damaged file counts as empty."""
    if not os.path.exists(path):
        return {}
    import json

    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        return {}
    machines = content.get("machines")
    if not isinstance(machines, dict):
        return {}
    return {key: _rates(value) for key, value in machines.items() if isinstance(value, dict)}


def store(path: str | os.PathLike[str], key: str, **rates: int) -> None:
    """Keep `ram=` or `disk=` bytes per second for the machine `key`. Raises OSError.

    The file is replaced whole: a reader sees the old one or the new one.
    """
    import json

    machines = load(path)
    machines[key] = {**machines.get(key, {}), **rates}
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, exist_ok=True)
    partial = f"{os.fspath(path)}.{os.getpid()}"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump({"schema": _SCHEMA, "machines": machines}, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(partial, path)


def calibrated(
    host: Host,
    path: str | os.PathLike[str],
    measure: Callable[[Host], int] | None = None,
    *,
    again: bool = False,
) -> Host:
    """`host` with the bandwidths that were measured on hardware like it.

    `measure` (for example `measure_ram`) is called when RAM has no measured figure yet, and its answer
    kept; 0 means that it could not measure. With `again` it is called in any case, and the larger figure
    kept: other programs only ever lower it. A simulated host is given back as it is.
    """
    if host.simulated:
        return host
    key = identity(host)
    rates = load(path).get(key, {})
    if measure is not None and (again or "ram" not in rates):
        rate = measure(host)
        if rate > rates.get("ram", 0):
            rates = {**rates, "ram": rate}
            try:
                store(path, key, ram=rate)
            except OSError as error:
                note = f"the measured RAM bandwidth cannot be kept: {error.strerror}"
                host = replace(host, notes=(*host.notes, note))
    if "ram" in rates:
        host = replace(host, ram=replace(host.ram, bandwidth=rates["ram"], bandwidth_source="measured"))
    if "disk" in rates:
        host = replace(host, disk_bandwidth=rates["disk"], disk_bandwidth_source="measured")
    return host


def measure_ram(host: Host) -> int:
    """Bytes per second that all usable cores read together; 0 where the C core cannot be loaded.

    Takes up to 256 MiB of RAM for about half a second.
    """
    if host.ram.available < _RAM_SPARE:
        return 0
    try:
        from localrun.native import ram_bandwidth
    except ImportError:
        return 0
    return ram_bandwidth(host.cpu.cores)


def measure_disk(path: str | os.PathLike[str]) -> int:
    """Bytes per second of large reads spread over the file, past the page cache; 0 where it is too small.

    Reads at most 256 MiB. Raises OSError.
    """
    import mmap
    import time

    size = os.path.getsize(path)
    chunks = min(_DISK_CHUNKS, size // _DISK_CHUNK)
    if chunks < 4:
        return 0
    step = (size // chunks) // _DISK_CHUNK * _DISK_CHUNK
    handle = _open_direct(path)
    try:
        with mmap.mmap(-1, _DISK_CHUNK) as buffer:  # page-aligned, as direct reads need it
            begin = time.perf_counter()
            done = sum(os.preadv(handle, [buffer], i * step) for i in range(chunks))
            seconds = time.perf_counter() - begin
    finally:
        os.close(handle)
    return int(done / seconds) if seconds > 0 else 0


def _open_direct(path: str | os.PathLike[str]) -> int:
    """A descriptor whose reads come from the disk: O_DIRECT, or else pages dropped beforehand."""
    direct = getattr(os, "O_DIRECT", 0)
    if direct:
        try:
            return os.open(path, os.O_RDONLY | direct)
        except OSError:
            pass  # tmpfs and some network file systems refuse
    handle = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    return handle


def _rates(value: dict[str, Any]) -> dict[str, int]:
    return {
        name: rate
        for name, rate in value.items()
        if name in ("ram", "disk") and isinstance(rate, int) and not isinstance(rate, bool) and rate > 0
    }
