"""Several files at a time: in order, with a bar for each and one over all; one failure stops them."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from localrun.errors import FetchError
from localrun.model.pull import Pulled, pull
from localrun.model.sources import HubRef
from tests.fakes.fetching import Recorder, net, where
from tests.fakes.hub import Fault, Hub, sha256

REPO = "owner/demo-GGUF"
SHARDS = [random.Random(i).randbytes(600_000 + i) for i in range(6)]
TOTAL = sum(map(len, SHARDS))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add_repo(REPO, {f"demo-Q8_0-{i + 1:05}-of-00006.gguf": data for i, data in enumerate(SHARDS)})
        yield hub


def take(env: dict[str, str], overall: Recorder, bars: list[Recorder]) -> Pulled:
    def new() -> Recorder:
        bars.append(Recorder())
        return bars[-1]

    return pull(HubRef(REPO), where(env), net(env), overall, bars=new)


def test_shards_come_three_at_a_time_and_in_load_order(hub: Hub, env: dict[str, str]) -> None:
    overall, bars = Recorder(), list[Recorder]()
    three = threading.Barrier(3, timeout=30)
    hub.faults.append(Fault("/cdn/", times=3, then=three.wait))  # no answer before three were asked for
    got = take(env, overall, bars)
    assert [path.read_bytes() for path in got.files] == SHARDS
    assert not three.broken
    assert hub.most_at_once == 3
    assert overall.steps == [[f"{REPO} Q8_0", TOTAL, TOTAL]]
    assert [bar.steps[0][1:] for bar in bars] == [[len(data), len(data)] for data in SHARDS]
    assert {bar.open for bar in bars} | {overall.open} == {0}


def test_the_bar_over_all_is_right_after_cuts_and_restarts(hub: Hub, env: dict[str, str]) -> None:
    hub.faults += [Fault("/cdn/", cut=200_000, times=3), Fault("/cdn/", whole=True, times=2)]
    overall = Recorder()
    take(env, overall, [])
    assert overall.steps[0][2] == TOTAL


def test_one_failure_stops_all_and_the_next_run_goes_on(hub: Hub, env: dict[str, str]) -> None:
    third = sha256(SHARDS[2])
    hub.faults.append(Fault(third, status=404, times=9))
    overall, bars = Recorder(), list[Recorder]()
    with pytest.raises(FetchError, match="no such file"):
        take(env, overall, bars)
    assert {bar.open for bar in bars} | {overall.open} == {0}
    hub.faults.clear()
    blobs = where(env).hf_hub / "models--owner--demo-GGUF/blobs"
    hub.settle()
    kept = sum(path.stat().st_size for path in blobs.iterdir() if path.suffix != ".json")
    hub.sent = 0
    assert [path.read_bytes() for path in take(env, Recorder(), []).files] == SHARDS
    asked = len(hub.pages[f"/api/models/{REPO}/revision/main"][2])
    assert hub.sent == TOTAL - kept + asked, "no byte that was kept is sent again"


def test_ctrl_c_stops_every_stream(hub: Hub, env: dict[str, str]) -> None:
    class Impatient(Recorder):
        def advance(self, n: int) -> None:
            super().advance(n)
            if self.steps[0][2] > 500_000:  # type: ignore[operator]
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(env, Impatient(), [])
    assert hub.sent < TOTAL
