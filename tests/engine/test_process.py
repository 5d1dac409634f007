"""Processes of ours: started in a group, told from others, explained when they die, ended for sure."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.engine import interrupts, process
from localrun.engine.base import Handle
from localrun.errors import EngineError, EngineMissing, PortInUse
from localrun.hardware import system
from localrun.plan.values import Settings
from localrun.recipe.argv import to_argv
from localrun.recipe.values import Launch, Recipe
from tests.user import MARKER, marked, until


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    token = f"{os.getpid()}-{request.node.name}"
    monkeypatch.setenv(MARKER, token)
    yield
    left = marked(token)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "the test left processes"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def recipe(fake_bin: Path, tmp_path: Path) -> Recipe:
    settings, launch = Settings(512), Launch(str(tmp_path / "m.gguf"), "m", port=free_port())
    argv = (str(fake_bin / "llama-server"), *to_argv(settings, launch))
    return Recipe("llama-server", argv, (), settings, launch)


def spawn(recipe: Recipe, tmp_path: Path, mode: str = "") -> Handle:
    recipe = dataclasses.replace(recipe, environment=(*recipe.environment, ("FAKE_LLAMA", mode)))
    return process.spawn(recipe, "m@here", str(tmp_path / "m.log"))


def wait_ready(handle: Handle) -> None:
    until(lambda: process.ready(handle), what="the fake to be ready")


def test_an_engine_answers_and_ends_politely(recipe: Recipe, tmp_path: Path) -> None:
    handle = spawn(recipe, tmp_path)
    wait_ready(handle)
    assert handle.endpoint == recipe.endpoint
    assert os.getpgid(handle.pid) == handle.pid
    assert system.is_same_process(handle.pid, handle.created)
    process.stop(handle, grace=10)
    assert not system.process_group_alive(handle.pid)


def test_it_is_not_ready_while_it_loads(recipe: Recipe, tmp_path: Path) -> None:
    handle = spawn(recipe, tmp_path, "slow-load")
    until(lambda: "listening" in process.log_tail(handle), what="the fake to listen")
    assert not process.ready(handle)
    wait_ready(handle)
    process.stop(handle, grace=10)


@pytest.mark.parametrize("mode", ["stubborn", "fork", "stubborn,fork"])
def test_what_ignores_sigterm_is_killed_with_its_children(recipe: Recipe, tmp_path: Path, mode: str) -> None:
    handle = spawn(recipe, tmp_path, mode)
    wait_ready(handle)
    process.stop(handle, grace=0.2)
    assert not system.process_group_alive(handle.pid)


def test_children_of_a_leader_that_is_gone_are_ended_too(recipe: Recipe, tmp_path: Path) -> None:
    handle = spawn(recipe, tmp_path, "fork")
    wait_ready(handle)
    os.kill(handle.pid, signal.SIGKILL)
    until(lambda: process.exit_status(handle.pid) == 137, what="the leader's end")
    assert system.process_group_alive(handle.pid)
    process.stop(handle, grace=0.2)
    assert not system.process_group_alive(handle.pid)


def test_stopping_twice_is_fine(recipe: Recipe, tmp_path: Path) -> None:
    handle = spawn(recipe, tmp_path)
    process.stop(handle, grace=10)
    process.stop(handle, grace=10)


def test_a_pid_that_is_another_process_by_now_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    handle = spawn(recipe, tmp_path)
    process.stop(dataclasses.replace(handle, created=handle.created - 3600), grace=0.1)
    assert system.process_alive(handle.pid, handle.created)
    process.stop(handle, grace=10)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("die:kv", "no memory for the KV cache"),
        ("die:repack", "repacked weights"),
        ("die:sigill", "SIGILL"),
        ("die:killed", "want of memory"),
        ("die:segv", "SIGSEGV"),
        ("die:silent", "status 3"),
        ("die:flag", "does not know --fit"),
    ],
)
def test_a_death_at_the_start_is_explained(recipe: Recipe, tmp_path: Path, mode: str, said: str) -> None:
    handle = spawn(recipe, tmp_path, mode)
    with pytest.raises(EngineError, match=said):
        wait_ready(handle)


def test_a_taken_port_is_told_apart(recipe: Recipe, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", recipe.launch.port)):
        handle = spawn(recipe, tmp_path)
        with pytest.raises(PortInUse, match=f"port {recipe.launch.port} is in use"):
            wait_ready(handle)


def test_another_engine_on_the_port_is_not_taken_for_ours(recipe: Recipe, tmp_path: Path) -> None:
    first = spawn(recipe, tmp_path)
    wait_ready(first)
    other = dataclasses.replace(first, alias="theirs")
    assert not process.ready(other)
    process.stop(first, grace=10)


def test_the_status_of_a_process_of_others_is_unknown() -> None:
    assert process.exit_status(1) is None


def test_the_engine_gets_its_environment_and_nobody_s_llama_settings(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "99")
    monkeypatch.setenv("LLAMA_API_KEY", "someone's")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    shown = dataclasses.replace(
        recipe, argv=(sys.executable, "-c", "import os; print(sorted(os.environ.items()))")
    )
    handle = process.spawn(
        dataclasses.replace(shown, environment=(("A", "ä b"),)), "n@s", str(tmp_path / "log")
    )
    until(lambda: process.exit_status(handle.pid) == 0, what="the listing")
    told = dict(eval(process.log_head(handle)))  # our own repr of strings
    assert told["A"] == "ä b"
    assert told["CUDA_VISIBLE_DEVICES"] == "1"
    assert told[process.INSTANCE] == "n@s"
    assert not [key for key in told if key.startswith("LLAMA_")]


def test_an_engine_of_the_same_model_that_took_the_port_is_not_ours(recipe: Recipe, tmp_path: Path) -> None:
    first = spawn(recipe, tmp_path)
    wait_ready(first)
    idle = dataclasses.replace(recipe, argv=(sys.executable, "-c", "import time; time.sleep(60)"))
    second = process.spawn(idle, "m@here", str(tmp_path / "second.log"))
    assert not process.ready(second)
    assert process.ready(first)
    process.stop(second, grace=10)
    process.stop(first, grace=10)


def test_a_process_is_found_from_its_first_instant_on(recipe: Recipe, tmp_path: Path) -> None:
    """A kernel that is still laying a program out shows no environment of it yet."""
    idle = dataclasses.replace(recipe, argv=(sys.executable, "-c", "import time; time.sleep(60)"))
    for _ in range(200):
        handle = process.spawn(idle, "m@here", str(tmp_path / "m.log"))
        found = handle.pid in {pid for pid, _, _ in system.find_by_environment(process.INSTANCE)}
        process.stop(handle, grace=0)
        assert found


def test_it_is_found_by_its_environment_when_its_record_is_lost(recipe: Recipe, tmp_path: Path) -> None:
    handle = spawn(recipe, tmp_path)
    assert (handle.pid, "m@here") in {(p, v) for p, _, v in system.find_by_environment(process.INSTANCE)}
    process.stop(handle, grace=10)
    assert handle.pid not in {p for p, _, _ in system.find_by_environment(process.INSTANCE)}


def test_the_log_is_the_user_s_alone_and_begins_anew(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "m.log").write_text("old")
    (tmp_path / "m.log").chmod(0o600)
    handle = spawn(recipe, tmp_path)
    assert "old" not in process.log_head(handle)
    assert (tmp_path / "m.log").stat().st_mode & 0o077 == 0
    process.stop(handle, grace=10)


def test_no_such_program(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match="No such file"):
        process.spawn(dataclasses.replace(recipe, argv=("/nonexistent/x",)), "n", str(tmp_path / "log"))


def test_no_place_for_the_log(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot write the log"):
        process.spawn(recipe, "n", str(tmp_path / "missing" / "log"))


HOLDING = """
import os, signal, sys
from localrun.engine.interrupts import held
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    with held():
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        print("whole", flush=True)
        {body}
    print("never", flush=True)
except KeyboardInterrupt:
    print("then", flush=True)
except ZeroDivisionError:
    print("lost", flush=True)
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("body", ["pass", "1 / 0"])
def test_an_interrupt_waits_until_the_block_is_done(number: str, body: str) -> None:
    code = HOLDING.replace("{body}", body)
    done = subprocess.run([sys.executable, "-c", code, number], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["whole", "then"], done


def test_holding_gives_the_handlers_back_and_is_harmless_in_a_thread() -> None:
    import threading

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with interrupts.held():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    ran: list[int] = []

    def inside() -> None:
        with interrupts.held():
            ran.append(1)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert ran == [1]


def test_a_child_started_while_interrupts_are_held_is_not_deaf() -> None:
    with interrupts.held():
        child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"],
                                 stdout=subprocess.PIPE)  # fmt: skip
    assert child.stdout
    child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == -signal.SIGTERM
    child.stdout.close()
