"""The C core for ARM, where NEON is: compiled where the ziglang package is, and run where qemu-aarch64 is too.

pip install ziglang && apt install qemu-user
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
CASES = sorted((ROOT / "tests" / "c").glob("test_*.c"))  # but the one that needs the core compiled for it
CASES = [case for case in CASES if case.stem != "test_leaks"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs the ziglang package"),
]


def compiled(folder: Path, *arguments: str | Path) -> None:
    argv = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-O1", *WARNINGS]
    argv += [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests' / 'c'}", *map(str, arguments)]
    caches = {f"ZIG_{kind}_CACHE_DIR": str(folder / "zig") for kind in ("GLOBAL", "LOCAL")}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **caches})
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The core, compiled for ARM."""
    folder = tmp_path_factory.mktemp("arm")
    found = []
    for source in sorted((ROOT / "csrc").glob("lr_*.c")):
        found.append(folder / f"{source.stem}.o")
        compiled(folder, "-c", source, "-o", found[-1])
    return found


def test_the_core_compiles_for_arm_without_a_warning(objects: list[Path]) -> None:
    for path in objects:
        assert path.read_bytes()[18:20] == b"\xb7\0", path  # EM_AARCH64


@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_c_tests_pass_on_arm(case: Path, objects: list[Path], tmp_path: Path) -> None:
    qemu = shutil.which("qemu-aarch64")
    assert qemu is not None
    program = tmp_path / case.stem
    compiled(objects[0].parent, "-static", "-pthread", case, *objects, "-o", program)
    done = subprocess.run([qemu, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
