"""CPU and RAM: what this process may use, not what the machine has.

Linux is read from /proc and /sys below `root` (`/`, or a made-up tree), macOS through sysctl.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Literal

from localrun.hardware.cgroup import Limits
from localrun.hardware.facts import Cpu, Ram
from localrun.hardware.system import Memory

System = Literal["linux", "darwin", "windows"]

#: /proc/cpuinfo's flag -> the name it goes by here; only what decides an engine's speed is kept.
_FEATURES = {
    **{
        name: name
        for name in (
            *("sse4_2", "avx", "avx2", "avx_vnni", "f16c", "fma", "bmi2"),
            *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
            *("avx512_vbmi", "amx_tile", "amx_int8", "amx_bf16"),
            *("sve", "sve2", "i8mm", "bf16", "sme"),
        )
    },
    "avx512vbmi": "avx512_vbmi",
    "asimd": "neon",
    "neon": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fp16",
}
#: macOS says each by a key of its own; see sysctl(3), "hw.optional".
_SYSCTL_FEATURES = {
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
}

#: Implementer and part of ARM cores, from the kernel's arch/arm64/include/asm/cputype.h.
_ARM = {
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0xC0, 0xAC3): "Ampere-1",
}


def system_name(platform_id: str = sys.platform) -> System:
    if platform_id == "darwin":
        return "darwin"
    return "windows" if platform_id in ("win32", "cygwin", "msys") else "linux"


def arch_name(machine: str | None = None) -> str:
    """`x86_64` or `arm64`, whatever the system calls it."""
    if machine is None:
        # platform.machine() says the same at the price of importing platform.
        machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    name = machine.lower()
    return {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}.get(name, name or "unknown")


def affinity() -> frozenset[int] | None:
    """The logical CPUs that this process may run on; None where the system has no such notion."""
    if sys.platform != "linux":
        return None
    try:
        return frozenset(os.sched_getaffinity(0))
    except OSError:
        return None


def read_cpu(
    root: str, allowed: Iterable[int] | None, limits: Limits, *, physical: int, logical: int, arch: str
) -> Cpu:
    """The CPU of a Linux machine. `physical` and `logical` count the whole of it."""
    text = _head(os.path.join(root, "proc/cpuinfo"))
    usable = sorted(allowed) if allowed is not None else list(range(logical))
    cores, threads = count_cores(root, usable, physical=physical, logical=logical)
    if limits.cpus is not None:
        # A quota of 1.5 leaves one whole core: a second thread would be stopped half of the time.
        whole = max(1, int(limits.cpus))
        cores, threads = min(cores, whole), min(threads, whole)
    name = _device_tree_model(root) or cpu_name(text) or f"unknown {arch} CPU"
    return Cpu(name, cores, threads, logical, cpu_features(text))


def count_cores(root: str, usable: list[int], *, physical: int, logical: int) -> tuple[int, int]:
    """(physical, logical) cores among the logical CPUs `usable`."""
    seen = set()
    for cpu in usable:
        siblings = _head(os.path.join(root, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
        if not siblings.strip():
            # Hidden topology: assume that the usable part is like the whole.
            share = max(1, round(len(usable) * physical / max(1, logical)))
            return min(share, max(1, len(usable))), max(1, len(usable))
        seen.add(siblings.strip())
    return max(1, len(seen)), max(1, len(usable))


def cpu_name(cpuinfo: str) -> str:
    """x86 writes `model name`, some ARM boards `Hardware` or `Model`; servers of ARM only numbers."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        left, colon, right = line.partition(":")
        if colon and right.strip():
            fields.setdefault(left.strip(), " ".join(right.split()))
    for key in ("model name", "Model", "Hardware"):
        if key in fields:
            return fields[key]
    try:
        return _ARM.get((int(fields["CPU implementer"], 16), int(fields["CPU part"], 16)), "")
    except (KeyError, ValueError):
        return ""


def cpu_features(cpuinfo: str) -> tuple[str, ...]:
    for line in cpuinfo.splitlines():
        left, colon, right = line.partition(":")
        if colon and left.strip() in ("flags", "Features"):
            have = set(right.split())
            return tuple(dict.fromkeys(name for flag, name in _FEATURES.items() if flag in have))
    return ()


def read_ram(memory: Memory, limits: Limits) -> Ram:
    """The machine's memory, cut to the cgroup's."""
    total, available, swap_free = memory.total, memory.available, memory.swap_free
    limited_by = ""
    if limits.memory is not None and limits.memory < total:
        total, limited_by = limits.memory, "cgroup"
    if limits.memory_available is not None:
        available = min(available, limits.memory_available)
    if limits.swap_free is not None:
        swap_free = min(swap_free, limits.swap_free)
    return Ram(total, min(available, total), swap_free=swap_free, limited_by=limited_by)


def sysctl_cpu(values: Mapping[str, str], *, physical: int, logical: int, arch: str) -> Cpu:
    """The CPU of a Mac, from what `sysctl` answered."""
    features = [name for key, name in _SYSCTL_FEATURES.items() if values.get(key) == "1"]
    if arch == "arm64":
        features.insert(0, "neon")
    name = values.get("machdep.cpu.brand_string") or f"unknown {arch} CPU"
    return Cpu(name, physical, logical, logical, tuple(features))


def sysctl_keys() -> tuple[str, ...]:
    return ("machdep.cpu.brand_string", *_SYSCTL_FEATURES)


def plain_cpu(limits: Limits, *, physical: int, logical: int) -> Cpu:
    """The CPU where neither /proc nor sysctl answers (Windows)."""
    name = os.environ.get("PROCESSOR_IDENTIFIER") or "unknown CPU"
    whole = max(1, int(limits.cpus)) if limits.cpus is not None else logical
    return Cpu(name, min(physical, whole), min(logical, whole), logical)


def _device_tree_model(root: str) -> str:
    return _head(os.path.join(root, "proc/device-tree/model")).strip("\0 \n")


def _head(path: str) -> str:
    """The first 64 KiB: /proc/cpuinfo repeats itself for every core of a large machine."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
