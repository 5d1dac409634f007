"""The driver against a fake server with the real one's answers, and against its failures."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from localrun.engine.ollama_address import server_address
from localrun.engine.ollama_client import Server
from localrun.engine.ollama_create import check_disk, check_shards, commands_of, create, wanted
from localrun.errors import EngineError, EngineMissing, FetchError, LocalrunError, ModelError, UsageError
from localrun.recipe.modelfile import parse
from tests.fakes.ollama_server import FakeOllama, serving

pytest.importorskip("ollama", reason="the optional package ollama is not installed")


def quiet(*_):
    pass


@pytest.fixture
def fake():
    with serving(FakeOllama()) as running:
        yield running


def server_of(fake, **kw):
    return Server(server_address(fake.url), **kw)


def gguf(tmp_path, name="m.gguf", content=b"GGUF" + b"x" * 3000):
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def test_a_file_is_uploaded_once_and_asked_for_before(fake, tmp_path):
    server, path, steps = server_of(fake), gguf(tmp_path), []
    want = wanted(commands_of((path,), (("num_ctx", "512"), ("stop", "a"), ("stop", "b"), ("min_p", "0.01"))))
    assert create(server, "mine", want, lambda *a: steps.append(a))
    digest = "sha256:" + hashlib.sha256(Path(path).read_bytes()).hexdigest()
    sent = [body for method, p, body in fake.requests if p == "/api/create"]
    assert sent == [
        {
            "model": "mine",
            "files": {"m.gguf": digest},
            "parameters": {"num_ctx": 512, "stop": ["a", "b"], "min_p": 0.01},
        }
    ]
    assert ("sending", 3004, 3004) in steps
    create(server, "other", want, quiet)
    uploads = [p for p in fake.paths() if p.startswith("POST /api/blobs")]
    assert len(uploads) == 1
    assert fake.paths().count("HEAD /api/blobs/sha256") == 2


def test_an_equal_model_is_left_alone_and_another_is_replaced_only_when_told(fake, tmp_path):
    server, path = server_of(fake), gguf(tmp_path)
    first = wanted(commands_of((path,), (("num_ctx", "512"), ("temperature", "0.60"), ("use_mmap", "false"))))
    assert create(server, "mine", first, quiet) is True
    assert create(server, "mine:latest", first, quiet) is False
    second = wanted(commands_of((path,), (("num_ctx", "8192"),)))
    with pytest.raises(EngineError) as e:
        create(server, "mine", second, quiet)
    assert "num_ctx 512 there, 8192 here" in str(e.value)
    assert "--yes" in e.value.hint
    assert server.show("mine").parameters[0] == ("num_ctx", "512")
    assert create(server, "mine", second, quiet, replace=True) is True
    assert server.show("mine").parameters == (("num_ctx", "8192"),)


def test_all_fields_of_a_modelfile_reach_the_server(fake, tmp_path):
    text = (
        f"FROM {gguf(tmp_path)}\nADAPTER {gguf(tmp_path, 'a.gguf')}\nDRAFT {gguf(tmp_path, 'd.gguf')}\n"
        "SYSTEM s\nTEMPLATE {{ .Prompt }}\nRENDERER r\nPARSER p\nREQUIRES 0.30.0\nLICENSE a\nLICENSE b\n"
        "MESSAGE user hi: you\n"
    )
    create(server_of(fake), "mine", wanted(parse(text)), quiet)
    (body,) = [b for _, p, b in fake.requests if p == "/api/create"]
    assert {k: body[k] for k in ("system", "template", "renderer", "parser", "requires", "license", "messages")} == {
        "system": "s", "template": "{{ .Prompt }}", "renderer": "r", "parser": "p", "requires": "0.30.0",
        "license": ["a", "b"], "messages": [{"role": "user", "content": "hi: you"}],
    }  # fmt: skip
    assert list(body["adapters"]) == ["a.gguf"]
    assert list(body["draft_files"]) == ["d.gguf"]


def test_load_shows_in_ps_and_unload_takes_it_away(fake, tmp_path):
    server = server_of(fake)
    create(server, "mine", wanted(commands_of((gguf(tmp_path),), (("num_ctx", "512"),))), quiet)
    server.load("mine")
    (loaded,) = server.loaded()
    assert (loaded.name, loaded.ctx_size, loaded.size, loaded.size_vram) == (
        "mine:latest",
        512,
        2 << 30,
        1 << 30,
    )
    server.unload("mine")
    assert server.loaded() == ()


def test_a_model_can_be_copied_listed_and_deleted(fake, tmp_path):
    server = server_of(fake)
    create(server, "mine", wanted(commands_of((gguf(tmp_path),), ())), quiet)
    server.copy("mine", "twin")
    assert set(server.names()) == {"mine:latest", "twin:latest"}
    server.delete("twin")
    assert set(server.names()) == {"mine:latest"}
    with pytest.raises(ModelError, match="not found"):
        server.delete("twin")
    with pytest.raises(ModelError, match="not found"):
        server.show("twin")


def test_a_pull_tells_its_progress(fake):
    steps = []
    server_of(fake).pull("smollm2:135m", lambda *a: steps.append(a))
    assert ("pulling 0123", 50, 100) in steps
    assert steps[-1][0] == "success"


def test_a_pull_that_broke_goes_on_when_it_is_asked_again():
    steps = []
    with serving(FakeOllama(drop_at=50)) as fake:
        with pytest.raises(FetchError, match="unexpected EOF") as e:
            server_of(fake).pull("x", quiet)
        assert "again" in e.value.hint
        server_of(fake).pull("x", lambda *a: steps.append(a))
    assert next(done for what, done, total in steps if total) == 50


FAULTS = [
    ({"busy": 1}, lambda s, f: s.load("x"), EngineError, "busy"),
    ({"oom": 1}, lambda s, f: s.load("x"), EngineError, "out of memory"),
    ({"died": 1}, lambda s, f: s.load("x"), EngineError, "has terminated"),
    ({"garbage": 1}, lambda s, f: s.version(), EngineError, "does not speak as Ollama"),
    ({"no_such_tag": 1}, lambda s, f: s.pull("x:9b", quiet), FetchError, "no such model"),
    ({"garbage_line": 1}, lambda s, f: s.pull("x", quiet), EngineError, "does not speak as Ollama"),
    ({"stall": 1}, lambda s, f: s.pull("x", quiet), EngineError, r"said nothing for 0\.5 s"),
    ({"shard": 1}, lambda s, f: create(s, "n", f, quiet), ModelError, "shard is missing"),
    ({"full": 1}, lambda s, f: create(s, "n", f, quiet), EngineError, "disk is full"),
    ({"cut": 1}, lambda s, f: create(s, "n", f, quiet), EngineError, "without saying success"),
    ({"digest_mismatch": 1}, lambda s, f: create(s, "n", f, quiet), EngineError, "changed while"),
]


@pytest.mark.parametrize(("faults", "call", "kind", "text"), FAULTS, ids=[next(iter(f[0])) for f in FAULTS])
def test_each_failure_of_the_server_is_an_error_of_ours(faults, call, kind, text, tmp_path):
    with serving(FakeOllama(**faults)) as fake:
        fake.models["x:latest"] = {"digest": "0"}
        want = wanted(commands_of((gguf(tmp_path),), ()))
        with pytest.raises(kind, match=text):
            call(server_of(fake, stall=0.5), want)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize(
    "call", [lambda s: s.version(), lambda s: s.names(), lambda s: s.pull("x", quiet), lambda s: s.load("x")]
)
def test_a_refused_connection_names_the_command_that_starts_the_server(call):
    server = Server(server_address(f"127.0.0.1:{free_port()}"))
    with pytest.raises(EngineMissing, match="no Ollama server answers") as e:
        call(server)
    assert "ollama serve" in e.value.hint


def test_a_server_that_accepts_and_says_nothing_is_given_up_on():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        server = Server(server_address(f"127.0.0.1:{deaf.getsockname()[1]}"), quick=0.3)
        with pytest.raises(EngineError, match=r"said nothing for 0\.3 s"):
            server.version()
        with pytest.raises(EngineError, match=r"said nothing for 0\.3 s"):
            server.names()


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "x:cloud", "deepseek-v3.2", "mistral-large-3:latest"])
def test_a_cloud_model_is_refused_by_name_before_anything_is_asked(fake, name):
    with pytest.raises(UsageError, match="not on this machine"):
        server_of(fake).pull(name, quiet)
    with pytest.raises(UsageError, match="not on this machine"):
        wanted(commands_of((name,), ()))
    assert fake.requests == []


def test_a_proxy_and_a_bad_ollama_host_in_the_environment_change_nothing(fake, tmp_path):
    """In a fresh interpreter, because the client reads OLLAMA_HOST when it is imported."""
    fake.models["x:latest"] = {"digest": "0"}
    code = (
        "from localrun.engine.ollama_client import Server\n"
        "from localrun.engine.ollama_address import server_address\n"
        f"s = Server(server_address({fake.url!r}))\n"
        "print(sorted(s.names())); s.load('x')"
    )
    environment = {
        **os.environ, "OLLAMA_HOST": "127.0.0.1:notaport:x", "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "['x:latest']\n", done.stderr
    assert "x:latest" in fake.loaded


def test_the_version_is_three_numbers_and_a_build_without_one_counts_as_new():
    for text, got in (("0.33.0-rc2", (0, 33, 0)), ("0.9.6", (0, 9, 6)), ("0.0.0", (999, 0, 0))):
        with serving(FakeOllama(version=text)) as fake:
            assert server_of(fake).version() == got


def test_a_missing_shard_is_found_before_the_upload():
    whole = [f"/m/a-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    check_shards([*whole, "/m/mmproj.gguf"])
    with pytest.raises(ModelError, match="1 of 3 shards missing, the first is 2"):
        check_shards([whole[0], whole[2]])


def test_three_copies_must_fit_on_the_servers_disk(tmp_path):
    path = gguf(tmp_path)
    check_disk((path,), 3 * 3004)
    check_disk((path,), None)
    with pytest.raises(EngineError, match="up to 3 copies"):
        check_disk((path,), 3 * 3004 - 1)


@pytest.mark.parametrize(
    ("source", "kind"), [("/no/such.gguf", ModelError), (".", UsageError), ("a b", UsageError)]
)
def test_a_source_that_ollama_would_misread_is_refused(source, kind):
    with pytest.raises(kind):
        wanted(commands_of((source,), ()))


def test_a_folder_stands_for_its_gguf_files(tmp_path):
    for name in ("m-00002-of-00002.gguf", "m-00001-of-00002.gguf", "notes.txt"):
        gguf(tmp_path, name)
    files = wanted(commands_of((".",), ()), str(tmp_path)).files
    assert [Path(f).name for f in files] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]


def test_files_and_a_name_at_once_are_refused(tmp_path):
    with pytest.raises(LocalrunError, match="both files and a model"):
        wanted(commands_of((gguf(tmp_path), "llama3"), ()))
