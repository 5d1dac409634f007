"""Limits of containers and services, on made-up cgroup trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.hardware.cgroup import Limits, read_limits
from tests.hardware.trees import MOUNTS_V1, MOUNTS_V2, tree

GIB = 1 << 30
MOUNTS = {"proc/self/mountinfo": MOUNTS_V2}
V2 = "sys/fs/cgroup"


def v2(root: Path, path: str, files: dict[str, str]) -> Limits:
    return read_limits(tree(root, {"proc/self/cgroup": f"0::{path}\n", **MOUNTS, **files}))


def test_no_cgroup_files_mean_no_limit(tmp_path: Path) -> None:
    assert read_limits(str(tmp_path)) == Limits()


def test_v2_a_container_reads_its_namespace_root(tmp_path: Path) -> None:
    limits = v2(
        tmp_path,
        "/",
        {
            f"{V2}/memory.max": f"{8 * GIB}\n",
            f"{V2}/memory.current": f"{3 * GIB}\n",
            f"{V2}/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file 7\n",
            f"{V2}/cpu.max": "150000 100000\n",
        },
    )
    assert limits.memory == 8 * GIB
    assert limits.memory_available == 6 * GIB  # five below the limit, and one of reclaimable cache
    assert limits.cpus == 1.5


def test_v2_the_smallest_limit_on_the_way_up_wins(tmp_path: Path) -> None:
    limits = v2(
        tmp_path,
        "/user.slice/job.scope",
        {
            f"{V2}/cgroup.procs": "",
            f"{V2}/user.slice/memory.max": f"{4 * GIB}\n",
            f"{V2}/user.slice/memory.current": f"{3 * GIB}\n",
            f"{V2}/user.slice/cpu.max": "400000 100000\n",
            f"{V2}/user.slice/job.scope/memory.max": f"{6 * GIB}\n",
            f"{V2}/user.slice/job.scope/memory.current": "0\n",
            f"{V2}/user.slice/job.scope/cpu.max": "800000 100000\n",
        },
    )
    assert limits.memory == 4 * GIB
    assert limits.memory_available == GIB  # neighbours in the slice hold the rest
    assert limits.cpus == 4


def test_v2_memory_high_and_swap_count(tmp_path: Path) -> None:
    limits = v2(
        tmp_path,
        "/a",
        {
            f"{V2}/a/memory.max": "max\n",
            f"{V2}/a/memory.high": f"{2 * GIB}\n",
            f"{V2}/a/memory.swap.max": f"{GIB}\n",
            f"{V2}/a/memory.swap.current": f"{GIB // 4}\n",
        },
    )
    assert limits.memory == limits.memory_available == 2 * GIB
    assert limits.swap_free == GIB * 3 // 4


def test_v2_use_beyond_the_limit_leaves_nothing(tmp_path: Path) -> None:
    limits = v2(tmp_path, "/", {f"{V2}/memory.max": "100\n", f"{V2}/memory.current": "200\n"})
    assert limits.memory_available == 0


def test_cache_never_makes_more_available_than_the_limit(tmp_path: Path) -> None:
    files = {f"{V2}/memory.max": "100\n", f"{V2}/memory.stat": "inactive_file 500\n"}
    assert v2(tmp_path, "/", files).memory_available == 100


@pytest.mark.parametrize("path", ["/../..", "/gone/away", "", "/a\\040b"])
def test_a_path_that_cannot_be_seen_falls_back_to_what_can(tmp_path: Path, path: str) -> None:
    assert v2(tmp_path, path, {f"{V2}/memory.max": "4096\n"}).memory == 4096


def test_a_bind_mounted_group_is_found_below_its_own_root(tmp_path: Path) -> None:
    mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/abc/sub\n",
            "proc/self/mountinfo": mounts,
            f"{V2}/memory.max": "8192\n",
            f"{V2}/sub/memory.max": "4096\n",
        },
    )
    assert read_limits(root).memory == 4096


V1_CGROUP = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/x\n"


def v1(root: Path, files: dict[str, str]) -> Limits:
    base = {"proc/self/cgroup": V1_CGROUP, "proc/self/mountinfo": MOUNTS_V1}
    return read_limits(tree(root, {**base, **files}))


def test_v1_limits(tmp_path: Path) -> None:
    memory, cpu = "sys/fs/cgroup/memory/docker/abc", "sys/fs/cgroup/cpu,cpuacct/docker/abc"
    limits = v1(
        tmp_path,
        {
            f"{memory}/memory.limit_in_bytes": f"{16 * GIB}\n",
            f"{memory}/memory.usage_in_bytes": f"{10 * GIB}\n",
            f"{memory}/memory.stat": f"inactive_file 1\ntotal_inactive_file {4 * GIB}\n",
            f"{cpu}/cpu.cfs_quota_us": "50000\n",
            f"{cpu}/cpu.cfs_period_us": "100000\n",
        },
    )
    assert limits == Limits(memory=16 * GIB, memory_available=10 * GIB, swap_free=None, cpus=0.5)


def test_v1_a_hidden_parent_speaks_through_memory_stat(tmp_path: Path) -> None:
    memory = "sys/fs/cgroup/memory"
    limits = v1(
        tmp_path,
        {
            f"{memory}/memory.limit_in_bytes": "9223372036854771712\n",
            f"{memory}/memory.usage_in_bytes": f"{GIB}\n",
            f"{memory}/memory.stat": f"hierarchical_memory_limit {2 * GIB}\n",
        },
    )
    assert (limits.memory, limits.memory_available) == (2 * GIB, GIB)


def test_v1_without_limits(tmp_path: Path) -> None:
    limits = v1(
        tmp_path,
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.stat": "hierarchical_memory_limit 9223372036854771712\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert limits == Limits()


@pytest.mark.parametrize("text", ["", "max", "max max", "0 100000", "100 0", "-5 100", "a b", "1 2 3"])
def test_odd_cpu_files_are_no_limit(tmp_path: Path, text: str) -> None:
    assert v2(tmp_path, "/", {f"{V2}/cpu.max": text}).cpus is None


@pytest.mark.parametrize("text", ["", "max", "-1", "12 34", "1e9", "²", "9" * 5000])
def test_odd_memory_files_are_no_limit(tmp_path: Path, text: str) -> None:
    assert v2(tmp_path, "/", {f"{V2}/memory.max": text}).memory is None


def test_damaged_tables_are_no_limit(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "x\n\n0\n::::\n", "proc/self/mountinfo": "1 2\n - \n30 - cgroup2\n"}
    assert read_limits(tree(tmp_path, files)) == Limits()
