"""llama.cpp built for this machine, from the sources inside the llama-cpp-python sdist.

The archive comes through pip and is used only with the pinned sha256. The build happens aside; the engine
appears under `engines/<version>-<hash of the flags>/bin` in one rename, once its server has run. A build
that fails touches no engine that is there, and leaves a log whose first real error is in the exception.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localrun.config import Paths
from localrun.engine.child import follow
from localrun.engine.sdist import BYTES, COMMIT, ROOT, VERSION, fetch
from localrun.errors import EngineError
from localrun.model.files import check_room, disk_errors, locked
from localrun.model.sources import Net
from localrun.units import GIB, format_size

#: What is made; `llama-quantize` and the RPC server are programs of their own.
TARGETS = ("llama-server", "llama-bench", "llama-fit-params", "llama-quantize", "ggml-rpc-server")
#: Where the log of the last build lies, below the state folder.
LOG = "engine-build.log"
_ALWAYS = (
    "-DCMAKE_BUILD_TYPE=Release",
    # Programs find their libraries beside them, wherever the folder is moved to.
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH={origin}",
    f"-DLLAMA_BUILD_COMMIT={COMMIT}",
    "-DLLAMA_BUILD_NUMBER=0",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",  # it would be downloaded during the build
    "-DLLAMA_OPENSSL=OFF",  # the server listens on the loopback, and fetches nothing itself
    "-DGGML_RPC=ON",
    "-DGGML_CCACHE=OFF",
)
#: /proc/cpuinfo's instruction sets -> llama.cpp's options. AMX is left out: with it MLA models abort.
_X86 = {
    "sse4_2": "GGML_SSE42",
    "avx": "GGML_AVX",
    "avx2": "GGML_AVX2",
    "bmi2": "GGML_BMI2",
    "f16c": "GGML_F16C",
    "fma": "GGML_FMA",
    "avx_vnni": "GGML_AVX_VNNI",
    "avx512f": "GGML_AVX512",
    "avx512_vbmi": "GGML_AVX512_VBMI",
    "avx512_vnni": "GGML_AVX512_VNNI",
    "avx512_bf16": "GGML_AVX512_BF16",
}
#: Bytes of disk while it builds: sources, objects, the archive; CUDA's kernels take the most.
_ROOM, _ROOM_CUDA = 2 * GIB, 6 * GIB
#: Bytes of RAM that one compiler may take.
_PER_JOB = int(1.5 * GIB)
_PERCENT = re.compile(r"^\[\s*(\d+)%\]")
_NINJA = re.compile(r"^\[(\d+)/(\d+)\]")

#: Called with a percentage (-1 = not known) and what is being done.
Told = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Build:
    """A build, decided: nothing has been fetched or compiled."""

    flags: tuple[str, ...]  # cmake's -D options
    ninja: bool
    jobs: int
    cuda: bool = False

    @property
    def name(self) -> str:
        """The engine's folder: the same flags give the same one."""
        digest = hashlib.sha256("\n".join(self.flags).encode()).hexdigest()[:10]
        return f"{VERSION}-{digest}"

    def configure(self, source: str, build: str) -> list[str]:
        generator = ["-G", "Ninja"] if self.ninja else []
        return ["cmake", "-S", source, "-B", build, *generator, *self.flags]

    def compile(self, build: str) -> list[str]:
        return ["cmake", "--build", build, "--target", *TARGETS, "--parallel", str(self.jobs)]


