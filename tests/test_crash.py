"""Ended at the worst moment: killed, interrupted, out of disk. Nothing is lost and nothing is left."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localrun.config import Session, load, paths
from localrun.model.sources import DEFAULT_MODEL
from tests.expecting import in_foreground, nothing_left, one_line
from tests.terminal import Terminal
from tests.user import Background, User, until

ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def record_of(user: User) -> Path:
    (path,) = user.run_folder.glob("*.json")
    return path


# ---- killed ----------------------------------------------------------------------------------------


def test_an_engine_outlives_a_killed_localrun_and_is_found_and_stopped(faker: User) -> None:
    serving = in_foreground(faker)
    serving.signal(signal.SIGKILL)
    serving.wait()
    (one,) = faker.ps()
    assert one["state"] == "ready"
    assert faker("run", "tiny", "hi").code == 0, "it still serves"
    assert faker("down", "tiny").out == "stopped tiny\n"
    nothing_left(faker)


@pytest.mark.engine
def test_the_real_engine_outlives_a_killed_localrun_too(owner: User) -> None:
    serving = owner.start("up", "-t", "1", "-c", "512")
    until(owner.is_ready, what="the engine")
    serving.signal(signal.SIGKILL)
    serving.wait()
    assert [r["state"] for r in owner.ps()] == ["ready"]
    assert owner("down").code == 0
    nothing_left(owner)


def test_a_localrun_killed_while_the_engine_loads(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "never"
    starting = faker.start("up", "-d", "tiny.gguf")
    until(faker.is_loading, what="the record")
    starting.signal(signal.SIGKILL)
    starting.wait()
    (one,) = faker.ps()
    assert one["state"] == "starting"
    assert faker("down").code == 0
    nothing_left(faker)


def test_up_after_a_kill_starts_anew_and_leaves_one_engine(faker: User) -> None:
    starting = faker.start("up", "-d", "tiny.gguf", env={"FAKE_LLAMA": "never"})
    until(faker.is_loading, what="the record")
    starting.signal(signal.SIGKILL)
    starting.wait()
    assert faker("up", "-d", "tiny.gguf").code == 0
    assert len(faker.engines()) == 1
    assert [r["state"] for r in faker.ps()] == ["ready"]
    faker("down")


def test_a_start_that_never_came_to_a_process_is_forgotten(faker: User) -> None:
    """Killed after the first record and before the spawn."""
    assert faker("up", "-d", "tiny.gguf").code == 0
    path = record_of(faker)
    record = json.loads(path.read_text())
    faker("down")
    record["handle"]["pid"], record["state"], record["owner"] = 0, "starting", 999_999_999
    path.write_text(json.dumps(record))
    assert faker.ps() == []
    assert not path.exists()


def removed(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:70])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def without_pid(path: Path) -> None:
    """As it is written before the engine is spawned."""
    record = json.loads(path.read_text())
    record["handle"] |= {"pid": 0, "created": 0.0}
    path.write_text(json.dumps({**record, "state": "starting", "owner": 999_999_999}))


def older(path: Path) -> None:
    path.write_text(json.dumps({"schema": 0, "pid": json.loads(path.read_text())["handle"]["pid"]}))


def newer(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99, "more": [1]}))


@pytest.mark.parametrize(
    ("broken", "how"),
    [
        (removed, ("down",)),
        (removed, ("down", "tiny")),
        (cut, ("down", "--all")),
        (cut, ("down",)),
        (emptied, ("down", "tiny")),
        (without_pid, ("down",)),
        (without_pid, ("down", "--all")),
        (older, ("down", "tiny")),
        (newer, ("down",)),
    ],
)
def test_an_engine_whose_record_is_lost_is_told_of_and_stopped(
    faker: User, broken: Callable[[Path], None], how: tuple[str, ...]
) -> None:
    assert faker("up", "-d", "tiny.gguf").code == 0
    broken(record_of(faker))
    if how == ("down",):
        done = faker("ps")
        assert done.code == 0
        assert "localrun down tiny stops it" in done.err
    done = faker(*how)
    assert (done.code, done.out) == (0, "stopped tiny\n"), done
    nothing_left(faker)
    assert not list(faker.run_folder.glob("*.json"))


@pytest.mark.parametrize("broken", [removed, cut])
def test_up_ends_an_engine_whose_record_is_lost_before_it_starts_another(
    faker: User, broken: Callable[[Path], None]
) -> None:
    assert faker("up", "-d", "tiny.gguf").code == 0
    broken(record_of(faker))
    assert faker("up", "-d", "tiny.gguf").code == 0
    assert len(faker.engines()) == 1
    faker("down")
    nothing_left(faker)


def test_an_engine_of_a_later_version_is_stopped_all_the_same(faker: User) -> None:
    assert faker("up", "-d", "tiny.gguf").code == 0
    path = record_of(faker)
    record = json.loads(path.read_text())
    record["handle"]["engine"] = "warp-drive"
    path.write_text(json.dumps(record))
    assert [r["engine"] for r in faker.ps()] == ["warp-drive"]
    assert faker("down").code == 0
    nothing_left(faker)


def test_another_user_s_engines_are_not_ours(faker: User, tmp_path: Path) -> None:
    assert faker("up", "-d", "tiny.gguf").code == 0
    elsewhere = {"XDG_STATE_HOME": str(tmp_path / "elsewhere")}
    assert faker("ps", "--json", env=elsewhere).json()["running"] == []
    assert faker("down", "--all", env=elsewhere).out == "nothing runs\n"
    assert len(faker.engines()) == 1
    faker("down")


def test_what_an_engine_leaves_behind_when_it_is_killed_goes_with_down(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "fork"
    assert faker("up", "-d", "tiny.gguf").code == 0
    os.kill(faker.ps()[0]["pid"], signal.SIGKILL)
    until(lambda: len(faker.processes()) == 1, what="the leader's end; its child stays")
    assert [r["state"] for r in faker.ps()] == ["failed"]
    assert faker("down").code == 0
    assert faker.processes() == []


# ---- interrupted -----------------------------------------------------------------------------------


def ended(user: User, command: Background, number: int) -> None:
    command.signal(number)
    done = command.wait()
    assert done.code == 130, done
    assert "Traceback" not in done.err
    assert user.processes() == []
    nothing_left(user)


@pytest.mark.parametrize("number", ENDINGS)
def test_interrupted_while_it_fetches(user: User, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        user.env |= {
            "PIP_INDEX_URL": f"{address}/simple",
            "PIP_CONFIG_FILE": os.devnull,
            "HF_ENDPOINT": address,
        }
        # A connection that an interrupt cut off is closed by the interpreter, which would say so.
        user.env |= {
            "PIP_FIND_LINKS": "",
            "PIP_NO_INDEX": "",
            "PYTHONWARNINGS": "error,ignore::ResourceWarning",
        }
        fetching = user.start("up")
        silent.settimeout(30)
        peer, _ = silent.accept()
        with peer:
            ended(user, fetching, number)
    assert not list((user.home / ".local/share/localrun/models").glob(f"{DEFAULT_MODEL.name}*"))


@pytest.mark.parametrize(
    ("args", "number"),
    [
        (("up", "tiny.gguf"), signal.SIGINT),
        (("up", "-d", "tiny.gguf"), signal.SIGTERM),
        (("up", "-d", "tiny.gguf"), signal.SIGINT),
        (("run", "./tiny.gguf", "hi"), signal.SIGHUP),
    ],
)
def test_interrupted_while_the_engine_loads(faker: User, args: tuple[str, ...], number: int) -> None:
    faker.env["FAKE_LLAMA"] = "never"
    starting = faker.start(*args)
    until(faker.is_loading, what="the record")
    ended(faker, starting, number)


@pytest.mark.parametrize("number", ENDINGS)
def test_interrupted_while_it_serves(faker: User, number: int) -> None:
    ended(faker, in_foreground(faker), number)


@pytest.mark.parametrize("number", ENDINGS)
def test_interrupted_in_the_middle_of_an_answer(faker: User, number: int) -> None:
    faker.env["FAKE_LLAMA"] = "slow"
    asking = faker.start("run", "./tiny.gguf", "hi")
    assert asking.process.stdout
    assert asking.process.stdout.read(2) == b"w0"
    ended(faker, asking, number)


def test_an_interrupted_answer_leaves_an_engine_that_ran_before(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "slow"
    assert faker("up", "-d", "tiny.gguf").code == 0
    asking = faker.start("run", "tiny", "hi")
    assert asking.process.stdout
    assert asking.process.stdout.read(2) == b"w0"
    asking.signal(signal.SIGINT)
    assert asking.wait().code == 130
    log = faker.state / "logs/tiny.log"
    until(lambda: "the client went away" in log.read_text(), what="the engine to stop generating")
    assert [r["state"] for r in faker.ps()] == ["ready"]
    faker("down")


def test_a_second_up_that_is_interrupted_leaves_the_first_one_s_engine(faker: User) -> None:
    serving = in_foreground(faker)
    second = faker.start("up", "tiny.gguf")
    assert second.process.stderr
    for line in second.process.stderr:
        if line.startswith(b"serving"):
            break
    second.signal(signal.SIGINT)
    assert second.wait().code == 130
    assert [r["state"] for r in faker.ps()] == ["ready"]
    ended(faker, serving, signal.SIGINT)


def test_pressed_twice_it_still_leaves_nothing(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "stubborn"
    serving = in_foreground(faker)
    serving.signal(signal.SIGINT)
    until(lambda: not list(faker.run_folder.glob("*.json")), what="the stop to begin")
    serving.signal(signal.SIGINT)
    done = serving.wait()
    assert done.code == 130
    assert "Traceback" not in done.err
    assert faker.processes() == []


@pytest.mark.slow
def test_interrupted_at_any_moment_nothing_is_left(faker: User) -> None:
    """From its first import to the watch, twelve moments of `up`."""
    began = time.monotonic()
    serving = in_foreground(faker)
    whole = time.monotonic() - began
    ended(faker, serving, signal.SIGINT)
    for step in range(12):
        starting = faker.start("up", "tiny.gguf")
        began = time.monotonic()
        while time.monotonic() - began < whole * step / 12:
            time.sleep(0.001)
        starting.signal(signal.SIGINT)
        done = starting.wait()
        assert done.code == 130 or "Could not import runpy" in done.err, (step, done)
        # Before our first line runs, Python itself prints what it was importing, or finds no runpy.
        assert "Traceback" not in done.err or "localrun/cli" not in done.err, (step, done.err)
        assert faker.processes() == [], step
    nothing_left(faker)


def test_ctrl_c_in_a_terminal_ends_up_and_its_engine(faker: User) -> None:
    with Terminal(faker, "up", "tiny.gguf") as terminal:
        terminal.expect("KV 0/512 tokens")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "stopped tiny" in terminal.text
        assert "Traceback" not in terminal.text
    nothing_left(faker)


def test_closing_the_terminal_ends_up_and_its_engine(faker: User) -> None:
    with Terminal(faker, "up", "tiny.gguf") as terminal:
        terminal.expect("KV 0/512 tokens")
        os.close(terminal._master)
        terminal._master = os.open(os.devnull, os.O_RDONLY)
        terminal.process.wait(30)
    until(lambda: faker.processes() == [], what="everything to end")
    nothing_left(faker)


# ---- the disk is full ------------------------------------------------------------------------------


def limited(size: int) -> Callable[[], None]:
    """What a child process sets: no file of its own may grow above `size` bytes."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_a_disk_without_room_for_the_record(faker: User) -> None:
    done = faker("up", "-d", "tiny.gguf", preexec_fn=limited(100))
    one_line(done, 1, "cannot write", "File too large")
    assert faker.processes() == []
    assert not [p for p in faker.run_folder.iterdir() if p.suffix in (".json", ".draft")]


def test_a_disk_without_room_for_the_log_does_not_matter(faker: User) -> None:
    done = faker("up", "-d", "tiny.gguf", preexec_fn=limited(4096))
    assert done.code == 0, done
    assert faker("down").code == 0
    nothing_left(faker)


def test_a_full_standard_output_is_one_line(user: User) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        done = user.start("ps", "--json", stdout=full).wait()
    assert done.code == 1
    assert "No space left on device" in done.err
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err


def test_a_reader_that_goes_away_is_no_traceback(faker: User) -> None:
    assert faker("up", "-d", "tiny.gguf").code == 0
    reading = faker.start("logs", "tiny")
    assert reading.process.stdout
    reading.process.stdout.close()
    reading.process.stdout = None
    done = reading.wait()
    assert done.err == ""
    faker("down")


def test_sessions_are_what_the_commands_use(user: User) -> None:
    """The helper's idea of the state folder is localrun's own."""
    found = Session(load(user.env), paths(user.env))
    assert found.paths.state == user.state
