"""This machine as a Host: the one entry point of detection.

Nothing here raises because a device is odd: what could not be read becomes a line of `Host.notes`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from localrun.hardware import host, pci, system
from localrun.hardware.cgroup import Limits, read_limits
from localrun.hardware.facts import Cpu, Gpu, Host, Ram
from localrun.hardware.rates import DISK_BANDWIDTH, estimate_disk, populated_channels, ram_with_estimate
from localrun.value import replace

if TYPE_CHECKING:
    from pathlib import Path


def detect(models_dir: Path | str | None = None, environ: Mapping[str, str] = os.environ) -> Host:
    """The machine as this process may use it: cgroup limits, affinity and visible devices counted."""
    name, arch = host.system_name(), host.arch_name()
    path = system.existing(os.fspath(models_dir) if models_dir is not None else os.path.expanduser("~"))
    notes: list[str] = []
    limits = read_limits() if name == "linux" else Limits()
    ram = host.read_ram(system.memory(), limits)
    if name == "darwin":
        cpu, gpus = _mac(arch, ram, notes)
    else:
        cpu, gpus = _cpu(name, arch, limits), _gpus(ram, environ, notes)
    return Host(
        name="this machine",
        system=name,
        arch=arch,
        cpu=cpu,
        ram=ram_with_estimate(ram, cpu, gpus, populated_channels() if name == "linux" else 0),
        gpus=gpus,
        disk_free=_disk_free(path, notes),
        disk_bandwidth=estimate_disk(path) if name == "linux" else DISK_BANDWIDTH,
        notes=tuple(notes),
    )


def _mac(arch: str, ram: Ram, notes: list[str]) -> tuple[Cpu, tuple[Gpu, ...]]:
    from localrun.hardware import apple

    values = apple.read_sysctl((*apple.KEYS, *host.sysctl_keys()))
    gpus, found = apple.read_gpu(values, ram)
    notes += found
    physical, logical = system.physical_cores(), system.logical_cores()
    return host.sysctl_cpu(values, physical=physical, logical=logical, arch=arch), gpus


def _busy() -> float:
    """The load average of a minute; 0 where the system has none."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return 0.0


def _cpu(name: str, arch: str, limits: Limits) -> Cpu:
    physical, logical = system.physical_cores(), system.logical_cores()
    if name == "linux":
        return host.read_cpu("/", host.affinity(), limits, physical=physical, logical=logical, arch=arch)
    return host.plain_cpu(limits, physical=physical, logical=logical)


def _gpus(ram: Ram, environ: Mapping[str, str], notes: list[str]) -> tuple[Gpu, ...]:
    """Cards of every vendor; each vendor's module is imported only where it has something to read."""
    gpus: list[Gpu] = []
    cards = pci.read_cards()
    if pci.nvml_loads():
        from localrun.hardware import cuda, nvml

        found, found_notes = nvml.read_cards()
        chosen, chosen_notes = cuda.select(found, environ)
        gpus += [_share_ram(gpu, ram) for gpu in chosen]
        notes += [*found_notes, *chosen_notes]
    else:
        notes += pci.without_nvml(cards)
    vendors = {card.vendor for card in cards}
    if pci.AMD in vendors:
        from localrun.hardware import amd

        more, more_notes = amd.read_amd(cards, environ, ram.available)
        gpus += more
        notes += more_notes
    if pci.INTEL in vendors:
        from localrun.hardware import intel

        more, more_notes = intel.read_intel(cards, environ)
        gpus += more
        notes += more_notes
    return one_backend(gpus, notes)


def one_backend(gpus: Sequence[Gpu], notes: list[str]) -> tuple[Gpu, ...]:
    """The GPUs that one engine can use together: of one backend, cards before graphics that share RAM.

    Of several groups the one with the most VRAM stays; a note names the others.
    """
    groups: dict[tuple[bool, str], list[Gpu]] = {}
    for gpu in gpus:
        groups.setdefault((gpu.unified, gpu.backend), []).append(gpu)
    ranked = sorted(groups.items(), key=lambda item: (item[0][0], -sum(gpu.vram_total for gpu in item[1])))
    for _, left_out in ranked[1:]:
        names = ", ".join(gpu.name for gpu in left_out)
        notes.append(f"{names}: not counted, for one engine uses the GPUs of one backend ({ranked[0][0][1]})")
    return tuple(replace(gpu, index=i) for i, gpu in enumerate(ranked[0][1])) if ranked else ()


def _share_ram(gpu: Gpu, ram: Ram) -> Gpu:
    """A GPU without memory of its own (GB10, Jetson) takes what RAM has."""
    if gpu.backend != "cuda" or not gpu.unified:
        return gpu
    return replace(gpu, vram_total=ram.total, vram_free=ram.available)


def _disk_free(path: str, notes: list[str]) -> int:
    try:
        return system.disk_free(path)
    except OSError as error:
        notes.append(f"free disk space of {path} cannot be read: {error.strerror}")
        return 0
