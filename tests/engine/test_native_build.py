"""A native build: its options, its log, its end; with a cmake that is played, and once for real."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from localrun.config import Paths, paths
from localrun.engine import native_build, sdist
from localrun.engine.native_build import Build, decide, first_error, folder_of, install, percent
from localrun.errors import EngineError, FetchError
from localrun.model.sources import Net
from localrun.units import GIB

#: Plays cmake: writes what a build leaves, or fails as `FAKE_CMAKE` says.
CMAKE = """#!{python}
import os, pathlib, sys
mode, args = os.environ.get("FAKE_CMAKE", ""), sys.argv[1:]
if "-S" in args:
    if mode == "configure":
        print("CMake Error at CMakeLists.txt:3 (find_package):\\n  Could not find CUDAToolkit.\\n")
        sys.exit(1)
    assert pathlib.Path(args[args.index("-S") + 1], "CMakeLists.txt").is_file()
    sys.exit(0)
made = pathlib.Path(args[args.index("--build") + 1], "bin")
made.mkdir(parents=True)
print("[ 10%] Building CXX object a.o", flush=True)
if mode == "compile":
    print("/src/a.cpp:12:7: error: 'x' was not declared in this scope\\nmake: *** [all] Error 2")
    sys.exit(2)
if mode == "wait":
    import subprocess
    compiler = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(os.environ["FAKE_STARTED"]).touch()
    compiler.wait()
print("[100%] Built target llama-server", flush=True)
for name in ("llama-server", "llama-quantize"):
    path = made / name
    path.write_text("#!/bin/sh\\nexit " + ("3" if mode == "broken" else "0") + "\\n")
    path.chmod(0o755)
(made / "libllama.so.0").write_text("x")
(made / "libllama.so").symlink_to("libllama.so.0")
"""
BUILD = Build(("-DA=1",), ninja=False, jobs=1)


def archive(path: Path, *more: str) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in ("CMakeLists.txt", "src/llama.cpp", "models/big.gguf", *more):
            member = tarfile.TarInfo(f"{sdist.ROOT}/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A user's folders with the archive in place, and the played cmake on PATH."""
    found = paths({"HOME": str(tmp_path)})
    work = found.cache / "engine-build"
    work.mkdir(parents=True)
    archive(work / sdist.ARCHIVE)
    pin(monkeypatch, work / sdist.ARCHIVE)
    cmake = tmp_path / "bin" / "cmake"
    cmake.parent.mkdir()
    cmake.write_text(CMAKE.format(python=sys.executable))
    cmake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{cmake.parent}{os.pathsep}{os.environ['PATH']}")
    return found


def pin(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(sdist, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())


def net(mode: str = "", **env: str) -> Net:
    return Net({**os.environ, "FAKE_CMAKE": mode, **env}, offline=True)


def left(home: Paths) -> set[str]:
    """What lies in the folders afterwards, beside the archive, locks and logs."""
    names = {p.name for p in (home.data / "engines").iterdir()} | {
        p.name for p in (home.cache / "engine-build").iterdir()
    }
    return names - {".lock", sdist.ARCHIVE}


def test_a_build_is_installed_whole_with_its_links(home: Paths) -> None:
    said: list[tuple[int, str]] = []
    made = install(BUILD, home, net(), lambda p, what: said.append((p, what)))
    assert made == folder_of(BUILD, home) / "bin"
    assert sorted(p.name for p in made.iterdir()) == [
        "libllama.so",
        "libllama.so.0",
        "llama-quantize",
        "llama-server",
    ]
    assert (made / "libllama.so").is_symlink()
    assert '"-DA=1"' in (made.parent / "build.json").read_text()
    assert (10, "building") in said
    assert left(home) == {BUILD.name}


def test_the_same_build_is_not_made_twice(home: Paths) -> None:
    first = install(BUILD, home, net())
    assert install(BUILD, home, net("compile")) == first


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("configure", "the build failed: Could not find CUDAToolkit."),
        ("compile", "the build failed: /src/a.cpp:12:7: error: 'x' was not declared in this scope"),
        ("broken", "the engine that was built does not run: 3"),
    ],
)
def test_a_failed_build_leaves_the_old_engine_and_a_log(home: Paths, mode: str, why: str) -> None:
    old = install(BUILD, home, net()) / "llama-server"
    before = old.stat()
    other = Build(("-DA=2",), ninja=False, jobs=1)
    with pytest.raises(EngineError) as failed:
        install(other, home, net(mode))
    assert str(failed.value) == why
    assert old.stat() == before
    assert left(home) == {BUILD.name}
    log = (home.state / native_build.LOG).read_text()
    assert log.startswith("$ cmake -S ")
    if mode != "broken":
        assert str(home.state / native_build.LOG) in failed.value.hint


