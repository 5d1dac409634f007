"""Measured bandwidths: kept, found again, never mixed between machines."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from localrun.hardware.calibration import calibrated, load, measure_disk, measure_ram, store
from localrun.hardware.facts import Cpu, Host, Ram
from localrun.hardware.identity import identity
from localrun.hardware.profiles import profile

GIB = 1 << 30
MIB = 1 << 20
CPU = Cpu("AMD EPYC", 2, 2, 2)
HOST = Host("this machine", "linux", "x86_64", CPU, Ram(24 * GIB, 20 * GIB, 30_000_000_000))


def test_an_identity_does_not_move_with_what_is_free() -> None:
    same = replace(HOST, ram=Ram(24 * GIB - 90 * MIB, GIB), disk_free=7, notes=("x",))
    assert identity(same) == identity(HOST) == "AMD EPYC, 2 cores, 24 GiB, no GPU"


@pytest.mark.parametrize(
    "other",
    [
        replace(HOST, cpu=replace(CPU, cores=1)),
        replace(HOST, cpu=replace(CPU, name="Intel")),
        replace(HOST, ram=Ram(48 * GIB, GIB)),
        replace(HOST, gpus=profile("rtx-4090").gpus),
    ],
)
def test_other_hardware_has_another_identity(other: Host) -> None:
    assert identity(other) != identity(HOST)


def test_a_unified_gpu_is_known_by_its_memory_not_its_limit() -> None:
    mac = profile("m3-max-36gb")
    moved = replace(mac, gpus=(replace(mac.gpus[0], vram_total=34 * GIB),))
    assert identity(moved) == identity(mac)


def test_what_was_stored_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "bandwidth.json"
    assert load(path) == {}
    store(path, "a", ram=5)
    store(path, "b", ram=6)
    store(path, "a", disk=7)
    assert load(path) == {"a": {"ram": 5, "disk": 7}, "b": {"ram": 6}}
    assert os.listdir(path.parent) == ["bandwidth.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": "localrun.bandwidth/0", "machines": {"a": {"ram": 1}}}',
        '{"schema": "localrun.bandwidth/1", "machines": []}',
        '{"schema": "localrun.bandwidth/1", "machines": {"a": 3}}',
        "\udcff",
    ],
)
def test_a_damaged_file_counts_as_empty_and_can_be_written_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bandwidth.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert load(path) == {}
    store(path, "a", ram=5)
    assert load(path) == {"a": {"ram": 5}}


def test_odd_figures_in_a_file_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "bandwidth.json"
    machines = {"a": {"ram": -1, "disk": "fast"}, "b": {"ram": True, "disk": 8, "other": 9}}
    path.write_text(json.dumps({"schema": "localrun.bandwidth/1", "machines": machines}))
    assert load(path) == {"a": {}, "b": {"disk": 8}}


def test_a_machine_is_measured_once(tmp_path: Path) -> None:
    path = tmp_path / "bandwidth.json"
    assert calibrated(HOST, path) == HOST
    calls = []

    def measure(host: Host) -> int:
        calls.append(host)
        return 21_000_000_000

    for _ in range(2):
        ram = calibrated(HOST, path, measure).ram
        assert (ram.bandwidth, ram.bandwidth_source) == (21_000_000_000, "measured")
    assert calls == [HOST]
    assert calibrated(replace(HOST, ram=Ram(48 * GIB, GIB)), path).ram.bandwidth_source == "estimated"


def test_measuring_again_keeps_the_larger_figure(tmp_path: Path) -> None:
    path = tmp_path / "bandwidth.json"
    for rate, kept in ((20, 20), (15, 20), (25, 25), (0, 25)):
        host = calibrated(HOST, path, lambda _, rate=rate: rate, again=True)  # type: ignore[misc]
        assert host.ram.bandwidth == kept
        assert load(path)[identity(HOST)] == {"ram": kept}


def test_a_measurement_that_failed_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "bandwidth.json"
    assert calibrated(HOST, path, lambda _: 0) == HOST
    assert not path.exists()


def test_a_simulated_machine_keeps_its_own_figures(tmp_path: Path) -> None:
    path = tmp_path / "bandwidth.json"
    host = profile("rtx-4090")
    store(path, identity(host), ram=1, disk=1)
    assert calibrated(host, path, lambda _: 1) == host


def test_a_state_directory_that_cannot_be_written_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    host = calibrated(HOST, tmp_path / "file" / "bandwidth.json", lambda _: 9)
    assert host.ram.bandwidth == 9
    assert "cannot be kept" in host.notes[0]


def test_the_disk_is_measured_by_reading_the_file(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    with model.open("wb") as file:
        for _ in range(20):
            file.write(os.urandom(MIB) * 1)
    rate = measure_disk(model)
    assert rate > 1e6
    store(tmp_path / "b.json", identity(HOST), disk=rate)
    host = calibrated(HOST, tmp_path / "b.json")
    assert (host.disk_bandwidth, host.disk_bandwidth_source) == (rate, "measured")


def test_a_file_too_small_to_measure_by(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x" * 5000)
    assert measure_disk(tmp_path / "small") == 0
    with pytest.raises(OSError):
        measure_disk(tmp_path / "none")


def test_a_system_that_refuses_direct_reads_is_read_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "O_DIRECT", 0, raising=False)
    (tmp_path / "model").write_bytes(b"x" * (16 * MIB))
    assert measure_disk(tmp_path / "model") > 0


def test_ram_is_not_measured_where_too_little_is_free() -> None:
    assert measure_ram(replace(HOST, ram=Ram(24 * GIB, 100 * MIB))) == 0


def test_ram_is_measured_by_the_c_core() -> None:
    cpu = replace(CPU, cores=1)
    assert 1e9 < measure_ram(replace(HOST, cpu=cpu)) < 1e12
