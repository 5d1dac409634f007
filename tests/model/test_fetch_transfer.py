"""Downloads against every fault that a server can have: the file comes out right, or is not used."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.errors import FetchError
from localrun.model.part import Part
from localrun.model.retry import redact, retry_after, short_url
from localrun.model.sources import Net, Silent
from localrun.model.transfer import Http, Refused
from tests.fakes.fetching import CONTENT, Recorder, clean_env, net
from tests.fakes.hub import Fault, Hub, sha256

PATH = "/files/a.bin"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.files[PATH] = CONTENT
        yield hub


@pytest.fixture
def told() -> Recorder:
    return Recorder()


def download(
    hub: Hub,
    folder: Path,
    told: Recorder,
    *,
    total: int = len(CONTENT),
    expect: bytes = CONTENT,
    path: str = PATH,
) -> Part:
    """Downloads into `folder` and returns the closed part."""
    part = Part(folder / "a.bin")
    try:
        with Http(net(clean_env(folder), told)) as http:
            http.download_verified(
                hub.url + path, part, name="a.bin", total=total, sha256=sha256(expect), progress=told
            )
    finally:
        part.close()
    return part


def test_a_whole_file_comes_in_one_request(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    part = download(hub, tmp_path, told)
    assert part.path.read_bytes() == CONTENT
    assert [seen.range for seen in hub.requests] == [""]
    assert told.steps == [["a.bin", len(CONTENT), len(CONTENT)]]


@pytest.mark.parametrize("cut", [0, 1, 65_535, 65_536, 65_537, len(CONTENT) - 1])
def test_a_cut_connection_is_resumed_at_its_byte(hub: Hub, tmp_path: Path, told: Recorder, cut: int) -> None:
    hub.faults.append(Fault(PATH, cut=cut))
    part = download(hub, tmp_path, told)
    assert part.path.read_bytes() == CONTENT
    assert hub.requests[-1].range == (f"bytes={cut}-" if cut else "")
    assert hub.sent == len(CONTENT), "no byte is sent twice"
    assert told.steps[-1][2] == len(CONTENT)


def test_many_cuts_in_a_row_are_survived_as_long_as_bytes_come(
    hub: Hub, tmp_path: Path, told: Recorder
) -> None:
    hub.faults.append(Fault(PATH, cut=50_000, times=13))
    assert download(hub, tmp_path, told).path.read_bytes() == CONTENT
    assert max(told.waits) <= 2


def test_a_server_that_falls_silent_is_asked_again(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    """The line stays open and nothing comes: after `patience` the rest is asked for over another."""
    hub.faults.append(Fault(PATH, cut=300_000, stall=True))
    part = Part(tmp_path / "a.bin")
    impatient = Net(clean_env(tmp_path), sleep=told.waits.append, patience=1.0)
    with Http(impatient) as http:
        http.download(hub.url + PATH, part, total=len(CONTENT), progress=Silent())
    part.close()
    assert part.path.read_bytes() == CONTENT
    assert hub.requests[-1].range.startswith("bytes=")
    assert told.waits


def test_a_second_run_goes_on_where_the_first_was_given_up(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.faults += [Fault(PATH, cut=300_000), Fault(PATH, status=503, times=99)]
    with pytest.raises(FetchError, match="503") as caught:
        download(hub, tmp_path, told)
    assert "goes on from there" in caught.value.hint
    hub.faults.clear()
    assert download(hub, tmp_path, told).path.read_bytes() == CONTENT
    assert hub.sent == len(CONTENT)


def test_waits_grow_and_retry_after_is_honoured(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.faults += [Fault(PATH, status=500), Fault(PATH, status=429, headers={"Retry-After": "77"})]
    download(hub, tmp_path, told)
    assert told.waits == [1.0, 77.0]


def test_an_absurd_retry_after_is_capped(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.faults.append(Fault(PATH, status=429, headers={"Retry-After": "999999999"}))
    download(hub, tmp_path, told)
    assert told.waits == [300.0]


def test_a_server_that_only_fails_is_given_up(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.faults.append(Fault(PATH, status=503, times=99))
    with pytest.raises(FetchError, match="503"):
        download(hub, tmp_path, told)
    assert told.waits == [1.0, 2.0]


def test_no_network_is_one_clear_line(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(FetchError, match=r"^127\.0\.0\.1:9: no connection \(") as caught:
        download(hub, tmp_path, told)
    assert "check the network" in caught.value.hint


def test_a_file_that_changes_in_mid_download_is_fetched_anew(
    hub: Hub, tmp_path: Path, told: Recorder
) -> None:
    new = random.Random(2).randbytes(len(CONTENT))
    hub.faults.append(Fault(PATH, cut=300_000, then=lambda: hub.files.update({PATH: new})))
    part = download(hub, tmp_path, told, expect=new)
    assert part.path.read_bytes() == new
    assert told.steps[-1][2] == len(new)


def test_a_changed_file_with_a_pin_for_the_old_one_is_never_used(
    hub: Hub, tmp_path: Path, told: Recorder
) -> None:
    hub.faults.append(Fault(PATH, cut=300_000, then=lambda: hub.files.update({PATH: CONTENT[::-1]})))
    with pytest.raises(FetchError, match="wrong sha256"):
        download(hub, tmp_path, told)
    assert (tmp_path / "a.bin.part").stat().st_size == 0


def test_a_changed_length_is_told_at_once(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    with pytest.raises(FetchError, match="not the file that was pinned"):
        download(hub, tmp_path, told, total=len(CONTENT) + 1)
    assert told.waits == []


def test_an_announced_length_that_never_comes_is_given_up(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.faults.append(Fault(PATH, length=5, times=99))
    with pytest.raises(FetchError):
        download(hub, tmp_path, told, total=0)


def test_damaged_bytes_are_never_used_but_fetched_once_more_after_a_resume(
    hub: Hub, tmp_path: Path, told: Recorder
) -> None:
    hub.faults += [Fault(PATH, corrupt=True, cut=300_000), Fault(PATH, status=503, times=9)]
    with pytest.raises(FetchError, match="503"):
        download(hub, tmp_path, told)
    hub.faults.clear()
    assert download(hub, tmp_path, told).path.read_bytes() == CONTENT


def test_damaged_bytes_in_one_go_are_an_error(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.faults.append(Fault(PATH, corrupt=True, times=99))
    with pytest.raises(FetchError, match="wrong sha256: not used"):
        download(hub, tmp_path, told)


def test_a_server_without_ranges_is_read_from_the_start(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    hub.faults += [Fault(PATH, cut=300_000), Fault(PATH, whole=True)]
    assert download(hub, tmp_path, told).path.read_bytes() == CONTENT
    assert told.steps[-1][2] == len(CONTENT)


def test_a_part_longer_than_the_file_is_dropped(hub: Hub, tmp_path: Path, told: Recorder) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.bin.part.json").write_text('{"etag": "", "total": 0}')
    assert download(hub, tmp_path, told).path.read_bytes() == CONTENT


@pytest.mark.parametrize("about", ["", "{", "[1]", '{"etag": 1, "total": -5}', '{"total": true}', "\udcff"])
def test_a_damaged_note_about_the_part_is_survived(
    hub: Hub, tmp_path: Path, told: Recorder, about: str
) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    (tmp_path / "a.bin.part.json").write_text(about, errors="surrogateescape")
    assert download(hub, tmp_path, told).path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("file:///etc/passwd", "to file: refused, only http"),
        ("ftp://127.0.0.1/a", "only http"),
        ("data:,abc", "only http"),
        ("//[bad", "no address"),
        (PATH + "-loop", "more than 10 redirects"),
    ],
)
def test_bad_redirects_are_refused(hub: Hub, tmp_path: Path, told: Recorder, target: str, why: str) -> None:
    hub.pages[PATH + "-loop"] = (302, {"Location": target}, b"")
    with pytest.raises(FetchError, match=why):
        download(hub, tmp_path, told, path=PATH + "-loop")


def test_a_key_does_not_follow_a_redirect_to_another_host(hub: Hub, tmp_path: Path) -> None:
    with Hub() as other:
        other.files[PATH] = hub.files[PATH]
        hub.pages["/go"] = (302, {"Location": other.url + PATH}, b"")
        with Http(net(clean_env(tmp_path))) as http:
            http.get(hub.url + "/go", {"Authorization": "Bearer hf_secret"})
        assert [seen.authorization for seen in hub.requests] == ["Bearer hf_secret"]
        assert [seen.authorization for seen in other.requests] == [""]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refusal_is_not_tried_again(hub: Hub, tmp_path: Path, told: Recorder, status: int) -> None:
    hub.faults.append(Fault(PATH, status=status, times=9))
    with pytest.raises(Refused, match=str(status)) as caught:
        download(hub, tmp_path, told)
    assert (caught.value.status, told.waits) == (status, [])


@pytest.mark.parametrize("url", ["ftp://x/y", "nonsense", "http://", "http://[bad", "file:///etc/passwd"])
def test_what_is_no_http_address_is_refused(tmp_path: Path, url: str) -> None:
    with Http(net(clean_env(tmp_path))) as http, pytest.raises(FetchError):
        http.get(url)


def test_an_endless_answer_is_cut_off(hub: Hub, tmp_path: Path) -> None:
    with Http(net(clean_env(tmp_path))) as http, pytest.raises(FetchError, match="longer than"):
        http.get(hub.url + PATH, most=1000)


def test_the_bandwidth_limit_holds_on_the_average(hub: Hub, tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    limited = Net(clean_env(tmp_path), limit=100_000, sleep=sleep, clock=lambda: now[0])
    part = Part(tmp_path / "a.bin")
    with Http(limited) as http:
        http.download(hub.url + PATH, part, total=len(CONTENT), progress=Silent())
    part.close()
    assert now[0] == pytest.approx(len(CONTENT) / 100_000)


def test_a_range_reads_no_more_than_asked(hub: Hub, tmp_path: Path) -> None:
    with Http(net(clean_env(tmp_path))) as http:
        data, etag, total = http.byte_range(hub.url + PATH, 1000, 500)
    assert (data, total) == (CONTENT[1000:1500], len(CONTENT))
    assert etag
    assert hub.sent == 500


def test_secrets_do_not_reach_a_message() -> None:
    assert redact("https://user:pw@host/x?X-Amz-Signature=s") == "https://***@host/x?***"
    assert redact("key hf_abcdefgh12 refused") == "key hf_*** refused"
    assert short_url("https://u:p@host:1/x?token=s#f") == "https://host:1/x"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("-1", None)],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(text) == seconds
