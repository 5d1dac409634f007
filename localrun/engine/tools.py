"""What of a builder's tools is on this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from localrun.engine.install import Tools

_ROCM = Path("/opt/rocm/.info/version")
#: Where toolkits lie that did not put themselves on PATH.
_MORE = ("/usr/local/cuda/bin", "/opt/rocm/bin", "/opt/homebrew/bin")


def tools(environ: Mapping[str, str] = os.environ) -> Tools:
    path = os.pathsep.join((environ.get("PATH", os.defpath), *_MORE))

    def which(*names: str) -> str:
        return next((found for name in names if (found := shutil.which(name, path=path))), "")

    return Tools(
        cmake=which("cmake"),
        compiler=which(environ.get("CXX") or "c++", "g++", "clang++"),
        ninja=which("ninja"),
        nvcc=which("nvcc"),
        hipcc=which("hipcc"),
        glslc=which("glslc"),
        glibc=_glibc(),
        rocm=_rocm(),
        pip=importlib.util.find_spec("pip") is not None,
    )


def pinned() -> str:
    """The xllamacpp that this localrun was made for, from its own metadata; "" in a bare source tree."""
    try:
        wanted = importlib.metadata.requires("localrun") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = (re.match(r"xllamacpp\s*==\s*([\w.]+)", line) for line in wanted)
    return next((match[1] for match in found if match), "")


def _glibc() -> tuple[int, int]:
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return 0, 0
    found = re.match(r"glibc (\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _rocm() -> str:
    try:
        return _ROCM.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
