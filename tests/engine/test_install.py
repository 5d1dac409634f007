"""Which engine fits which machine: decided from facts alone, no index is asked."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from localrun.engine.install import INDEX, Choice, Tools, choose, cuda_of_driver, run_pip
from localrun.errors import EngineError
from localrun.hardware.facts import Backend, Cpu, Gpu, Host, Ram

BARE = Tools(glibc=(2, 36))
BUILDER = replace(BARE, cmake="/c", compiler="/cc", nvcc="/nvcc", hipcc="/hipcc", glslc="/glslc")


def machine(name: str = "", backend: Backend = "cuda", driver: str = "") -> Host:
    gpus = (Gpu(name, backend, 0, 1, 1, driver=driver),) if name else ()
    return Host("this machine", "linux", "x86_64", Cpu("Ryzen", 8, 16, 16), Ram(1 << 36, 1 << 36), gpus)


def index(choice: Choice) -> str:
    """The folder of the package's index; "PyPI" where none is named."""
    assert choice.kind == "wheel", choice
    assert choice.command[:4] == (sys.executable, "-m", "pip", "install")
    assert "xllamacpp==1.2.3" in choice.command
    named = [part for part in choice.command if part.startswith("https://")]
    return named[0].removeprefix(INDEX) if named else "PyPI"


@pytest.mark.parametrize(
    ("host", "tools", "folder"),
    [
        (machine(), BARE, "PyPI"),
        (machine("Apple M3 Max", "metal"), replace(BARE, glibc=(0, 0)), "PyPI"),
        (machine("NVIDIA GeForce RTX 4090", "cuda", "570.86.15"), BARE, "cu128"),
        (machine("NVIDIA GeForce RTX 4090", "cuda", "580.65.06"), BARE, "cu128"),
        (machine("NVIDIA GeForce RTX 5090", "cuda", "595.10"), BARE, "cu132"),
        (machine("Tesla V100-SXM2-16GB", "cuda", "595.10"), BARE, "cu128"),
        (machine("NVIDIA GeForce GTX 1080 Ti", "cuda", "595.10"), BARE, "cu128"),
        (machine("AMD Radeon RX 7900 XTX", "rocm"), replace(BARE, rocm="7.2.4"), "rocm-7.2.4"),
        (machine("AMD Radeon RX 7900 XTX", "rocm"), replace(BARE, rocm="6.4.1"), "rocm-6.4.1"),
        (machine("AMD Radeon RX 7900 XTX", "rocm"), BARE, "vulkan"),
        (machine("AMD Instinct MI300X", "rocm"), replace(BARE, rocm="7.2.4"), "vulkan"),
        (machine("AMD Radeon RX 6700 XT", "vulkan"), BARE, "vulkan"),
        (machine("Intel Arc B580", "sycl"), BARE, "vulkan"),
    ],
)
def test_a_machine_gets_the_wheel_of_its_toolkit(host: Host, tools: Tools, folder: str) -> None:
    choice = choose(host, tools, "1.2.3")
    assert index(choice) == folder
    assert len(choice.why) == 1
    assert not host.gpus or host.gpus[0].name in choice.why[0]


def test_an_old_driver_is_told_to_be_updated() -> None:
    choice = choose(machine("NVIDIA A100", "cuda", "535.104.05"), BARE, "1.2.3")
    assert choice.kind == "none"
    assert "driver 535.104.05 runs CUDA 12.2; the wheels need 12.8" in choice.why[0]


def test_an_old_driver_with_a_compiler_builds() -> None:
    choice = choose(machine("NVIDIA A100", "cuda", "535.104.05"), BUILDER, "1.2.3")
    assert (choice.kind, choice.backend) == ("native", "cuda")


def test_an_old_glibc_builds() -> None:
    host = machine("NVIDIA GeForce RTX 4090", "cuda", "580.1")
    choice = choose(host, replace(BUILDER, glibc=(2, 31)), "1.2.3")
    assert (choice.kind, choice.backend) == ("native", "cuda")
    assert "glibc 2.35, this system has 2.31" in choice.why[0]


@pytest.mark.parametrize(
    ("gpu", "tools", "backend"),
    [
        (machine("RTX 4090", "cuda"), BUILDER, "cuda"),
        (machine("RTX 4090", "cuda"), replace(BUILDER, nvcc=""), ""),
        (machine("MI300X", "rocm"), BUILDER, "rocm"),
        (machine("Arc", "sycl"), BUILDER, "vulkan"),
        (machine("Arc", "sycl"), replace(BUILDER, glslc=""), ""),
        (machine(), BUILDER, ""),
    ],
)
def test_a_native_build_has_the_gpu_that_it_can_compile_for(gpu: Host, tools: Tools, backend: str) -> None:
    choice = choose(gpu, tools, "1.2.3", native=True)
    assert (choice.kind, choice.backend) == ("native", backend)
    assert ("is not here" in choice.why[0]) == (bool(gpu.gpus) and not backend)


@pytest.mark.parametrize(
    ("tools", "words", "hint"),
    [
        (BARE, "cmake and a C++ compiler", "sudo apt install"),
        (replace(BARE, compiler="/cc"), "needs cmake", "pip install cmake"),
    ],
)
def test_a_native_build_without_tools_says_what_is_missing(tools: Tools, words: str, hint: str) -> None:
    with pytest.raises(EngineError, match=words.replace("+", r"\+")) as failed:
        choose(machine(), tools, "1.2.3", native=True)
    assert failed.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("570.86.15", (12, 8)), ("580.65.06", (13, 0)), ("594.99", (13, 1)), ("601.1", (13, 2)),
        ("390.157", None), ("amdgpu", None), ("", None),
    ],
)  # fmt: skip
def test_a_driver_runs_cuda_up_to_its_branch(driver: str, cuda: tuple[int, int] | None) -> None:
    assert cuda_of_driver(driver) == cuda


def test_pips_own_complaint_is_told_without_passwords(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'ERROR: no match at https://me:secret@host/x' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(EngineError) as failed:
        run_pip(Choice("wheel", (str(fake), "-m", "pip"), ()), {})
    assert str(failed.value) == "pip: no match at https://***@host/x"
    assert "as it was" in failed.value.hint
