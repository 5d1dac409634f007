"""Intel Arc cards from made-up sysfs trees."""

from __future__ import annotations

from pathlib import Path

from localrun.hardware import pci
from localrun.hardware.facts import Gpu
from localrun.hardware.intel import read_intel
from tests.hardware.trees import pci_card, tree

GIB = 1 << 30
B580 = 0xE20B


def seen(root: Path, card: dict[str, str], **env: str) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    top = tree(root, {**card, "dev/dri/renderD128": ""})
    return read_intel(pci.read_cards(top), env, top)


def test_i915_tells_its_memory(tmp_path: Path) -> None:
    card = pci_card(
        "0000:03:00.0",
        pci.INTEL,
        0x56A0,
        drm__card1__lmem_total_bytes=f"{16 * GIB}\n",
        drm__card1__lmem_avail_bytes=f"{15 * GIB}\n",
    )
    (gpu,), notes = seen(tmp_path, card)
    assert (gpu.name, gpu.backend) == ("Intel Arc A770", "vulkan")
    assert (gpu.vram_total, gpu.vram_free) == (16 * GIB, 15 * GIB)
    assert gpu.bandwidth == 560_000_000_000
    assert notes == ()


def test_xe_is_sized_by_its_window_or_as_sold(tmp_path: Path) -> None:
    window = "0x0 0x0 0x0\n0x0 0x0 0x0\n0x4000000000 0x43ffffffff 0x14220c\n"  # 16 GiB, resizable
    (gpu,), notes = seen(tmp_path / "a", pci_card("0000:03:00.0", pci.INTEL, B580, resource=window))
    assert gpu.vram_total == gpu.vram_free == 16 * GIB
    assert "how much of its memory is free" in notes[0]
    small = "0x0 0x0 0x0\n0x0 0x0 0x0\n0x4000000000 0x400fffffff 0x14220c\n"  # 256 MiB: not resizable
    (gpu,), _ = seen(tmp_path / "b", pci_card("0000:03:00.0", pci.INTEL, B580, resource=small))
    assert gpu.vram_total == 12 * GIB
    (gpu,), _ = seen(tmp_path / "c", pci_card("0000:03:00.0", pci.INTEL, B580, resource="nonsense"))
    assert gpu.vram_total == 12 * GIB


def test_oneapi_makes_it_sycls(tmp_path: Path) -> None:
    (gpu,), _ = seen(tmp_path, pci_card("0000:03:00.0", pci.INTEL, B580), ONEAPI_ROOT="/opt/intel/oneapi")
    assert gpu.backend == "sycl"


def test_graphics_inside_a_processor_are_not_counted(tmp_path: Path) -> None:
    assert seen(tmp_path, pci_card("0000:00:02.0", pci.INTEL, 0xA780)) == ((), ())


def test_a_container_without_devices_cannot_use_the_card(tmp_path: Path) -> None:
    top = tree(tmp_path, pci_card("0000:03:00.0", pci.INTEL, B580))
    gpus, notes = read_intel(pci.read_cards(top), {}, top)
    assert gpus == ()
    assert "/dev/dri" in notes[0]
