"""The catalogue: the models that localrun knows by name, and a Model for each of their quants.

A look-up scans the text for names and parses one entry: parsing all of it would cost as much as the
whole plan that follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from localrun.errors import UsageError
from localrun.model.entry import Entry, entry_of
from localrun.value import dataclass

_PATH = Path(__file__).with_name("catalog.toml")
_ENTRY = "\n[[model]]\n"
_NAME = re.compile(r'^name = "([^"]+)" *(?:#.*)?$', re.MULTILINE)
_ALIASES = re.compile(r"^aliases = \[([^]]*)\] *(?:#.*)?$", re.MULTILINE)
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Invented:
    """Names that articles made up, and what exists instead."""

    names: tuple[str, ...]
    says: str
    instead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The text cut into entries, each found by its plain name. Made by `load_catalog`."""

    head: str  # sources and invented names
    parts: tuple[str, ...]  # one entry's text each
    names: tuple[str, ...]  # canonical, in the file's order
    by_name: Mapping[str, int]  # `plain` of names and aliases -> part

    def find(self, name: str) -> Entry | None:
        """The entry of this name or alias; None where there is none."""
        i = self.by_name.get(plain(name))
        return None if i is None else _entry(self, i)

    def entry(self, name: str) -> Entry:
        """As `find`. Raises UsageError with what is close, or with what is wrong about an invented name."""
        found = self.find(name)
        if found is None:
            raise unknown(name, self)
        return found


def plain(name: str) -> str:
    """A name without case and separators, as names are compared."""
    return _SEPARATORS.sub("", name.lower())


@lru_cache(maxsize=1)
def load_catalog() -> Catalog:
    return catalog_of(_PATH.read_text(encoding="utf-8"))


def catalog_of(text: str) -> Catalog:
    """The catalogue of a TOML text, of which only names and aliases are looked at."""
    head, *parts = text.split(_ENTRY)
    names = []
    index: dict[str, int] = {}
    for i, part in enumerate(parts):
        name = _NAME.search(part)
        aliases = _ALIASES.search(part)
        if name is None:
            raise ValueError(f"entry {i} of the catalogue has no name")
        names.append(name[1])
        for alias in (name[1], *re.findall(r'"([^"]+)"', aliases[1] if aliases else "")):
            if index.setdefault(plain(alias), i) != i:
                raise ValueError(f"{alias} names two models of the catalogue")
    return Catalog(head, tuple(parts), tuple(names), index)


@lru_cache(maxsize=32)
def _entry_cached(part: str, like: str) -> Entry:
    return entry_of(_table(part), _table(like) if like else {})


def _entry(catalog: Catalog, i: int) -> Entry:
    part = catalog.parts[i]
    like = re.search(r'^like = "([^"]+)" *(?:#.*)?$', part, re.MULTILINE)
    return _entry_cached(part, catalog.parts[catalog.by_name[plain(like[1])]] if like else "")


def _table(part: str) -> dict[str, Any]:
    import tomllib

    table: dict[str, Any] = tomllib.loads("[[model]]\n" + part)["model"][0]
    return table


def sources(catalog: Catalog) -> dict[str, str]:
    """What each source tag stands for."""
    import tomllib

    found: dict[str, str] = tomllib.loads(catalog.head)["sources"]
    return found


def invented(catalog: Catalog) -> tuple[Invented, ...]:
    import tomllib

    tables = tomllib.loads(catalog.head).get("invented", ())
    return tuple(Invented(tuple(t["names"]), t["says"], tuple(t["instead"])) for t in tables)


def unknown(name: str, catalog: Catalog) -> UsageError:
    """The error for a name that is not in the catalogue: it names what is."""
    wanted = plain(name)
    for made_up in invented(catalog):
        if wanted in map(plain, made_up.names):
            return UsageError(
                f"there is no {name}: {made_up.says}", f"what exists: {', '.join(made_up.instead)}"
            )
    stem, colon, tag = name.rpartition(":")
    family = catalog.find(stem) if colon else None
    if family is not None:
        return _wrong_tag(name, tag, family)
    import difflib

    close = [
        catalog.names[catalog.by_name[p]] for p in difflib.get_close_matches(wanted, catalog.by_name, 6, 0.6)
    ]
    close += [n for n in catalog.names if wanted and wanted in plain(n)]
    near = list(dict.fromkeys(close))[:4] or list(catalog.names)
    if "/" in name:
        return UsageError(
            f"no model is named {name}", f"a Hugging Face repository is written hf:{name}, a file ./{name}"
        )
    return UsageError(
        f"no model is named {name}",
        f"closest: {', '.join(near)}; or a path to a .gguf file, hf:owner/repo[:QUANT], ollama:NAME[:TAG]",
    )


def _wrong_tag(name: str, tag: str, family: Entry) -> UsageError:
    """`NAME:TAG` where the model is known and the tag is not: often a quant in Ollama's manner."""
    quants = sorted({f.quant for repo in family.repos for f in repo.files}, key=len, reverse=True)
    match = next((q for q in quants if plain(q) in plain(tag)), None)
    if match:
        return UsageError(
            f"there is no {name}: a quantization is a setting here, not a tag",
            f"write {family.name} --quant {match}",
        )
    if re.fullmatch(r"[0-9.x]+b", tag.lower()):
        size = f"{family.title} has {family.parameters / 1e9:.0f}B parameters and comes in no other size"
        return UsageError(f"there is no {name}: {size}", f"write {family.name}")
    return UsageError(f"there is no {name}: {family.title} has no tag {tag}", f"write {family.name}")
