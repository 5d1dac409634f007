"""Which files of a repository make up which quant, in the order an engine loads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from localrun.errors import FetchError, UsageError
from localrun.model.split import split_of
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class RepoFile:
    path: str  # inside the repository
    bytes: int
    sha256: str = ""  # empty = the hub states none


@dataclass(frozen=True, slots=True)
class Variant:
    """One quant: a file, or all shards of a split model in load order."""

    quant: str  # as published: "Q4_K_M", "UD-IQ1_S"; the file's stem where it names none
    files: tuple[RepoFile, ...]
    bytes: int


_QUANT = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:IQ|TQ|Q)[1-8](?:_[A-Z0-9]+)*|BF16|F16|FP16|F32|MXFP4(?:_MOE)?|NVFP4)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
#: What is taken where no quant was named: the best known compromise first.
_PREFERRED = (
    "Q4_K_M",
    "UD-Q4_K_XL",
    "Q4_K_S",
    "Q4_K_L",
    "IQ4_XS",
    "MXFP4_MOE",
    "Q4_0",
    "Q4_1",
    "Q5_K_M",
    "Q8_0",
)


def variants_of(files: Iterable[RepoFile]) -> tuple[Variant, ...]:
    """The quants of a repository, smallest first. Raises FetchError for names that leave it."""
    groups: dict[str, list[RepoFile]] = {}
    for file in files:
        check_name(file.path)
        base = file.path.rpartition("/")[2].lower()
        if not base.endswith(".gguf") or "mmproj" in base or base.startswith("imatrix"):
            continue
        split = split_of(file.path)
        groups.setdefault(f"{split[0]}|{split[2]}" if split else file.path, []).append(file)
    found = [_variant(members) for members in groups.values()]
    return tuple(sorted(found, key=lambda v: (v.bytes, v.quant)))


def projectors_of(files: Iterable[RepoFile]) -> tuple[RepoFile, ...]:
    """The vision projectors (mmproj) of a repository, the most usual precision first."""
    found = [f for f in files if "mmproj" in f.path.rpartition("/")[2].lower() and f.path.endswith(".gguf")]
    order = ("F16", "BF16", "Q8_0", "F32")
    return tuple(
        sorted(found, key=lambda f: order.index(q) if (q := quant_in(f.path)) in order else len(order))
    )


def choose(variants: tuple[Variant, ...], quant: str, repo: str) -> Variant:
    """The variant that `quant` names: a quant, with or without UD-, or a file; "" = the usual choice.

    Raises UsageError that lists what is there, FetchError for a repository without GGUF files.
    """
    if not variants:
        hint = "look for a repository whose name ends in -GGUF, or convert the model"
        raise FetchError(f"{repo} holds no GGUF file", hint)
    names = {v.quant.upper(): v for v in reversed(variants)}
    if not quant:
        return next((names[q] for q in _PREFERRED if q in names), variants[0])
    wanted = quant.upper().replace("-", "_").replace("UD_", "UD-")
    for name in (wanted, f"UD-{wanted}", quant.upper()):
        if name in names:
            return names[name]
    for variant in variants:
        if quant in (variant.files[0].path, variant.files[0].path.rpartition("/")[2]):
            return variant
    there = ", ".join(dict.fromkeys(v.quant for v in variants))
    raise UsageError(f"{repo} has no {quant}", f"it has: {there}")


def check_whole(variant: Variant, repo: str) -> None:
    """Raises FetchError when a shard is missing or there twice."""
    first = split_of(variant.files[0].path)
    if first is None:
        return
    count = first[2]
    numbers = [split[1] for f in variant.files if (split := split_of(f.path))]
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if missing:
        raise FetchError(f"{repo}: shard {missing[0]} of {count} of {variant.quant} is missing")
    if len(numbers) != count:
        raise FetchError(f"{repo}: {variant.quant} has {len(numbers)} shards where {count} are announced")


def check_name(path: str) -> None:
    """Raises FetchError for a file name that would leave the folder it belongs in."""
    parts = path.split("/")
    if not path or "\\" in path or ":" in path or "\0" in path or any(p in ("", ".", "..") for p in parts):
        raise FetchError(f"refused: a file name that leaves its folder: {path!r}")


def quant_in(path: str) -> str:
    """The quant that a path names, as published and in capitals; "" where it names none."""
    base = path.rpartition("/")[2]
    split = split_of(base)
    base = split[0] if split else base
    for text in (base, path.rpartition("/")[0]):
        if found := _QUANT.findall(text):
            return str(found[-1]).upper()
    return ""


def _variant(files: list[RepoFile]) -> Variant:
    ordered = tuple(sorted(files, key=lambda f: f.path))
    stem = ordered[0].path.rpartition("/")[2].removesuffix(".gguf")
    return Variant(quant_in(ordered[0].path) or stem, ordered, sum(f.bytes for f in ordered))
