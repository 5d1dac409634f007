"""Builds the fake GPU backend once per run of the tests, with whatever C compiler is here."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def build(folder: Path) -> Path | None:
    """The backend as a shared object in `folder`, None without a compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return None
    target = folder / "fake_gpu.so"
    source = Path(__file__).with_suffix("").with_name("fake_gpu.c")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
    # The engine's own symbols resolve when it loads the backend.
    linking = ["-undefined", "dynamic_lookup"] if os.uname().sysname == "Darwin" else []
    subprocess.run(
        [compiler, *flags, "-shared", "-fPIC", *linking, "-o", str(target), str(source)], check=True
    )
    return target


@contextmanager
def fake_gpus(memory: Sequence[int]) -> Iterator[None]:
    """GPUs with so many bytes free, for the engine processes started inside."""
    before = os.environ.get("FAKE_GPUS")
    os.environ["FAKE_GPUS"] = ",".join(str(n) for n in memory)
    try:
        yield
    finally:
        if before is None:
            del os.environ["FAKE_GPUS"]
        else:
            os.environ["FAKE_GPUS"] = before
