"""What a container or a service may use: memory and CPU limits of cgroup v1 and v2.

A limit may stand on any level above this process, so every level that can be seen is read and the
smallest wins. `root` is `/`, or a directory that holds a made-up tree.
"""

from __future__ import annotations

import os
from typing import NamedTuple

#: v1 writes "no limit" as the largest page-aligned number; no machine has that much.
_NO_LIMIT = 1 << 60


class Limits(NamedTuple):
    """None = no limit. (Every start pays for this module: a dataclass would take 1 ms to define.)"""

    memory: int | None = None  # bytes
    memory_available: int | None = None  # bytes left below it, reclaimable file cache counted as free
    swap_free: int | None = None  # bytes
    cpus: float | None = None  # quota over period: 1.5 = one and a half cores


def read_limits(root: str = "/") -> Limits:
    """The limits on this process. An unreadable or odd file counts as no limit."""
    memory: list[tuple[int, int]] = []
    swaps: list[int] = []
    cpus: list[float] = []
    for version, controller, directory in _levels(root):
        if controller == "memory":
            level = _memory_v2(directory) if version == 2 else _memory_v1(directory)
            if level is not None:
                memory.append(level)
            if version == 2:
                swaps += _swap_v2(directory)
        else:
            quota = _cpus_v2(directory) if version == 2 else _cpus_v1(directory)
            if quota is not None:
                cpus.append(quota)
    return Limits(
        memory=min((limit for limit, _ in memory), default=None),
        memory_available=min((left for _, left in memory), default=None),
        swap_free=min(swaps, default=None),
        cpus=min(cpus, default=None),
    )


def _levels(root: str) -> list[tuple[int, str, str]]:
    """(version, controller, directory) for the process's own group and each one above it."""
    mounts = _mounts(root)
    found: list[tuple[int, str, str]] = []
    for line in _text(os.path.join(root, "proc/self/cgroup")).splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if hierarchy == "0" and not controllers else 1
        names = ["memory", "cpu"] if version == 2 else controllers.split(",")
        for name in ("memory", "cpu"):
            mount = mounts.get("cgroup2" if version == 2 else name)
            if name in names and mount is not None:
                found += [(version, name, d) for d in _upwards(root, mount, path)]
    return found


def _mounts(root: str) -> dict[str, tuple[str, str]]:
    """Controller, or "cgroup2" -> (mount point, the group that is mounted there)."""
    mounts: dict[str, tuple[str, str]] = {}
    for line in _text(os.path.join(root, "proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(fields) < 5 or len(tail) < 3:
            continue
        if tail[0] == "cgroup2":
            mounts.setdefault("cgroup2", (fields[4], fields[3]))
        elif tail[0] == "cgroup":
            for name in tail[2].split(","):
                if name in ("memory", "cpu"):
                    mounts.setdefault(name, (fields[4], fields[3]))
    return mounts


def _upwards(root: str, mount: tuple[str, str], path: str) -> list[str]:
    """The directories from the group at `path` up to the mount point."""
    point, mounted = mount
    top = os.path.join(root, point.lstrip("/"))
    if mounted != "/" and (path == mounted or path.startswith(mounted + "/")):
        path = path[len(mounted) :]  # a bind mount shows only this part of the tree
    parts = [p for p in path.split("/") if p]
    if ".." in parts:  # above the namespace's root: out of sight
        parts = []
    chain = [os.path.join(top, *parts[:n]) for n in range(len(parts), -1, -1)]
    return [d for d in chain if os.path.isdir(d)]


def _memory_v2(directory: str) -> tuple[int, int] | None:
    # memory.high does not kill, but a process above it is throttled to a crawl.
    limits = [_number(directory, name) for name in ("memory.max", "memory.high")]
    return _left(limits, _number(directory, "memory.current"), _stat(directory, "inactive_file"))


def _memory_v1(directory: str) -> tuple[int, int] | None:
    # hierarchical_memory_limit also counts the levels that a container cannot see.
    limits = [_number(directory, "memory.limit_in_bytes"), _stat(directory, "hierarchical_memory_limit")]
    cache = _stat(directory, "total_inactive_file")
    if cache is None:
        cache = _stat(directory, "inactive_file")
    return _left(limits, _number(directory, "memory.usage_in_bytes"), cache)


def _left(limits: list[int | None], used: int | None, cache: int | None) -> tuple[int, int] | None:
    real = [n for n in limits if n is not None and n < _NO_LIMIT]
    if not real:
        return None
    limit = min(real)
    return limit, min(limit, max(0, limit - (used or 0) + (cache or 0)))


def _swap_v2(directory: str) -> list[int]:
    limit = _number(directory, "memory.swap.max")
    if limit is None:
        return []
    return [max(0, limit - (_number(directory, "memory.swap.current") or 0))]


def _cpus_v2(directory: str) -> float | None:
    fields = _text(os.path.join(directory, "cpu.max")).split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _cpus_v1(directory: str) -> float | None:
    quota = _text(os.path.join(directory, "cpu.cfs_quota_us")).strip()
    return _ratio(quota, _text(os.path.join(directory, "cpu.cfs_period_us")).strip())


def _ratio(quota: str, period: str) -> float | None:
    over, under = _whole(quota), _whole(period)
    return over / under if over and under else None  # not for "max", "-1" or nothing


def _number(directory: str, name: str) -> int | None:
    return _whole(_text(os.path.join(directory, name)))


def _stat(directory: str, key: str) -> int | None:
    for line in _text(os.path.join(directory, "memory.stat")).splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return _whole(value)
    return None


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= 20 else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
