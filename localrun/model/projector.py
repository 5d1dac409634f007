"""Vision projectors (mmproj) as files: read from their header, found beside a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from localrun.errors import HeaderError, ModelError
from localrun.model.facts import ModelFile, Projector
from localrun.model.header import read_headers
from localrun.model.variants import RepoFile, projectors_of, quant_in
from localrun.model.vision import patches_of
from localrun.native import Header

#: Encoders that are larger than this are none.
_MAX = 1 << 24


def read_projector(path: Path) -> Projector:
    """The mmproj file at `path`. Raises ModelError for one that cannot be read or is none."""
    paths, headers = read_headers(path)
    if len(paths) > 1:
        raise ModelError(f"{path.name} is split: a projector is one file")
    file = ModelFile(str(paths[0].absolute()), paths[0].stat().st_size, headers[0].data_offset)
    return projector_from_header(headers[0], file)


def projector_from_header(header: Header, file: ModelFile) -> Projector:
    """What a projector's header declares. Pure. Raises HeaderError, ModelError."""
    keys, name = header.metadata, Path(file.name).name
    if keys.get("general.architecture") != "clip":
        raise ModelError(f"{name} is no vision projector", "its general.architecture would be clip")
    kind = keys.get("clip.projector_type") or keys.get("clip.vision.projector_type") or ""
    total = sum(tensor.bytes for tensor in header.tensors)
    if not total:
        raise HeaderError(f"{name} holds no tensors")
    for tensor in header.tensors:
        if file.bytes and header.data_offset + tensor.offset + tensor.bytes > file.bytes:
            raise HeaderError(f"{name} is cut short: {tensor.name} ends behind it", "fetch it again")
    part = "vision" if "clip.vision.embedding_length" in keys else "audio"
    size, patch = _key(keys, "clip.vision.image_size"), _key(keys, "clip.vision.patch_size")
    return Projector(
        file, kind if isinstance(kind, str) else "", total,
        _key(keys, f"clip.{part}.embedding_length"), _key(keys, f"clip.{part}.feed_forward_length"),
        _key(keys, f"clip.{part}.attention.head_count"), any(".ffn_gate." in t.name for t in header.tensors),
        patch, patches_of(str(kind), size, patch, max(_key(keys, "clip.vision.spatial_merge_size"), 1)),
    )  # fmt: skip


def _key(keys: Mapping[str, Any], name: str) -> int:
    value = keys.get(name, 0)
    if not isinstance(value, int) or not 0 <= value < _MAX:
        raise HeaderError(f"{name} is no size: {value!r}")
    return value


def beside(model: Path) -> Path | None:
    """The projector in a model's own folder, or above it where each quant has a folder of its own."""
    folders = [model.parent]
    if quant_in(f"{model.parent.name}/x"):
        folders.append(model.parent.parent)
    for folder in folders:
        try:
            files = {RepoFile(p.name, 0): p for p in folder.glob("*.gguf") if p.is_file()}
        except OSError:
            continue
        if found := projectors_of(files):
            return files[found[0]]
    return None
