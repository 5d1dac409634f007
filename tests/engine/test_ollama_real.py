"""The contract with a real Ollama server, wherever `ollama` is on PATH or OLLAMA_HOST answers.

Tiny GGUF files with random weights: create, show, load, compare what the server says, delete.
"""

from __future__ import annotations

import os
import shutil
import socket
import time

import pytest

from localrun.engine import ollama, process
from localrun.engine.ollama_address import server_address
from localrun.engine.ollama_client import Server
from localrun.engine.ollama_create import commands_of, create, has, wanted
from localrun.errors import LocalrunError
from localrun.plan.values import Settings
from localrun.recipe.modelfile import parse
from localrun.recipe.values import Launch
from tests.fakes.tiny_gguf import ARCHITECTURES, write
from tests.recipe.modelfile_values import plan

pytest.importorskip("ollama", reason="the optional package ollama is not installed")
np = pytest.importorskip("numpy")
pytest.importorskip("gguf")
pytestmark = pytest.mark.engine


def quiet(*_):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """OLLAMA_HOST's server if one answers, else one of our own with an empty store."""
    if "OLLAMA_HOST" in os.environ and (found := ollama.find_server(os.environ["OLLAMA_HOST"])):
        yield Server(found)
        return
    binary = shutil.which("ollama")
    if binary is None:
        pytest.skip("no ollama on PATH and no OLLAMA_HOST that answers")
    import subprocess

    folder = tmp_path_factory.mktemp("ollama")
    port = free_port()
    environment = {
        **os.environ, "OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(folder / "models"),
        "OLLAMA_NO_CLOUD": "1", "HOME": str(folder),
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([binary, "serve"], env=environment, stdout=log, stderr=log)
    server = Server(server_address(f"127.0.0.1:{port}"))
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                server.version()
                break
            except LocalrunError:
                assert child.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield server
    finally:
        child.terminate()
        child.wait()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tiny_model_is_created_shown_loaded_asked_and_deleted(server, architecture, tmp_path):
    path = write(tmp_path / f"{architecture}.gguf", architecture)
    name = f"localrun-test/{architecture}:tiny"
    pairs = (
        ("num_ctx", "512"),
        ("num_thread", "1"),
        ("temperature", "0"),
        ("stop", "a\nb"),
        ("use_mmap", "false"),
    )
    want = wanted(commands_of((str(path),), pairs))
    try:
        assert create(server, name, want, quiet, replace=True)
        assert has(server, name)
        shown = server.show(name)
        assert shown.architecture == architecture
        assert sorted(shown.parameters) == sorted((k, v) for k, v in pairs)
        assert create(server, name, want, quiet) is False
        server.load(name)
        (loaded,) = [m for m in server.loaded() if m.name == name]
        assert loaded.ctx_size == 512
        answer = server.generate(name, "t1 t2", {"num_predict": 4})
        assert answer["eval_count"] >= 1
        server.unload(name)
    finally:
        server.delete(name)
    assert not has(server, name)


def test_a_generated_modelfile_means_the_same_there(server, tmp_path):
    """What we render, the server stores: every parameter back from /api/show."""
    from localrun.recipe.modelfile_plan import Extras, modelfile_for

    path = write(tmp_path / "m.gguf", "llama")
    of = plan(files=(str(path),), settings=Settings(512, threads=1))
    extras = Extras(
        system='Say "hi".\n\tAlways.', stop=("<|eot|>", '"'), sampling=(("temperature", 0.6), ("min_p", 0.01))
    )
    want = wanted(parse(modelfile_for(of, extras).text))
    name = "localrun-test/rendered:latest"
    try:
        create(server, name, want, quiet, replace=True)
        shown = server.show(name)
        assert shown.system == extras.system
        assert sorted(shown.parameters) == sorted(
            [("num_ctx", "512"), ("num_batch", "512"), ("num_thread", "1"), ("temperature", "0.6"), ("min_p", "0.01"),
             ("stop", "<|eot|>"), ("stop", '"')]
        )  # fmt: skip
    finally:
        server.delete(name)


def test_what_the_server_refuses_comes_out_as_ours(server, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a gguf file at all")
    with pytest.raises(LocalrunError):
        create(server, "localrun-test/bad", wanted(commands_of((str(bad),), ())), quiet)
    with pytest.raises(LocalrunError, match="not found"):
        server.load("localrun-test/nothing")


def test_the_engine_serves_a_plan_with_a_server_of_its_own(tmp_path, monkeypatch):
    if shutil.which("ollama") is None:
        pytest.skip("no ollama on PATH")
    path = write(tmp_path / "m.gguf", "llama")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    environment = {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
    engine = ollama.Ollama(environment)
    of = plan(files=(str(path),), settings=Settings(512, threads=1, cache_type_k="bf16", cache_type_v="bf16"))
    recipe = engine.recipe(of, Launch(str(path), "tiny", port=free_port()))
    assert "--serve" in recipe.argv
    handle = engine.start(recipe, "test", str(tmp_path / "log"))
    try:
        deadline = time.monotonic() + 120
        while not engine.ready(handle):
            assert time.monotonic() < deadline, process.log_tail(handle)
            time.sleep(0.02)
        allocated = {a.device: a for a in engine.allocation(handle)}
        assert allocated["CPU"].kv > 0
        assert "cache-type-k bf16" in process.log_head(handle)
        from localrun.engine import client

        chunks = list(client.chat(handle.endpoint, {"model": "tiny", "max_tokens": 4,
                                                    "messages": [{"role": "user", "content": "t1"}]}))  # fmt: skip
        assert chunks
        seen = engine.observe(handle)
        assert seen.tokens_capacity == 512
        assert seen.prompt_tokens > 0
        assert seen.generated_tokens > 0
    finally:
        engine.stop(handle, 10)
