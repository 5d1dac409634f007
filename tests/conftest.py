"""A home of its own for each test, the real default model fetched once, and no process left behind."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.config import paths
from tests.fakes import llama_server
from tests.user import User, clean_environment


def pytest_configure() -> None:
    """What a machine's load, or the shell that started the suite, must not decide."""
    from hypothesis import HealthCheck, settings

    settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("suite")
    # A shell that runs the suite in the background has SIGINT ignored, and every child inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The real SmolLM2: fetched once into the user's own models folder, as `localrun up` would."""
    from localrun.model.fetch import ensure
    from localrun.model.sources import DEFAULT_MODEL, Net

    return ensure(DEFAULT_MODEL, paths(os.environ), Net(os.environ))


@pytest.fixture(scope="session")
def models(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder that holds the default model, verified, so that no test fetches or hashes it."""
    folder = tmp_path_factory.mktemp("models")
    stamps = default_model.parent / ".fetch"
    shutil.copytree(
        stamps, folder / ".fetch", ignore=lambda _, names: [n for n in names if "verified" not in n]
    )
    try:
        os.link(default_model, folder / default_model.name)
    except OSError:  # another disk
        shutil.copy2(default_model, folder / default_model.name)
    return folder


def make_user(home: Path) -> User:
    home.mkdir(parents=True, exist_ok=True)
    return User(home, clean_environment(home))


def finish(user: User) -> None:
    left = user.finish()
    assert not left, f"the test left processes: {left}"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """A user with an empty home and no model. Fails the test that leaves a process."""
    someone = make_user(tmp_path / "home")
    yield someone
    finish(someone)


@pytest.fixture
def owner(user: User, models: Path) -> User:
    """A user who has the default model."""
    user.env["LOCALRUN_MODELS_DIR"] = str(models)
    return user


@pytest.fixture(scope="session")
def fake_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fake llama-server, to put on PATH."""
    return llama_server.install(tmp_path_factory.mktemp("bin"))


@pytest.fixture
def faker(user: User, fake_bin: Path, tmp_path: Path) -> User:
    """A user with the fake llama-server on PATH and a tiny model, `user.home / "tiny.gguf"`."""
    from tests.model import tiny

    tiny.write(user.home / "tiny.gguf")
    user.env["PATH"] = f"{fake_bin}{os.pathsep}{user.env['PATH']}"
    return user
