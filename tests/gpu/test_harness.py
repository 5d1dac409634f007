"""The GPU harness, as far as it goes without a GPU: generation, plans, holding, measuring, judging."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localrun.hardware.facts import Gpu, Host
from localrun.hardware.profiles import profile
from localrun.model.header import read_model
from localrun.plan.memory import memory
from localrun.plan.planner import make_plan
from localrun.plan.values import Settings
from localrun.recipe.argv import parse_argv, to_argv
from localrun.recipe.values import Launch
from localrun.units import GIB, MIB
from tests.fixtures_sdist import VERSION
from tests.gpu import card, engine, harness, pack, server
from tests.gpu.models import FULL, QUICK, Case
from tests.gpu.server import Measured, free_port, measure

BUILD = engine.find_build("llama-server")
needs_build = pytest.mark.skipif(
    BUILD is None, reason="no native llama.cpp build: LOCALRUN_LLAMA_BIN names a folder with one"
)


def no_card() -> Host:
    raise card.NoCard("no CUDA device")


def test_without_a_card_all_is_planned_and_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Models generated, a plan and two commands for each model and each size of card, exit 0, no results."""
    monkeypatch.setattr(card, "this_machine", no_card)
    assert harness.main(["--results", str(tmp_path / "results")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "skipped: no CUDA device"
    assert sum(line.startswith("generated ") for line in lines) == len(QUICK)
    commands = [line.split() for line in lines if line.startswith("  llama-server")]
    assert len(commands) == 2 * len(FULL) * 3
    assert not (tmp_path / "results").exists()
    ours = [parse_argv(shell_words(words[1:]))[0] for words in commands[::2]]
    # On the smaller cards something must go to RAM: that is what the harness is there to measure.
    assert sum(s.n_cpu_moe > 0 for s in ours) >= 8
    assert all("--fit on" in " ".join(words) for words in commands[1::2])


def shell_words(words: list[str]) -> list[str]:
    return [word.strip("'") for word in words]


@pytest.mark.parametrize("case", FULL, ids=lambda case: case.name)
def test_the_full_models_do_not_fit_the_small_cards(case: Case, tmp_path: Path) -> None:
    """Real layers, few of them: their file fits a disk of 64 GB, and 12 GiB hold no model whole."""
    model = read_model(case.write_sparse(tmp_path))
    assert 13e9 < model.weights_bytes < 32e9


@pytest.fixture
def fake_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A card of 80 GiB whose driver is a file: what the holder allocates is missing from vram_free."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler here to build the driver's stand-in with")
    source = Path(__file__).with_name("fake_cuda.c")
    library = tmp_path / "libcuda.so.1"
    subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source],
        check=True,
    )
    book = tmp_path / "held"
    total = 80 * GIB
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_CUDA", str(book))
    monkeypatch.setenv("FAKE_CUDA_TOTAL", str(total))

    def now(gpu: Gpu) -> Gpu:
        return replace(gpu, vram_free=total - (int(book.read_text() or 0) if book.exists() else 0))

    monkeypatch.setattr(card, "now", now)
    return Gpu("NVIDIA H100 80GB HBM3", "cuda", 0, total, total)


@pytest.mark.parametrize("leave", [24 * GIB, 12 * GIB])
def test_a_card_is_held_down_to_what_is_asked_for(fake_cuda: Gpu, leave: int) -> None:
    """To 64 MiB, the holder's own context counted, by a process that is gone afterwards."""
    with card.held(fake_cuda, leave) as gpu:
        assert abs(gpu.vram_free - leave) <= 64 * MIB


def test_a_card_that_is_too_small_is_not_held(fake_cuda: Gpu) -> None:
    with pytest.raises(card.NoCard, match="less than"), card.held(fake_cuda, 90 * GIB):
        pass


def archive_of(tmp_path: Path, names: list[str]) -> Path:
    path = tmp_path / "llama_cpp_python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"llama_cpp_python-{VERSION}/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    return path


def test_the_engine_comes_out_of_the_sdist_alone(tmp_path: Path) -> None:
    archive = archive_of(
        tmp_path, ["setup.py", "vendor/llama.cpp/CMakeLists.txt", "vendor/llama.cpp/src/a.cpp"]
    )
    engine.unpack(archive, tmp_path / "source")
    found = {str(p.relative_to(tmp_path / "source")) for p in (tmp_path / "source").rglob("*") if p.is_file()}
    assert found == {"CMakeLists.txt", "src/a.cpp"}


