"""NVIDIA cards, by the real pynvml over a made-up driver library, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import nvml as fake
from tests.fakes.nvml import MIB, Driver, a100_mig, fake_nvml, rtx_3060, rtx_4090

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fake library is an ELF file")

SCRIPT = """
import json, sys
from dataclasses import asdict
from localrun.hardware.probe import detect
host = detect()
print(json.dumps({"gpus": [asdict(g) for g in host.gpus], "notes": host.notes,
                  "pynvml": "pynvml" in sys.modules, "ram": asdict(host.ram)}))
"""


def seen(driver: Driver, directory: Path, *, old: bool = False, **env: str) -> dict[str, Any]:
    found: dict[str, Any] = run(SCRIPT, {**fake_nvml(driver, directory, old=old), **env})
    return found


def run(script: str, env: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def names(found: dict[str, Any]) -> list[str]:
    return [gpu["name"].removeprefix("NVIDIA GeForce ") for gpu in found["gpus"]]


def test_a_card_is_described_whole(tmp_path: Path) -> None:
    found = seen(Driver((rtx_4090(),)), tmp_path)
    assert found["notes"] == []
    (gpu,) = found["gpus"]
    assert gpu["name"] == "NVIDIA GeForce RTX 4090"
    assert (gpu["backend"], gpu["index"], gpu["driver"]) == ("cuda", 0, "570.86.15")
    assert gpu["uuid"] == rtx_4090().uuid
    # CUDA counts the card without what the driver reserves for itself.
    assert gpu["vram_total"] == (24564 - 347) * MIB
    assert gpu["vram_free"] == (24564 - 347 - 600) * MIB
    assert gpu["bandwidth"] == 2 * 10_501_000_000 // 1000 * 384 // 8 * 1000  # 1008 GB/s
    assert gpu["bandwidth_source"] == "computed"
    assert gpu["link"] == pytest.approx(31.5e9, rel=0.01)  # PCIe 4.0 x16, though the idle link says 1.0
    assert not gpu["unified"]


def test_a_machine_without_a_driver_does_not_pay_for_pynvml(tmp_path: Path) -> None:
    env = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    found = run(SCRIPT, env)
    assert found["gpus"] == []
    assert found["pynvml"] is False


def test_the_good_card_is_kept_when_the_other_is_lost(tmp_path: Path) -> None:
    found = seen(Driver((rtx_4090(fail={"*": fake.GPU_IS_LOST}), rtx_3060())), tmp_path)
    assert names(found) == ["RTX 3060"]
    assert found["gpus"][0]["index"] == 0
    (note,) = found["notes"]
    assert note == "NVIDIA GPU 0 does not answer: GPU is lost"


@pytest.mark.parametrize(("value", "expected"), [("1", ["RTX 3060"]), ("0", []), ("1,0", ["RTX 3060"])])
def test_a_lost_card_keeps_its_number(tmp_path: Path, value: str, expected: list[str]) -> None:
    driver = Driver((rtx_4090(fail={"*": fake.GPU_IS_LOST}), rtx_3060()))
    assert names(seen(driver, tmp_path, CUDA_VISIBLE_DEVICES=value)) == expected


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        ("nvmlDeviceGetMaxClockInfo", {"bandwidth_source": "estimated"}),
        ("nvmlDeviceGetMemoryBusWidth", {"bandwidth_source": "estimated"}),
        ("nvmlDeviceGetMaxPcieLinkGeneration", {"link": 0}),
        ("nvmlDeviceGetUUID", {"uuid": ""}),
        ("nvmlDeviceGetMigMode", {}),
    ],
)
def test_one_failing_call_costs_one_figure(tmp_path: Path, call: str, missing: dict[str, Any]) -> None:
    found = seen(Driver((rtx_4090(fail={call: fake.UNKNOWN}),)), tmp_path)
    (gpu,) = found["gpus"]
    assert gpu["vram_total"] == (24564 - 347) * MIB
    assert {key: gpu[key] for key in missing} == missing
    assert gpu["bandwidth"] == pytest.approx(1008e9, rel=0.001)  # from the table where NVML fails


def test_a_card_whose_memory_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    broken = {"nvmlDeviceGetMemoryInfo": fake.UNKNOWN, "nvmlDeviceGetMemoryInfo_v2": fake.UNKNOWN}
    found = seen(Driver((rtx_3060(), rtx_4090(fail=broken))), tmp_path)
    assert names(found) == ["RTX 3060"]
    assert "NVIDIA GPU 1 does not answer" in found["notes"][0]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (fake.DRIVER_NOT_LOADED, "kernel module is not loaded"),
        (fake.VERSION_MISMATCH, "reboot"),
        (fake.NO_PERMISSION, "/dev/nvidia*"),
        (fake.UNKNOWN, "Unknown Error"),
    ],
)
def test_a_driver_that_does_not_start_is_one_note(tmp_path: Path, code: int, words: str) -> None:
    found = seen(Driver((rtx_4090(),), init=code), tmp_path)
    assert found["gpus"] == []
    (note,) = found["notes"]
    assert words in note


def test_a_driver_that_breaks_after_its_start_is_a_note(tmp_path: Path) -> None:
    found = seen(Driver((rtx_4090(),), fail={"nvmlDeviceGetCount_v2": fake.UNKNOWN}), tmp_path)
    assert found["gpus"] == []
    assert len(found["notes"]) == 1


def test_an_old_driver_is_read_by_the_old_memory_call(tmp_path: Path) -> None:
    found = seen(Driver((rtx_4090(),)), tmp_path, old=True)
    (gpu,) = found["gpus"]
    assert gpu["vram_total"] == 24564 * MIB
    assert gpu["vram_free"] == (24564 - 347 - 600) * MIB
    assert "old call" in found["notes"][0]


def test_a_card_without_memory_of_its_own_shares_ram(tmp_path: Path) -> None:
    fail = {"nvmlDeviceGetMemoryInfo_v2": fake.NOT_SUPPORTED, "nvmlDeviceGetMemoryInfo": fake.NOT_SUPPORTED}
    spark = rtx_4090(name="NVIDIA GB10", clock=0, width=0, fail=fail)
    found = seen(Driver((spark,)), tmp_path)
    (gpu,) = found["gpus"]
    assert gpu["unified"] is True
    assert gpu["vram_total"] == found["ram"]["total"]
    assert gpu["bandwidth"] == 273_000_000_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", ["RTX 4090"]),
        ("1", ["RTX 3060"]),
        ("1,0", ["RTX 3060", "RTX 4090"]),
        (" 1 , 0 ", ["RTX 3060", "RTX 4090"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["RTX 3060"]),
        ("0,7,1", ["RTX 4090"]),
        ("0,0", []),
        ("none", []),
        ("GPU-3060bbbb", ["RTX 3060"]),
        ("GPU-3060", ["RTX 3060"]),
        ("gpu-3060", ["RTX 3060"]),
        ("GPU-4090aaaa-0000-1111-2222-333344445555,GPU-3", ["RTX 4090", "RTX 3060"]),
        ("GPU-", []),  # two cards begin so
        ("GPU-3,0", ["RTX 3060"]),  # numbers and UUIDs do not mix
    ],
)
def test_cuda_visible_devices(tmp_path: Path, value: str, expected: list[str]) -> None:
    found = seen(Driver((rtx_4090(), rtx_3060())), tmp_path, CUDA_VISIBLE_DEVICES=value)
    assert names(found) == expected
    assert [gpu["index"] for gpu in found["gpus"]] == list(range(len(expected)))
    if not expected:
        assert "hides every NVIDIA GPU" in found["notes"][-1]


def test_unlike_cards_are_said_to_be_numbered_by_bus(tmp_path: Path) -> None:
    driver = Driver((rtx_3060(), rtx_4090()))
    assert any("CUDA_DEVICE_ORDER" in note for note in seen(driver, tmp_path)["notes"])
    assert seen(driver, tmp_path, CUDA_DEVICE_ORDER="PCI_BUS_ID")["notes"] == []
    twins = Driver((rtx_3060(), rtx_3060(uuid="GPU-other")))
    assert seen(twins, tmp_path)["notes"] == []


def test_one_mig_instance_is_what_cuda_shows(tmp_path: Path) -> None:
    found = seen(Driver((a100_mig(), rtx_4090())), tmp_path)
    (gpu,) = found["gpus"]
    assert gpu["name"] == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    assert gpu["vram_total"] == 19968 * MIB
    # Half of the card's memory brings half of its bandwidth, three slices of seven its operations.
    assert gpu["bandwidth"] == pytest.approx(1555e9 * 19968 / (40960 - 553), rel=0.01)
    assert gpu["bandwidth_source"] == "estimated"
    assert gpu["flops"] == pytest.approx(312e12 * 3 / 7, rel=0.01)
    assert any("one MIG instance" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("MIG-bbbb2222-0000-5555-6666-777788889999", "2g.10gb"),
        ("MIG-bbbb", "2g.10gb"),
        ("0", "3g.20gb"),
        ("GPU-a100", "3g.20gb"),
    ],
)
def test_a_mig_instance_chosen_by_name_or_card(tmp_path: Path, value: str, expected: str) -> None:
    found = seen(Driver((a100_mig(),)), tmp_path, CUDA_VISIBLE_DEVICES=value)
    assert [gpu["name"].split()[-1] for gpu in found["gpus"]] == [expected]


def test_a_card_in_mig_mode_without_instances_runs_nothing(tmp_path: Path) -> None:
    found = seen(Driver((a100_mig(instances=()),)), tmp_path)
    assert found["gpus"] == []
    assert "MIG mode without an instance" in found["notes"][0]


HOLDERS = """
import json
from localrun.hardware import nvml
from localrun.hardware.probe import detect
(gpu,) = detect().gpus
print(json.dumps({"holders": [[h.pid, h.name, h.vram] for h in nvml.holders(gpu)],
                  "used": nvml.used_by(gpu, [PID, 999999]), "none": nvml.used_by(gpu, [999999])}))
