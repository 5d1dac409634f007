"""`localrun engine list` and `install` as users and scripts meet them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from localrun.engine.install import INDEX
from tests.fakes.nvml import Driver, fake_nvml, rtx_4090
from tests.terminal import Terminal
from tests.user import User

linux = pytest.mark.skipif(sys.platform != "linux", reason="the fake driver is an ELF file")


def test_the_wheel_is_listed_with_what_it_can(user: User) -> None:
    report = user("engine", "list", "--json").json()
    assert report["schema"] == "localrun.engines/1"
    (wheel,) = (e for e in report["engines"] if e["kind"] == "xllamacpp")
    assert wheel["usable"]
    assert wheel["default"]
    assert {"llama4", "deepseek32"} <= set(wheel["architectures"])
    assert wheel["backends"][0] == "CPU"


def test_a_server_on_path_is_what_up_takes(faker: User, fake_bin: Path) -> None:
    done = faker("engine", "list")
    assert done.code == 0, done
    assert next(line.split()[1] for line in done.out.splitlines() if line.startswith("*")) == "llama-server"
    assert str(fake_bin) in done.out


@pytest.fixture
def gamer(user: User, tmp_path: Path) -> User:
    """A user with an RTX 4090, for which the wheel that is here was not built."""
    env = fake_nvml(Driver((rtx_4090(),)), tmp_path)
    user.env |= {key: env[key] for key in ("LD_LIBRARY_PATH", "FAKE_NVML")}
    return user


@linux
def test_install_says_the_exact_command_and_asks_first(gamer: User) -> None:
    done = gamer("engine", "install")
    assert done.code == 2, done
    assert "RTX 4090, driver 570.86.15 runs CUDA 12.8" in done.err
    (command,) = (line for line in done.err.splitlines() if line.startswith("$ "))
    assert command.endswith(f"--force-reinstall --no-deps --index-url {INDEX}cu128")
    assert "needs --yes here" in done.err


@linux
def test_install_without_a_network_asks_for_none(gamer: User) -> None:
    done = gamer("engine", "install", "--yes", "--offline")
    assert done.code == 2, done
    assert "--offline forbids it" in done.err


def test_an_engine_that_fits_is_not_fetched_again(user: User) -> None:
    done = user("engine", "install", "--yes", "--json", env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.json()["installed"] == "xllamacpp"
    assert "pip install xllamacpp==" in done.err


@linux
def test_no_is_an_answer(gamer: User) -> None:
    with Terminal(gamer, "engine", "install") as terminal:
        terminal.expect(r"run this\? \[y/N\]")
        terminal.type("n\n")
        assert terminal.wait() == 0
        assert "nothing installed" in terminal.text


def test_a_native_build_without_its_sources_fails_and_leaves_no_engine(user: User) -> None:
    done = user("engine", "install", "--native", "--yes", "--offline")
    assert done.code == 1, done
    assert "the sources of llama.cpp are not here" in done.err or "a native build needs" in done.err
    engines = user.home / ".local/share/localrun/engines"
    assert not engines.exists() or [p.name for p in engines.iterdir()] == [".lock"]
