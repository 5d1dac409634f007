"""hf:owner/repo:QUANT into the shared cache, as other tools find it there."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.errors import FetchError, UsageError
from localrun.model import files
from localrun.model.projector import beside
from localrun.model.pull import Pulled, pull, pull_projector
from localrun.model.sources import HubRef
from localrun.model.store import disk_use, find, local_models, remove
from tests.fakes.fetching import CONTENT, Recorder, net, where
from tests.fakes.hub import Fault, Hub, sha256

REPO = "owner/demo-GGUF"
SHARDS = [random.Random(i).randbytes(200_000 + i) for i in range(3)]
FILES = {
    "demo-Q8_0.gguf": CONTENT,
    **{f"Q4_K_M/demo-Q4_K_M-0000{i + 1}-of-00003.gguf": SHARDS[i] for i in range(3)},
    "mmproj-F16.gguf": b"projector" * 100,
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add_repo(REPO, FILES)
        yield hub


def take(env: dict[str, str], quant: str = "", offline: bool = False, told: Recorder | None = None) -> Pulled:
    return pull(HubRef(REPO, quant), where(env), net(env, told, offline), told)


def test_a_split_model_comes_whole_in_load_order_with_its_projector(hub: Hub, env: dict[str, str]) -> None:
    told = Recorder()
    got = take(env, told=told)
    assert got.quant == "Q4_K_M"
    assert [p.read_bytes() for p in got.files] == SHARDS
    assert got.mmproj is not None
    assert got.mmproj.read_bytes() == FILES["mmproj-F16.gguf"]
    assert [step[0] for step in told.steps] == [*list(FILES)[1:4], "mmproj-F16.gguf"]
    assert all(step[1] == step[2] for step in told.steps)


def test_a_projector_comes_alone_where_the_model_is_here(hub: Hub, env: dict[str, str]) -> None:
    """What `up --mmproj auto` fetches for a model that was pulled without one."""
    bare = pull(HubRef(REPO, "Q8_0"), where(env), net(env), mmproj=False)
    assert bare.mmproj is None
    assert beside(bare.files[0]) is None
    found = pull_projector(HubRef(REPO), where(env), net(env))
    assert found == beside(bare.files[0])
    assert found is not None
    assert found.read_bytes() == FILES["mmproj-F16.gguf"]
    with pytest.raises(FetchError, match="not on this machine"):
        pull_projector(HubRef(REPO), where(env), net(env, offline=True))


def test_a_second_pull_carries_no_byte(hub: Hub, env: dict[str, str]) -> None:
    first = take(env)
    sent = len(hub.bodies("/cdn/"))
    assert take(env) == first
    assert len(hub.bodies("/cdn/")) == sent


def test_offline_and_without_a_network_what_is_here_serves(hub: Hub, env: dict[str, str]) -> None:
    first = take(env)
    asked = len(hub.requests)
    assert take(env, offline=True) == first
    assert len(hub.requests) == asked
    dead = env | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert take(dead) == first
    with pytest.raises(FetchError, match="no connection"):
        pull(HubRef("owner/other"), where(dead), net(dead))


def test_offline_with_nothing_here_says_what_to_run(env: dict[str, str]) -> None:
    with pytest.raises(FetchError, match="nothing of owner/demo-GGUF is on this machine"):
        take(env, offline=True)


def test_offline_a_damaged_file_is_not_used(hub: Hub, env: dict[str, str]) -> None:
    got = take(env, "Q8_0")
    blob = got.files[0].resolve()
    blob.write_bytes(CONTENT[::-1])
    with pytest.raises(FetchError, match="is damaged"):
        take(env, "Q8_0", offline=True)
    assert take(env, "Q8_0").files[0].read_bytes() == CONTENT, "and online it is fetched again"


def test_a_damaged_download_of_another_tool_is_noticed(hub: Hub, env: dict[str, str]) -> None:
    blob = where(env).hf_hub / "models--owner--demo-GGUF" / "blobs" / sha256(CONTENT)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(len(CONTENT)))
    assert take(env, "Q8_0").files[0].read_bytes() == CONTENT


def test_huggingface_hub_finds_what_we_pulled_and_we_find_what_it_pulled(
    hub: Hub, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf = pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    ours = take(env, "Q8_0").files[0]
    cache = str(where(env).hf_hub)
    theirs = hf.try_to_load_from_cache(REPO, "demo-Q8_0.gguf", cache_dir=cache)
    assert Path(theirs) == ours
    assert hf.scan_cache_dir(cache).warnings == []
    shutil.rmtree(cache)
    name = "mmproj-F16.gguf"
    for path in ("demo-Q8_0.gguf", name):
        hf.hf_hub_download(REPO, path, cache_dir=cache, endpoint=hub.url, token=False)
    before = len(hub.bodies("/cdn/"))
    assert take(env, "Q8_0").files[0].read_bytes() == CONTENT
    assert len(hub.bodies("/cdn/")) == before


def test_a_pull_that_broke_off_goes_on(hub: Hub, env: dict[str, str]) -> None:
    hub.faults += [Fault("/cdn/", cut=100_000), Fault("/cdn/", status=503, times=99)]
    with pytest.raises(FetchError, match="503"):
        take(env, "Q8_0")
    hub.faults.clear()
    assert take(env, "Q8_0").files[0].read_bytes() == CONTENT
    assert hub.bodies("/cdn/")[-2].range == "bytes=100000-"


def test_wrong_bytes_never_get_a_name(hub: Hub, env: dict[str, str]) -> None:
    hub.faults.append(Fault("/cdn/", corrupt=True, times=99))
    with pytest.raises(FetchError, match="wrong sha256"):
        take(env, "Q8_0")
    assert local_models(where(env)) == ()


def test_room_for_all_shards_is_checked_before_the_first(
    hub: Hub, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("U", (), {"free": 500_000})())
    with pytest.raises(FetchError, match="not enough room"):
        take(env)
    assert hub.bodies("/cdn/") == []


@pytest.mark.parametrize(
    ("status", "code", "why", "hint"),
    [
        (403, "GatedRepo", "is gated", "accept the terms at"),
        (401, "GatedRepo", "is gated", "HF_TOKEN"),
        (401, "", "no repository owner/demo-GGUF that is open to you", "HF_TOKEN"),
        (404, "RepoNotFound", "no repository", "check the name"),
        (404, "RevisionNotFound", "no such file or revision", "tree/main"),
    ],
)
def test_refusals_are_explained(
    hub: Hub, env: dict[str, str], status: int, code: str, why: str, hint: str
) -> None:
    for path in ("/api/models", "/resolve/"):
        hub.faults[:] = [Fault(path, status=status, headers={"X-Error-Code": code}, times=9)]
        with pytest.raises(FetchError, match=why) as caught:
            take(env)
        assert hint in caught.value.hint


def test_the_key_goes_to_the_hub_and_not_to_its_cdn(hub: Hub, env: dict[str, str]) -> None:
    take(env | {"HF_TOKEN": "hf_secretsecret"}, "Q8_0")
    cdn = hub.bodies("/cdn/")
    assert {seen.authorization for seen in cdn} == {""}
    assert {seen.authorization for seen in hub.requests if seen not in cdn} == {"Bearer hf_secretsecret"}


def test_a_key_from_the_login_file_is_used(hub: Hub, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".cache/huggingface").mkdir(parents=True)
    (tmp_path / ".cache/huggingface/token").write_text("hf_fromfile\n")
    take(env, "Q8_0")
    assert hub.requests[0].authorization == "Bearer hf_fromfile"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"sha": 1, "siblings": []}',
        b'{"sha": "x", "siblings": []}',
        b'{"siblings": [{}]}',
        b'{"siblings": 3}',
    ],
)
def test_a_nonsense_answer_of_the_hub_is_one_clear_line(hub: Hub, env: dict[str, str], answer: bytes) -> None:
    hub.pages[f"/api/models/{REPO}/revision/main"] = (200, {}, answer)
    with pytest.raises(FetchError, match="the hub's answer about"):
        take(env)


def test_a_file_name_that_leaves_the_repository_is_refused(hub: Hub, env: dict[str, str]) -> None:
    hub.add_repo(REPO, {"../../evil.gguf": b"x"})
    with pytest.raises(FetchError, match="leaves its folder"):
        take(env)


def test_a_file_without_a_stated_sha256_is_not_used(hub: Hub, env: dict[str, str]) -> None:
    page = hub.pages[f"/api/models/{REPO}/revision/main"]
    hub.pages[f"/api/models/{REPO}/revision/main"] = (
        *page[:2],
        page[2].replace(sha256(CONTENT).encode(), b"none"),
    )
    with pytest.raises(FetchError, match="states no sha256"):
        take(env, "Q8_0")


def test_an_endpoint_of_another_scheme_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(FetchError, match="HF_ENDPOINT"):
        take(env | {"HF_ENDPOINT": "file:///etc"})


def test_list_shows_what_is_here_with_its_true_size(hub: Hub, env: dict[str, str]) -> None:
    take(env)
    take(env, "Q8_0")
    (where(env).models / "mine").mkdir(parents=True)
    (where(env).models / "mine" / "x-Q4_0.gguf").write_bytes(CONTENT)
    found = {m.name: (m.bytes, m.source, m.quant) for m in local_models(where(env))}
    assert found == {
        f"hf:{REPO}:Q4_K_M": (sum(map(len, SHARDS)), "hugging face", "Q4_K_M"),
        f"hf:{REPO}:Q8_0": (len(CONTENT), "hugging face", "Q8_0"),
        f"hf:{REPO}:mmproj-F16.gguf": (900, "hugging face", "mmproj"),
        "mine/x-Q4_0": (len(CONTENT), "models", "Q4_0"),
    }


def test_one_file_under_two_names_is_counted_once(env: dict[str, str]) -> None:
    models = where(env).models
    models.mkdir(parents=True)
    (models / "a.gguf").write_bytes(CONTENT)
    os.link(models / "a.gguf", models / "b.gguf")
    (models / "c.gguf").symlink_to("a.gguf")
    here = local_models(where(env))
    assert len(here) == 3
    assert disk_use(here) == -(-len(CONTENT) // 4096) * 4096
    assert find(where(env), "a").disk == 0, "removing one of two names gives nothing back"


def test_a_sparse_file_is_counted_by_what_it_takes(env: dict[str, str]) -> None:
    models = where(env).models
    models.mkdir(parents=True)
    with (models / "big.gguf").open("wb") as file:
        file.truncate(1 << 40)
    (model,) = local_models(where(env))
    assert model.bytes == 1 << 40
    assert disk_use([model]) < 1 << 20


def test_rm_frees_the_blobs_that_nothing_else_holds(hub: Hub, env: dict[str, str]) -> None:
    take(env, "Q8_0")
    old = where(env).hf_hub / "models--owner--demo-GGUF/snapshots" / ("d" * 40) / "demo-Q8_0.gguf"
    old.parent.mkdir(parents=True)
    old.symlink_to("../../blobs/" + sha256(CONTENT))
    blob = old.resolve()
    name = f"hf:{REPO}:Q8_0"
    assert find(where(env), name).disk == 0
    assert remove(where(env), name) == 0
    assert blob.exists(), "an older snapshot still leads to it"
    assert remove(where(env), f"hf:{REPO}@{'d' * 12}:Q8_0") > len(CONTENT) - 4096
    assert not blob.exists()


def test_rm_of_our_own_model_and_of_an_unknown_one(hub: Hub, env: dict[str, str]) -> None:
    models = where(env).models
    models.mkdir(parents=True)
    (models / "demo.Q4_1.gguf").write_bytes(CONTENT)
    with pytest.raises(UsageError, match="no model 'demo'") as caught:
        remove(where(env), "demo")
    assert caught.value.hint == "did you mean demo.Q4_1?"
    assert remove(where(env), "demo.Q4_1") >= len(CONTENT)
    assert local_models(where(env)) == ()


def test_a_link_out_of_the_cache_is_neither_shown_nor_used(
    hub: Hub, env: dict[str, str], tmp_path: Path
) -> None:
    take(env, "Q8_0")
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    (where(env).hf_hub / "models--owner--demo-GGUF/snapshots" / ("c" * 40) / "out-Q4_0.gguf").symlink_to(
        secret
    )
    assert local_models(where(env)) == ()
    with pytest.raises(FetchError, match="leads out of the cache"):
        take(env, "Q4_0", offline=True)


def test_a_shard_that_is_missing_is_counted(hub: Hub, env: dict[str, str]) -> None:
    got = take(env)
    got.files[1].unlink()
    model = next(m for m in local_models(where(env)) if m.quant == "Q4_K_M")
    assert model.missing == 1
    with pytest.raises(FetchError, match="shard 2 of 3"):
        take(env, "Q4_K_M", offline=True)
