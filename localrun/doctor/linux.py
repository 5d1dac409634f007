"""What Linux tells in /proc, /sys and /dev. On other systems each answer is the empty one.

`root` is `/`, or a directory that holds a made-up tree.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from localrun.doctor.values import Device
from localrun.hardware.pci import AMD, INTEL, PciCard
from localrun.hardware.system import process_name


def text(path: str, root: str = "/") -> str:
    try:
        return Path(root, path).read_text(encoding="utf-8", errors="replace")[: 1 << 20].strip()
    except OSError:
        return ""


def chosen(path: str, root: str = "/") -> str:
    """The word in brackets of a file like `always [madvise] never`."""
    found = re.search(r"\[(\w+)\]", text(path, root))
    return found[1] if found else ""


def meminfo(key: str, root: str = "/") -> int:
    """Bytes; 0 where it is not told."""
    found = re.search(rf"^{key}:\s+(\d+) kB$", text("proc/meminfo", root), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def governors(name: str, root: str = "/") -> tuple[str, ...]:
    """What all CPUs say in one file of their cpufreq folder, each word once."""
    policies = sorted(Path(root, "sys/devices/system/cpu/cpufreq").glob("policy*"))
    return tuple(sorted({said for policy in policies if (said := text(str(policy / name), "/"))}))


def devices(cards: Sequence[PciCard], root: str = "/") -> tuple[Device, ...]:
    """The device files that the GPUs of this machine are used through, as far as they exist."""
    vendors = {card.vendor for card in cards}
    wanted: list[Path] = []
    if AMD in vendors and Path(root, "dev/kfd").exists():
        wanted.append(Path(root, "dev/kfd"))
    if vendors & {AMD, INTEL}:
        wanted += sorted(Path(root, "dev/dri").glob("renderD*"))
    wanted += sorted(Path(root, "dev").glob("nvidia[0-9]*"))
    wanted += [p for p in (Path(root, "dev/nvidiactl"), Path(root, "dev/nvidia-uvm")) if p.exists()]
    return tuple(Device(str(p), os.access(p, os.R_OK | os.W_OK), _group(p)) for p in wanted)


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError, NotImplementedError):
        return ""


def filesystem(path: str, root: str = "/") -> str:
    """The type of the file system that `path` lies on: `ext4`, `nfs4` ..."""
    best, kind = "", ""
    path = os.path.realpath(path)
    for line in text("proc/self/mounts", root).splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def port_holder(host: str, port: int) -> str | None:
    """Who listens on a port: `name (process 42)`, "" where that is hidden, None where nobody does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the engine does: a connection in TIME_WAIT does not hold a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            return None
        except OSError as failed:
            if failed.errno != errno.EADDRINUSE:
                return None
    pid = _listener(port)
    return f"{process_name(pid) or 'a program'} (process {pid})" if pid else ""


def _listener(port: int) -> int:
    """The pid that listens on a port; 0 when it is another user's. From /proc: no privileges needed."""
    inodes = set()
    for table in ("proc/net/tcp", "proc/net/tcp6"):
        for line in text(table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return 0
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if not entry.name.isdecimal():
            continue
        try:
            if any(os.readlink(entry / "fd" / handle) in inodes for handle in os.listdir(entry / "fd")):
                return int(entry.name)
        except OSError:
            continue
    return 0
