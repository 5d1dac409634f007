"""A machine in other sizes: what --vram, --ram and --disk-free make of it. Pure."""

from __future__ import annotations

from localrun.errors import UsageError
from localrun.hardware.facts import Gpu, Host
from localrun.units import GIB
from localrun.value import replace


def override(
    host: Host, vram: int | None = None, ram: int | None = None, disk_free: int | None = None
) -> Host:
    """`host` with other sizes, in bytes; `vram` is that of each GPU. Marked as simulated when changed."""
    if vram is None and ram is None and disk_free is None:
        return host
    if vram is not None and not host.gpus:
        raise UsageError("--vram: this machine has no GPU", "name one too: --hardware rtx-4090")
    if ram is not None:
        size = replace(host.ram, total=ram, available=available(ram), swap_free=0, limited_by="")
        host = replace(host, ram=size, gpus=tuple(_resized(gpu, host.ram.total, ram) for gpu in host.gpus))
    if vram is not None:
        sized = (replace(gpu, vram_total=vram, vram_free=vram) for gpu in host.gpus)
        host = replace(host, gpus=tuple(sized))
    if disk_free is not None:
        host = replace(host, disk_free=disk_free)
    return replace(host, simulated=True)


def _resized(gpu: Gpu, before: int, after: int) -> Gpu:
    """A GPU that lives in RAM grows and shrinks with it."""
    if not gpu.unified:
        return gpu
    grown = gpu.vram_total * after // max(1, before)
    total = metal_limit(after) if gpu.backend == "metal" else grown
    return replace(gpu, vram_total=total, vram_free=min(total, available(after)))


def available(ram: int) -> int:
    """What a freshly started system leaves: about 2 GiB and 3 % are its own."""
    return max(ram // 2, ram - 2 * GIB - ram * 3 // 100)


def metal_limit(memory: int) -> int:
    """Bytes that Metal may wire of a Mac's memory where nothing is set; see `apple.wired_limit`."""
    return memory * 2 // 3 if memory < 36 * GIB else memory * 3 // 4
