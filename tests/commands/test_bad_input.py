"""Repositories and addresses that are wrong or mean harm: one clear line, exit 1, nothing fetched or kept."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.hub import Fault, Hub
from tests.model import tiny
from tests.model.test_header import split
from tests.user import User, until

REPO = "someone/bad-GGUF"
Files = dict[str, bytes]


def whole(folder: Path) -> bytes:
    return tiny.write(folder / "whole.gguf").read_bytes()


def shards(folder: Path) -> Files:
    return {f"Q8_0/{path.name}": path.read_bytes() for path in split(folder)}


def one_missing(folder: Path) -> Files:
    found = shards(folder)
    del found["Q8_0/m-00002-of-00003.gguf"]
    return found


def of_another_model(folder: Path) -> Files:
    other = tiny.write(folder / "o.gguf", tensors=tiny.dense(), general={"split.no": 2, "split.count": 3})
    return shards(folder) | {"Q8_0/m-00003-of-00003.gguf": other.read_bytes()}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (lambda _: {"README.md": b"words", "model.safetensors": b"x" * 99}, "holds no GGUF file"),
        (lambda _: {}, "holds no GGUF file"),
        (one_missing, "shard 2 of 3 of Q8_0 is missing"),
        (of_another_model, "00003-of-00003|shard|tensor"),
        (
            lambda folder: {"../../../evil-Q8_0.gguf": whole(folder)},
            "refused: a file name that leaves its folder",
        ),
        (
            lambda folder: {"/etc/evil-Q8_0.gguf": whole(folder)},
            "refused: a file name that leaves its folder",
        ),
        (
            lambda folder: {"a\\..\\evil-Q8_0.gguf": whole(folder)},
            "refused: a file name that leaves its folder",
        ),
        (lambda _: {"web-Q8_0.gguf": b"<html>Sign in</html>" * 40}, "web page"),
        (lambda folder: {"cut-Q8_0.gguf": whole(folder)[:900]}, "ends inside|cut"),
    ],
    ids=(
        "no GGUF",
        "empty",
        "shard missing",
        "foreign shard",
        "dots",
        "absolute",
        "backslashes",
        "a page",
        "cut",
    ),
)
@pytest.mark.parametrize("command", ["plan", "pull"])
def test_a_wrong_repository_is_refused_in_one_line(
    user: User, tmp_path: Path, files: Callable[[Path], Files], why: str, command: str
) -> None:
    with Hub() as hub:
        hub.add_repo(REPO, files(tmp_path))
        user.env["HF_ENDPOINT"] = hub.url
        done = user(command, f"hf:{REPO}")
        assert done.code == 1, done
        assert re.search(why, done.err), done.err
        assert len(done.err.splitlines()) <= 3, done.err
        assert "Traceback" not in done.err
    assert not list(user.home.parent.rglob("evil*"))
    assert not list(user.home.rglob("*.gguf*")), "nothing was fetched"


def test_a_link_out_of_the_cache_is_neither_served_nor_shown(user: User, tmp_path: Path) -> None:
    outside = tiny.write(tmp_path / "secret-Q8_0.gguf")
    snapshot = user.home / ".cache/huggingface/hub/models--someone--bad-GGUF/snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "m-Q8_0.gguf").symlink_to(outside)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("c" * 40)
    assert user("list", "--json").json()["local"] == []
    done = user("pull", f"hf:{REPO}:Q8_0", "--offline")
    assert done.code == 1, done
    assert "leads out of the cache" in done.err
    assert outside.exists()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "data:,x"])
@pytest.mark.parametrize("at", ["/resolve/", "/cdn/"])
def test_a_hub_that_redirects_elsewhere_is_refused(user: User, tmp_path: Path, target: str, at: str) -> None:
    with Hub() as hub:
        hub.add_repo(REPO, {"m-Q8_0.gguf": whole(tmp_path)})
        hub.faults.append(Fault(at, status=302, headers={"Location": target}, times=99))
        user.env["HF_ENDPOINT"] = hub.url
        done = user("pull", f"hf:{REPO}:Q8_0")
    assert done.code == 1, done
    assert "refused, only http(s) is followed" in done.err
    assert not list(user.home.rglob("*.gguf"))


def test_two_pulls_at_once_fetch_one_file_once(user: User, tmp_path: Path) -> None:
    """The second waits for the first, by name and by address alike."""
    data = tiny.write(tmp_path / "m-Q8_0.gguf").read_bytes()
    with Hub() as hub:
        hub.add_repo(REPO, {"m-Q8_0.gguf": data})
        hub.files["/m/m.gguf"] = data
        user.env["HF_ENDPOINT"] = hub.url
        for name in (f"hf:{REPO}:Q8_0", f"{hub.url}/m/m.gguf"):
            hub.requests.clear()
            both = [user.start("pull", name), user.start("pull", name)]
            ended = [one.wait() for one in both]
            assert [one.code for one in ended] == [0, 0], ended
            assert ended[0].out == ended[1].out
            assert Path(ended[0].out.strip()).read_bytes() == data
            whole_files = [s for s in hub.requests if not s.range and ("/cdn/" in s.path or "/m/" in s.path)]
            assert len(whole_files) == 1, whole_files


def test_a_pull_that_is_killed_goes_on_in_the_next(user: User, tmp_path: Path) -> None:
    data = tiny.write(tmp_path / "m.gguf", tensors=tiny.dense(400), keys={"block_count": 400}).read_bytes()
    with Hub() as hub:
        hub.files["/m/m.gguf"] = data
        url = f"{hub.url}/m/m.gguf"
        user("plan", url)
        # Both looks at its beginning pass.
        hub.faults += [Fault("/m/", times=2), Fault("/m/", cut=len(data) // 2, stall=True)]
        first = user.start("pull", url)
        part = user.home / ".local/share/localrun/models/.fetch"
        until(lambda: sum(p.stat().st_size for p in part.rglob("*.part")) >= len(data) // 2)
        first.signal(signal.SIGKILL)
        assert first.wait().code == 137
        hub.requests.clear()
        done = user("pull", url)
        assert done.code == 0, done
        assert hub.requests[-1].range == f"bytes={len(data) // 2}-"
        assert Path(done.out.strip()).read_bytes() == data


@pytest.mark.parametrize(
    ("closed", "args"), [("<&-", ("tokenize", "tiny.gguf")), (">&-", ("list",)), ("2>&-", ("list",))]
)
def test_a_closed_standard_stream_is_nothing_to_read_and_nowhere_to_write(
    faker: User, closed: str, args: tuple[str, ...]
) -> None:
    done = faker(*args, prefix=("sh", "-c", f'exec "$@" {closed}', "sh"))
    assert "a bug" not in done.err
    assert "Traceback" not in done.err
    if args == ("list",):
        assert done.code == 0
