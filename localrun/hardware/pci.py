"""Display and compute cards as the PCI bus of a Linux machine lists them, and the driver libraries that load.

What a vendor's own module costs to import is paid only where a card or a driver of that vendor is here.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

NVIDIA, AMD, INTEL = 0x10DE, 0x1002, 0x8086
#: PCI classes: 0x03 display controllers, 0x12 processing accelerators (AMD Instinct).
_CLASSES = ("0x03", "0x12")


class PciCard(NamedTuple):
    address: str  # "0000:03:00.0"
    vendor: int
    device: int
    revision: int
    path: str  # its directory in sysfs


def read_cards(root: str = "/") -> tuple[PciCard, ...]:
    """Every display or compute controller, by bus address. `root` is `/` or a made-up tree."""
    base = os.path.join(root, "sys/bus/pci/devices")
    try:
        addresses = sorted(os.listdir(base))
    except OSError:
        return ()
    found = []
    for address in addresses:
        path = os.path.join(base, address)
        if read_text(path, "class").startswith(_CLASSES):
            vendor, device, revision = (_hex(path, name) for name in ("vendor", "device", "revision"))
            found.append(PciCard(address, vendor, device, revision, path))
    return tuple(found)


def nvml_loads() -> bool:
    """Whether NVIDIA's management library is here, found before pynvml is paid for."""
    if sys.platform == "win32":
        return os.path.exists(os.path.join(os.environ.get("WINDIR", "C:/Windows"), "System32/nvml.dll"))
    if sys.platform == "darwin":
        return False
    import ctypes

    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def without_nvml(cards: tuple[PciCard, ...], root: str = "/") -> tuple[str, ...]:
    """What to say of NVIDIA where that library does not load."""
    if os.path.exists(os.path.join(root, "dev/nvidiactl")):
        return ("NVIDIA: a driver is loaded, but its library libnvidia-ml.so.1 is missing",)
    seen = [card.address for card in cards if card.vendor == NVIDIA]
    if seen and os.path.exists(os.path.join(root, "sys/module/nvidia")):
        return ("NVIDIA: a driver is loaded outside this container: start it with the GPUs (--gpus all)",)
    if seen:
        return (f"NVIDIA: a card is in the machine (PCI {', '.join(seen)}), but no driver for it",)
    return ()


def read_text(directory: str, name: str) -> str:
    """The file without surrounding space; empty when it is missing or unreadable."""
    try:
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20).strip(" \n\0")
    except OSError:
        return ""


def read_number(directory: str, name: str) -> int | None:
    text = read_text(directory, name)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None


def _hex(directory: str, name: str) -> int:
    try:
        return int(read_text(directory, name), 16)
    except ValueError:
        return 0
