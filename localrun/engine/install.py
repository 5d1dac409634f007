"""Which engine fits this machine: a decision first (pure), then the exact command that gets it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from localrun.errors import EngineError, FetchError
from localrun.hardware.facts import Gpu, Host
from localrun.model import pip
from localrun.model.retry import redact

#: The package's own index, one folder for each toolkit: its description on PyPI, "Installation".
INDEX = "https://xorbitsai.github.io/xllamacpp/whl/"
#: NVIDIA's driver branch -> the newest CUDA that it runs (CUDA release notes, table 3).
_DRIVERS = (
    (595, (13, 2)),
    (590, (13, 1)),
    (580, (13, 0)),
    (575, (12, 9)),
    (570, (12, 8)),
    (560, (12, 6)),
    (555, (12, 5)),
    (550, (12, 4)),
    (545, (12, 3)),
    (535, (12, 2)),
    (530, (12, 1)),
    (525, (12, 0)),
    (450, (11, 0)),
)
#: The GPU wheels need this glibc (the package's description, "Prerequisites").
_GLIBC = (2, 35)
#: Cards that the wheel for CUDA 13 has left out, by parts of their names: before Turing.
_BEFORE_TURING = ("GTX 9", "GTX 10", "TITAN X", "TITAN V", "P40", "P100", "V100", "M40", "M60", "Quadro P")
#: Instinct cards that no ROCm wheel has code for.
_NO_ROCM_WHEEL = ("MI210", "MI250", "MI100", "MI300", "MI325", "MI308")

Kind = Literal["wheel", "native", "none"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What of a builder's tools is on this machine: their paths or versions, empty where they are not."""

    cmake: str = ""
    compiler: str = ""
    ninja: str = ""
    nvcc: str = ""
    hipcc: str = ""
    glslc: str = ""
    glibc: tuple[int, int] = (0, 0)  # (0, 0) = not glibc
    rocm: str = ""  # release of the ROCm that is installed
    pip: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """What to install. `command` is what will be run, `why` one line each."""

    kind: Kind
    command: tuple[str, ...]
    why: tuple[str, ...]
    backend: str = ""  # as `native_build.decide` takes it; of a wheel: what it is built for


def cuda_of_driver(driver: str) -> tuple[int, int] | None:
    """The newest CUDA that a driver such as `570.86.15` runs; None for what is no such version."""
    branch = driver.partition(".")[0]
    if not branch.isdecimal():
        return None
    return next((cuda for least, cuda in _DRIVERS if int(branch) >= least), None)


def choose(host: Host, tools: Tools, pin: str, *, native: bool = False) -> Choice:
    """The engine that fits `host`. Pure. pin: the xllamacpp version that this localrun drives.

    native: build from source, whatever wheel there is. Raises EngineError when a tool is missing for it.
    """
    if native:
        return _native(host, tools, ())
    gpu = host.gpus[0] if host.gpus else None
    if gpu is None or gpu.backend == "metal":
        if gpu is not None:
            return _wheel(pin, "", f"{gpu.name}: the wheel on PyPI is built for Metal", "metal")
        return _wheel(pin, "", "no GPU: the wheel on PyPI is built for the CPU", "cpu")
    folder, why = _index(gpu, tools)
    if folder:
        return _wheel(pin, folder, why, folder)
    try:
        return _native(host, tools, (why,))
    except EngineError as missing:
        return Choice("none", (), (why, str(missing)))


def _index(gpu: Gpu, tools: Tools) -> tuple[str, str]:
    """(the folder of the index, why); an empty folder where no wheel fits."""
    if tools.glibc != (0, 0) and tools.glibc < _GLIBC:
        return "", f"the GPU wheels need glibc 2.35, this system has {tools.glibc[0]}.{tools.glibc[1]}"
    if gpu.backend == "cuda":
        return _cuda_index(gpu)
    if gpu.backend == "rocm" and not any(part in gpu.name for part in _NO_ROCM_WHEEL):
        major = tools.rocm.partition(".")[0]
        if major.isdecimal() and int(major) >= 7:
            return "rocm-7.2.4", f"{gpu.name} with ROCm {tools.rocm}"
        if major == "6":
            return "rocm-6.4.1", f"{gpu.name} with ROCm {tools.rocm}"
    return "vulkan", f"{gpu.name}: Vulkan runs on it without more than its driver"


def _cuda_index(gpu: Gpu) -> tuple[str, str]:
    cuda = cuda_of_driver(gpu.driver)
    if cuda is None or cuda < (12, 8):
        most = f"CUDA {cuda[0]}.{cuda[1]}" if cuda else "none that is known"
        return (
            "",
            f"driver {gpu.driver or 'of unknown version'} runs {most}; the wheels need 12.8: update it to 570 or newer",
        )
    told = f"{gpu.name}, driver {gpu.driver} runs CUDA {cuda[0]}.{cuda[1]}"
    if cuda >= (13, 2) and not any(part in gpu.name for part in _BEFORE_TURING):
        return "cu132", told
    return "cu128", told


def _wheel(pin: str, folder: str, why: str, backend: str) -> Choice:
    argv = [sys.executable, "-m", "pip", "install", f"xllamacpp=={pin}", "--force-reinstall", "--no-deps"]
    return Choice("wheel", (*argv, *(("--index-url", INDEX + folder) if folder else ())), (why,), backend)


def _native(host: Host, tools: Tools, why: tuple[str, ...]) -> Choice:
    missing = [n for n, path in (("cmake", tools.cmake), ("a C++ compiler", tools.compiler)) if not path]
    if missing:
        fix = "pip install cmake" if missing == ["cmake"] else "sudo apt install cmake g++"
        raise EngineError(f"a native build needs {' and '.join(missing)}", fix)
    gpu = host.gpus[0].backend if host.gpus else ""
    able = {"cuda": tools.nvcc, "rocm": tools.hipcc, "vulkan": tools.glslc, "sycl": tools.glslc}
    backend = {"sycl": "vulkan"}.get(gpu, gpu) if able.get(gpu) else ""
    said = f"llama.cpp built here for {host.cpu.name}" + (f" and {host.gpus[0].name}" if backend else "")
    if gpu in able and not backend:
        tool = {"cuda": "nvcc", "rocm": "hipcc"}.get(gpu, "glslc")
        said += f"; without the GPU, for {tool} is not here"
    return Choice("native", (), (*why, said), backend)


def run_pip(choice: Choice, env: Mapping[str, str]) -> str:
    """Runs the wheel's command and returns pip's last line. Raises EngineError; pip undoes what fails."""
    python, _m, _pip, *arguments = choice.command
    try:
        said = pip.run([*arguments, "--progress-bar", "off"], env, python)
    except FetchError as failed:
        hint = "the engine that was here is as it was; or: localrun engine install --native"
        raise EngineError(str(failed), hint) from None
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return redact(lines[-1]) if lines else ""
