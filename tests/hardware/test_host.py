"""CPU and RAM from text: flags, topology, affinity, quotas."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.hardware import host
from localrun.hardware.cgroup import Limits
from localrun.hardware.facts import Cpu
from localrun.hardware.system import Memory
from tests.hardware.trees import tree

GIB = 1 << 30
CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD Ryzen 9 7950X   16-Core Processor
flags\t\t: fpu sse4_2 avx avx2 f16c fma avx512f avx512_vnni avx512vbmi amx_int8
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm asimddp asimdhp i8mm bf16 sve
"""


def machine(root: Path, cpus: int, threads: int = 2, cpuinfo: str = CPUINFO) -> str:
    files = {"proc/cpuinfo": cpuinfo}
    for cpu in range(cpus):
        first = cpu // threads * threads
        siblings = f"{first}-{first + threads - 1}\n" if threads > 1 else f"{cpu}\n"
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = siblings
    return tree(root, files)


def read(root: str, allowed: set[int] | None = None, cpus: float | None = None) -> Cpu:
    return host.read_cpu(root, allowed, Limits(cpus=cpus), physical=4, logical=8, arch="x86_64")


def test_the_whole_machine(tmp_path: Path) -> None:
    cpu = read(machine(tmp_path, 8))
    assert cpu.name == "AMD Ryzen 9 7950X 16-Core Processor"
    assert (cpu.cores, cpu.threads, cpu.threads_total) == (4, 8, 8)
    expected = {"sse4_2", "avx", "avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx512_vbmi", "amx_int8"}
    assert set(cpu.features) == expected


@pytest.mark.parametrize(
    ("allowed", "cores", "threads"),
    [({0, 1}, 1, 2), ({0, 2, 4}, 3, 3), ({1}, 1, 1), ({0, 1, 2}, 2, 3), (set(range(8)), 4, 8)],
)
def test_affinity_counts_cores_by_their_siblings(
    tmp_path: Path, allowed: set[int], cores: int, threads: int
) -> None:
    cpu = read(machine(tmp_path, 8), allowed)
    assert (cpu.cores, cpu.threads, cpu.threads_total) == (cores, threads, 8)


@pytest.mark.parametrize(
    ("quota", "cores", "threads"), [(0.5, 1, 1), (1.5, 1, 1), (3.9, 3, 3), (6.0, 4, 6), (99.0, 4, 8)]
)
def test_a_quota_leaves_whole_cores(tmp_path: Path, quota: float, cores: int, threads: int) -> None:
    cpu = read(machine(tmp_path, 8), cpus=quota)
    assert (cpu.cores, cpu.threads) == (cores, threads)


def test_hidden_topology_is_scaled_from_the_whole(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": CPUINFO})
    assert host.count_cores(root, [0, 1, 2, 3], physical=4, logical=8) == (2, 4)
    assert host.count_cores(root, [5], physical=4, logical=8) == (1, 1)
    assert host.count_cores(root, [], physical=4, logical=8) == (1, 1)


def test_arm_has_features_and_perhaps_no_name(tmp_path: Path) -> None:
    cpu = host.read_cpu(machine(tmp_path, 4, 1, ARM), None, Limits(), physical=4, logical=4, arch="arm64")
    assert set(cpu.features) == {"neon", "dotprod", "fp16", "i8mm", "bf16", "sve"}
    assert cpu.name == "unknown arm64 CPU"
    tree(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    cpu = host.read_cpu(str(tmp_path), None, Limits(), physical=4, logical=4, arch="arm64")
    assert cpu.name == "Raspberry Pi 5 Model B Rev 1.0"


@pytest.mark.parametrize(
    ("implementer", "part", "name"),
    [("0x41", "0xd4f", "Neoverse-V2"), ("0x41", "0xfff", ""), ("x", "0xd4f", ""), ("0x41", "", "")],
)
def test_an_arm_server_is_named_by_its_core(implementer: str, part: str, name: str) -> None:
    assert host.cpu_name(f"{ARM}CPU implementer\t: {implementer}\nCPU part\t: {part}\n") == name


def test_an_empty_proc_still_gives_a_cpu(tmp_path: Path) -> None:
    cpu = host.read_cpu(str(tmp_path), None, Limits(), physical=1, logical=1, arch="x86_64")
    assert cpu == Cpu("unknown x86_64 CPU", 1, 1, 1, ())


def test_ram_is_the_smaller_of_machine_and_limit() -> None:
    memory = Memory(total=64 * GIB, available=40 * GIB, swap_free=8 * GIB)
    assert host.read_ram(memory, Limits()).limited_by == ""
    ram = host.read_ram(memory, Limits(memory=16 * GIB, memory_available=12 * GIB, swap_free=0))
    assert (ram.total, ram.available, ram.swap_free) == (16 * GIB, 12 * GIB, 0)
    assert ram.limited_by == "cgroup"


def test_a_limit_above_the_machine_limits_nothing() -> None:
    memory = Memory(total=64 * GIB, available=40 * GIB, swap_free=0)
    ram = host.read_ram(memory, Limits(memory=100 * GIB, memory_available=90 * GIB))
    assert (ram.total, ram.available, ram.limited_by) == (64 * GIB, 40 * GIB, "")


def test_the_system_may_have_less_than_the_limit_leaves() -> None:
    memory = Memory(total=64 * GIB, available=2 * GIB, swap_free=0)
    assert host.read_ram(memory, Limits(memory=16 * GIB, memory_available=16 * GIB)).available == 2 * GIB


@pytest.mark.parametrize(
    ("machine_name", "expected"),
    [("x86_64", "x86_64"), ("AMD64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64"), ("", "unknown")],
)
def test_architectures_have_one_name(machine_name: str, expected: str) -> None:
    assert host.arch_name(machine_name) == expected


def test_systems_have_one_name() -> None:
    named = [host.system_name(name) for name in ("linux", "darwin", "win32", "freebsd14")]
    assert named == ["linux", "darwin", "windows", "linux"]


def test_a_mac_through_sysctl() -> None:
    values = {
        "machdep.cpu.brand_string": "Apple M3 Max",
        "hw.optional.arm.FEAT_DotProd": "1",
        "hw.optional.arm.FEAT_I8MM": "1",
        "hw.optional.arm.FEAT_SME": "0",
    }
    cpu = host.sysctl_cpu(values, physical=16, logical=16, arch="arm64")
    assert cpu == Cpu("Apple M3 Max", 16, 16, 16, ("neon", "dotprod", "i8mm"))
    assert host.sysctl_cpu({}, physical=4, logical=8, arch="x86_64").name == "unknown x86_64 CPU"
