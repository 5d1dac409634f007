"""Single files out of the llama-cpp-python sdist, for tests and benches: vocabularies, llama.cpp's sources.

    from tests.fixtures_sdist import sdist_file
    path = sdist_file("vendor/llama.cpp/models/ggml-vocab-llama-bpe.gguf")

The archive (77 MB) comes through pip once, is checked against a pinned sha256 and stays in the user's cache;
a file is extracted when it is first asked for. Any number of processes may ask at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"

# `pip download` asks a source archive's build backend for its metadata, and this one's would install cmake
# and more. Without build isolation pip takes whatever backend stands on the path: this one answers from
# PKG-INFO.
BACKEND = """
import pathlib, shutil

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = pathlib.Path(metadata_directory, "llama_cpp_python.dist-info")
    info.mkdir()
    shutil.copy("PKG-INFO", info / "METADATA")
    return info.name
"""


def cache_folder() -> Path:
    base = os.environ.get("LOCALRUN_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "localrun" / "tests" / f"llama-cpp-python-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def download(folder: Path) -> Path:
    """The archive, through pip and checked by pip; call it with the lock held."""
    archive = folder / ARCHIVE
    if archive.exists():
        return archive
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as name:
        part = Path(name)
        (part / "scikit_build_core").mkdir()
        (part / "scikit_build_core" / "build.py").write_text(BACKEND)
        (part / "requirements.txt").write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{SHA256}\n")
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        argv += ["--no-binary", ":all:", "--no-cache-dir", "--require-hashes", "-d", name]
        argv += ["-r", str(part / "requirements.txt")]
        env = {**os.environ, "PYTHONPATH": name}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=280)
        if done.returncode != 0:
            raise RuntimeError(f"pip could not fetch {ARCHIVE}:\n{done.stdout}{done.stderr}")
        digest = hashlib.sha256((part / ARCHIVE).read_bytes()).hexdigest()
        if digest != SHA256:
            raise RuntimeError(f"{ARCHIVE} has sha256 {digest}, not {SHA256}")
        (part / ARCHIVE).rename(archive)
    return archive


def sdist_files(*relative_paths: str) -> tuple[Path, ...]:
    """Where these files of the archive now lie, in the order asked; one pass for all that are missing."""
    folder = cache_folder()
    paths = {name: folder / "files" / name for name in relative_paths}
    with locked(folder):
        missing = {f"llama_cpp_python-{VERSION}/{n}": path for n, path in paths.items() if not path.exists()}
        if missing:
            extract(download(folder), missing)
    return tuple(paths[name] for name in relative_paths)


def sdist_file(relative_path: str) -> Path:
    """Where this file of the archive now lies. The first call for a file takes some seconds."""
    return sdist_files(relative_path)[0]


def extract(archive: Path, wanted: dict[str, Path]) -> None:
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            path = wanted.pop(member.name, None)
            source = tar.extractfile(member) if path is not None else None
            if path is None or source is None:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(source.read())
            part.rename(path)
            if not wanted:
                return
    raise FileNotFoundError(f"not in {archive.name}: {', '.join(sorted(wanted))}")