def test_an_archive_without_the_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(engine.BuildFailed, match="holds no"):
        engine.unpack(archive_of(tmp_path, ["setup.py"]), tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_a_build_says_which_tools_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALRUN_TEST_CACHE", str(tmp_path))
    monkeypatch.delenv("LOCALRUN_LLAMA_BIN", raising=False)
    with pytest.raises(engine.BuildFailed, match=r"missing: cmake, a C\+\+ compiler, nvcc"):
        engine.build()


def test_a_run_ends_in_the_time_that_it_was_given() -> None:
    """By the longest so far: nothing is begun that would be cut off, and the rest is left for --resume."""
    now = [0.0]
    clock = harness.Clock(10, lambda: now[0])
    for kind, seconds in (("model", 60), ("run", 120), ("run", 200)):
        assert clock.room(kind)
        with clock.timed(kind):
            now[0] += seconds
    assert clock.room("run")
    now[0] = 350
    assert not clock.room("model")
    assert clock.room("run")
    assert clock.refused
    assert harness.Clock(None).room("model")


def test_what_was_measured_is_not_measured_again() -> None:
    assert harness.measured_before({"planned": {}, "missed": ["slower"]})
    assert not harness.measured_before({"verdict": "skipped"})
    assert not harness.measured_before({"verdict": "fits", "missed": ["exit 1: out of memory"]})
    assert not harness.measured_before(None)


def test_the_pack_keeps_what_cuda_is_built_from(tmp_path: Path) -> None:
    """CUDA's kernels and the headers that they share with HIP; no other backend, no page, no model."""
    names = {
        "CMakeLists.txt": True, "ggml/src/ggml-cuda/ggml-cuda.cu": True, "ggml/src/ggml-cuda/vendors/hip.h": True,
        "ggml/src/ggml-vulkan/ggml-vulkan.cpp": False, "models/ggml-vocab-llama-bpe.gguf": False,
        "tools/ui/CMakeLists.txt": True, "tools/ui/src/app.ts": False, "tools/server/server.cpp": True,
    }  # fmt: skip
    archive = archive_of(tmp_path, [f"vendor/llama.cpp/{name}" for name in names])
    assert pack.pack(archive, tmp_path / pack.ARCHIVE) == sum(names.values())
    engine.unpack(tmp_path / pack.ARCHIVE, tmp_path / "source")
    found = {str(p.relative_to(tmp_path / "source")) for p in (tmp_path / "source").rglob("*") if p.is_file()}
    assert found == {name for name, kept in names.items() if kept}


def measured(allocated: int, used: int, generation: float) -> Measured:
    return Measured({"CUDA0": allocated}, {}, used, generation, 100.0, (generation,))


@pytest.mark.parametrize(
    ("used", "allocated", "speed", "fit", "says"),
    [
        (0, 0, 1.0, 0.9, []),
        (1, 0, 1.0, 0.9, ["more VRAM"]),
        (-1, 0, 1.0, 0.9, ["less VRAM"]),
        (0, 1, 1.0, 0.9, ["more than planned"]),
        (0, -1, 1.0, 0.9, ["less than planned"]),
        (0, 0, 0.7, 0.6, ["generates"]),
        (0, 0, 1.0, 1.1, ["--fit"]),
        (1, 1, 0.7, 1.1, ["more VRAM", "more than planned", "planned", "--fit"]),
    ],
)
def test_each_broken_promise_is_named(
    used: int, allocated: int, speed: float, fit: float, says: list[str], tmp_path: Path
) -> None:
    """Over its memory, far under it, off in speed, slower than --fit: one line each, and none otherwise."""
    host = profile("rtx-4090")
    plan = make_plan(read_model(FULL[2].write_sparse(tmp_path)), host, harness.WANTED, advise=False)
    expected = plan.speed.generation.expected
    device = plan.memory[0]
    sizes = device.total - device.overhead + allocated * GIB, device.total + used * GIB
    ours, theirs = (measured(*sizes, expected * rate) for rate in (speed, fit))
    row = harness.judged(plan, host.gpus[0], ours, theirs)
    assert len(row["missed"]) == len(says)
    assert all(word in line for word, line in zip(says, row["missed"], strict=True))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts and answers of a few tokens."""
    monkeypatch.setattr(server, "PROMPT", 96)
    monkeypatch.setattr(server, "GENERATED", 12)


@needs_build
@pytest.mark.engine
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_generated_models_run_and_are_measured(case: Case, tmp_path: Path) -> None:
    """Random weights in the real engine, on the CPU: it generates, and allocates what is planned."""
    assert BUILD
    path = case.write(tmp_path)
    settings = Settings(harness.CTX, threads=1, repack=False)
    port = free_port()
    argv = [str(BUILD / "llama-server"), *to_argv(settings, Launch(str(path), "gpu-test", port=port))]
    found = measure(argv, port, tmp_path / "log", lambda: 0, rounds=1)
    assert found.generation > 0
    assert found.prompt > 0
    planned = memory(read_model(path), replace(profile("cpu"), gpus=()), settings)[-1]
    parts = found.parts["CPU"]
    assert parts["kv"] == pytest.approx(planned.kv, abs=MIB // 100)
    assert parts["weights"] == pytest.approx(planned.weights, rel=0.001)


@needs_build
@pytest.mark.engine
@pytest.mark.usefixtures("short")
def test_a_whole_run_writes_its_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a card that is not there and an engine without CUDA: every step runs, both sides are measured."""
    assert BUILD
    host = profile("rtx-4090")
    host = replace(host, cpu=replace(host.cpu, cores=1))
    gpu = host.gpus[0]

    @contextlib.contextmanager
    def held(of: Gpu, leave: int) -> Iterator[Gpu]:
        yield replace(of, vram_free=leave)

    monkeypatch.setattr(card, "this_machine", lambda: host)
    monkeypatch.setattr(card, "held", held)
    monkeypatch.setattr(card, "now", lambda of: gpu)
    monkeypatch.setattr(card, "settled", lambda of, free: None)
    monkeypatch.setattr(engine, "build", lambda archive: BUILD)
    arguments = ["--quick", "--only", "llama4", "--budgets", "16", "--results", str(tmp_path)]
    assert harness.main(arguments) == 1  # nothing is on the card, which is less than planned
    result: dict[str, Any] = json.loads((tmp_path / "gpu-nvidia-geforce-rtx-4090.json").read_text())
    row = result["cases"]["quick llama4, 16 GiB"]
    assert row["verdict"] == "fits"
    assert row["measured"]["generation"] > 0
    assert row["fit"]["generation"] > 0
    assert result["machine"]["gpu"] == gpu.name


def test_make_has_the_target() -> None:
    """`make -n test-gpu` names the harness."""
    make = shutil.which("make")
    if not make:
        pytest.skip("no make here")
    done = subprocess.run(
        [make, "-n", "test-gpu"], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )  # fmt: skip
    assert "tests.gpu.harness" in done.stdout
