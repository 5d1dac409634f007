"""What Ollama's server and its Python client say when something fails -> our errors, with what to do."""

from __future__ import annotations

import re

from localrun.engine.failures import FAILURES
from localrun.errors import EngineError, EngineMissing, FetchError, LocalrunError, ModelError

START = "start it: ollama serve"


def unreachable(url: str) -> EngineMissing:
    return EngineMissing(f"no Ollama server answers at {url}", START)


def silent(url: str, seconds: float) -> EngineError:
    return EngineError(f"Ollama at {url} said nothing for {seconds:g} s", "its own log says why; ollama ps")


def garbled(url: str, what: str) -> EngineError:
    return EngineError(
        f"what answers at {url} does not speak as Ollama does: {what[:200]}", "check OLLAMA_HOST"
    )


def from_response(status: int, message: str, doing: str) -> LocalrunError:
    """The error for an answer `{"error": message}`; `status` is -1 in the middle of a stream."""
    text = " ".join(message.split())[:500] or f"HTTP {status}"
    lowered = text.lower()
    if "try pulling it first" in lowered or (status == 404 and "not found" in lowered):
        return ModelError(text, "ollama list shows what is there; localrun pull fetches it")
    if doing == "pull":
        return _pulling(text, lowered)
    if status == 503 or "server busy" in lowered:
        return EngineError(f"Ollama is busy: {text}", "wait, or raise OLLAMA_MAX_QUEUE")
    if "no space left" in lowered:
        return EngineError(f"Ollama's disk is full: {text}", "free space where OLLAMA_MODELS lies")
    if "digest mismatch" in lowered:
        return EngineError(f"a file changed while it was uploaded: {text}", "run it again")
    if "split gguf" in lowered or "shard" in lowered:
        return ModelError(
            f"a shard is missing or misnamed: {text}", "all shards of one file, names unchanged"
        )
    if "out-of-memory" in lowered or "out of memory" in lowered:
        return EngineError(f"Ollama ran out of memory: {text}", "a smaller --ctx-size, or a smaller --quant")
    return EngineError(f"Ollama: {text}", _hint_of_llama_server(text))


def _pulling(text: str, lowered: str) -> LocalrunError:
    if "file does not exist" in lowered or "manifest" in lowered:
        return FetchError(f"Ollama's registry has no such model: {text}", "ollama.com/library lists its tags")
    if "sharded" in lowered or "split" in lowered:
        return FetchError(text, "localrun pull fetches the shards; Ollama merges them from files")
    if "no space left" in lowered:
        return FetchError(f"Ollama's disk is full: {text}", "free space where OLLAMA_MODELS lies")
    return FetchError(f"Ollama could not pull: {text}", "run it again: what is there is kept")


def _hint_of_llama_server(text: str) -> str:
    for failure in FAILURES:
        if re.search(failure.pattern, text):
            return failure.hint
    return ""
