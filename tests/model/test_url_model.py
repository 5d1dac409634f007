"""`https://host/path/model.gguf`: planned from its header, fetched, pinned, and never taken for another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localrun.errors import FetchError, LocalrunError
from localrun.model import files, url_model
from localrun.model.header import read_model
from localrun.model.sources import UrlRef, parse_url
from localrun.model.store import local_models, remove
from localrun.model.transfer import Http
from tests.fakes.fetching import Recorder, clean_env, net, where
from tests.fakes.hub import Fault, Hub, sha256
from tests.model import tiny
from tests.model.test_header import split
from tests.model.test_sources_remote import big_vocabulary
from tests.user import User


@pytest.fixture
def env(tmp_path: Path, hub: Hub) -> dict[str, str]:
    return clean_env(tmp_path / "home", hub)


@pytest.fixture
def data(tmp_path: Path, hub: Hub) -> bytes:
    """A model at /m/tiny.gguf whose header alone is over a MB."""
    hub.files["/m/tiny.gguf"] = big_vocabulary(tmp_path).read_bytes()
    return hub.files["/m/tiny.gguf"]


def ref_of(text: str) -> UrlRef:
    ref = parse_url(text)
    assert isinstance(ref, UrlRef)
    return ref


def take(text: str, env: dict[str, str], told: Recorder | None = None) -> Path:
    ref, paths, online = ref_of(text), where(env), net(env, told or Recorder())
    with Http(online) as http:
        published = url_model.published(http, ref)
    return url_model.fetch(ref, published, paths, online, told or Recorder(), Recorder)


def left(env: dict[str, str]) -> set[str]:
    staging = where(env).models / ".fetch"
    return {p.name.partition(".gguf")[2] for p in staging.rglob("*") if p.is_file()}


def test_a_plan_needs_its_header_alone(hub: Hub, env: dict[str, str], data: bytes, tmp_path: Path) -> None:
    with Http(net(env)) as http:
        published = url_model.published(http, ref_of(f"{hub.url}/m/tiny.gguf"))
        model = url_model.read(http, published, where(env), "tiny")
    local = read_model(tmp_path / "tiny-F16.gguf", "tiny")
    assert (model.tensors, model.shape) == (local.tensors, local.shape)
    assert [(file.name, file.bytes) for file in model.files] == [("tiny.gguf", len(data))]
    assert hub.sent < local.files[0].data_offset + (2 << 20)
    assert not where(env).models.exists(), "nothing of the model is on the disk"
    hub.sent = 0
    with Http(net(env)) as http:
        again = url_model.published(http, ref_of(f"{hub.url}/m/tiny.gguf?signed=anew"))
        assert url_model.read(http, again, where(env), "tiny") == model
    assert hub.sent == 512, "the header is kept by its ETag"


def test_it_comes_whole_and_is_found_again_without_the_network(
    hub: Hub, env: dict[str, str], data: bytes
) -> None:
    url = f"{hub.url}/m/tiny.gguf?token=hunter2".replace("://", "://me:hunter2@")
    path = take(url, env)
    assert path.read_bytes() == data
    assert path.parent.parent == where(env).models
    assert left(env) == {".lock", ".verified", ".from"}
    hub.requests.clear()
    assert url_model.find(ref_of(url), where(env)) == path
    assert url_model.find(ref_of(url.replace("hunter2", "other")), where(env)) == path, "whoever asks"
    assert hub.requests == []
    kept = "".join(str(p) + p.read_text() for p in (where(env).models / ".fetch").rglob("*") if p.is_file())
    assert "hunter2" not in kept + str(path)
    assert json.loads(
        path.parent.parent.joinpath(".fetch", path.parent.name, "tiny.gguf.from").read_text()
    ) == {
        "url": f"{hub.url}/m/tiny.gguf",
        "validator": f'"{sha256(data)[:16]}"',
        "sha256": sha256(data),
    }


def test_a_user_and_password_go_to_the_host_and_to_no_other(
    hub: Hub, env: dict[str, str], data: bytes
) -> None:
    with Hub() as cdn:
        cdn.files["/x"] = data
        hub.pages["/m/moved.gguf"] = (302, {"Location": f"{cdn.url}/x"}, b"")
        take(f"{hub.url}/m/moved.gguf".replace("://", "://me:pw@"), env)
        assert {seen.authorization for seen in hub.requests} == {"Basic bWU6cHc="}
        assert {seen.authorization for seen in cdn.requests} == {""}


def test_a_cut_download_goes_on_at_its_byte(hub: Hub, env: dict[str, str], data: bytes) -> None:
    hub.faults += [Fault("/m/", times=1), Fault("/m/", cut=300_000), Fault("/m/", status=503, times=99)]
    with pytest.raises(FetchError, match="503"):
        take(f"{hub.url}/m/tiny.gguf", env)
    hub.faults.clear()
    hub.requests.clear()
    assert take(f"{hub.url}/m/tiny.gguf", env).read_bytes() == data
    assert [seen.range for seen in hub.requests] == ["bytes=0-511", "bytes=300000-"]


def test_the_beginning_of_an_older_version_is_dropped(
    hub: Hub, env: dict[str, str], data: bytes, tmp_path: Path
) -> None:
    hub.faults += [Fault("/m/", times=1), Fault("/m/", cut=300_000), Fault("/m/", status=503, times=99)]
    with pytest.raises(FetchError):
        take(f"{hub.url}/m/tiny.gguf", env)
    hub.faults.clear()
    (tmp_path / "new").mkdir()
    hub.files["/m/tiny.gguf"] = big_vocabulary(tmp_path / "new", word="another vocabulary").read_bytes()
    assert take(f"{hub.url}/m/tiny.gguf", env).read_bytes() == hub.files["/m/tiny.gguf"] != data


def test_without_any_validator_nothing_is_resumed(hub: Hub, env: dict[str, str], data: bytes) -> None:
    """Bytes of two versions in one file could not be told apart."""
    no = {"ETag": ""}
    hub.faults += [
        Fault("/m/", headers=no),
        Fault("/m/", cut=300_000, headers=no),
        Fault("/m/", status=503, times=9),
    ]
    with pytest.raises(FetchError):
        take(f"{hub.url}/m/tiny.gguf", env)
    hub.faults[:] = [Fault("/m/", headers=no, times=9)]
    hub.requests.clear()
    assert take(f"{hub.url}/m/tiny.gguf", env).read_bytes() == data
    assert [seen.range for seen in hub.requests] == ["bytes=0-511", ""]


def test_a_pinned_sha256_is_held(hub: Hub, env: dict[str, str], data: bytes) -> None:
    url = f"{hub.url}/m/tiny.gguf"
    with pytest.raises(FetchError, match="wrong sha256: not used"):
        take(f"{url}#sha256={'0' * 64}", env)
    assert url_model.find(ref_of(url), where(env)) is None
    assert take(f"{url}#sha256={sha256(data)}", env).read_bytes() == data
    with pytest.raises(FetchError, match="not the file that #sha256= names"):
        url_model.find(ref_of(f"{url}#sha256={'0' * 64}"), where(env))


def test_a_file_that_was_changed_here_is_not_used(hub: Hub, env: dict[str, str], data: bytes) -> None:
    path = take(f"{hub.url}/m/tiny.gguf", env)
    path.touch()
    assert url_model.find(ref_of(f"{hub.url}/m/tiny.gguf"), where(env)) == path
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(FetchError, match="it was changed"):
        url_model.find(ref_of(f"{hub.url}/m/tiny.gguf"), where(env))


def test_the_shards_of_a_split_model_come_together(hub: Hub, env: dict[str, str], tmp_path: Path) -> None:
    shards = split(tmp_path)
    for shard in shards:
        hub.files[f"/m/{shard.name}"] = shard.read_bytes()
    path = take(f"{hub.url}/m/{shards[1].name}", env)
    assert path.name == shards[0].name
    assert [p.read_bytes() for p in sorted(path.parent.iterdir())] == [s.read_bytes() for s in shards]
    (model,) = local_models(where(env))
    assert (len(model.files), model.missing) == (3, 0)


def test_a_pin_is_that_of_the_shard_that_is_named(hub: Hub, env: dict[str, str], tmp_path: Path) -> None:
    shards = split(tmp_path)
    for shard in shards:
        hub.files[f"/m/{shard.name}"] = shard.read_bytes()
    url = f"{hub.url}/m/{shards[1].name}#sha256="
    with pytest.raises(FetchError, match=r"-00002-of-00003.gguf: .* has the wrong sha256"):
        take(url + sha256(shards[0].read_bytes()), env)
    right = url + sha256(shards[1].read_bytes())
    assert take(right, env).name == shards[0].name
    assert url_model.find(ref_of(right), where(env))
    with pytest.raises(FetchError, match=r"-00002-of-00003.gguf is not the file"):
        url_model.find(ref_of(url + "0" * 64), where(env))


def test_shards_of_two_versions_are_never_put_together(hub: Hub, env: dict[str, str], tmp_path: Path) -> None:
    """One came, then the rest failed; before the next try the publisher replaced all of them."""
    shards = split(tmp_path)
    for shard in shards:
        hub.files[f"/m/{shard.name}"] = shard.read_bytes()
    path = take(f"{hub.url}/m/{shards[0].name}", env)
    (path.parent / shards[2].name).unlink()
    for shard in shards:
        hub.files[f"/m/{shard.name}"] = shard.read_bytes()[:-1] + b"2"
    assert take(f"{hub.url}/m/{shards[0].name}", env) == path
    assert [p.read_bytes()[-1:] for p in sorted(path.parent.iterdir())] == [b"2"] * 3
    assert url_model.find(ref_of(f"{hub.url}/m/{shards[0].name}"), where(env)) == path


def test_a_part_without_the_whole_length_does_not_pass_for_it(
    hub: Hub, env: dict[str, str], data: bytes
) -> None:
    hub.pages["/m/x.gguf"] = (206, {"Content-Range": "bytes 0-511/*"}, data[:512])
    with pytest.raises(FetchError, match="does not say how long the file is"):
        take(f"{hub.url}/m/x.gguf", env)


def test_a_missing_shard_is_said_before_anything_is_fetched(
    hub: Hub, env: dict[str, str], tmp_path: Path
) -> None:
    shards = split(tmp_path)
    for shard in shards[:2]:
        hub.files[f"/m/{shard.name}"] = shard.read_bytes()
    with pytest.raises(FetchError, match=r"-00003-of-00003.gguf is not there: a shard is missing"):
        take(f"{hub.url}/m/{shards[0].name}", env)
    assert not where(env).models.exists()


def test_a_shard_of_another_model_is_refused(hub: Hub, env: dict[str, str], tmp_path: Path) -> None:
    shards = split(tmp_path)
    for shard in shards:
        hub.files[f"/m/{shard.name}"] = shard.read_bytes()
    tiny.write(shards[2], tensors=tiny.dense(), general={"split.no": 0, "split.count": 1})
    hub.files[f"/m/{shards[2].name}"] = shards[2].read_bytes()
    with Http(net(env)) as http, pytest.raises(LocalrunError):
        url_model.read(
            http, url_model.published(http, ref_of(f"{hub.url}/m/{shards[0].name}")), where(env), "x"
        )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"", "is an empty file"),
        (b"GG", "not a model"),
    ],
)
def test_what_is_no_model_is_one_clear_line(hub: Hub, env: dict[str, str], body: bytes, why: str) -> None:
    hub.files["/m/x.gguf"] = body
    with pytest.raises(LocalrunError, match=why):
        take(f"{hub.url}/m/x.gguf?token=hunter2", env)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,GGUF"])
def test_a_redirect_to_another_scheme_is_refused(hub: Hub, env: dict[str, str], target: str) -> None:
    hub.pages["/m/x.gguf"] = (302, {"Location": target}, b"")
    with pytest.raises(FetchError, match="only http"):
        take(f"{hub.url}/m/x.gguf", env)


def test_too_little_room_is_said_before_the_first_byte(
    hub: Hub, env: dict[str, str], data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("U", (), {"free": len(data) - 1})())
    with pytest.raises(FetchError, match="not enough room"):
        take(f"{hub.url}/m/tiny.gguf", env)
    assert hub.sent == 512


def test_rm_leaves_nothing_of_it_but_the_lock(hub: Hub, env: dict[str, str], data: bytes) -> None:
    path = take(f"{hub.url}/m/tiny.gguf", env)
    (model,) = local_models(where(env))
    assert remove(where(env), model.name) >= len(data)
    assert not path.parent.exists()
    assert left(env) == {".lock"}


def test_a_model_of_an_address_is_planned_pulled_run_listed_and_removed(faker: User, tmp_path: Path) -> None:
    """As a user does it; no password of theirs is printed or kept anywhere."""
    with Hub() as hub:
        hub.files["/m/demo.gguf"] = tiny.write(tmp_path / "demo.gguf").read_bytes()
        url = f"{hub.url}/m/demo.gguf?sig=hunter2".replace("://", "://me:hunter2@")
        done = [faker("plan", url, "--json"), faker("show", url), faker("plan", url, "-v")]
        assert json.loads(done[0].out)["model"]["files"] == [
            {"name": "demo.gguf", "bytes": len(hub.files["/m/demo.gguf"])}
        ]
        done.append(faker("up", url, "--dry-run"))
        assert f"localrun pull {hub.url}/m/demo.gguf" in done[-1].err, "what can be typed"
        done += [faker("pull", url), faker("run", url, "hello"), faker("up", url, "--dry-run")]
        done += [faker("plan", url + "x", "-v"), faker("pull", url.replace("/m/", "/n/"), "-v")]
        assert [d.code for d in done] == [0, 0, 0, 0, 0, 0, 0, 0, 1], done
    path = Path(done[4].out.strip())
    assert path.read_bytes() == (tmp_path / "demo.gguf").read_bytes()
    done += [faker("plan", url, "--offline"), faker("list"), faker("doctor"), faker("doctor", "--json")]
    assert [d.code for d in done[9:11]] == [0, 0]
    done.append(faker("rm", url, "--yes"))
    assert done[-1].code == 0
    assert not path.exists()
    gone = faker("plan", url, "--offline")
    assert (gone.code, "--offline forbids" in gone.err) == (1, True)
    assert "hunter2" not in "".join(d.out + d.err for d in (*done, gone))
    for file in faker.home.rglob("*"):
        assert "hunter2" not in str(file)
        if file.is_file():
            assert b"hunter2" not in file.read_bytes(), file
