"""Intel Arc cards through sysfs (drivers i915 and xe). Graphics inside a processor are not counted."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence

from localrun.hardware import cards
from localrun.hardware.facts import Backend, Gpu
from localrun.hardware.pci import INTEL, PciCard, read_number, read_text

#: PCI device id -> product; Mesa's include/pci_ids/iris_pci_ids.h. Only cards with memory of their own.
_NAMES = {
    0x56A0: "Intel Arc A770",
    0x56A1: "Intel Arc A750",
    0x56A2: "Intel Arc A580",
    0x56A5: "Intel Arc A380",
    0x56A6: "Intel Arc A310",
    0xE20B: "Intel Arc B580",
    0xE20C: "Intel Arc B570",
    0xE211: "Intel Arc Pro B60",
    0xE212: "Intel Arc Pro B50",
}


def read_intel(
    found: Sequence[PciCard], environ: Mapping[str, str], root: str = "/"
) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    gpus: list[Gpu] = []
    notes: list[str] = []
    # llama.cpp's SYCL build needs oneAPI's runtime, whose setvars.sh leaves this variable behind.
    backend: Backend = "sycl" if environ.get("ONEAPI_ROOT") else "vulkan"
    for card in found:
        name = _NAMES.get(card.device)
        if card.vendor != INTEL or name is None:
            continue
        if not os.path.exists(os.path.join(root, "dev/dri")):
            notes.append(f"{name} cannot be used: /dev/dri is not here")
            continue
        total, free = _memory(card, name)
        if not total:
            notes.append(f"{name} (PCI {card.address}) gives no memory figures")
            continue
        if free is None:
            notes.append(f"{name}: its driver does not tell how much of its memory is free; all is assumed")
        spec = cards.find(name, total)
        gpus.append(
            Gpu(
                name=name,
                backend=backend,
                index=len(gpus),
                vram_total=total,
                vram_free=total if free is None else free,
                bandwidth=spec.bandwidth if spec else 0,
                flops=spec.flops if spec else 0,
                uuid=f"PCI-{card.address}",
                driver=os.path.basename(os.path.realpath(os.path.join(card.path, "driver"))),
            )
        )
    return tuple(gpus), tuple(notes)


def _memory(card: PciCard, name: str) -> tuple[int, int | None]:
    """(total, free) bytes. Only Intel's own builds of i915 tell; else the PCI window of the card's
    memory, which is all of it where the BAR is resizable, or the size as sold."""
    for directory in sorted(glob.glob(os.path.join(glob.escape(card.path), "drm/card*"))):
        total = read_number(directory, "lmem_total_bytes")
        if total:
            return total, read_number(directory, "lmem_avail_bytes")
    sold = cards.find(name)
    window = _window(card)
    if window and sold and window > sold.vram // 2:
        return window, None
    return (sold.vram if sold else window), None


def _window(card: PciCard) -> int:
    """Bytes of BAR 2, from the third line of `resource`: start, end and flags in hex."""
    lines = read_text(card.path, "resource").splitlines()
    try:
        start, end, _ = (int(field, 16) for field in lines[2].split())
    except (IndexError, ValueError):
        return 0
    return end - start + 1 if end > start else 0