def test_an_interrupted_build_leaves_no_compiler_and_no_engine(home: Paths, tmp_path: Path) -> None:
    """Ctrl-C while cmake works: its whole group is gone when the command has ended."""
    script = (
        "import os, sys; from localrun.config import paths; from localrun.engine import sdist\n"
        f"sdist.SHA256 = {sdist.SHA256!r}\n"
        "from localrun.engine.native_build import Build, install; from localrun.model.sources import Net\n"
        "install(Build(('-DA=1',), False, 1), paths({'HOME': sys.argv[1]}), Net(os.environ, offline=True))"
    )
    started = tmp_path / "started"
    env = {
        **os.environ,
        "FAKE_CMAKE": "wait",
        "FAKE_STARTED": str(started),
        "LOCALRUN_TEST_BUILD_ID": str(tmp_path),
    }
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env=env,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    assert child.wait(30) != 0
    assert left(home) == set()
    if sys.platform == "linux":
        deadline = time.monotonic() + 10  # killed, and reaped by whoever inherits them
        while alive := with_environment(f"LOCALRUN_TEST_BUILD_ID={tmp_path}"):
            assert time.monotonic() < deadline, alive
            time.sleep(0.01)


def with_environment(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and text.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_another_archive_is_not_used(home: Paths) -> None:
    (home.cache / "engine-build" / sdist.ARCHIVE).write_bytes(b"other")
    with pytest.raises(FetchError, match="are not here"):
        install(BUILD, home, net())
    assert left(home) == set()


def test_an_archive_that_leads_out_is_refused(home: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home.cache / "engine-build" / sdist.ARCHIVE
    archive(path, "../../../../outside")
    pin(monkeypatch, path)
    with pytest.raises(EngineError, match="cannot be unpacked"):
        install(BUILD, home, net())
    assert not list(home.data.parent.rglob("outside"))


def test_models_and_documents_stay_in_the_archive(home: Paths, tmp_path: Path) -> None:
    tree = native_build.unpack(home.cache / "engine-build" / sdist.ARCHIVE, tmp_path / "tree")
    assert sorted(p.name for p in tree.rglob("*") if p.is_file()) == ["CMakeLists.txt", "llama.cpp"]


# ---- decided ---------------------------------------------------------------------------------------


def flags(*features: str, arch: str = "x86_64", backend: str = "", system: str = "linux") -> set[str]:
    return set(decide(system, arch, features, cores=4, ram=64 * GIB, backend=backend).flags)


def test_each_instruction_set_is_named_and_amx_never() -> None:
    found = flags("avx", "avx2", "avx512f", "avx512_vnni", "amx_int8")
    assert {"-DGGML_NATIVE=OFF", "-DGGML_AVX2=ON", "-DGGML_AVX512=ON", "-DGGML_AVX512_VNNI=ON"} <= found
    assert {"-DGGML_AVX512_BF16=OFF", "-DGGML_FMA=OFF"} <= found
    assert not [f for f in found if "AMX" in f]
    assert "-DGGML_AVX2=OFF" in flags("sse4_2")


def test_other_processors_are_left_to_the_compiler() -> None:
    assert "-DGGML_NATIVE=ON" in flags(arch="arm64", system="darwin")
    assert "-DCMAKE_INSTALL_RPATH=@loader_path" in flags(arch="arm64", system="darwin")


@pytest.mark.parametrize(
    ("backend", "flag"),
    [("cuda", "-DGGML_CUDA=ON"), ("rocm", "-DGGML_HIP=ON"), ("vulkan", "-DGGML_VULKAN=ON")],
)
def test_the_gpus_compiler_adds_its_backend(backend: str, flag: str) -> None:
    assert flag in flags(backend=backend)
    assert flag not in flags()
    assert "-DGGML_RPC=ON" in flags(backend=backend)
    assert ("-DCMAKE_CUDA_ARCHITECTURES=native" in flags(backend=backend)) == (backend == "cuda")


def test_jobs_follow_cores_and_memory() -> None:
    assert decide("linux", "x86_64", (), cores=16, ram=64 * GIB).jobs == 16
    assert decide("linux", "x86_64", (), cores=16, ram=4 * GIB).jobs == 2
    assert decide("linux", "x86_64", (), cores=16, ram=0).jobs == 1
    assert decide("linux", "x86_64", (), cores=16, ram=4 * GIB, jobs=5).jobs == 5


def test_the_folders_name_follows_the_flags_alone() -> None:
    one, two = (decide("linux", "x86_64", ("avx2",), cores=n, ram=64 * GIB) for n in (1, 8))
    assert one.name == two.name
    assert one.name != decide("linux", "x86_64", ("avx",), cores=1, ram=64 * GIB).name
    assert one.name.startswith("0.3.36-")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[ 42%] Building CXX object", 42), ("[100%] Built target", 100), ("[57/228] Linking", 25),
        ("-- Configuring done", -1), ("[1/0] x", 100), ("", -1),
    ],
)  # fmt: skip
def test_progress_is_read_from_make_and_ninja(line: str, told: int) -> None:
    assert percent(line) == told


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("x\nc++: fatal error: Killed signal terminated program cc1plus\nmake: *** [all] Error 2",
         "Killed signal terminated program cc1plus"),
        ("a.cpp:1:10: fatal error: curl.h: No such file\ncompilation terminated.",
         "a.cpp:1:10: fatal error: curl.h: No such file"),
        ("warning: error-prone\nb.cpp:3:1: error: expected ';'\nc.cpp:9:9: error: more",
         "b.cpp:3:1: error: expected ';'"),
        ("/usr/bin/ld: x.o: undefined reference to `foo'\ncollect2: error: ld returned 1",
         "undefined reference to `foo'"),
        ("CMake Error at CMakeLists.txt:1 (project):\n  No CMAKE_CXX_COMPILER could be found.\n",
         "No CMAKE_CXX_COMPILER could be found."),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_999'",
         "Unsupported gpu architecture 'compute_999'"),
        ("cc1plus: error writing to /tmp/x: No space left on device", "No space left on device"),
        ("ninja: error: loading 'build.ninja'", "ninja: error: loading 'build.ninja'"),
        ("", "it gave no reason"),
    ],
)  # fmt: skip
def test_the_first_real_error_is_found(log: str, why: str) -> None:
    assert first_error(log)[0] == why
    assert first_error(log)[1]


# ---- for real --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not os.environ.get("LOCALRUN_TEST_BUILD"), reason="20 CPU minutes: make test-build")
def test_the_engine_that_is_built_serves_the_real_model(default_model: Path, tmp_path: Path) -> None:
    """Kept in the user's cache between runs: only the first one builds."""
    from tests.native_engine import answer, native_engine

    server = native_engine()
    assert {p.name for p in server.parent.iterdir()} >= set(native_build.TARGETS)
    assert answer(server, default_model, tmp_path)
