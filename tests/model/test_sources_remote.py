"""Headers of models that are not here: read by range, no more of them than needed, and only once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localrun.errors import FetchError, HeaderError
from localrun.model.header import read_model
from localrun.model.hub_source import HubRepo, list_repo
from localrun.model.remote import RepoHeaders, remote_model
from localrun.model.remote_header import read_remote
from localrun.model.sources import HubRef
from localrun.model.transfer import Http
from localrun.model.variants import choose, variants_of
from tests.fakes.fetching import net, where
from tests.fakes.hub import Fault, Hub, sha256
from tests.model import tiny

REPO = "owner/tiny-GGUF"


@pytest.fixture
def http(env: dict[str, str]) -> Iterator[Http]:
    with Http(net(env)) as http:
        yield http


def big_vocabulary(
    folder: Path,
    n: int = 40_000,
    *,
    name: str = "tiny-F16.gguf",
    file_type: int = 1,
    note: str = "",
    word: str = "a token of some length",
) -> Path:
    """A model whose header alone is over a MB, and whose weights are larger than that."""
    keys = {
        "general.file_type": file_type,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": [f"{word} {i:08}" for i in range(n)],
        "tokenizer.ggml.token_type": [1] * n,
        "quantize.imatrix.dataset": note,
    }
    tensors = tiny.dense() | {"token_embd.weight": (64, n), "output.weight": (64, n)}
    return tiny.write(folder / name, {"vocab_size": n}, tensors, general=keys)


def listed(http: Http, env: dict[str, str]) -> HubRepo:
    return list_repo(http, HubRef(REPO), env)


def test_a_remote_model_is_the_same_as_the_local_one(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = big_vocabulary(tmp_path)
    hub.add_repo(REPO, {path.name: path.read_bytes()})
    repo = listed(http, env)
    hub.sent = 0
    got = RepoHeaders(http, repo, where(env), env).model(choose(variants_of(repo.files), "", REPO))
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
    first = RepoHeaders(http, repo, where(env), env).model(variant)
    before = len(hub.requests)
    assert RepoHeaders(http, repo, where(env), env).model(variant) == first
    assert len(hub.requests) == before


def test_a_kept_header_that_is_damaged_is_read_again(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = tiny.write(tmp_path / "tiny-F16.gguf")
    hub.add_repo(REPO, {path.name: path.read_bytes()})
    repo = listed(http, env)
    variant = choose(variants_of(repo.files), "", REPO)
    first = RepoHeaders(http, repo, where(env), env).model(variant)
    (where(env).cache / "headers" / sha256(path.read_bytes())).write_bytes(b"GGUF")
    assert RepoHeaders(http, repo, where(env), env).model(variant) == first


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
    with pytest.raises(FetchError, match=r"/m.gguf changed while its header was read") as refused:
        read_remote(http, hub.url + "/m.gguf?signature=hunter2", "", where(env))
    assert "hunter2" not in str(refused.value)


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
        RepoHeaders(http, repo, where(env), env).model(choose(variants_of(repo.files), "", REPO))


def test_a_server_without_ranges_is_not_read_to_its_end(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = big_vocabulary(tmp_path)
    hub.files["/m.gguf"] = path.read_bytes() + bytes(50 << 20)
    hub.faults.append(Fault("/m.gguf", whole=True, times=99))
    with pytest.raises(FetchError, match="does not answer ranges"):
        read_remote(http, hub.url + "/m.gguf", "", where(env))
    assert hub.sent < 50 << 20


def test_all_quants_of_a_repository_cost_little_more_than_one(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    """Each has another file type and another key behind the vocabulary, as quantizers write them."""
    made: dict[str, Path] = {}
    for i, quant in enumerate(("Q8_0", "Q6_K", "Q4_K_M", "Q2_K")):
        (tmp_path / quant).mkdir()
        made[quant] = big_vocabulary(
            tmp_path / quant, name=f"tiny-{quant}.gguf", file_type=7 + i, note="n" * 99 * i
        )
    hub.add_repo(REPO, {path.name: path.read_bytes() for path in made.values()})
    repo = listed(http, env)
    hub.sent = 0
    found = RepoHeaders(http, repo, where(env), env).models(variants_of(repo.files))
    assert {remote.variant.quant for remote in found} == set(made)
    for remote in found:
        here = read_model(made[remote.variant.quant])
        assert remote.model is not None, remote.why_not
        assert (remote.model.shape, remote.model.tensors) == (here.shape, here.tensors)
        assert remote.model.files[0].data_offset == here.files[0].data_offset
    one = here.files[0].data_offset
    assert one > 1 << 20
    assert hub.sent < one + (2 << 20) + 3 * (300 << 10)
    assert hub.most_at_once <= 3


def test_a_quant_asked_for_alone_uses_what_another_run_has_kept(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    made = [
        big_vocabulary(tmp_path, name=f"tiny-{quant}.gguf", file_type=n)
        for n, quant in ((7, "Q8_0"), (2, "Q4_0"))
    ]
    hub.add_repo(REPO, {path.name: path.read_bytes() for path in made})
    repo = listed(http, env)
    models = {}
    for quant in ("Q8_0", "Q4_0"):
        hub.sent = 0
        models[quant] = remote_model(
            http, repo, choose(variants_of(repo.files), quant, REPO), where(env), env
        )
    assert [m.tensors for m in models.values()] == [read_model(path).tensors for path in made]
    assert hub.sent < 400 << 10


def test_a_quant_with_another_vocabulary_is_read_in_full(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    first = big_vocabulary(tmp_path, 39_000, name="tiny-Q2_K.gguf")
    second = big_vocabulary(tmp_path / "b", 40_000, name="tiny-Q8_0.gguf", word="another word of that length")
    hub.add_repo(REPO, {path.name: path.read_bytes() for path in (first, second)})
    found = RepoHeaders(http, repo := listed(http, env), where(env), env).models(variants_of(repo.files))
    assert [r.model.tensors for r in found if r.model] == [read_model(p).tensors for p in (first, second)]


def test_one_broken_quant_does_not_hide_the_others(
    hub: Hub, http: Http, env: dict[str, str], tmp_path: Path
) -> None:
    path = tiny.write(tmp_path / "tiny-F16.gguf")
    files = {
        path.name: path.read_bytes(),
        "bad-Q8_0.gguf": b"<html>" * 50,
        "x-Q4_0-00001-of-00002.gguf": b"GGUF",
    }
    hub.add_repo(REPO, files)
    found = RepoHeaders(http, repo := listed(http, env), where(env), env).models(variants_of(repo.files))
    assert {r.variant.quant: bool(r.model) for r in found} == {"F16": True, "Q8_0": False, "Q4_0": False}
    assert any("shard 2 of 2" in r.why_not for r in found)
