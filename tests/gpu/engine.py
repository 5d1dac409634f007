"""llama.cpp built with CUDA from the llama-cpp-python sdist, kept in the user's cache by version and kind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests import fixtures_sdist as sdist

#: What the harness runs; all come from one build.
PROGRAMS = ("llama-server", "llama-bench", "llama-fit-params", "ggml-rpc-server")
#: GGML_NATIVE off builds for AVX2, as the embedded engine is built: native builds by GCC 12 die on AMX machines.
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=OFF",
    "-DGGML_RPC=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)


class BuildFailed(Exception):
    """One line that says what is missing or what failed."""


def cache() -> Path:
    base = os.environ.get("LOCALRUN_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "localrun" / "llama.cpp"


def folder(kind: str) -> Path:
    """Where the build of one kind, "cuda" or "cpu", lies or will lie."""
    return cache() / f"{sdist.VERSION}-{kind}"


def find_build(*programs: str) -> Path | None:
    """The folder named by LOCALRUN_LLAMA_BIN, else that of a build in the cache, if it has `programs`."""
    named = os.environ.get("LOCALRUN_LLAMA_BIN")
    places = [Path(named)] if named else [folder(kind) / "build" / "bin" for kind in ("cuda", "cpu")]
    return next((place for place in places if all((place / name).is_file() for name in programs)), None)


def missing_tools(cuda: bool = True) -> list[str]:
    """The programs that a build needs and that are not on PATH."""
    wanted = {"cmake": ("cmake",), "a C++ compiler": ("c++", "g++", "clang++")}
    if cuda:
        wanted["nvcc"] = ("nvcc",)
    return [name for name, any_of in wanted.items() if not any(map(_which, any_of))]


def _which(name: str) -> str | None:
    found = shutil.which(name)
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin", name)
    return found or (str(toolkit) if toolkit.is_file() else None)


def source(archive: Path | None, kind: str) -> Path:
    """llama.cpp's tree out of the sdist: `archive`, or an unpacked one, or the one that pip fetches once."""
    if archive is not None and archive.is_dir():
        tree = archive / "vendor" / "llama.cpp"
        return tree if tree.is_dir() else archive
    target = folder(kind) / "source"
    if (target / "CMakeLists.txt").is_file():
        return target
    if archive is None:
        place = sdist.cache_folder()
        with sdist.locked(place):
            archive = sdist.download(place)
    unpack(archive, target)
    return target


def unpack(archive: Path, target: Path) -> None:
    """The vendored llama.cpp of the sdist, as `target`; half an unpacking never stands there."""
    prefix = f"llama_cpp_python-{sdist.VERSION}/vendor/llama.cpp/"
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            if member.name.startswith(prefix) and (member.isfile() or member.isdir()):
                member.name = member.name.removeprefix(prefix)
                tar.extract(member, part, filter="data")
    if not (part / "CMakeLists.txt").is_file():
        raise BuildFailed(f"{archive.name} holds no {prefix}")
    part.rename(target)


def architecture() -> str:
    """Of the first card as CMake names it, "90"; "native" lets a recent CMake look by itself."""
    try:
        import pynvml

        pynvml.nvmlInit()
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(pynvml.nvmlDeviceGetHandleByIndex(0))
    except (ImportError, pynvml.NVMLError):
        return "native"
    return f"{major}{minor}"


def commands(tree: Path, target: Path, cuda: bool, jobs: int) -> list[list[str]]:
    """What builds the programs: configure, then compile."""
    flags = list(FLAGS)
    # Ninja keeps all cores at work; a build that was cut short goes on where it was.
    generator = ["-G", "Ninja"] if shutil.which("ninja") and not (target / "Makefile").exists() else []
    nvcc = _which("nvcc") if cuda else None
    if cuda:
        # The card's own architecture alone: all of them take an hour.
        flags += ["-DGGML_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={architecture()}"]
    if nvcc:
        flags.append(f"-DCMAKE_CUDA_COMPILER={nvcc}")
    return [
        ["cmake", "-S", str(tree), "-B", str(target), *generator, *flags],
        ["cmake", "--build", str(target), "--config", "Release", "-j", str(jobs), "--target", *PROGRAMS],
    ]


def build(archive: Path | None = None, cuda: bool = True) -> Path:
    """The folder with the programs, built on the first call: minutes on many cores, longer on few."""
    kind = "cuda" if cuda else "cpu"
    named = os.environ.get("LOCALRUN_LLAMA_BIN")
    target = Path(named) if named else folder(kind) / "build" / "bin"
    if all((target / name).is_file() for name in PROGRAMS):
        return target
    missing = missing_tools(cuda)
    if missing:
        raise BuildFailed("missing: " + ", ".join(missing))
    for argv in commands(source(archive, kind), folder(kind) / "build", cuda, os.cpu_count() or 1):
        if subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode:
            raise BuildFailed(f"{' '.join(argv[:3])} failed; its last lines are above")
    return folder(kind) / "build" / "bin"
