"""What a build's files say, of the real engine and of files that are none."""

from __future__ import annotations

import random
import struct
from importlib.util import find_spec
from pathlib import Path

import pytest

from localrun.engine import peek
from localrun.engine.dryrun import dry_run
from localrun.errors import EngineError
from localrun.plan.values import Settings
from tests.fakes import tiny_gguf


@pytest.fixture(scope="module")
def wheel() -> Path:
    spec = find_spec("xllamacpp")
    assert spec is not None
    assert spec.submodule_search_locations
    (found,) = Path(spec.submodule_search_locations[0]).glob("xllamacpp*.so")
    return found


@pytest.fixture(scope="module")
def seen(wheel: Path) -> peek.Seen:
    return peek.peek(None, [wheel])


def test_the_wheel_tells_its_instruction_sets_and_compiler(seen: peek.Seen) -> None:
    assert {"AVX2", "FMA"} <= set(seen.features) or "NEON" in seen.features
    assert seen.compiler.startswith(("GNU", "Clang", "AppleClang"))
    assert "CUDA" not in seen.backends


def test_what_it_says_it_knows_it_loads(seen: peek.Seen, tmp_path: Path) -> None:
    """The strings in the file against the engine itself."""
    for architecture in tiny_gguf.ARCHITECTURES:
        assert architecture in seen.architectures
        dry_run(str(tiny_gguf.write(tmp_path / f"{architecture}.gguf", architecture)), Settings(ctx_size=256))


def test_what_it_does_not_know_it_does_not_load(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peek, "ARCHITECTURES", ("llama", "llama9", "deepseek99"))
    assert peek.search(wheel)[0] == ("llama",)
    path = tiny_gguf.write(tmp_path / "x.gguf", "llama4")
    path.write_bytes(path.read_bytes().replace(b"llama4", b"llama9"))
    with pytest.raises(EngineError, match="llama9"):
        dry_run(str(path), Settings(ctx_size=256))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "version: 0.5.0-dev (build 9411, commit 0c1e570)\nbuilt with GNU 12.2.0 for Linux x86_64\n",
            ("0.5.0-dev", 9411, "0c1e570", "GNU 12.2.0"),
        ),
        (
            "version: 6123 (79c1160b)\nbuilt with cc (Debian 12.2.0-14) 12.2.0 for x86_64-linux-gnu\n",
            ("", 6123, "79c1160b", "cc (Debian 12.2.0-14) 12.2.0"),
        ),
        ("version: 0.5.0 (build 0, commit unknown)", ("0.5.0", 0, "", "")),
        ("version: 0.5.0-dev (build 1, commit 0c1e570)", ("0.5.0-dev", 0, "0c1e570", "")),
        ("usage: llama-server [options]", ("", 0, "", "")),
        ("", ("", 0, "", "")),
    ],
)
def test_versions_are_read_in_both_forms(text: str, told: tuple[str, int, str, str]) -> None:
    assert peek.parse_version(text) == told


def test_the_cpus_features_are_not_mixed_with_the_gpus() -> None:
    line = "CUDA : ARCHS = 890 | USE_GRAPHS = 1 | CPU : AVX2 = 1 | AVX512 = 0 | AMX_INT8 = 1 | REPACK = 1 | "
    assert peek.parse_features(line) == ("AVX2", "AMX_INT8")
    line = "CPU : NEON = 1 | SVE = 0 | OPENMP = 1 | RPC : X = 1 | "
    assert peek.parse_features(line) == ("NEON",)
    assert peek.parse_features("") == ()


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("libggml-cuda.so", "cuda"),
        ("libggml-cuda.so.0.25.3", "cuda"),
        ("libggml-metal.dylib", "metal"),
        ("ggml-vulkan.dll", "vulkan"),
        ("libggml.so", ""),
        ("libllama.so", ""),
    ],
)
def test_a_backend_in_a_library_of_its_own_is_known_by_its_name(name: str, backend: str) -> None:
    assert peek.library_backend(Path(name)) == backend


def elf(rodata: bytes) -> bytes:
    """A 64-bit ELF file that has one section of read-only data, and nothing else."""
    names = b"\0.rodata\0.shstrtab\0"
    at = 64 + len(rodata) + len(names)
    head = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<2HIQQQIHHHHHH", 3, 62, 1, 0, 0, at, 0, 64, 0, 0, 64, 3, 2)
    )
    sections = bytes(64)
    sections += struct.pack("<2I4Q2I2Q", 1, 1, 2, 0, 64, len(rodata), 0, 0, 1, 0)
    sections += struct.pack("<2I4Q2I2Q", 9, 3, 0, 0, 64 + len(rodata), len(names), 0, 0, 1, 0)
    return head + rodata + names + sections


def test_only_whole_strings_of_read_only_data_count(tmp_path: Path) -> None:
    path = tmp_path / "libllama.so"
    path.write_bytes(elf(b"\0llama4\0deepseek32x\0found %d CUDA devices\0") + b"\0deepseek2\0")
    assert peek.search(path) == (("llama4",), ("CUDA",))


def test_a_damaged_file_is_searched_in_vain(tmp_path: Path) -> None:
    """Ten thousand bytes wrong at random places: no crash, no hang."""
    whole = elf(b"\0llama4\0" + bytes(200))
    path = tmp_path / "libllama.so"
    random.seed(7)
    for _ in range(300):
        data = bytearray(whole[: random.randrange(len(whole) + 1)])
        for _ in range(random.randrange(1, 30)):
            if data:
                data[random.randrange(len(data))] = random.randrange(256)
        path.write_bytes(data)
        names, backends = peek.search(path)
        assert set(names) <= {"llama4"}
        assert backends == ()
    assert peek.search(tmp_path / "none") == ((), ())


def test_the_cuda_runtime_is_read_from_the_library(tmp_path: Path) -> None:
    library = tmp_path / "libggml-cuda.so"
    library.write_bytes(elf(b"\0") + b"\0libcudart.so.12\0libcublas.so.12\0")
    found = peek.peek(None, [library])
    assert (found.backends, found.cuda) == (("CUDA",), "12")


def test_a_program_that_hangs_or_is_none_is_only_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peek, "_PATIENCE", 0.3)
    for text in ("#!/bin/sh\nsleep 600\n", "no program"):
        path = tmp_path / "llama-server"
        path.write_text(text)
        path.chmod(0o755)
        assert peek.peek(path, []) == peek.Seen()