def decide(
    system: str,
    arch: str,
    features: Sequence[str],
    *,
    cores: int,
    ram: int,
    backend: str = "",
    nvcc: str = "",
    ninja: bool = False,
    jobs: int = 0,
) -> Build:
    """The build that fits this machine. Pure.

    On x86 the instruction sets are named one by one, not left to `-march=native`: builds by GCC 12 with
    that die of SIGILL, and the folder's name then says what the engine needs. ram: bytes available.
    backend: "cuda", "rocm" or "vulkan" where their compilers are here, "" = CPU (and Metal on a Mac); nvcc:
    its path, which need not be on PATH.
    """
    flags = [flag.format(origin=_origin(system)) for flag in _ALWAYS]
    if arch == "x86_64":
        flags.append("-DGGML_NATIVE=OFF")
        # Each is said, present or not: the defaults of a build without NATIVE assume AVX2.
        flags += [f"-D{option}={'ON' if name in features else 'OFF'}" for name, option in _X86.items()]
    else:
        flags.append("-DGGML_NATIVE=ON")
    if backend in ("cuda", "rocm", "vulkan"):
        flags.append(
            {"cuda": "-DGGML_CUDA=ON", "rocm": "-DGGML_HIP=ON", "vulkan": "-DGGML_VULKAN=ON"}[backend]
        )
    if backend == "cuda":
        # For the cards that are here: without NATIVE, llama.cpp compiles for every card since 2014.
        flags.append("-DCMAKE_CUDA_ARCHITECTURES=native")
        flags += [f"-DCMAKE_CUDA_COMPILER={nvcc}"] if nvcc else []
    fitting = max(1, min(cores, ram // _PER_JOB))
    return Build(tuple(flags), ninja, jobs or fitting, backend == "cuda")


def _origin(system: str) -> str:
    return "@loader_path" if system == "darwin" else "$ORIGIN"


def folder_of(build: Build, paths: Paths) -> Path:
    return paths.data / "engines" / build.name


def install(build: Build, paths: Paths, net: Net, told: Told = lambda _percent, _what: None) -> Path:
    """Fetches, builds, tries and installs; returns the engine's `bin`. Raises EngineError, FetchError.

    Takes minutes to half an hour of all cores. One that is there already is returned at once.
    """
    target = folder_of(build, paths)
    with locked(target.parent / ".lock"):
        if (target / "bin" / "llama-server").exists():
            return target / "bin"
        work = paths.cache / "engine-build"
        with disk_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            paths.state.mkdir(parents=True, exist_ok=True)
        check_room(work, _ROOM_CUDA if build.cuda else _ROOM)
        log = paths.state / LOG
        staging = target.with_name(f".{target.name}.new")
        try:
            told(-1, f"fetching the sources (llama-cpp-python {VERSION}, {format_size(BYTES)})")
            archive = fetch(work, net, _Fetching(told))
            told(-1, "unpacking")
            source = unpack(archive, work / "source")
            made = work / "build"
            shutil.rmtree(made, ignore_errors=True)
            with log.open("wb", buffering=0) as out:
                told(0, "configuring")
                run(build.configure(str(source), str(made)), out, net.env, log, told)
                run(build.compile(str(made)), out, net.env, log, told)
            told(100, "trying it")
            collect(made / "bin", staging / "bin", build)
            _try(staging / "bin" / "llama-server")
            with disk_errors(target):
                os.replace(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            for name in ("source", "build"):
                shutil.rmtree(work / name, ignore_errors=True)
    return target / "bin"


class _Fetching:
    """A fetch's progress, told in the builds' way: a percentage whenever it is another."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._total, self._got, self._said = 0, 0, 0

    def start(self, name: str, total: int) -> None:
        self._total, self._got, self._said = total, 0, 0
        self._told(0 if total else -1, "fetching" if total else name)

    def advance(self, n: int) -> None:
        self._got += n
        percent = 100 * self._got // self._total if self._total else 0
        if percent > self._said:
            self._said = percent
            self._told(min(100, percent), "fetching")

    def done(self) -> None:
        pass


def unpack(archive: Path, folder: Path) -> Path:
    """llama.cpp's tree out of the archive; models and documents stay inside. Raises EngineError."""
    prefix = f"{ROOT}/"
    skipped = tuple(prefix + name for name in ("models/", "docs/", "media/", ".git", ".devops/"))
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with disk_errors(folder), tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.name.startswith(prefix) and not member.name.startswith(skipped):
                    # "data" refuses absolute paths, `..`, links that lead out, and devices.
                    tar.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError) as wrong:
        raise EngineError(f"{archive.name}: cannot be unpacked: {wrong}", "run it again") from None
    tree = folder / ROOT
    if not (tree / "CMakeLists.txt").is_file():
        raise EngineError(f"{archive.name} holds no llama.cpp")
    return tree


def run(
    argv: Sequence[str], out: object, env: Mapping[str, str], log: Path, told: Told = lambda _p, _w: None
) -> None:
    """Runs one step with its output in the log; percentages are told. Raises EngineError."""
    write = out.write  # type: ignore[attr-defined]
    write(f"$ {' '.join(argv)}\n".encode())

    def each(line: bytes) -> None:
        write(line)
        found = percent(line.decode("utf-8", "replace"))
        if found >= 0:
            told(found, "building")

    status = follow(argv, each, {**env, "CLICOLOR_FORCE": "0", "NINJA_STATUS": "[%f/%t] "})
    if status:
        why, hint = first_error(log.read_text(encoding="utf-8", errors="replace"))
        raise EngineError(f"the build failed: {why}", f"{hint}; the whole log: {log}")


def percent(line: str) -> int:
    """How far a build is by one line of make or ninja; -1 where it does not say."""
    if found := _PERCENT.match(line):
        return min(100, int(found[1]))
    found = _NINJA.match(line)
    return min(100, 100 * int(found[1]) // max(1, int(found[2]))) if found else -1


#: What stops a build, causes before consequences; then what to do.
_CAUSES = (
    (r"(Killed signal terminated program \w+)", "not enough RAM: fewer --jobs"),
    (r"(No space left on device)", "free some space in the cache folder"),
    (r"(Unsupported gpu architecture.*|unsupported GNU version.*)", "the CUDA toolkit and the compiler do not match"),
    (r"(No CMAKE_(?:C|CXX|CUDA)_COMPILER could be found.*)", "install a C++ compiler: g++ or clang++"),
    (r"(CMake \d[\d.]* or higher is required.*)", "a newer cmake: pip install cmake"),
    (r"(\S+: fatal error: .*)", "a header is missing"),
    (r"(\S+:\d+(?::\d+)?: error: .*)", "the compiler refused it"),
    (r"(undefined reference to .*|ld: .*not found.*|cannot find -l.*)", "a library is missing"),
    (r"CMake Error[^\n]*:\n+\s+(.+)", "cmake refused it"),
    (r"(nvcc fatal .*)", "the CUDA toolkit refused it"),
)  # fmt: skip


def first_error(log: str) -> tuple[str, str]:
    """(the first line that really is the error, what to do) of a build's log."""
    for pattern, hint in _CAUSES:
        if found := re.search(pattern, log):
            return found[1].strip()[:300], hint
    lines = [line.strip() for line in log.splitlines() if "error" in line.lower()] or log.split("\n")
    last = next((line for line in lines if line and not line.startswith("$ ")), "it gave no reason")
    return last[:300], "the compiler's own words are in the log"


def collect(made: Path, target: Path, build: Build) -> None:
    """Programs and libraries, links kept; and beside them how they were built."""
    shutil.rmtree(target.parent, ignore_errors=True)
    with disk_errors(target):
        target.mkdir(parents=True)
        for path in sorted(made.iterdir()):
            if path.is_file():
                shutil.copy2(path, target / path.name, follow_symlinks=False)
        about = {"llama_cpp_python": VERSION, "commit": COMMIT, "flags": list(build.flags)}
        (target.parent / "build.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _try(server: Path) -> None:
    """Raises EngineError unless the fresh server runs on this machine."""
    try:
        done = subprocess.run([server, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise EngineError(f"the engine that was built does not run: {failed}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise EngineError(f"the engine that was built does not run: {said[-1] if said else done.returncode}")
