"""What a machine without a network needs for `make test-gpu`, in one folder of a few MB.

    python -m tests.gpu.pack FOLDER [--sdist PATH] [--python 3.12]

Writes llama.cpp's sources, without what a build for CUDA leaves aside, and fetches the wheels that the
harness imports, for the Python of that machine. docs/gpu.md says how both are used there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
from pathlib import Path

from tests import fixtures_sdist as sdist

ARCHIVE = "llama.cpp.tar.xz"
#: Of llama.cpp's tree: all that CMake reads for the programs in `engine.PROGRAMS`.
_KEPT = (
    "CMakeLists.txt",
    "LICENSE",
    "app/",
    "cmake/",
    "common/",
    "ggml/",
    "include/",
    "src/",
    "tools/",
    "vendor/",
)
#: Backends that are not built, and the server's web page.
_LEFT = (
    "cann", "et", "hexagon", "hip", "metal", "musa", "opencl", "openvino", "sycl", "virtgpu", "vulkan",
    "webgpu", "zdnn", "zendnn",
)  # fmt: skip
#: What the harness imports beside numpy, click and psutil, which any machine for CUDA has.
WHEELS = ("cffi", "gguf", "msgspec", "platformdirs")


def wanted(name: str) -> bool:
    """Whether a file of llama.cpp's tree goes along."""
    if name.startswith("tools/ui/") and "/" in name.removeprefix("tools/ui/"):
        return False
    if any(name.startswith(f"ggml/src/ggml-{part}/") for part in _LEFT):
        return False
    return name.startswith(_KEPT)


def pack(archive: Path, target: Path) -> int:
    """`archive`, the sdist, as a smaller one under the same names; the number of files."""
    prefix, count = f"llama_cpp_python-{sdist.VERSION}/vendor/llama.cpp/", 0
    with tarfile.open(archive, "r:*") as tar, tarfile.open(target, "w:xz") as out:
        for member in tar:
            if (
                member.isfile()
                and member.name.startswith(prefix)
                and wanted(member.name.removeprefix(prefix))
            ):
                out.addfile(member, tar.extractfile(member))
                count += 1
    return count


def fetch(folder: Path, python: str) -> None:
    """The wheels, for a Linux machine with an x86-64 CPU and that Python."""
    platforms = [f"--platform=manylinux_2_{n}_x86_64" for n in (28, 17)] + ["--platform=manylinux2014_x86_64"]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--only-binary=:all:", f"--python-version={python}", "--implementation=cp", *platforms,
         f"--dest={folder}", *WHEELS],
        check=True,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.gpu.pack", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sdist", type=Path, help="llama_cpp_python's sdist; else pip fetches it")
    parser.add_argument("--python", default="3.12", help="the other machine's")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    archive = options.sdist
    if archive is None:
        place = sdist.cache_folder()
        with sdist.locked(place):
            archive = sdist.download(place)
    count = pack(archive, options.folder / ARCHIVE)
    fetch(options.folder, options.python)
    size = sum(path.stat().st_size for path in options.folder.iterdir())
    print(f"{count} files of llama.cpp and {len(WHEELS)} wheels: {size / 1e6:.1f} MB in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
