"""Every llama.cpp of a made-up machine is found once, in the order in which `up` takes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localrun.config import Config, Session, paths
from localrun.engine import inventory as module
from localrun.engine.installed import installed
from localrun.engine.inventory import Seen, default_first, inventory, quantizer, uses_gpu
from localrun.hardware.facts import Backend, Gpu


def program(path: Path, says: str = "version: 9000 (abcdef1)") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\necho ran >> {path}.ran\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(module, "HOMEBREW", (str(tmp_path / "brew/bin"),))
    monkeypatch.setattr(module, "_OLLAMA", ())
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin"}


def session(environ: dict[str, str], config: Config | None = None) -> Session:
    return Session(config or Config(), paths(environ))


def found(environ: dict[str, str], config: Config | None = None) -> list[tuple[str, str, str]]:
    return [(e.kind, e.source, e.label) for e in inventory(session(environ, config), environ)]


def test_the_wheel_alone_is_what_up_takes(environ: dict[str, str]) -> None:
    (one,) = inventory(session(environ), environ)
    assert (one.kind, one.source, one.used) == ("xllamacpp", "package", True)
    assert one.label == one.release
    assert {"llama4", "deepseek32"} <= set(one.seen.architectures)


def test_all_are_found_config_first_then_ours_then_path_then_homebrew(
    environ: dict[str, str], tmp_path: Path
) -> None:
    program(tmp_path / "bin/llama-server")
    program(tmp_path / "brew/bin/llama-server", "version: 9100 (abcdef2)")
    program(tmp_path / "mine/llama-server", "version: 9200 (abcdef3)")
    program(tmp_path / ".local/share/localrun/engines/0.3.36-ab/bin/llama-server", "version: 9300 (abcdef4)")
    config = Config(llama_server=str(tmp_path / "mine/llama-server"))
    listed = found(environ, config)
    assert listed[:4] == [
        ("llama-server", "config", "b9200"),
        ("llama-server", "installed by localrun", "b9300"),
        ("llama-server", "PATH", "b9000"),
        ("llama-server", "Homebrew", "b9100"),
    ]
    assert listed[4][0] == "xllamacpp"


def test_two_names_of_one_program_count_once(environ: dict[str, str], tmp_path: Path) -> None:
    real = program(tmp_path / "opt/llama-server")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/llama-server").symlink_to(real)
    environ["PATH"] = f"{tmp_path}/bin:{tmp_path}/opt:{tmp_path}/bin"
    assert [e[:2] for e in found(environ) if e[0] == "llama-server"] == [("llama-server", "PATH")]


def test_a_build_is_looked_at_once_and_again_when_it_changes(environ: dict[str, str], tmp_path: Path) -> None:
    server = program(tmp_path / "bin/llama-server")
    for _ in range(3):
        assert found(environ)[0][2] == "b9000"
    ran = Path(f"{server}.ran")
    assert ran.read_text().count("ran") == 1
    program(server, "version: 9001 (abcdef1)  ")
    assert found(environ)[0][2] == "b9001"


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 1}', '{"1 /x": {"nonsense": 1}}'])
def test_a_damaged_cache_is_only_slower(environ: dict[str, str], tmp_path: Path, damage: str) -> None:
    program(tmp_path / "bin/llama-server")
    cache = paths(environ).cache / "engines.json"
    cache.parent.mkdir(parents=True)
    cache.write_text(damage)
    assert found(environ)[0][2] == "b9000"


def test_ollamas_own_is_shown_and_never_taken(environ: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "bin/ollama")
    for name in ("libggml-cpu.so", "cuda_v13/libggml-cuda.so"):
        path = tmp_path / "lib/ollama" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    one = inventory(session(environ), environ)[-1]
    assert (one.kind, one.used, one.seen.backends) == ("ollama", False, ("CUDA",))
    assert not Path(f"{tmp_path}/bin/ollama.ran").exists()


def test_the_newest_of_ours_comes_first_and_drafts_do_not_count(tmp_path: Path) -> None:
    old = program(tmp_path / "engines/a/bin/llama-server")
    new = program(tmp_path / "engines/b/bin/llama-server")
    program(tmp_path / "engines/.c.new/bin/llama-server")
    (tmp_path / "engines/d/bin").mkdir(parents=True)
    os.utime(old, (1, 1))
    assert installed(tmp_path) == (new, old)
    assert installed(tmp_path / "none") == ()


def test_the_quantizer_lies_beside_a_server_or_on_path(environ: dict[str, str], tmp_path: Path) -> None:
    assert quantizer(session(environ), environ) is None
    on_path = program(tmp_path / "bin/llama-quantize")
    assert quantizer(session(environ), environ) == on_path
    ours = program(tmp_path / ".local/share/localrun/engines/x/bin/llama-quantize")
    program(ours.with_name("llama-server"))
    assert quantizer(session(environ), environ) == ours


def test_what_up_takes_stands_first(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same choice as `up` makes, whatever that prefers."""
    program(tmp_path / "bin/llama-server")
    monkeypatch.setenv("PATH", environ["PATH"])
    monkeypatch.setenv("HOME", str(tmp_path))
    for engine, kind in (
        ("auto", "llama-server"),
        ("embedded", "xllamacpp"),
        ("llama-server", "llama-server"),
    ):
        config = Config(engine=engine)
        found = default_first(inventory(session(environ, config), environ), config)
        assert found[0].kind == kind
        assert {e.kind for e in found} == {"llama-server", "xllamacpp"}


@pytest.mark.parametrize(
    ("backend", "built", "can"),
    [
        ("cuda", ("CUDA",), True),
        ("cuda", ("Vulkan", "RPC"), True),
        ("cuda", ("ROCm", "RPC"), False),
        ("rocm", ("ROCm",), True),
        ("metal", ("Metal",), True),
        ("metal", ("Vulkan",), False),
        ("sycl", (), False),
    ],
)
def test_a_gpu_needs_its_backend(backend: Backend, built: tuple[str, ...], can: bool) -> None:
    gpu = Gpu("x", backend, 0, 1, 1)
    assert uses_gpu(Seen(backends=built), (gpu,)) is can
    assert uses_gpu(Seen(backends=built), ()) is None
