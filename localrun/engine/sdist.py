"""The llama-cpp-python sdist, whose `vendor/llama.cpp` is the pinned source of native builds."""

from __future__ import annotations

import shutil
from pathlib import Path

from localrun.errors import FetchError
from localrun.model import packages, pip
from localrun.model.files import disk_errors, hash_file
from localrun.model.packages import Package
from localrun.model.part import Part
from localrun.model.sources import Net, Progress, Silent, Work

PROJECT = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
BYTES = 76_589_250
COMMIT = "0c1e57098"  # of llama.cpp, 2026-10-01
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"
ROOT = f"llama_cpp_python-{VERSION}/vendor/llama.cpp"

# `pip download` asks a source archive's build backend for its metadata, and this one's would install cmake
# and more first. Without build isolation pip takes the backend that is on the path: this one answers from
# PKG-INFO.
_BACKEND = """
import pathlib, shutil

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = pathlib.Path(metadata_directory, "llama_cpp_python.dist-info")
    info.mkdir()
    shutil.copy("PKG-INFO", info / "METADATA")
    return info.name
"""


def fetch(folder: Path, net: Net, progress: Progress | None = None) -> Path:
    """The archive in `folder`, verified; fetched unless it is there, and resumed. Raises FetchError."""
    archive = folder / ARCHIVE
    if archive.is_file() and hash_file(archive) == SHA256:
        return archive
    if net.offline:
        raise FetchError(
            f"the sources of llama.cpp are not here: {ARCHIVE}",
            f"run it once with a network, or put the archive into {folder}",
        )
    part = Part(archive)
    try:
        if part.sha256 != SHA256:
            package = Package(PROJECT, VERSION, SHA256, BYTES, ".tar.gz")
            packages.complete(package, part, Work(folder, progress or Silent(), net), _take)
        part.hand_over(archive)
    finally:
        part.close()
    return archive


def _take(folder: Path, net: Net) -> Path:
    """The archive in `folder`, by `pip download`, which compares the hash too."""
    shutil.rmtree(folder, ignore_errors=True)
    backend, wanted = folder / "scikit_build_core" / "build.py", folder / "requirements.txt"
    with disk_errors(folder):
        backend.parent.mkdir(parents=True)
        backend.write_text(_BACKEND)
        wanted.write_text(f"{PROJECT}=={VERSION} --hash=sha256:{SHA256}\n")
    command = ["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes"]
    command += ["--no-cache-dir", "--progress-bar", "off", "-d", str(folder), "-r", str(wanted)]
    pip.run(command, {**net.env, "PYTHONPATH": str(folder), "TMPDIR": str(folder)})
    if not (folder / ARCHIVE).is_file():
        raise FetchError(f"pip fetched no {ARCHIVE}")
    return folder / ARCHIVE
