"""Estimates of what nobody measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.hardware.facts import Cpu, Ram
from localrun.hardware.profiles import profile
from localrun.hardware.rates import (
    DISK_BANDWIDTH,
    disk_rate,
    estimate_disk,
    estimate_ram,
    populated_channels,
    ram_with_estimate,
)
from tests.hardware.trees import tree


@pytest.mark.parametrize(
    ("name", "cores", "low", "high"),
    [
        ("AMD EPYC 9354 32-Core Processor", 32, 300e9, 460e9),
        ("AMD EPYC 9755 128-Core Processor", 128, 400e9, 576e9),
        ("AMD EPYC 7763 64-Core Processor", 64, 140e9, 205e9),
        ("Intel(R) Xeon(R) Platinum 8480+", 56, 200e9, 308e9),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 14, 40e9, 77e9),
        ("AMD Ryzen 9 7950X 16-Core Processor", 16, 55e9, 84e9),
        ("AMD Ryzen 7 5800X 8-Core Processor", 8, 30e9, 52e9),
        ("AMD Ryzen Threadripper PRO 7975WX 32-Cores", 32, 200e9, 333e9),
        ("13th Gen Intel(R) Core(TM) i7-13700K", 16, 50e9, 77e9),
        ("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", 6, 25e9, 43e9),
        ("some new processor", 8, 20e9, 60e9),
        ("some new processor", 96, 100e9, 210e9),
    ],
)
def test_ram_lies_between_half_and_all_of_the_channels(
    name: str, cores: int, low: float, high: float
) -> None:
    assert low <= estimate_ram(Cpu(name, cores, 2 * cores, 2 * cores)) <= high


def test_few_cores_of_a_large_server_draw_little() -> None:
    assert estimate_ram(Cpu("AMD EPYC 9354", 2, 2, 2)) <= 40e9


def test_empty_channels_do_not_count(tmp_path: Path) -> None:
    edac = "sys/devices/system/edac/mc"
    files = {
        f"{edac}/mc0/dimm0/dimm_location": "csrow 0 channel 0\n",
        f"{edac}/mc0/dimm1/dimm_location": "csrow 1 channel 0\n",
        f"{edac}/mc0/rank4/dimm_location": "csrow 0 channel 1\n",
        f"{edac}/mc1/dimm0/dimm_location": "channel 0 slot 0\n",
        f"{edac}/mc1/size_mb": "1\n",
        f"{edac}/uevent": "",
    }
    assert populated_channels(tree(tmp_path, files)) == 3
    assert populated_channels(str(tmp_path / "none")) == 0
    server = Cpu("AMD EPYC 9354", 32, 64, 64)
    assert estimate_ram(server, 3) == estimate_ram(server) // 4
    assert estimate_ram(server, 24) == estimate_ram(server)  # two sockets: only one is counted on


def test_an_estimate_never_replaces_a_figure() -> None:
    cpu = Cpu("x", 8, 8, 8)
    measured = Ram(1, 1, 5, "measured")
    assert ram_with_estimate(measured, cpu) is measured
    assert ram_with_estimate(Ram(1, 1), cpu).bandwidth_source == "estimated"


def test_a_processor_beside_a_unified_gpu_shares_its_bandwidth() -> None:
    gpus = profile("m3-max-128gb").gpus
    assert ram_with_estimate(Ram(1, 1), Cpu("Apple M3 Max", 16, 16, 16), gpus).bandwidth == 200_000_000_000


@pytest.mark.parametrize(
    ("name", "rotational", "rate"),
    [("nvme0n1", "0", 2.5e9), ("sda", "1", 150e6), ("sda", "0", 500e6), ("vda", "1", DISK_BANDWIDTH)],
)
def test_disks_by_their_kind(tmp_path: Path, name: str, rotational: str, rate: float) -> None:
    root = tree(tmp_path, {f"{name}/queue/rotational": rotational, f"{name}/{name}p1/dev": "1:1"})
    assert disk_rate(f"{root}/{name}") == rate
    assert disk_rate(f"{root}/{name}/{name}p1") == rate


def test_an_unknown_disk_has_the_default(tmp_path: Path) -> None:
    assert disk_rate(str(tmp_path / "none")) == DISK_BANDWIDTH
    assert estimate_disk(str(tmp_path / "none")) == DISK_BANDWIDTH
    assert estimate_disk(str(tmp_path)) > 0
