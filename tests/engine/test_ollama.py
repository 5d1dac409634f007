"""The ollama engine from plan to stop: beside a running server, and with one of its own."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from localrun.engine import ollama, process
from localrun.engine.base import Handle
from localrun.engine.ollama import Ollama
from localrun.engine.ollama_keeper import names
from localrun.engine.ollama_task import Task, parse, to_argv
from localrun.errors import EngineError, EngineMissing, UsageError
from localrun.hardware import system
from localrun.plan.values import Settings
from localrun.recipe.values import Launch
from tests.fakes.ollama_server import FakeOllama, binary, serving
from tests.recipe.modelfile_values import CARD, plan

pytest.importorskip("ollama", reason="the optional package ollama is not installed")


def poll(engine, handle):
    """Ask for a minute, whatever the answer: a death shows as an error."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        engine.ready(handle)
        time.sleep(0.02)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 2000)
    return str(path)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OLLAMA_", "LLAMA_ARG")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def engine(fake=None, folder=None):
    """An engine that sees one running server, or one binary, or neither."""
    host = fake.url if fake else f"127.0.0.1:{free_port()}"
    return Ollama({"OLLAMA_HOST": host, "PATH": str(folder) if folder else "/nowhere"})


def run(engine, plan, launch, tmp_path, until=None):
    recipe = engine.recipe(plan, launch)
    handle = engine.start(recipe, "test", str(tmp_path / "log"))
    try:
        deadline = time.monotonic() + 60
        while not engine.ready(handle):
            assert time.monotonic() < deadline, process.log_tail(handle)
            time.sleep(0.02)
    except BaseException:
        engine.stop(handle, 5)
        raise
    return handle


def test_a_running_server_gets_the_model_and_loses_it_again(model, tmp_path):
    with serving(FakeOllama()) as fake:
        e = engine(fake)
        of = plan(files=(model,))
        handle = run(e, of, Launch(model, "smollm2"), tmp_path)
        assert handle.endpoint == fake.url + "/v1"
        assert "smollm2:latest" in fake.models
        (name,) = fake.loaded
        assert fake.models[name]["parameters"] == {"num_ctx": 8192, "num_batch": 512, "num_thread": 8}
        assert e.observe(handle).tokens_capacity == 8192
        e.stop(handle, 5)
        assert fake.loaded == {}
        assert not system.process_alive(handle.pid, handle.created)
        uploads = fake.paths().count("POST /api/blobs/sha256")
        handle = run(e, of, Launch(model, "smollm2"), tmp_path)
        e.stop(handle, 5)
        assert fake.paths().count("POST /api/blobs/sha256") == uploads == 1
        assert fake.paths().count("POST /api/create") == 2


def test_a_users_own_model_of_that_name_is_left_as_it_is(model, tmp_path):
    with serving(FakeOllama()) as fake:
        fake.models["smollm2:latest"] = {"digest": "f" * 64}
        e = engine(fake)
        handle = run(e, plan(files=(model,)), Launch(model, "smollm2"), tmp_path)
        e.stop(handle, 5)
        assert fake.models["smollm2:latest"] == {"digest": "f" * 64}
        assert "requests must name localrun/smollm2:plan-" in process.log_tail(handle)


def test_a_name_that_ollama_cannot_have_is_told_and_does_no_harm(model, tmp_path):
    with serving(FakeOllama()) as fake:
        e = engine(fake)
        handle = run(e, plan(files=(model,)), Launch(model, "hf:a/b c"), tmp_path)
        e.stop(handle, 5)
        assert "is no name for Ollama: requests must name localrun/hf-a-b-c:plan-" in process.log_tail(handle)


def test_a_model_on_anothers_server_is_held_for_minutes_and_on_our_own_for_ever(model, tmp_path):
    with serving(FakeOllama()) as fake:
        e = engine(fake)
        handle = run(e, plan(files=(model,)), Launch(model, "m"), tmp_path)
        e.stop(handle, 5)
        assert [b["keep_alive"] for _, p, b in fake.requests if p == "/api/generate"] == ["10m", 0]


