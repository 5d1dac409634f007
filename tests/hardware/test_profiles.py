"""What-if machines."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrun.errors import UsageError
from localrun.hardware import profiles
from localrun.hardware.facts import Cpu, Host, Ram
from localrun.hardware.profiles import profile, profile_names
from localrun.hardware.sizes import override

GIB = 1 << 30
MIB = 1 << 20
PROMISED = [
    *("rtx-3060", "rtx-3070", "rtx-3080", "rtx-3090", "rtx-4060", "rtx-4070", "rtx-4080", "rtx-4090"),
    *("rtx-5070", "rtx-5080", "rtx-5090", "a100", "a100-40gb", "a100-80gb", "h100", "h200", "rtx-pro-6000"),
    *("m1", "m2", "m3", "m4", "m3-max-36gb", "m4-max-128gb", "m3-ultra-512gb", "strix-halo", "dgx-spark"),
    *("cpu", "cpu-server", "t4", "l40s", "mi300x", "rx-7900-xtx"),
]


@pytest.mark.parametrize("name", sorted({*PROMISED, *profile_names()}))
def test_every_profile_is_a_whole_machine(name: str) -> None:
    host = profile(name)
    assert host.simulated
    assert host.cpu.cores > 0
    assert host.cpu.threads >= host.cpu.cores
    assert 0 < host.ram.available < host.ram.total
    assert 10e9 <= host.ram.bandwidth < 1000e9
    assert host.disk_free > 100 * GIB
    assert host.disk_bandwidth > 1e9
    for gpu in host.gpus:
        assert 0 < gpu.vram_free <= gpu.vram_total
        assert gpu.bandwidth > 60e9
        assert gpu.flops > 1e12
        assert gpu.unified == (gpu.link == 0)
    assert bool(host.gpus) == (not name.startswith("cpu"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RTX 4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("RTX_4060_Ti 16GB", "rtx-4060-ti-16gb"),
        ("a100-80gb", "a100"),
        ("M3 Max 36GB", "m3-max-36gb"),
        ("Apple M4 Max", "m4-max-64gb"),
        ("m4max128gb", "m4-max-128gb"),
        ("Strix Halo", "strix-halo"),
        ("rx 7800 xt", "rx-7800-xt"),
        ("2X RTX-4090", "2x rtx-4090"),
        ("2xrtx4090", "2x rtx-4090"),
        ("4 x 3090", "4x rtx-3090"),
    ],
)
def test_names_ignore_case_and_separators(name: str, expected: str) -> None:
    assert profile(name).name == expected


def test_the_figures_of_a_well_known_card() -> None:
    (gpu,) = profile("rtx-4090").gpus
    assert gpu.name == "NVIDIA GeForce RTX 4090"
    assert gpu.bandwidth == 1_008_000_000_000
    # nvidia-smi shows 24564 MiB, CUDA about 24210 of them.
    assert 24100 * MIB < gpu.vram_total < 24300 * MIB


@pytest.mark.parametrize("name", ["rtx-4090", "rtx-3090", "h100", "a100-40gb"])
@pytest.mark.parametrize("count", [2, 4])
def test_several_cards(name: str, count: int) -> None:
    one, many = profile(name), profile(f"{count}x {name}")
    assert len(many.gpus) == count
    assert [gpu.index for gpu in many.gpus] == list(range(count))
    assert {gpu.vram_total for gpu in many.gpus} == {one.gpus[0].vram_total}
    assert many.gpus[0].link <= one.gpus[0].link
    assert many.ram.total >= one.ram.total


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rtx-4095", "rtx-4090"),
        ("m3-max-37gb", "m3-max-36gb"),
        ("", "rtx-4090"),
        ("x", "rtx-4090"),
        ("2x cpu", "cpu"),
        ("2x m3-max-36gb", "2x rtx-4090"),
        ("0x rtx-4090", "2x rtx-4090"),
        ("17x rtx-4090", "2x rtx-4090"),
    ],
)
def test_an_unknown_machine_names_the_closest(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        profile(name)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_name_is_a_machine_or_a_usage_error(name: str) -> None:
    try:
        host = profile(name)
    except UsageError:
        return
    assert host.simulated


def real(gpus: str = "rtx-4090") -> Host:
    cpu, ram = Cpu("c", 8, 16, 16), Ram(32 * GIB, 20 * GIB, 50_000_000_000, "measured", GIB, "cgroup")
    return Host("this machine", "linux", "x86_64", cpu, ram, profile(gpus).gpus, 100 * GIB)


def test_nothing_to_override_leaves_the_machine_real() -> None:
    assert override(real()) is not None
    assert not override(real()).simulated


def test_overrides_are_taken_to_the_byte() -> None:
    host = override(real("2x rtx-4090"), vram=10 * GIB + 1, ram=64 * GIB, disk_free=7)
    assert host.simulated
    assert [(gpu.vram_total, gpu.vram_free) for gpu in host.gpus] == [(10 * GIB + 1, 10 * GIB + 1)] * 2
    assert host.ram.total == 64 * GIB
    assert host.ram.available < 64 * GIB
    assert (host.ram.swap_free, host.ram.limited_by) == (0, "")
    assert (host.ram.bandwidth, host.ram.bandwidth_source) == (50_000_000_000, "measured")
    assert host.disk_free == 7
    assert host.cpu == real().cpu


def test_vram_needs_a_gpu() -> None:
    with pytest.raises(UsageError) as caught:
        override(profile("cpu"), vram=GIB)
    assert "--hardware" in caught.value.hint


def test_a_gpu_that_shares_ram_grows_with_it() -> None:
    mac = override(profile("m3-max-36gb"), ram=128 * GIB)
    assert mac.gpus[0].vram_total == 96 * GIB
    strix = profile("strix-halo")
    assert override(strix, ram=64 * GIB).gpus[0].vram_total == strix.gpus[0].vram_total // 2
    set_by_hand = override(profile("m3-max-36gb"), ram=128 * GIB, vram=120 * GIB)
    assert set_by_hand.gpus[0].vram_total == 120 * GIB


@given(st.integers(0, 1 << 42), st.integers(0, 1 << 42))
def test_more_ram_never_leaves_less(a: int, b: int) -> None:
    low, high = sorted((a, b))
    less, more = (override(real(), ram=size).ram for size in (low, high))
    assert less.available <= more.available
    assert 0 <= more.available <= more.total


def test_profiles_need_neither_psutil_nor_pynvml() -> None:
    import subprocess

    script = (
        "import sys; from localrun.hardware.profiles import profile; profile('rtx-4090');"
        "print([m for m in ('psutil', 'pynvml', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_profile_is_a_value() -> None:
    assert profile("h100") == profile("h100")
    assert replace(profile("h100"), name="x") != profile("h100")


def test_the_entries_that_are_cut_out_are_those_of_the_whole_file() -> None:
    whole = tomllib.loads(Path(profiles.__file__).with_name("profiles.toml").read_text(encoding="utf-8"))
    assert {section: profiles._entries(section) for section in profiles._texts()} == whole
