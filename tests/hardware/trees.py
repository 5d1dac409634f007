"""Made-up /proc and /sys trees."""

from __future__ import annotations

from pathlib import Path

MOUNTS_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
MOUNTS_V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
)


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(root)


def pci_card(address: str, vendor: int, device: int, revision: int = 0, **files: str) -> dict[str, str]:
    """The files of one display controller; `files` are more of them, a dot in a name being a slash."""
    base = f"sys/bus/pci/devices/{address}"
    return {
        f"{base}/class": "0x030000\n",
        f"{base}/vendor": f"0x{vendor:04x}\n",
        f"{base}/device": f"0x{device:04x}\n",
        f"{base}/revision": f"0x{revision:02x}\n",
        **{f"{base}/{name.replace('__', '/')}": text for name, text in files.items()},
    }
