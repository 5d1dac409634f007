"""Detection of the machine that the suite runs on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localrun.hardware import apple, pci
from localrun.hardware import host as host_facts
from localrun.hardware.amd import read_amd
from localrun.hardware.facts import Backend, Gpu
from localrun.hardware.intel import read_intel
from localrun.hardware.probe import detect, one_backend
from tests.hardware.trees import pci_card, tree


def test_this_machine_is_whole(tmp_path: Path) -> None:
    host = detect(tmp_path)
    assert host.name == "this machine"
    assert not host.simulated
    assert host.cpu.name
    assert 1 <= host.cpu.cores <= host.cpu.threads <= host.cpu.threads_total
    assert 0 < host.ram.available <= host.ram.total
    assert host.ram.bandwidth > 0
    assert host.disk_free > 0
    assert host.disk_bandwidth > 0


def test_a_models_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    assert detect(tmp_path / "cache" / "models").disk_free > 0


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_affinity_is_counted() -> None:
    script = (
        "import os, json\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from localrun.hardware.probe import detect\n"
        "cpu = detect().cpu\n"
        "print(json.dumps([cpu.cores, cpu.threads]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [1, 1]


def gpu(name: str, backend: Backend, gib: int, unified: bool = False) -> Gpu:
    return Gpu(name, backend, 0, gib << 30, gib << 30, unified=unified)


@pytest.mark.parametrize(
    ("gpus", "kept"),
    [
        ([], []),
        ([gpu("a", "cuda", 8), gpu("b", "cuda", 4)], ["a", "b"]),
        ([gpu("a", "cuda", 8), gpu("igpu", "vulkan", 60, unified=True)], ["a"]),
        ([gpu("igpu", "vulkan", 60, unified=True)], ["igpu"]),
        ([gpu("a", "cuda", 8), gpu("x", "rocm", 16), gpu("y", "rocm", 16)], ["x", "y"]),
    ],
)
def test_one_engine_uses_one_backend(gpus: list[Gpu], kept: list[str]) -> None:
    notes: list[str] = []
    chosen = one_backend(gpus, notes)
    assert [g.name for g in chosen] == kept
    assert [g.index for g in chosen] == list(range(len(kept)))
    told = " ".join(notes)
    assert all((g.name in told) == (g.name not in kept) for g in gpus if len(g.name) > 1)
    assert bool(notes) == (len(kept) < len(gpus))


def test_a_mac(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {"machdep.cpu.brand_string": "Apple M4 Pro", "iogpu.wired_limit_mb": "8192"}
    monkeypatch.setattr(host_facts, "system_name", lambda: "darwin")
    monkeypatch.setattr(host_facts, "arch_name", lambda: "arm64")
    monkeypatch.setattr(
        apple, "read_sysctl", lambda keys: {key: values[key] for key in keys if key in values}
    )
    host = detect(tmp_path)
    assert (host.system, host.arch, host.cpu.name) == ("darwin", "arm64", "Apple M4 Pro")
    (mac,) = host.gpus
    assert mac.vram_total == min(8 << 30, host.ram.total)
    assert host.ram.bandwidth == 136_500_000_000


def test_a_machine_of_another_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host_facts, "system_name", lambda: "windows")
    monkeypatch.setenv("PROCESSOR_IDENTIFIER", "Intel64 Family 6 Model 151")
    host = detect(tmp_path)
    assert (host.system, host.cpu.name) == ("windows", "Intel64 Family 6 Model 151")
    assert host.cpu.cores >= 1


def test_cards_on_the_bus(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            **pci_card("0000:01:00.0", pci.NVIDIA, 0x2684, 0xA1),
            **pci_card("0000:00:1f.0", pci.INTEL, 0x7A04, 0, **{}),
            "sys/bus/pci/devices/0000:00:1f.0/class": "0x060100\n",
            "sys/bus/pci/devices/0000:09:00.0/class": "0x120000\n",
            "sys/bus/pci/devices/0000:09:00.0/vendor": "nonsense\n",
        },
    )
    first, odd = pci.read_cards(root)
    assert (first.address, first.vendor, first.device, first.revision) == (
        "0000:01:00.0",
        pci.NVIDIA,
        0x2684,
        0xA1,
    )
    assert (odd.vendor, odd.device) == (0, 0)
    assert pci.read_cards(str(tmp_path / "none")) == ()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_content_of_sysfs_raises(tmp_path: Path, data: st.DataObject) -> None:
    content = st.one_of(
        st.sampled_from(
            ["", "0", "-1", "max", "0x", "9" * 5000, "16.0 GT/s", "0x1 0x2 0x3\n" * 3, "²", "nan GT/s"]
        ),
        st.text(max_size=12),
        st.integers(0, 1 << 70).map(str),
    )
    names = ["mem_info_vram_total", "mem_info_vram_used", "mem_info_gtt_total", "max_link_speed", "resource"]
    names += ["max_link_width", "product_name", "unique_id", "drm__card0__lmem_total_bytes", "revision"]
    files: dict[str, str] = {
        "dev/kfd": "",
        "dev/dri/card0": "",
        "usr/share/libdrm/amdgpu.ids": data.draw(content),
    }
    for address, vendor, device in (("1", pci.AMD, 0x744C), ("2", pci.AMD, 0x1586), ("3", pci.INTEL, 0xE20B)):
        files |= pci_card(address, vendor, device)
        odd = {name: data.draw(content) for name in names}
        if data.draw(st.booleans()):
            odd |= {"mem_info_vram_total": "100", "mem_info_vram_used": "7"}
        files |= {f"sys/bus/pci/devices/{address}/{name.replace('__', '/')}": odd[name] for name in names}
    cards = pci.read_cards(tree(tmp_path, files))
    for gpu_seen in (
        *read_amd(cards, {}, 1 << 30, str(tmp_path))[0],
        *read_intel(cards, {}, str(tmp_path))[0],
    ):
        assert 0 <= gpu_seen.vram_free <= gpu_seen.vram_total


def test_an_nvidia_card_without_driver_or_library_is_said(tmp_path: Path) -> None:
    cards = pci.read_cards(tree(tmp_path, pci_card("0000:01:00.0", pci.NVIDIA, 0x2684)))
    assert pci.without_nvml((), str(tmp_path)) == ()
    (note,) = pci.without_nvml(cards, str(tmp_path))
    assert "0000:01:00.0" in note
    assert "no driver" in note
    tree(tmp_path, {"sys/module/nvidia/version": "570.86.15"})
    (note,) = pci.without_nvml(cards, str(tmp_path))
    assert "--gpus all" in note
    tree(tmp_path, {"dev/nvidiactl": ""})
    (note,) = pci.without_nvml(cards, str(tmp_path))
    assert "libnvidia-ml.so.1 is missing" in note
