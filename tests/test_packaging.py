"""What is published: an sdist, the wheel that it builds, and that the wheel works where nothing else is."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend itself, from a clone: what lies about in a working tree must not help."""
    folder = tmp_path_factory.mktemp("sdist")
    clone = folder / "clone"
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, clone)
    for tool in ("setuptools>=77", "cffi>=1.17", "wheel"):
        run(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder / "tools", tool)
    code = (
        f"import sys; sys.path.insert(0, {str(folder / 'tools')!r})\n"
        f"from setuptools import build_meta; print(build_meta.build_sdist({str(folder)!r}))"
    )
    out = run(sys.executable, "-c", code, cwd=clone)
    return folder / out.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, sdist)
    (found,) = folder.glob("*.whl")
    return found


def test_the_sdist_holds_all_that_a_build_and_the_tests_need(sdist: Path) -> None:
    with tarfile.open(sdist) as tar:
        names = {member.name.partition("/")[2] for member in tar}
    tracked = set(run("git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD").splitlines())
    wanted = {n for n in tracked if n.startswith(("csrc/", "tests/c/", "localrun/"))} | {
        "LICENSE",
        "setup.py",
    }
    assert wanted <= names, sorted(wanted - names)
    assert not [n for n in names if n.endswith((".so", ".o", ".pyc")) or "_build/" in n]


def test_one_wheel_serves_every_python_from_3_11_on(wheel: Path) -> None:
    tag = "-".join(wheel.stem.split("-")[2:4])
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert "abi3" not in tag
    else:
        assert tag == "cp311-abi3"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [n for n in names if n.startswith("localrun/_ffi.")] == ["localrun/_ffi.abi3.so"]
    assert "localrun/py.typed" in names
    assert not [n for n in names if n.endswith((".c", ".h")) or n.startswith(("tests/", "csrc/"))]


def test_the_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    run(python, "-m", "pip", "install", "--quiet", "cffi>=1.17")
    code = (
        "from localrun.native import KvLayer, Meter, kv_bytes, ram_bandwidth, read_header\n"
        "found = read_header(b'GGUF' + (3).to_bytes(4, 'little') + bytes(16))\n"
        "print(found.version, kv_bytes([KvLayer(1, 576, 0, 128, count=61)], 4096).bytes)\n"
        "Meter().snapshot(0)\n"
        "import localrun; print(localrun.__file__)"
    )
    first, second = run(python, "-I", "-c", code, cwd=tmp_path).splitlines()
    assert first == "3 351797248"
    assert second.startswith(str(tmp_path))
