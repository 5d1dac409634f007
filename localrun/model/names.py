"""What a user's NAME means: a file, a repository, an address, a model of Ollama's, or one of the catalogue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from localrun.errors import UsageError
from localrun.model.catalog import Catalog
from localrun.model.entry import Entry
from localrun.value import dataclass

if TYPE_CHECKING:
    from localrun.model.sources import HubRef, UrlRef

_OLLAMA = re.compile(r"(?P<name>[A-Za-z0-9][\w./-]*)(?::(?P<tag>[\w.-]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class CatalogName:
    entry: Entry


@dataclass(frozen=True, slots=True)
class LocalPath:
    path: Path  # as given; for a split model any of its shards


@dataclass(frozen=True, slots=True)
class OllamaName:
    name: str
    tag: str = "latest"


Named: TypeAlias = "CatalogName | LocalPath | HubRef | UrlRef | OllamaName"


def resolve(name: str, catalog: Catalog) -> Named:
    """The one thing that `name` means.

    What looks like a path is a path, whether there is a file or not; `hf:`, `ollama:` and `https://` say
    where to look; all else is of the catalogue. Raises UsageError with what is close for any other name.
    """
    text = name.strip()
    if not text:
        raise UsageError("the model's name is empty", f"such as {', '.join(catalog.names[:3])}")
    scheme, _, rest = text.partition(":")
    if scheme.lower() in ("hf", "huggingface"):
        # Only here: `plan` of a catalogue name need not pay for the import.
        from localrun.model.sources import parse_hub

        return parse_hub("hf:" + rest)
    if rest.startswith("//"):
        from localrun.model.sources import parse_url

        return parse_url(text)
    if scheme.lower() == "ollama":
        return _ollama(rest, name)
    if _looks_like_a_path(text):
        return LocalPath(Path(text).expanduser())
    return CatalogName(catalog.entry(text))


def _looks_like_a_path(text: str) -> bool:
    starts = text.startswith(("/", "./", "../", "~", "\\", ".\\", "..\\"))
    drive = len(text) > 2 and text[1] == ":" and text[2] in "\\/" and text[0].isalpha()
    return starts or drive or text.lower().endswith(".gguf")


def _ollama(rest: str, name: str) -> OllamaName:
    match = _OLLAMA.fullmatch(rest)
    if match is None:
        raise UsageError(f"not an Ollama name: {name!r}", "write it as ollama:NAME or ollama:NAME:TAG")
    return OllamaName(match["name"], match["tag"] or "latest")
