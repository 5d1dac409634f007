"""One big file over several connections: every byte once, whatever the hub does, and exactly resumable."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.errors import FetchError
from localrun.model.part import Part, held
from localrun.model.sources import Net, UrlSource
from localrun.model.transfer import Http, Refused
from tests.fakes.fetching import NAME, Nursery, Recorder, clean_env, wanted, where
from tests.fakes.hub import Fault, Hub, sha256

PATH = "/files/big.bin"
SEGMENT = 100_000
BIG = random.Random(5).randbytes(10 * SEGMENT + 12_345)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.chunk = 10_000
        hub.files[PATH] = BIG
        yield hub


def take(
    hub: Hub, folder: Path, *, streams: int = 4, expect: bytes = BIG, told: Recorder | None = None
) -> bytes:
    """The file, as `download_verified` makes it in `folder`."""
    told = told or Recorder()
    part = Part(folder / "big.bin")
    net = Net(clean_env(folder), sleep=told.waits.append, streams=streams, segment=SEGMENT)
    try:
        with Http(net) as http:
            http.download_verified(
                hub.url + PATH, part, name="big", total=len(expect), sha256=sha256(expect), progress=told
            )
    finally:
        part.close()
    return part.path.read_bytes()


def test_four_connections_are_open_at_once_and_every_byte_comes_once(hub: Hub, tmp_path: Path) -> None:
    four = threading.Barrier(4, timeout=30)
    hub.faults.append(Fault(PATH, times=4, then=four.wait))  # no answer before four were asked for
    told = Recorder()
    assert take(hub, tmp_path, told=told) == BIG
    assert not four.broken
    assert hub.most_at_once == 4
    assert hub.sent == len(BIG)
    assert sorted(int(seen.range[6:].split("-")[0]) for seen in hub.requests) == [
        i * SEGMENT for i in range(11)
    ]
    assert told.steps == [["big", len(BIG), len(BIG)]]
    assert told.open == 0


def test_a_hub_that_throttles_each_connection_is_used_over_four(hub: Hub, tmp_path: Path) -> None:
    """What a connection may carry in a second bounds the time: each carries a quarter, not one the whole."""
    hub.files[PATH] = BIG[: 8 * SEGMENT]
    four = threading.Barrier(4, timeout=30)  # as if each were slow: none is answered before four have asked
    hub.faults.append(Fault(PATH, times=8, then=four.wait))
    take(hub, tmp_path, expect=BIG[: 8 * SEGMENT])
    assert sorted(hub.carried.values()) == [2 * SEGMENT] * 4
    (tmp_path / "one").mkdir()
    hub.carried.clear()
    take(hub, tmp_path / "one", streams=1, expect=BIG[: 8 * SEGMENT])
    assert list(hub.carried.values()) == [8 * SEGMENT]


@pytest.mark.parametrize("cut", [0, 1, 9_999, 10_000, SEGMENT - 1])
def test_cut_connections_go_on_at_their_byte(hub: Hub, tmp_path: Path, cut: int) -> None:
    hub.faults.append(Fault(PATH, cut=cut, times=6))
    assert take(hub, tmp_path) == BIG
    assert hub.sent == len(BIG), "no byte is sent twice"


def test_a_second_run_asks_for_the_gaps_only(hub: Hub, tmp_path: Path) -> None:
    hub.faults += [Fault(PATH, cut=30_000, times=4), Fault(PATH, status=503, times=999)]
    with pytest.raises(FetchError, match="503") as caught:
        take(hub, tmp_path)
    assert "goes on from there" in caught.value.hint
    hub.settle()
    kept = held(tmp_path / "big.bin")
    assert kept >= 30_000
    hub.faults.clear()
    hub.sent = 0
    assert take(hub, tmp_path) == BIG
    assert hub.sent == len(BIG) - kept


def test_what_one_connection_began_four_complete_and_the_other_way_round(hub: Hub, tmp_path: Path) -> None:
    hub.faults += [Fault(PATH, cut=250_000), Fault(PATH, status=503, times=99)]
    with pytest.raises(FetchError):
        take(hub, tmp_path, streams=1)
    hub.faults[:] = [Fault(PATH, cut=20_000, times=4), Fault(PATH, status=503, times=999)]
    with pytest.raises(FetchError):
        take(hub, tmp_path, streams=4)
    hub.settle()
    hub.faults.clear()
    assert take(hub, tmp_path, streams=1) == BIG
    assert hub.sent == len(BIG)


def test_a_file_that_changes_in_mid_download_is_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    new = random.Random(6).randbytes(len(BIG))
    hub.faults += [Fault(PATH), Fault(PATH, cut=30_000, then=lambda: hub.files.update({PATH: new}))]
    told = Recorder()
    assert take(hub, tmp_path, expect=new, told=told) == new
    assert told.steps[-1][2] == len(new)


def test_a_changed_file_with_a_pin_for_the_old_one_is_never_used(hub: Hub, tmp_path: Path) -> None:
    hub.faults.append(Fault(PATH, cut=30_000, then=lambda: hub.files.update({PATH: BIG[::-1]})))
    with pytest.raises(FetchError, match="wrong sha256"):
        take(hub, tmp_path)
    assert held(tmp_path / "big.bin") == 0


def test_a_server_without_ranges_is_read_from_the_start_over_one_connection(hub: Hub, tmp_path: Path) -> None:
    hub.faults.append(Fault(PATH, whole=True, times=99))
    told = Recorder()
    assert take(hub, tmp_path, told=told) == BIG
    assert told.steps[-1][2] == len(BIG)
    assert hub.requests[-1].range == ""


def test_a_host_that_forbids_a_second_connection_is_read_over_one(hub: Hub, tmp_path: Path) -> None:
    hub.most = 1
    told = Recorder()
    assert take(hub, tmp_path, told=told) == BIG
    assert told.steps[-1][2] == len(BIG)


def test_a_refusal_of_all_is_told_at_once(hub: Hub, tmp_path: Path) -> None:
    hub.faults.append(Fault(PATH, status=403, times=99))
    told = Recorder()
    with pytest.raises(Refused, match="403"):
        take(hub, tmp_path, told=told)
    assert not any(told.waits)


def test_another_length_is_told_at_once(hub: Hub, tmp_path: Path) -> None:
    told = Recorder()
    hub.files[PATH] = BIG + b"more"
    with pytest.raises(FetchError, match="not the file that was pinned"):
        take(hub, tmp_path, told=told)
    assert told.waits == []


def test_damaged_bytes_are_never_used_but_fetched_once_more_after_a_resume(hub: Hub, tmp_path: Path) -> None:
    hub.faults += [Fault(PATH, corrupt=True, cut=30_000, times=4), Fault(PATH, status=503, times=999)]
    with pytest.raises(FetchError, match="503"):
        take(hub, tmp_path)
    hub.faults.clear()
    assert take(hub, tmp_path) == BIG
    hub.faults.append(Fault(PATH, corrupt=True, times=99))
    (tmp_path / "again").mkdir()
    with pytest.raises(FetchError, match="wrong sha256: not used"):
        take(hub, tmp_path / "again")


@pytest.mark.parametrize("damage", [b"", b"\xff" * 88, b"short", None])
def test_damaged_counts_only_cost_the_bytes(hub: Hub, tmp_path: Path, damage: bytes | None) -> None:
    hub.faults += [Fault(PATH, cut=30_000, times=4), Fault(PATH, status=503, times=999)]
    with pytest.raises(FetchError):
        take(hub, tmp_path)
    hub.settle()
    hub.faults.clear()
    counts = tmp_path / "big.bin.part.done"
    counts.unlink() if damage is None else counts.write_bytes(damage)
    assert take(hub, tmp_path) == BIG


def test_counts_without_their_bytes_are_not_believed(hub: Hub, tmp_path: Path) -> None:
    hub.faults += [Fault(PATH, cut=30_000, times=4), Fault(PATH, status=503, times=999)]
    with pytest.raises(FetchError):
        take(hub, tmp_path)
    hub.settle()
    hub.faults.clear()
    (tmp_path / "big.bin.part").unlink()
    assert held(tmp_path / "big.bin") == 0
    assert take(hub, tmp_path) == BIG


def test_ctrl_c_stops_every_connection_and_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    class Impatient(Recorder):
        def advance(self, n: int) -> None:
            super().advance(n)
            if self.steps[0][2] > 300_000:  # type: ignore[operator]
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(hub, tmp_path, told=Impatient())
    hub.settle()
    assert hub.sent < len(BIG)
    assert held(tmp_path / "big.bin") > 200_000
    assert take(hub, tmp_path) == BIG


@pytest.mark.skipif(sys.platform == "win32", reason="fork and SIGKILL")
@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_bytes_the_file_is_right_at_the_end(hub: Hub, tmp_path: Path, kills: int) -> None:
    """The hub kills the client once it has sent so many bytes, over four connections."""
    big = random.Random(7).randbytes(6_000_011)
    hub.files[f"/plain/{NAME}"], hub.chunk = big, 4096
    env, dice = clean_env(tmp_path, hub), random.Random(kills)
    target = where(env).models / NAME
    ends = []
    request = wanted(UrlSource(f"{hub.url}/plain/{NAME}"), content=big)
    with Nursery(request, env, streams=4, segment=300_000) as nursery:
        for _ in range(kills):
            victim: list[int] = []
            limit = hub.sent + dice.randrange(2 * len(big) // kills)

            def shoot(sent: int, victim: list[int] = victim, limit: int = limit) -> None:
                with hub.lock:
                    prey = victim.pop() if victim and sent >= limit else 0
                if prey:
                    os.kill(prey, signal.SIGKILL)

            hub.on_sent = shoot
            victim.append(nursery.begin())
            ends.append(nursery.ended())
            assert not target.exists() or target.read_bytes() == big
        hub.on_sent = lambda _: None
        nursery.begin()
        assert nursery.ended() == 0
    assert target.read_bytes() == big
    assert set(ends) <= {0, -signal.SIGKILL}
    assert ends.count(-signal.SIGKILL) > kills // 8, "the kills must hit"
    left = {p.name.removeprefix(NAME) for p in (target.parent / ".fetch").iterdir()}
    assert left == {".lock", ".verified"}
