"""Headers of models that are not here: read by range, no more of them than needed, and only once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.errors import FetchError, HeaderError
from localrun.model.header import read_model
from localrun.model.hub_source import Repo, list_repo
from localrun.model.remote import read_remote, remote_model
from localrun.model.sources import HubRef
from localrun.model.transfer import Http
from localrun.model.variants import choose, variants_of
from tests.fakes.fetching import clean_env, net, where
from tests.fakes.hub import Fault, Hub, sha256
from tests.model import tiny

REPO = "owner/tiny-GGUF"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture
def env(tmp_path: Path, hub: Hub) -> dict[str, str]:
    return clean_env(tmp_path, hub)


@pytest.fixture
def http(env: dict[str, str]) -> Iterator[Http]:
    with Http(net(env)) as http:
        yield http


def big_vocabulary(folder: Path, n: int = 40_000) -> Path:
    """A model whose header alone is over a MB, and whose weights are larger than that."""
    words = [f"a token of some length {i:08}" for i in range(n)]
    keys = {"tokenizer.ggml.tokens": words, "tokenizer.ggml.model": "gpt2"}
    tensors = tiny.dense() | {"token_embd.weight": (64, n), "output.weight": (64, n)}
    return tiny.write(folder / "tiny-F16.gguf", {"vocab_size": n}, tensors, general=keys)


def listed(http: Http, env: dict[str, str]) -> Repo:
    return list_repo(http, HubRef(REPO), env)


def test_a_remote_model_is_the_same_as_the_local_one(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = big_vocabulary(tmp_path)
    hub.add_repo(REPO, {path.name: path.read_bytes()})
    repo = listed(http, env)
    hub.sent = 0
    got = remote_model(http, repo, choose(variants_of(repo.files), "", REPO), where(env), env)
    here = read_model(path)
    assert (got.shape, got.tensors, got.weights_bytes) == (here.shape, here.tensors, here.weights_bytes)
    assert (got.quant, got.files[0].bytes, got.files[0].data_offset) == (
        here.quant,
        here.files[0].bytes,
        here.files[0].data_offset,
    )
    assert got.size_source == "header"
    assert here.files[0].data_offset < hub.sent < here.files[0].data_offset + (2 << 20)


def test_a_header_that_was_read_once_is_not_read_again(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = big_vocabulary(tmp_path)
    hub.add_repo(REPO, {path.name: path.read_bytes()})
    repo = listed(http, env)
    variant = choose(variants_of(repo.files), "", REPO)
    first = remote_model(http, repo, variant, where(env), env)
    before = len(hub.requests)
    assert remote_model(http, repo, variant, where(env), env) == first
    assert len(hub.requests) == before


def test_a_kept_header_that_is_damaged_is_read_again(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = tiny.write(tmp_path / "tiny-F16.gguf")
    hub.add_repo(REPO, {path.name: path.read_bytes()})
    repo = listed(http, env)
    variant = choose(variants_of(repo.files), "", REPO)
    first = remote_model(http, repo, variant, where(env), env)
    (where(env).cache / "headers" / sha256(path.read_bytes())).write_bytes(b"GGUF")
    assert remote_model(http, repo, variant, where(env), env) == first


def test_a_plain_address_is_kept_by_its_etag(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = big_vocabulary(tmp_path)
    hub.files["/m.gguf"] = path.read_bytes()
    first = read_remote(http, hub.url + "/m.gguf", "", where(env))
    before = len(hub.requests)
    assert read_remote(http, hub.url + "/m.gguf", "", where(env)).tensors == first.tensors
    assert len(hub.requests) == before + 1, "one range that tells the ETag"


def test_a_file_that_changes_while_its_header_is_read_is_refused(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    whole = big_vocabulary(tmp_path).read_bytes()
    hub.files["/m.gguf"] = whole
    hub.faults.append(Fault("/m.gguf", then=lambda: hub.files.update({"/m.gguf": whole[:-1] + b"x"})))
    with pytest.raises(FetchError, match="changed while its header was read"):
        read_remote(http, hub.url + "/m.gguf", "", where(env))


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"<html>" * 100, "bad-Q8_0.gguf"), (b"GGUF\3\0\0\0", "ends inside its header"), (b"", "answered 416")],
)
def test_what_is_no_model_is_one_clear_line(
    hub: Hub, http: Http, env: dict[str, str], data: bytes, why: str
) -> None:
    hub.add_repo(REPO, {"bad-Q8_0.gguf": data})
    repo = listed(http, env)
    with pytest.raises((HeaderError, FetchError), match=why):
        remote_model(http, repo, choose(variants_of(repo.files), "", REPO), where(env), env)


def test_a_server_without_ranges_is_not_read_to_its_end(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = big_vocabulary(tmp_path)
    hub.files["/m.gguf"] = path.read_bytes() + bytes(50 << 20)
    hub.faults.append(Fault("/m.gguf", whole=True, times=99))
    with pytest.raises(FetchError, match="does not answer ranges"):
        read_remote(http, hub.url + "/m.gguf", "", where(env))
    assert hub.sent < 50 << 20
