"""Reads what Ollama has pulled: manifests and blobs below OLLAMA_MODELS. Never writes there.

A manifest is JSON that names its layers by digest; a layer is the file `blobs/sha256-<hex>`.
Nothing in it is believed before it is checked: a store may be old, cut off or hostile.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localrun.errors import ModelError
from localrun.model.ollama_name import OllamaName, parse_name
from localrun.value import dataclass

_MEDIA = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
#: Real manifests have a few KiB; real templates and parameters too. Licences are the longest.
_MOST = 4 << 20
_LAYERS = 4096
#: Where the system packages keep the models of a service that runs as the user `ollama`.
_SERVICE = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/.ollama/models", "/var/lib/ollama/models")


@dataclass(frozen=True, slots=True)
class Stored:
    """One model of the store, ready to be planned from the header of `path`."""

    name: OllamaName
    path: Path  # the GGUF blob
    bytes: int
    family: str = ""  # Ollama's word for the architecture
    quant: str = ""
    projector: str = ""  # path of an mmproj blob
    adapters: tuple[str, ...] = ()
    template: str = ""  # a Go template
    system: str = ""
    licenses: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()  # name and value as text; lists repeat the name


@dataclass(frozen=True, slots=True)
class Store:
    """What a folder holds: models that can run here, and a line for each entry that cannot."""

    models: tuple[Stored, ...]
    notes: tuple[str, ...]


def folders(environment: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where models may lie, the first that counts first; OLLAMA_MODELS alone when it is set."""
    if named := environment.get("OLLAMA_MODELS", "").strip():
        return (Path(named),)
    return (home / ".ollama" / "models", *map(Path, _SERVICE))


def read_store(folder: Path) -> Store:
    """All models of one folder, in the order of their names. Never raises for what lies in it."""
    models, notes = [], []
    for path in _manifests(folder / "manifests"):
        name = _name_of(path)
        if name is None:
            continue
        try:
            models.append(_read(folder, path, name))
        except ModelError as e:
            notes.append(f"{name.short}: {e}")
    return Store(tuple(sorted(models, key=lambda m: m.name.short)), tuple(notes))


def find(store: Path, name: str) -> Stored:
    """One model by its name. Raises ModelError: no such name, not local, damaged."""
    wanted = parse_name(name)
    if wanted is None:
        raise ModelError(f"not a name that Ollama knows: {name!r}", "write it as NAME or NAME:TAG")
    path = store / "manifests" / Path(*wanted.parts)
    if not path.is_file():
        raise ModelError(f"{wanted.short} is not in Ollama's store {store}", f"ollama pull {wanted.short}")
    return _read(store, path, wanted)


def name_of_blob(store: Path, blob: Path) -> OllamaName | None:
    """The name of a model whose weights are this file; None when the store has none."""
    for model in read_store(store).models:
        if model.path == blob:
            return model.name
    return None


def _manifests(folder: Path) -> Iterator[Path]:
    """Files exactly four levels deep; links to folders are not followed, so no circle is walked."""
    level = [folder]
    for _ in range(3):
        level = [Path(e.path) for f in level for e in _entries(f) if e.is_dir(follow_symlinks=False)]
    for parent in sorted(level):
        yield from sorted(p for e in _entries(parent) if (p := Path(e.path)).is_file())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _name_of(path: Path) -> OllamaName | None:
    host, namespace, model, tag = path.parts[-4:]
    name = parse_name(f"{host}/{namespace}/{model}:{tag}")
    # A tag such as `cloud` is read off the name; what does not come back whole is no local model.
    return name if name is not None and name.parts == (host, namespace, model, tag) else None


def _read(store: Path, path: Path, name: OllamaName) -> Stored:
    manifest = _object(path, "manifest")
    config = _config(store, manifest)
    if config.get("remote_host") or config.get("remote_model"):
        raise ModelError("runs on Ollama's servers, not on this machine")
    layers = list(_layers(manifest))
    weights = [layer for layer in layers if layer[0] == "model"]
    if not weights:
        raise ModelError("has no GGUF file" + (" (tensors in Ollama's own form)" if _tensors(layers) else ""))
    if len(weights) > 1:
        raise ModelError(f"its manifest names {len(weights)} files of weights")
    blob, size = _blob(store, weights[0][1]), weights[0][2]
    _check_weights(blob, size)
    texts = {kind: [_text(store, digest) for k, digest, _ in layers if k == kind] for kind in _TEXTS}
    return Stored(
        name=name,
        path=blob,
        bytes=size,
        family=_string(config.get("model_family")),
        quant=_string(config.get("file_type")),
        projector=next((str(_blob(store, d)) for k, d, _ in layers if k == "projector"), ""),
        adapters=tuple(str(_blob(store, d)) for k, d, _ in layers if k == "adapter"),
        template=next(iter(texts["template"]), ""),
        system=next(iter(texts["system"]), ""),
        licenses=tuple(texts["license"]),
        parameters=tuple(_parameters(texts["params"])),
    )


_TEXTS = ("template", "system", "license", "params")


def _layers(manifest: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) > _LAYERS:
        raise ModelError("its manifest has no list of layers")
    for layer in layers:
        if not isinstance(layer, dict):
            raise ModelError("its manifest has a layer that is none")
        media, digest, size = (layer.get(key) for key in ("mediaType", "digest", "size"))
        if not isinstance(media, str) or not isinstance(digest, str):
            raise ModelError("its manifest has a layer without type or digest")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ModelError("its manifest has a layer without a size")
        yield media.removeprefix(_MEDIA), digest, size


def _tensors(layers: list[tuple[str, str, int]]) -> bool:
    return any(kind == "tensor" for kind, _, _ in layers)


def _blob(store: Path, digest: str) -> Path:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise ModelError(f"its manifest has a digest that is none: {digest[:80]!r}")
    return store / "blobs" / f"sha256-{match[1]}"


def _check_weights(blob: Path, size: int) -> None:
    try:
        here = blob.stat().st_size
    except OSError as e:
        raise ModelError(f"its weights are not there: {e.strerror}: {blob}", "ollama pull it again") from None
    if here != size:
        raise ModelError(f"its weights have {here} bytes, its manifest says {size}", "ollama pull it again")


def _config(store: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    config = manifest.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(digest, str) or not digest:
        return {}
    blob = _blob(store, digest)
    return _object(blob, "configuration") if blob.is_file() else {}


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(path))
    except (ValueError, RecursionError):
        raise ModelError(f"its {what} is not JSON: {path}") from None
    if not isinstance(value, dict):
        raise ModelError(f"its {what} is not an object: {path}")
    return value


def _bytes(path: Path) -> bytes:
    try:
        # A pipe in the place of a blob would block the open for ever.
        if not path.is_file():
            raise ModelError(f"not a file: {path}")
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as e:
        raise ModelError(f"cannot read {path}: {e.strerror}") from None
    if len(data) > _MOST:
        raise ModelError(f"larger than any that Ollama writes: {path}")
    return data


def _text(store: Path, digest: str) -> str:
    return _bytes(_blob(store, digest)).decode("utf-8", "replace")


def _parameters(texts: list[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise ModelError("its parameters are not JSON") from None
        for name, value in values.items() if isinstance(values, dict) else ():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, bool):
                    yield name, "true" if one else "false"
                elif isinstance(one, int | float | str):
                    yield name, str(one)


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
