"""Single files out of the llama-cpp-python sdist, for tests and benches: vocabularies, llama.cpp's sources.

    from tests.fixtures_sdist import sdist_file
    path = sdist_file("vendor/llama.cpp/models/ggml-vocab-llama-bpe.gguf")

The archive (77 MB) comes through pip once, is checked against a pinned sha256 and stays in the user's cache;
a file is extracted when it is first asked for. Any number of processes may ask at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from localrun.engine.sdist import ARCHIVE, SHA256, VERSION, fetch
from localrun.model.sources import Net

__all__ = ["ARCHIVE", "SHA256", "VERSION", "cache_folder", "download", "locked", "sdist_file", "sdist_files"]


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
    """The archive, as `engine install` fetches it; call it with the lock held."""
    return fetch(folder, Net(os.environ))


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
