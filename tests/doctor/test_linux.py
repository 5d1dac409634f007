"""What is read of Linux, from made-up trees and from this machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from localrun.doctor import linux
from localrun.hardware import pci
from tests.hardware.trees import pci_card, tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and /sys")


def test_the_chosen_word_stands_in_brackets(tmp_path: Path) -> None:
    root = tree(tmp_path, {"thp": "always [madvise] never\n"})
    assert linux.chosen("thp", root) == "madvise"
    assert linux.chosen("none", root) == ""


def test_memory_is_told_in_bytes(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/meminfo": "MemTotal:  100 kB\nHugetlb:   2048 kB\n"})
    assert linux.meminfo("Hugetlb", root) == 2048 * 1024
    assert linux.meminfo("SwapTotal", root) == 0


def test_each_governor_counts_once(tmp_path: Path) -> None:
    base = "sys/devices/system/cpu/cpufreq"
    root = tree(tmp_path, {f"{base}/policy{i}/scaling_governor": "powersave\n" for i in range(4)})
    assert linux.governors("scaling_governor", root) == ("powersave",)
    assert linux.governors("scaling_driver", root) == ()


def test_a_device_that_may_not_be_used_is_found(tmp_path: Path) -> None:
    files = pci_card("0000:03:00.0", pci.AMD, 0x744C)
    root = tree(tmp_path, {**files, "dev/kfd": "", "dev/dri/renderD128": "", "dev/dri/card0": ""})
    (tmp_path / "dev/dri/renderD128").chmod(0)
    cards = pci.read_cards(root)
    found = {Path(d.path).name: d for d in linux.devices(cards, root)}
    assert set(found) == {"kfd", "renderD128"}
    assert found["kfd"].usable
    assert found["kfd"].group == (tmp_path / "dev/kfd").group()
    assert found["renderD128"].usable == (os.geteuid() == 0)
    assert linux.devices((), root) == ()


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = "/dev/a / ext4 rw 0 0\nnas:/m /srv/mo\\040dels nfs4 rw 0 0\nx /srv/mo tmpfs rw 0 0\n"
    root = tree(tmp_path, {"proc/self/mounts": mounts})
    assert linux.filesystem("/srv/mo dels/x", root) == "nfs4"
    assert linux.filesystem("/srv/modest", root) == "ext4"


def test_who_listens_on_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"(process {os.getpid()})" in (linux.port_holder("127.0.0.1", port) or "")
    assert linux.port_holder("127.0.0.1", port) is None
