"""A log that is written without end keeps its start, its last part, and its place on the disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun import running
from localrun.engine import log_cap
from tests.user import User, until

#: Numbered lines, a hundred bytes each, after a head that tells an error.
WRITER = """
import os, sys
os.write(1, b"error: the first\\n")
for i in range(int(sys.argv[1])):
    os.write(1, b"".join(b"%099d\\n" % n for n in range(i * 1000, i * 1000 + 1000)))
"""
MIB = 1 << 20


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """An empty log on a file system that has holes."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * (4 * MIB))
    with path.open("r+b") as file:
        try:
            log_cap._punch(file.fileno(), MIB, MIB)
        except OSError:
            pytest.skip("no holes on this file system")
        file.truncate(0)
    return path


def taken(path: Path) -> int:
    return path.stat().st_blocks * 512


def write(path: Path, thousands: int) -> subprocess.Popen[bytes]:
    with path.open("ab") as file:
        return subprocess.Popen([sys.executable, "-c", WRITER, str(thousands)], stdout=file)


def numbers(text: bytes) -> list[int]:
    return [int(n) for n in re.findall(rb"^(\d{99})$", text, re.MULTILINE)]


def whole(parts: Iterator[bytes]) -> bytes:
    return b"".join(parts)


def test_a_short_log_is_left_alone(log: Path) -> None:
    write(log, 20).wait()
    before = log.read_bytes()
    log_cap.trim_file(str(log))
    assert log.read_bytes() == before
    assert whole(running.follow(log, lambda: False)) == before


def test_what_floods_is_cut_in_the_middle_while_it_is_written(log: Path) -> None:
    with write(log, 1500) as writer:  # 150 MB
        cuts = 0
        while writer.poll() is None:
            descriptor = os.open(log, os.O_WRONLY)
            cuts += log_cap.trim(descriptor)
            os.close(descriptor)
    log_cap.trim_file(str(log))
    assert cuts > 0
    assert taken(log) <= log_cap.MOST + MIB
    text = log.read_bytes()
    assert text.startswith(b"error: the first\n")
    assert len(text) == len(b"error: the first\n") + 1500 * 1000 * 100
    last = numbers(text[-log_cap.TAIL :])
    assert last == list(range(last[0], 1_500_000)), "nothing of the last part is missing"
    assert numbers(text[: log_cap.HEAD])[:3] == [0, 1, 2]


def test_a_reader_goes_on_over_the_cut_and_is_told_of_it(log: Path) -> None:
    write(log, 600).wait()
    log_cap.trim_file(str(log))
    assert taken(log) <= log_cap.MOST
    text = whole(running.follow(log, lambda: False))
    assert b"\0" not in text
    assert re.search(rb"\n\[[0-9.]+ MiB of the log are gone\]\n", text)
    found = numbers(text)
    assert found[:2] == [0, 1]
    assert found[-1] == 599_999
    assert len(text) < log_cap.MOST


def test_who_follows_while_it_floods_loses_no_line_without_being_told(log: Path) -> None:
    got: list[bytes] = []
    writer = write(log, 1500)
    with writer:
        reader = threading.Thread(
            target=lambda: got.extend(running.follow(log, lambda: writer.poll() is None, lambda _: None))
        )
        reader.start()
        while writer.poll() is None:
            log_cap.trim_file(str(log))
        reader.join()
    text = b"".join(got)
    assert b"\0" not in text
    for piece in re.split(rb"\n\[[^]\n]* of the log are gone\]\n", text):
        found = numbers(piece)
        assert found == list(range(found[0], found[0] + len(found))) if found else True
    assert numbers(text)[-1] == 1_499_999


def test_the_embedded_engines_process_holds_its_own_log_to_it(log: Path, user: User) -> None:
    write(log, 600).wait()
    code = "from localrun.engine import host; host._LOOK = 0.01; host._wait_for_signal()"
    with log.open("ab") as file:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=file, env=user.env)
    assert taken(log) > log_cap.MOST
    until(lambda: taken(log) <= log_cap.MOST)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0


def test_what_cannot_be_cut_is_left_alone(tmp_path: Path) -> None:
    log_cap.trim_file(str(tmp_path / "none"))
    reading, writing = os.pipe()
    assert not log_cap.trim(writing)
    os.close(reading)
    os.close(writing)