"""


def test_who_holds_vram_by_name_and_how_much(tmp_path: Path) -> None:
    me = os.getpid()
    processes = (
        fake.Process(me, 300 * MIB),
        fake.Process(2**22 + 5, 900 * MIB, graphics=True),
        fake.Process(2**22 + 6, None),
    )
    env = fake_nvml(Driver((rtx_4090(processes=processes),)), tmp_path)
    found = run(HOLDERS.replace("PID", str(me)), env)
    assert [(pid, vram) for pid, _, vram in found["holders"]] == [
        (2**22 + 5, 900 * MIB),
        (me, 300 * MIB),
        (2**22 + 6, None),
    ]
    assert found["holders"][1][1]  # this interpreter has a name
    assert found["used"] == 300 * MIB
    assert found["none"] is None


REFRESH = """
import json, os, sys
from localrun.hardware import nvml
from localrun.hardware.probe import detect
gpus = detect().gpus
os.replace(sys.argv[1] if len(sys.argv) > 1 else os.environ["NEXT"], os.environ["FAKE_NVML"])
print(json.dumps([gpus[0].vram_free, nvml.refreshed(gpus)[0].vram_free]))
"""


def test_free_vram_can_be_read_again(tmp_path: Path) -> None:
    env = fake_nvml(Driver((rtx_4090(),)), tmp_path)
    fake.write_spec(Driver((rtx_4090(used=9000 * MIB),)), tmp_path / "next.txt")
    before, after = run(REFRESH, {**env, "NEXT": str(tmp_path / "next.txt")})
    assert before - after == (9000 - 600) * MIB
