"""A machine's name for itself: the key under which measured figures are kept."""

from __future__ import annotations

from localrun.hardware.facts import Gpu, Host
from localrun.units import GIB


def identity(host: Host) -> str:
    """The same text for the same hardware, whatever is free now: `AMD EPYC, 2 cores, 24 GiB, no GPU`.

    Sizes are rounded: a kernel update moves the total by some MiB. Cores are those that may be used, for
    a container with half of them measures other rates.
    """
    gpus = [f"{gpu.name} {_gib(_fixed(gpu, host))} GiB" for gpu in host.gpus]
    return ", ".join(
        (host.cpu.name, f"{host.cpu.cores} cores", f"{_gib(host.ram.total)} GiB", *(gpus or ["no GPU"]))
    )


def _fixed(gpu: Gpu, host: Host) -> int:
    # What a unified GPU may take is a setting; the memory it sits in is the hardware.
    return host.ram.total if gpu.unified else gpu.vram_total


def _gib(size: int) -> int:
    return max(1, round(size / GIB))
