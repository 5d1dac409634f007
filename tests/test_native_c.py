"""The C core's own tests, under ASan and UBSan, and the replay of the fuzz corpus: `make -C csrc test`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_c_tests_pass_under_sanitizers() -> None:
    make = shutil.which("make")
    assert make is not None
    done = subprocess.run([make, "-C", ROOT / "csrc", "test"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {line.split()[0] for line in done.stdout.splitlines() if "checks, 0 failed" in line}
    cases = {f"lr_{path.stem.removeprefix('test_')}" for path in (ROOT / "tests" / "c").glob("test_*.c")}
    assert len(ran) == len(cases), (ran, cases)
    assert "replay" in done.stdout
