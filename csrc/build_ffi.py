"""Builds localrun._ffi out of every csrc/lr_*.c, with the headers themselves as the cdef.

A new noun joins by being there: lr_noun.h and lr_noun.c, nothing to edit here. What a header must keep to:

* `#` lines are stripped for cffi, so no name may depend on a #define: constants are enums;
* `#include "lr_other.h"` decides the order in which cffi reads the headers;
* no inline functions, no attributes, no atomics: those belong in the .c file;
* a header that is not for Python ends in _private.h or _tables.h, and cffi never sees it.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).resolve().parent
HIDDEN = ("_private.h", "_tables.h")


def ordered(headers: list[Path]) -> list[Path]:
    """The headers so that each stands behind those that it includes; lr_status.h first, then by name."""
    by_name = {header.name: header for header in sorted(headers)}
    done: dict[str, Path] = {}

    def visit(name: str) -> None:
        if name in done or name not in by_name:
            return
        text = by_name[name].read_text(encoding="utf-8")
        for included in re.findall(r'^#include "(lr_\w+\.h)"', text, re.MULTILINE):
            visit(included)
        done[name] = by_name[name]

    visit("lr_status.h")
    for name in by_name:
        visit(name)
    return list(done.values())


def cdef(header: Path) -> str:
    """The header without its preprocessor lines, continued ones included."""
    text = re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", "", header.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return f'# 1 "{header.name}"\n{text}\n'


def relative(paths: list[Path]) -> list[str]:
    # setuptools refuses absolute paths, and an sdist lists these as they stand.
    return [Path(os.path.relpath(path, CSRC.parent)).as_posix() for path in paths]


def flags() -> list[str]:
    """No -march: one wheel serves every CPU, and what wants AVX2 asks the CPU when it runs."""
    if sys.platform == "win32":
        return ["/std:c11", "/O2"]
    # cffi's own C is not clean under -Wpedantic; `make test-c` holds ours to that. Warnings stop a build only
    # where asked: an unforeseen compiler must not keep a user from installing.
    strict = ["-Werror"] if os.environ.get("LOCALRUN_WERROR") == "1" else []
    return ["-std=c11", "-O3", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", *strict]


def core_hash() -> str:
    """64 bits of all of the core's sources: what one build keeps in a file, no other one takes for its own."""
    sources = sorted(path for path in CSRC.glob("lr_*") if path.suffix in (".c", ".h"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return f"0x{digest.hexdigest()[:16]}u"


def make() -> FFI:
    headers = ordered([path for path in CSRC.glob("lr_*.h") if not path.name.endswith(HIDDEN)])
    builder = FFI()
    for header in headers:
        builder.cdef(cdef(header))
    builder.set_source(
        "localrun._ffi",
        "".join(f'#include "{header.name}"\n' for header in headers),
        sources=relative(sorted(CSRC.glob("lr_*.c"))),
        depends=relative(sorted([*CSRC.glob("lr_*.h"), Path(__file__).resolve()])),
        include_dirs=[relative([CSRC])[0]],
        define_macros=[("LR_CORE_HASH", core_hash())],
        extra_compile_args=flags(),
        extra_link_args=[] if sys.platform == "win32" else ["-pthread", "-lm"],
    )
    return builder


ffi = make()
