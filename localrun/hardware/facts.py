"""What a machine is, as values: the first stage's result. Nothing here looks at the machine."""

from __future__ import annotations

from typing import Literal

from localrun.value import dataclass

#: Where a figure comes from; every one that is shown carries it.
Source = Literal["measured", "read", "computed", "estimated", "given"]
Backend = Literal["cuda", "rocm", "sycl", "metal", "vulkan"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One accelerator that an engine may use, in the order the engine will number them."""

    name: str
    backend: Backend
    index: int  # as the engine counts: after CUDA_VISIBLE_DEVICES
    vram_total: int  # bytes; for Apple the part of RAM that the GPU may wire
    vram_free: int  # bytes
    bandwidth: int = 0  # bytes per second, 0 = unknown
    bandwidth_source: Source = "estimated"
    flops: int = 0  # dense half-precision operations per second, 0 = unknown
    unified: bool = False  # shares RAM with the CPU (Apple, APUs)
    uuid: str = ""
    driver: str = ""
    link: int = 0  # bytes per second between RAM and VRAM, 0 = unknown


@dataclass(frozen=True, slots=True)
class Cpu:
    name: str
    cores: int  # physical cores that this process may use: affinity and cgroup quota counted
    threads: int  # logical ones, likewise
    threads_total: int  # logical ones that the machine has
    features: tuple[str, ...] = ()  # "avx2", "avx512f", "amx_int8", "neon" ...
    busy: float = 0.0  # cores of the whole machine that others kept busy over the last minute


@dataclass(frozen=True, slots=True)
class Ram:
    total: int  # bytes that this process may use: the cgroup limit where there is one
    available: int  # bytes free now without swapping, page cache counted as free
    bandwidth: int = 0  # bytes per second, 0 = unknown
    bandwidth_source: Source = "estimated"
    swap_free: int = 0
    limited_by: str = ""  # "cgroup" where the machine has more


@dataclass(frozen=True, slots=True)
class Host:
    """A whole machine, real or imagined (`simulated`)."""

    name: str  # "this machine" or the profile's name
    system: str  # "linux", "darwin", "windows"
    arch: str  # "x86_64", "arm64"
    cpu: Cpu
    ram: Ram
    gpus: tuple[Gpu, ...] = ()
    disk_free: int = 0  # bytes where models are kept
    disk_bandwidth: int = 0  # bytes per second of random-ish large reads, 0 = unknown
    disk_bandwidth_source: Source = "estimated"
    simulated: bool = False
    notes: tuple[str, ...] = ()  # what could not be read, in plain words
    unused: tuple[Gpu, ...] = ()  # GPUs that a plan leaves out: an engine must not see them
