"""AMD GPUs from made-up sysfs trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localrun.hardware import pci
from localrun.hardware.amd import read_amd
from localrun.hardware.facts import Gpu
from tests.hardware.trees import pci_card, tree

GIB = 1 << 30
XTX = {
    "mem_info_vram_total": f"{24 * GIB - 16 * 2**20}\n",
    "mem_info_vram_used": f"{GIB}\n",
    "mem_info_gtt_total": f"{32 * GIB}\n",
    "max_link_speed": "16.0 GT/s PCIe\n",
    "current_link_width": "16\n",
}


def seen(
    root: Path, *cards: dict[str, str], kfd: bool = True, dri: bool = True, **env: str
) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    files = {name: text for card in cards for name, text in card.items()}
    files |= {"dev/kfd": ""} if kfd else {}
    files |= {"dev/dri/renderD128": ""} if dri else {}
    top = tree(root, files)
    return read_amd(pci.read_cards(top), env, 60 * GIB, top)


def xtx(address: str = "0000:03:00.0", **changes: str) -> dict[str, str]:
    return pci_card(address, 0x1002, 0x744C, 0xC8, **{**XTX, **changes})


def test_a_radeon_is_described_whole(tmp_path: Path) -> None:
    (gpu,), notes = seen(tmp_path, xtx())
    assert notes == ()
    assert gpu.name == "AMD Radeon RX 7900 XTX"
    assert gpu.backend == "rocm"
    assert gpu.vram_total == 24 * GIB - 16 * 2**20
    assert gpu.vram_free == gpu.vram_total - GIB
    assert gpu.bandwidth == 960_000_000_000
    assert gpu.flops == 122_800_000_000_000
    assert gpu.link == pytest.approx(31.5e9, rel=0.01)
    assert not gpu.unified  # the GTT of a card of its own is RAM behind the bus


def test_without_rocm_the_card_is_vulkans(tmp_path: Path) -> None:
    (gpu,), _ = seen(tmp_path, xtx(), kfd=False)
    assert gpu.backend == "vulkan"


def test_a_container_without_devices_cannot_use_the_card(tmp_path: Path) -> None:
    gpus, notes = seen(tmp_path, xtx(), kfd=False, dri=False)
    assert gpus == ()
    assert "cannot be used" in notes[0]


def test_a_card_without_its_driver_is_a_note(tmp_path: Path) -> None:
    gpus, notes = seen(tmp_path, pci_card("0000:03:00.0", 0x1002, 0x744C, 0xC8))
    assert gpus == ()
    assert "no amdgpu driver" in notes[0]


@pytest.mark.parametrize("text", ["", "garbage", "-1", "0"])
def test_odd_memory_figures_are_a_note(tmp_path: Path, text: str) -> None:
    gpus, notes = seen(tmp_path, xtx(mem_info_vram_total=text))
    assert gpus == ()
    assert len(notes) == 1


def test_an_apu_shares_ram(tmp_path: Path) -> None:
    strix = pci_card(
        "0000:c5:00.0",
        0x1002,
        0x1586,
        0xC1,
        mem_info_vram_total=f"{GIB // 2}",
        mem_info_vram_used=f"{GIB // 4}",
        mem_info_gtt_total=f"{96 * GIB}",
        mem_info_gtt_used=f"{GIB}",
    )
    (gpu,), _ = seen(tmp_path, strix)
    assert gpu.name == "AMD Radeon 8060S Graphics"
    assert gpu.unified
    assert gpu.vram_total == 96 * GIB + GIB // 2
    assert gpu.vram_free == 60 * GIB + GIB // 4  # no more than RAM has
    assert gpu.bandwidth == 256_000_000_000


def test_a_large_carve_out_is_memory_of_its_own(tmp_path: Path) -> None:
    strix = pci_card(
        "0000:c5:00.0",
        0x1002,
        0x1586,
        0xC1,
        mem_info_vram_total=f"{96 * GIB}",
        mem_info_vram_used=f"{GIB}",
        mem_info_gtt_total=f"{15 * GIB}",
        mem_info_gtt_used="0",
    )
    (gpu,), _ = seen(tmp_path, strix)
    assert not gpu.unified
    assert (gpu.vram_total, gpu.vram_free) == (96 * GIB, 95 * GIB)


def test_small_integrated_graphics_are_not_counted(tmp_path: Path) -> None:
    raphael = pci_card("0000:0f:00.0", 0x1002, 0x164E, mem_info_vram_total=f"{GIB // 2}")
    assert seen(tmp_path, raphael) == ((), ())


def test_names_come_from_the_card_then_libdrm_then_the_table(tmp_path: Path) -> None:
    (gpu,), _ = seen(tmp_path / "a", xtx(product_name="Radeon PRO Something\n"))
    assert gpu.name == "Radeon PRO Something"
    ids = "1.0.0\n744C,\tC8,\tAMD Radeon RX 7900 XTX by libdrm\n744C,\tCC,\tother\n"
    (gpu,), _ = seen(tmp_path / "b", xtx(), {"usr/share/libdrm/amdgpu.ids": ids})
    assert gpu.name == "AMD Radeon RX 7900 XTX by libdrm"
    unknown = pci_card("0000:03:00.0", 0x1002, 0x7FFF, 0, **XTX)
    (gpu,), _ = seen(tmp_path / "c", unknown)
    assert gpu.name == "AMD GPU 7fff"
    assert (gpu.bandwidth, gpu.flops) == (0, 0)


@pytest.mark.parametrize(
    ("env", "addresses"),
    [
        ({}, ["03", "43"]),
        ({"HIP_VISIBLE_DEVICES": "1"}, ["43"]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["43"]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, ["03"]),
        ({"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0"}, ["43"]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-beef"}, ["43"]),
    ],
)
def test_visible_devices(tmp_path: Path, env: dict[str, Any], addresses: list[str]) -> None:
    first = xtx("0000:03:00.0", mem_info_vram_used="3")
    second = xtx("0000:43:00.0", mem_info_vram_used="43", unique_id="beefbeefbeefbeef\n")
    gpus, _ = seen(tmp_path, first, second, **env)
    used = {3: "03", 43: "43"}
    assert [used[gpu.vram_total - gpu.vram_free] for gpu in gpus] == addresses
    assert [gpu.index for gpu in gpus] == list(range(len(addresses)))


def test_other_makers_cards_are_left_alone(tmp_path: Path) -> None:
    assert seen(tmp_path, pci_card("0000:01:00.0", pci.NVIDIA, 0x2684)) == ((), ())
