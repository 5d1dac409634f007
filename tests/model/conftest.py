"""A hub on the loopback, and a user who has only that; a module that wants files in it has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fetching import clean_env
from tests.fakes.hub import Hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def env(tmp_path: Path, hub: Hub) -> dict[str, str]:
    return clean_env(tmp_path, hub)
