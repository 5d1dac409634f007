"""Placement against a native build of llama.cpp, with GPUs that are RPC devices on this machine.

Needs a folder with llama-fit-params, llama-server and ggml-rpc-server of one build with -DGGML_RPC=ON:
LOCALRUN_LLAMA_BIN names it, or `make test-gpu` left one in the cache.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localrun.hardware.facts import Gpu, Host
from localrun.hardware.profiles import profile
from localrun.model.header import read_model
from localrun.plan.memory import memory
from localrun.plan.values import Settings
from localrun.recipe.argv import to_argv
from localrun.recipe.values import Launch
from localrun.units import GIB, MIB
from tests.gpu.engine import find_build
from tests.sparse import mixed_types, write_sparse

BUILD = find_build("llama-fit-params", "llama-server", "ggml-rpc-server")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        BUILD is None, reason="no native llama.cpp build: LOCALRUN_LLAMA_BIN names a folder with one"
    ),
]
BIN = BUILD or Path()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def rpc_server() -> Iterator[str]:
    """Its address, once it answers; ended on the way out."""
    port = free_port()
    process = subprocess.Popen(
        [BIN / "ggml-rpc-server", "-H", "127.0.0.1", "-p", str(port), "-t", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail("ggml-rpc-server did not start")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with rpc_server() as one, rpc_server() as other:
        yield one, other


def machine(count: int) -> Host:
    """GPUs that lay out tensors as an RPC device on a CPU does: as Metal, without row padding."""
    host = profile("rtx-4090")
    card = Gpu("RPC", "metal", 0, 4096 * GIB, 4096 * GIB)
    return replace(
        host,
        gpus=tuple(replace(card, index=i) for i in range(count)),
        ram=replace(host.ram, total=4096 * GIB, available=4096 * GIB),
    )


def shared_argv(settings: Settings, path: Path, rpc: str, names: dict[str, str]) -> list[str]:
    """Our own llama-server arguments, less those that llama-fit-params does not know."""
    known = set(re.findall(r"--[a-z][a-z0-9-]+", _help()))
    argv, words = [], list(to_argv(settings, Launch(str(path), "test", port=1, rpc=rpc)))
    while words:
        flag, values = words.pop(0), []
        while words and not re.match(r"--[a-z]", words[0]):
            values.append(words.pop(0))
        if flag in known and flag not in ("--fit", "--log-verbosity"):
            argv += [flag, *values]
    for ours, theirs in names.items():
        argv = [word.replace(f"={ours}", f"={theirs}") for word in argv]
    return argv


def _help() -> str:
    done = subprocess.run([BIN / "llama-fit-params", "--help"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def engine_memory(argv: list[str]) -> list[tuple[str, int, int]]:
    """(device, MiB of weights, MiB of cache), the host last; the engine cuts fractions off."""
    done = subprocess.run(
        [BIN / "llama-fit-params", *argv, "--fit-print", "on"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = re.findall(r"^(\S+) (\d+) (\d+) (\d+) *$", done.stdout, re.MULTILINE)
    return [(name, int(model), int(context)) for name, model, context, _ in rows]


def mib(n: int) -> int:
    return n // MIB


Q8 = {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attn": "on"}
PART = (r"blk\.(30)\.(ffn_gate_exps|ffn_up_exps)=CPU",)
ACROSS = (r"blk\.(20)\.(ffn_down_exps)=MTL1", r"blk\.(20)\.(ffn_up_exps)=CPU")
CASES: list[tuple[str, int, dict[str, object]]] = [
    ("scout", 1, {"n_gpu_layers": 49, "n_cpu_moe": 48}),
    ("scout", 1, {"n_gpu_layers": 30}),
    ("scout", 1, {"n_gpu_layers": 49, "n_cpu_moe": 30, "override_tensor": PART, **Q8}),
    ("scout", 1, {"n_gpu_layers": 49, "n_cpu_moe": 10, "override_tensor": (r"blk\.5\.ffn_up_exps=MTL0",)}),
    ("scout", 2, {"n_gpu_layers": 49, "n_cpu_moe": 20, "tensor_split": (33.0, 16.0)}),
    ("scout", 2, {"n_gpu_layers": 49, "n_cpu_moe": 20, "tensor_split": (33.0, 16.0), "override_tensor": ACROSS}),
    ("scout", 2, {"n_gpu_layers": 20, "tensor_split": (1.0, 3.0), "parallel": 4, "kv_unified": True}),
    ("v3.2", 1, {"n_gpu_layers": 62, "n_cpu_moe": 5}),
    ("v3.2", 2, {"n_gpu_layers": 62, "n_cpu_moe": 57, "tensor_split": (58.0, 4.0)}),
    ("v3.2-stripped", 1, {"n_gpu_layers": 40, "n_cpu_moe": 61, **Q8}),
    ("llama-70b", 1, {"n_gpu_layers": 44}),
    ("llama-70b", 1, {"n_gpu_layers": 1}),
    ("llama-70b", 2, {"n_gpu_layers": 65, "tensor_split": (21.0, 44.0), **Q8}),
]  # fmt: skip


@pytest.mark.parametrize(("which", "count", "chosen"), CASES)
def test_weights_and_cache_land_where_we_say(
    which: str, count: int, chosen: dict[str, object], servers: tuple[str, str], tmp_path: Path
) -> None:
    """Each device's weights and cache, to the MiB that llama-fit-params prints, at the model's full size."""
    path = tmp_path / f"{which}.gguf"
    model = write_sparse(path, which, mixed_types)
    settings = replace(Settings(8192, repack=False, threads=1), **chosen)  # type: ignore[arg-type]
    names = {f"MTL{i}": f"RPC0[{address}]" for i, address in enumerate(servers[:count])}
    rows = engine_memory(shared_argv(settings, path, ",".join(servers[:count]), names))
    ours = memory(model, machine(count), settings)
    assert len(rows) == count + 1
    assert [(w, c) for _, w, c in rows] == [(mib(d.weights), mib(d.kv)) for d in ours]


@pytest.mark.parametrize("layers", [31, 12])
def test_a_real_load_takes_what_we_say(layers: int, servers: tuple[str, str], default_model: Path) -> None:
    """SmolLM2 with its weights, started by our argv: the buffers that llama-server reports."""
    settings = Settings(2048, n_gpu_layers=layers, repack=False, threads=1)
    launch = Launch(str(default_model), "smollm2", port=free_port(), rpc=servers[0])
    log = loaded([str(BIN / "llama-server"), *to_argv(settings, launch)])
    device = memory(read_model(default_model), machine(1), settings)[0]
    found = {
        kind: float(size)
        for kind, size in re.findall(r"RPC0\[\S+\] +(model|KV) buffer size = +([0-9.]+) MiB", log)
    }
    assert found == {
        "model": pytest.approx(device.weights / MIB, abs=0.006),
        "KV": pytest.approx(device.kv / MIB, abs=0.006),
    }


def loaded(argv: list[str]) -> str:
    """The server's log up to the point where it listens; then it is ended."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "server is listening" in line or "model loaded" in line:
                return "".join(lines)
    finally:
        process.terminate()
        process.stdout.close()
        process.wait(20)
    pytest.fail("llama-server ended:\n" + "".join(lines)[-3000:])
