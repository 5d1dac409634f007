"""Memory, disk and processes as the operating system counts them: the only importer of psutil.

psutil costs about 30 ms to import, so every function imports it when called.
"""

from __future__ import annotations

import os
import time
import warnings
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import psutil

#: A process's start is computed from the boot time, which moves when the clock is set.
_CREATE_TIME_SLACK = 2.0  # seconds
#: Looks, a millisecond apart, at a process that is being made.
_LAYING_OUT = 50


class Memory(NamedTuple):
    """The whole machine, before any cgroup limit. Bytes."""

    total: int
    available: int  # without swapping, page cache counted as free
    swap_free: int


class ProcessMemory(NamedTuple):
    """Resident bytes of a process and, summed, of its children."""

    rss: int
    anonymous: int  # its own: heap, KV cache, repacked weights
    shared: int  # file pages (an mmapped model) and shared memory; may be counted once per process


def memory() -> Memory:
    import psutil

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where /proc lacks a file psutil says so and counts 0
        now = psutil.virtual_memory()
        try:
            swap_free = psutil.swap_memory().free
        except (OSError, RuntimeError):
            swap_free = 0
    return Memory(now.total, now.available, swap_free)


def logical_cores() -> int:
    return os.cpu_count() or 1


def physical_cores() -> int:
    """Physical cores of the whole machine; the logical ones where the system does not tell."""
    import psutil

    return psutil.cpu_count(logical=False) or logical_cores()


class CpuUse(NamedTuple):
    """CPU seconds so far: of the whole machine, and of one process with its children."""

    machine: float  # all cores together, what a hypervisor took away included
    process: float  # 0 = unknown


def cpu_use(pid: int) -> CpuUse:
    """What was used until now. `pid` 0, or one that is gone: the process counts 0."""
    import psutil

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = psutil.cpu_times()
    busy = float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
    spent = 0.0
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)] if pid else []
        for one in tree:
            seen = one.cpu_times()
            spent += seen.user + seen.system
    except psutil.Error:
        return CpuUse(busy, 0.0)
    return CpuUse(busy, float(spent))


def disk_free(path: str) -> int:
    """Bytes that this user may still write where `path` is, or will be once it is made."""
    import psutil

    return int(psutil.disk_usage(existing(path)).free)


def existing(path: str) -> str:
    """`path`, or the nearest directory above it that is already there."""
    path = os.path.abspath(path)
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def process_memory(pid: int, *, children: bool = True) -> ProcessMemory | None:
    """What `pid` holds in RAM now; None when it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *(process.children(recursive=True) if children else ())]
    except psutil.Error:
        return None
    rss = shared = 0
    for i, member in enumerate(family):
        try:
            info = member.memory_info()
        except psutil.Error:
            if i == 0:
                return None
            continue  # a child that ended meanwhile
        rss += info.rss
        # Only Linux splits the resident pages so; elsewhere all of them count as the process's own.
        shared += min(info.rss, getattr(info, "shared", 0))
    return ProcessMemory(rss, rss - shared, shared)


def process_create_time(pid: int) -> float | None:
    """Seconds since the epoch; None when there is no such process."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_same_process(pid: int, create_time: float) -> bool:
    """Whether `pid` is still the process that began at `create_time`, running or not yet reaped."""
    created = process_create_time(pid)
    return created is not None and abs(created - create_time) <= _CREATE_TIME_SLACK


def find_by_environment(variable: str) -> tuple[tuple[int, float, str], ...]:
    """(pid, start, value) of every group leader of ours that has `variable` in its environment."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            value = _environment(process).get(variable, "")
            if value and os.getpgid(process.pid) == process.pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.pid, float(process.create_time()), value))
        except (OSError, psutil.Error):
            continue  # another user's, or it ended meanwhile
    return tuple(found)


def _environment(process: psutil.Process) -> dict[str, str]:
    """A program that was started this moment has none for an instant: the kernel is still laying it out."""
    for _ in range(_LAYING_OUT):
        if environment := dict(process.environ()):
            return environment
        if time.time() - process.create_time() > _CREATE_TIME_SLACK:
            break  # a kernel thread, or one that wants none
        time.sleep(0.001)
    return {}


def listens(pid: int, port: int) -> bool:
    """Whether `pid` is seen to accept TCP connections on `port`."""
    import psutil

    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except (OSError, psutil.Error):
        return False
    return any(s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets)


def process_alive(pid: int, create_time: float | None = None) -> bool:
    """Whether `pid` runs and is still the process that began at `create_time`. A zombie does not run."""
    import psutil

    if pid <= 0:
        return False
    try:
        process = psutil.Process(pid)
        if create_time is not None and abs(process.create_time() - create_time) > _CREATE_TIME_SLACK:
            return False
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False


def process_group_alive(pgid: int) -> bool:
    """Whether any process of the group runs; zombies that nobody reaped do not count."""
    import psutil

    if pgid <= 1 or os.name != "posix":
        return pgid > 1 and process_alive(pgid)
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (OSError, psutil.Error):
            continue
    return False


def process_name(pid: int) -> str:
    """The program's short name, empty when it is gone or hidden."""
    import psutil

    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""
