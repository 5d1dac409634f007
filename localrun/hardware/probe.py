"""This machine as a Host: the one entry point of detection.

Nothing here raises because a device is odd: what could not be read becomes a line of `Host.notes`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from localrun.hardware import cuda, host, nvml, system
from localrun.hardware.cgroup import Limits, read_limits
from localrun.hardware.facts import Cpu, Gpu, Host, Ram

if TYPE_CHECKING:
    from pathlib import Path


def detect(models_dir: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Host:
    """The machine as this process may use it: cgroup limits, affinity and visible devices counted."""
    name = host.system_name()
    arch = host.arch_name()
    notes: list[str] = []
    limits = read_limits() if name == "linux" else Limits()
    ram = host.read_ram(system.memory(), limits)
    gpus, gpu_notes = _gpus(name, ram, environ)
    notes += gpu_notes
    return Host(
        name="this machine",
        system=name,
        arch=arch,
        cpu=_cpu(name, arch, limits),
        ram=ram,
        gpus=gpus,
        disk_free=_disk_free(models_dir, notes),
        notes=tuple(notes),
    )


def _cpu(name: str, arch: str, limits: Limits) -> Cpu:
    physical, logical = system.physical_cores(), system.logical_cores()
    if name == "linux":
        return host.read_cpu("/", host.affinity(), limits, physical=physical, logical=logical, arch=arch)
    return host.plain_cpu(limits, physical=physical, logical=logical)


def _gpus(name: str, ram: Ram, environ: Mapping[str, str]) -> tuple[tuple[Gpu, ...], list[str]]:
    notes: list[str] = []
    if name == "darwin":
        return (), notes
    found, found_notes = nvml.read_cards()
    gpus, chosen_notes = cuda.select(found, environ)
    notes += [*found_notes, *chosen_notes]
    return tuple(_share_ram(gpu, ram) for gpu in gpus), notes


def _share_ram(gpu: Gpu, ram: Ram) -> Gpu:
    """A GPU without memory of its own (GB10, Jetson) takes what RAM has."""
    if gpu.backend != "cuda" or not gpu.unified:
        return gpu
    return replace(gpu, vram_total=ram.total, vram_free=ram.available)


def _disk_free(models_dir: Path | str | None, notes: list[str]) -> int:
    path = os.fspath(models_dir) if models_dir is not None else os.path.expanduser("~")
    try:
        return system.disk_free(path)
    except OSError as error:
        notes.append(f"free disk space of {path} cannot be read: {error.strerror}")
        return 0
