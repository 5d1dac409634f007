"""Processes and memory, of real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.hardware import system

MIB = 1 << 20
GONE = 2**22 + 7  # above the kernel's largest pid


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own that holds 64 MiB, and says so."""
    script = "x = bytearray(64 << 20)\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_memory_of_this_machine() -> None:
    memory = system.memory()
    assert 0 < memory.available <= memory.total
    assert memory.swap_free >= 0


def test_memory_of_a_process(child: subprocess.Popen[str]) -> None:
    memory = system.process_memory(child.pid)
    assert memory is not None
    assert memory.anonymous >= 64 * MIB
    assert memory.rss == memory.anonymous + memory.shared
    if sys.platform == "linux":
        assert MIB < memory.shared < 64 * MIB  # the interpreter's own code and libraries


def test_children_are_summed(child: subprocess.Popen[str]) -> None:
    alone = system.process_memory(os.getpid(), children=False)
    family = system.process_memory(os.getpid())
    assert alone is not None
    assert family is not None
    assert family.anonymous >= alone.anonymous + 60 * MIB


def test_a_process_that_is_gone() -> None:
    assert system.process_memory(GONE) is None
    assert system.process_create_time(GONE) is None
    assert not system.process_alive(GONE)
    assert not system.process_alive(0)
    assert not system.process_group_alive(GONE)
    assert not system.process_group_alive(0)
    assert system.process_name(GONE) == ""


def test_a_process_is_known_by_when_it_began(child: subprocess.Popen[str]) -> None:
    began = system.process_create_time(child.pid)
    assert began is not None
    assert system.process_alive(child.pid)
    assert system.process_alive(child.pid, began)
    assert not system.process_alive(child.pid, began - 1000)  # an older process that had this pid
    assert system.process_name(child.pid)


def test_a_zombie_neither_runs_nor_keeps_its_group(child: subprocess.Popen[str]) -> None:
    began = system.process_create_time(child.pid)
    assert system.process_group_alive(child.pid)
    os.killpg(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody reaped it
    assert not system.process_alive(child.pid, began)
    assert not system.process_group_alive(child.pid)
    child.wait()


def test_free_disk_of_a_place_that_is_not_there_yet(tmp_path: Path) -> None:
    assert system.disk_free(str(tmp_path / "a" / "b")) > 0
    assert system.existing(str(tmp_path / "a" / "b")) == str(tmp_path)
