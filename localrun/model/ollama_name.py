"""Names of models as Ollama reads them: `host/namespace/model:tag`, with its defaults and its rules."""

from __future__ import annotations

import re

from localrun.value import dataclass

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)

#: In the library only as models that run on Ollama's own servers; as of 2026-08.
CLOUD_ONLY = frozenset({"deepseek-v3.2", "mistral-large-3"})


@dataclass(frozen=True, slots=True)
class OllamaName:
    """Four parts, each non-empty and allowed by Ollama."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def short(self) -> str:
        """As `ollama list` shows it."""
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The path of its manifest below `manifests/`."""
        return self.host, self.namespace, self.model, self.tag


def parse_name(text: str) -> OllamaName | None:
    """The name with defaults filled in; None where Ollama says `invalid model name`."""
    text = _strip_source(text.strip())[0]
    tag = DEFAULT_TAG
    if text.rfind(":") > text.rfind("/"):
        text, _, tag = text.rpartition(":")
    if "://" in text:
        text = text.split("://", 1)[1]
    pieces = text.rsplit("/", 2)
    model = pieces[-1]
    namespace = pieces[-2] if len(pieces) > 1 else DEFAULT_NAMESPACE
    host = pieces[-3] if len(pieces) > 2 else DEFAULT_HOST
    if not (_HOST.fullmatch(host) and _NAMESPACE.fullmatch(namespace)):
        return None
    if not (_PART.fullmatch(model) and _PART.fullmatch(tag)):
        return None
    return OllamaName(host, namespace, model, tag)


def is_cloud(text: str) -> bool:
    """Whether this name asks for a model on Ollama's servers: `x:cloud`, `x:tag-cloud`, or cloud only."""
    if _strip_source(text.strip())[1]:
        return True
    name = parse_name(text)
    return (
        name is not None
        and name.host.lower() == DEFAULT_HOST
        and name.namespace.lower() == DEFAULT_NAMESPACE
        and name.model.lower() in CLOUD_ONLY
    )


def _strip_source(text: str) -> tuple[str, bool]:
    """The name without `:cloud`, `-cloud` or `:local`, and whether it said cloud."""
    base, colon, suffix = text.rpartition(":")
    lowered = suffix.strip().lower()
    if colon and lowered in ("cloud", "local"):
        return base, lowered == "cloud"
    if colon and "/" not in suffix and lowered.endswith("-cloud"):
        return f"{base}:{suffix.strip()[: -len('-cloud')]}", True
    return text, False
