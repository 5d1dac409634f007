"""`localrun engine list` and `install` as users and scripts meet them."""

from __future__ import annotations

from pathlib import Path

from tests.user import User


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


def test_install_says_the_exact_command_and_asks_first(user: User) -> None:
    done = user("engine", "install")
    assert done.code == 2, done
    assert "$ " in done.err
    assert "needs --yes here" in done.err


def test_install_without_a_network_asks_for_none(user: User) -> None:
    done = user("engine", "install", "--yes", "--offline", env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.code == 2, done
    assert "--offline forbids it" in done.err


def test_a_native_build_without_its_sources_fails_and_leaves_no_engine(user: User) -> None:
    done = user("engine", "install", "--native", "--yes", "--offline")
    assert done.code == 1, done
    assert "the sources of llama.cpp are not here" in done.err or "a native build needs" in done.err
    engines = user.home / ".local/share/localrun/engines"
    assert not engines.exists() or [p.name for p in engines.iterdir()] == [".lock"]