def test_a_server_of_our_own_gets_the_plans_environment_and_ends_with_us(model, tmp_path):
    binary(tmp_path)
    settings = Settings(8192, n_gpu_layers=99, n_cpu_moe=7, threads=2)
    of = plan(gpus=(CARD,), experts=16, settings=settings, files=(model,))
    e = engine(folder=tmp_path)
    port = free_port()
    handle = run(e, of, Launch(model, "scout", port=port), tmp_path)
    e.stop(handle, 5)
    log = process.log_tail(handle)
    for line in (
        f"env OLLAMA_HOST=127.0.0.1:{port}",
        "env LLAMA_ARG_N_CPU_MOE=7",
        "env LLAMA_ARG_N_GPU_LAYERS=99",
        "env LLAMA_ARG_FIT=off",
        "env OLLAMA_KEEP_ALIVE=-1",
        "env OLLAMA_NO_CLOUD=1",
    ):
        assert line in log.splitlines()
    assert "env LOCALRUN_INSTANCE" not in log
    assert "fake ollama ended" in log
    assert not system.process_group_alive(handle.pid)


def test_a_plan_that_needs_the_environment_does_not_use_a_server_without_it(model, tmp_path):
    binary(tmp_path)
    of = plan(gpus=(CARD,), experts=16, settings=Settings(8192, n_gpu_layers=99, n_cpu_moe=7), files=(model,))
    with serving(FakeOllama()) as fake:
        e = Ollama({"OLLAMA_HOST": fake.url, "PATH": str(tmp_path)})
        beside = e.recipe(of, Launch(model, "x"))
        assert "--serve" in beside.argv
        assert dict(beside.environment)["OLLAMA_NOPRUNE"] == "1"
        assert "OLLAMA_NOPRUNE" not in dict(
            engine(folder=tmp_path).recipe(of, Launch(model, "x")).environment
        )
        assert "--server" in e.recipe(plan(files=(model,)), Launch(model, "x")).argv


FAILURES = [
    ({"refuses": 1}, "ollama serve ended with status 1"),
    ({"oom": 1}, "out of memory"),
    ({"full": 1}, "disk is full"),
    ({"shard": 1}, "shard is missing"),
    ({"died": 1}, "has terminated"),
]


@pytest.mark.parametrize(("faults", "text"), FAILURES, ids=[next(iter(f[0])) for f in FAILURES])
def test_a_failed_start_says_why_and_leaves_nothing(faults, text, model, tmp_path):
    binary(tmp_path, **faults)
    e = engine(folder=tmp_path)
    with pytest.raises(EngineError, match=text):
        run(e, plan(files=(model,)), Launch(model, "m", port=free_port()), tmp_path)


def test_a_server_that_is_slow_to_start_is_waited_for(model, tmp_path):
    binary(tmp_path, slow_start=1.0)
    e = engine(folder=tmp_path)
    handle = run(e, plan(files=(model,)), Launch(model, "m", port=free_port()), tmp_path)
    e.stop(handle, 5)


def test_a_server_that_dies_later_ends_the_keeper_with_its_reason(model, tmp_path):
    binary(tmp_path, crash_when_loaded=1)
    e = engine(folder=tmp_path)
    recipe = e.recipe(plan(files=(model,)), Launch(model, "m", port=free_port()))
    handle = e.start(recipe, "test", str(tmp_path / "log"))
    with pytest.raises(EngineError):
        poll(e, handle)
    e.stop(handle, 5)


def test_below_0_30_the_log_says_what_is_lost(model, tmp_path):
    with serving(FakeOllama(version="0.12.3")) as fake:
        e = engine(fake)
        handle = run(e, plan(files=(model,)), Launch(model, "m"), tmp_path)
        e.stop(handle, 5)
    assert "below 0.30" in process.log_tail(handle)


def test_a_context_that_ollama_cut_is_told(model, tmp_path):
    with serving(FakeOllama(context_trained=2048)) as fake:
        e = engine(fake)
        handle = run(e, plan(files=(model,)), Launch(model, "m"), tmp_path)
        e.stop(handle, 5)
    assert "the plan's context is 8192: Ollama cut it to 2048" in process.log_tail(handle)


