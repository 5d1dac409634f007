"""tests/c/test_leaks.c holds every function of the core to losing no memory: here, that it is every function."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
LISTED = dict(re.findall(r"X\((lr_\w+), (\w+)\)", (ROOT / "tests" / "c" / "test_leaks.c").read_text()))
ALLOCATES = re.compile(r"\b(malloc|calloc|realloc|aligned_alloc|posix_memalign|strdup|mmap)\(")
#: A function's way to allocate without saying so: through another part of the core.
OWNERS = re.compile(r"\b(lr_table_alloc|lr_words_make|lr_words_add|lr_\w+_new)\(")


def bare(path: Path) -> str:
    """Without comments."""
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def headers() -> list[Path]:
    return [path for path in sorted(CSRC.glob("lr_*.h")) if not path.stem.endswith(("_private", "_tables"))]


def offered() -> set[str]:
    return {
        name
        for path in headers()
        for name in re.findall(r"^\w[\w *]*?\b(lr_\w+)\(", bare(path), re.MULTILINE)
    }


def test_every_function_of_every_header_is_listed_with_its_leak_test() -> None:
    assert offered() == set(LISTED)
    assert len(LISTED) > 60


def test_what_is_listed_without_one_never_allocates() -> None:
    sources = {path: bare(path) for path in CSRC.glob("lr_*.c")}
    for name, by in LISTED.items():
        if by != "nothing":
            continue
        homes = [
            path
            for path, text in sources.items()
            if re.search(rf"^\w[^;{{}}]*\b{name}\([^;]*\{{", text, re.M)
        ]
        assert homes, name
        for path in homes:
            assert not ALLOCATES.search(sources[path]), (name, path.name)
            assert not OWNERS.search(sources[path]), (name, path.name)
