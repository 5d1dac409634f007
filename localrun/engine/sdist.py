"""The llama-cpp-python sdist, whose `vendor/llama.cpp` is the pinned source of native builds."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from localrun.errors import FetchError
from localrun.model.files import disk_errors
from localrun.model.pip_index import require_pip
from localrun.model.retry import redact
from localrun.model.sources import Net

VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
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
_PATIENCE = 1800  # seconds


def fetch(folder: Path, net: Net) -> Path:
    """The archive in `folder`, verified; fetched through pip unless it is there. Raises FetchError."""
    archive = folder / ARCHIVE
    if archive.is_file() and _sha256(archive) == SHA256:
        return archive
    if net.offline:
        raise FetchError(
            f"the sources of llama.cpp are not here: {ARCHIVE}",
            f"run it once with a network, or put the archive into {folder}",
        )
    require_pip()
    with disk_errors(folder), tempfile.TemporaryDirectory(dir=folder, prefix="pip-") as name:
        part = Path(name)
        (part / "scikit_build_core").mkdir()
        (part / "scikit_build_core" / "build.py").write_text(_BACKEND)
        wanted = part / "requirements.txt"
        wanted.write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{SHA256}\n")
        _download(part, wanted, net)
        got = part / ARCHIVE
        if not got.is_file() or _sha256(got) != SHA256:
            raise FetchError(f"{ARCHIVE}: what came is not the archive that is pinned: not used")
        got.replace(archive)
    return archive


def _download(part: Path, wanted: Path, net: Net) -> None:
    # -P: without it a folder named pip in the current directory would be run.
    argv = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-input"]
    argv += ["--no-binary", ":all:", "--require-hashes", "--no-cache-dir", "--progress-bar", "off"]
    argv += ["-d", str(part), "-r", str(wanted)]
    env = {**net.env, "PYTHONPATH": str(part), "TMPDIR": str(part), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            argv, env=env, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise FetchError(f"pip did not fetch {ARCHIVE}: {failed}") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR:")]
        why = redact(lines[0].removeprefix("ERROR:").strip())[:300] if lines else "it gave no reason"
        raise FetchError(f"pip could not fetch {ARCHIVE}: {why}", "check the network and `pip config list`")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