def test_a_killed_keeper_takes_its_server_with_it(model, tmp_path):
    binary(tmp_path)
    e = engine(folder=tmp_path)
    handle = run(e, plan(files=(model,)), Launch(model, "m", port=free_port()), tmp_path)
    os.kill(handle.pid, 9)
    deadline = time.monotonic() + 30
    while system.process_group_alive(handle.pid) and time.monotonic() < deadline:
        process.exit_status(handle.pid)
        time.sleep(0.02)
    assert not system.process_group_alive(handle.pid)


def test_a_model_that_ollama_has_is_served_from_there_without_an_upload(tmp_path, home):
    blobs = home / ".ollama/models/blobs"
    manifests = home / ".ollama/models/manifests/registry.ollama.ai/library/llama3.1"
    blobs.mkdir(parents=True)
    manifests.mkdir(parents=True)
    blob = blobs / ("sha256-" + "a" * 64)
    blob.write_bytes(b"GGUF1234")
    (manifests / "8b").write_text(
        '{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:%s","size":8}]}'
        % ("a" * 64)
    )
    with serving(FakeOllama()) as fake:
        fake.models["llama3.1:8b"] = {"digest": "0" * 64}
        e = engine(fake)
        handle = run(e, plan(files=(str(blob),)), Launch(str(blob), "llama3.1:8b"), tmp_path)
        e.stop(handle, 5)
        (body,) = [b for _, p, b in fake.requests if p == "/api/create"]
        assert body["from"] == "llama3.1:8b"
        assert not [p for p in fake.paths() if "blobs" in p]


def test_without_binary_and_server_the_engine_is_missing(model):
    e = engine()
    assert not e.available().usable
    with pytest.raises(EngineMissing):
        e.recipe(plan(files=(model,)), Launch(model, "m"))


def test_what_is_there_is_said(tmp_path):
    with serving(FakeOllama()) as fake:
        assert engine(fake).available().path == fake.url
    binary(tmp_path)
    assert engine(folder=tmp_path).available().path == str(tmp_path / "ollama")


def test_the_child_whose_counters_are_read_is_the_newest_in_the_log(tmp_path):
    line = (
        'time=x level=INFO source=llama_server.go:433 msg="starting llama-server" cmd="/x --port {} -c 1"\n'
    )
    log = tmp_path / "log"
    log.write_text("start\n" + line.format(40001) + "noise --port 1 \n" + line.format(40002) + "end\n")
    assert ollama._child_port(Handle("ollama", 1, 0.0, "", log=str(log))) == 40002
    log.write_text(line.format(40001) + "x" * (3 << 20))
    assert ollama._child_port(Handle("ollama", 1, 0.0, "", log=str(log))) == 40001
    log.write_text("nothing")
    assert ollama._child_port(Handle("ollama", 1, 0.0, "", log=str(log))) == 0


def test_an_api_key_is_refused_because_the_server_would_ignore_it(model):
    with serving(FakeOllama()) as fake, pytest.raises(UsageError, match="API key"):
        engine(fake).recipe(plan(files=(model,)), Launch(model, "m", api_key="k"))


def test_the_keepers_arguments_come_back_whole():
    task = Task(
        "a b", "/bin/ollama", "", "", ("/m/a b.gguf", "/m/=.gguf"), (("num_ctx", "1"), ("stop", "a=b"))
    )
    assert parse(list(to_argv(task))) == task


def test_names_are_equal_for_equal_tasks_and_legal_whatever_the_alias(model):
    from localrun.model.ollama_name import parse_name

    task = Task("Llama 4: Scout / \N{SNOWMAN}", "", "", "", (model,), (("num_ctx", "1"),))
    assert names(task) == names(replace(task))
    assert all(parse_name(n) for n in names(task))
    assert names(task)[1] != names(replace(task, parameters=(("num_ctx", "2"),)))[1]
    assert names(task)[0] == names(replace(task, parameters=(("num_ctx", "2"),)))[0]
    before = names(task)[0]
    Path(model).write_bytes(b"another file")
    assert names(task)[0] != before


def test_the_engine_is_found_by_its_name():
    assert ollama.Ollama.name == "ollama"
