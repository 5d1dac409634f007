"""A GGUF file, whole or split, as a Model: every figure is read from its header, none is guessed.

`read_model` opens local files; `model_from_header` is the pure part, which serves remote headers too.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localrun.errors import HeaderError, ModelError
from localrun.model.facts import Model, ModelFile, Tensor
from localrun.model.shape import shape_of
from localrun.model.sniff import SNIFF_BYTES, what_it_is
from localrun.model.split import shard_names, split_of
from localrun.model.tensor_facts import active_of, check_blocks, check_tensors, parameters_of, quant_of
from localrun.native import Header, read_header


def read_model(path: Path, name: str = "") -> Model:
    """The model in `path`; for a split model any of its shards may be named, and all must be there.

    Raises ModelError for a file that is missing, cannot be read or is no model, and HeaderError for a
    header that contradicts itself or its file.
    """
    paths, headers = read_headers(path)
    files = tuple(
        ModelFile(str(p.absolute()), p.stat().st_size, header.data_offset)
        for p, header in zip(paths, headers, strict=True)
    )
    return model_from_header(headers, files, name or _model_name(paths[0].name))


def read_headers(path: Path) -> tuple[tuple[Path, ...], list[Header]]:
    """The header of `path`, or of all shards that it belongs to. Raises as `read_model` does."""
    paths = shard_paths(path)
    return paths, [_read(p) for p in paths]


def shard_paths(path: Path) -> tuple[Path, ...]:
    """`path`, or all shards of the split model that it belongs to, in order. Raises ModelError."""
    _check_file(path)
    split = split_of(path.name)
    if split is None:
        return (path,)
    _, number, count = split
    if not 1 <= number <= count:
        raise ModelError(f"{path.name} is numbered beyond its own count of shards")
    paths = tuple(path.with_name(name) for name in shard_names(path.name))
    missing = [p.name for p in paths if not p.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(
            f"shard {missing[0]}{more} is missing in {path.parent}", "fetch the whole model again"
        )
    return paths


def model_from_header(headers: Sequence[Header], files: Sequence[ModelFile], name: str) -> Model:
    """The Model that the headers of its files (one, or all shards in order) declare. Pure.

    A file of 0 bytes is one of unknown length: tensors are then not held against its end.
    Raises HeaderError for what contradicts itself, ModelError for a GGUF that is not a language model.
    """
    keys = headers[0].metadata
    architecture = keys.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise HeaderError("general.architecture is missing", "this GGUF does not say what model it holds")
    _check_kind(keys, architecture)
    _check_split(headers, files)
    tensors = _tensors(headers, files)
    if not tensors:
        raise ModelError("this GGUF holds a vocabulary and no weights", "give the model's own file")
    embedding = next((t for t in tensors if t.name == "token_embd.weight"), None)
    n_vocab = embedding.dims[1] if embedding and len(embedding.dims) > 1 else 0
    shape = shape_of(keys, n_vocab, any("_shexp." in t.name for t in tensors))
    check_tensors(shape, tensors)
    check_blocks(architecture, shape, tensors)
    return Model(
        name=name,
        architecture=architecture,
        quant=quant_of(Path(files[0].name).name, keys.get("general.file_type"), tensors),
        shape=shape,
        tensors=tensors,
        files=tuple(files),
        weights_bytes=sum(t.bytes for t in tensors),
        parameters=parameters_of(tensors),
        parameters_active=active_of(shape, tensors),
        size_source="header",
        license=_text(keys, "general.license"),
        vocab_type=_text(keys, "tokenizer.ggml.model"),
        vocab_pre=_text(keys, "tokenizer.ggml.pre"),
        chat_template="tokenizer.chat_template" in keys,
    )


def _model_name(file_name: str) -> str:
    split = split_of(file_name)
    return split[0] if split else file_name.removesuffix(".gguf")


def _check_file(path: Path) -> None:
    """Raises ModelError for what is not a readable file, with the reason in plain words."""
    try:
        kind = path.stat()
        with path.open("rb") as file:
            start = file.read(SNIFF_BYTES)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file", "localrun list shows the models that are here") from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a directory", "name a .gguf file in it") from None
    except PermissionError:
        raise ModelError(f"{path}: no permission to read it", "ask its owner, or chmod it") from None
    except OSError as e:
        raise ModelError(f"{path}: {e.strerror or e}", "check the disk") from None
    if not kind.st_size:
        raise ModelError(f"{path} is empty", "fetch the model again")
    if start[:4] not in (b"GGUF", b"FUGG")[: len(start)]:
        what, hint = what_it_is(start)
        raise ModelError(f"{path} is not a GGUF file: it looks like {what}", hint)


def _read(path: Path) -> Header:
    _check_file(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return read_header(view, len(view))
    except HeaderError as e:
        raise HeaderError(f"{path.name}: {e}", e.hint) from None
    except OSError as e:
        raise ModelError(f"{path}: {e.strerror or e}", "check the disk") from None


def _text(keys: Mapping[str, Any], key: str) -> str:
    value = keys.get(key)
    return value if isinstance(value, str) else ""


def _check_kind(keys: Mapping[str, Any], architecture: str) -> None:
    kind = _text(keys, "general.type")
    if architecture == "clip" or kind == "mmproj":
        raise ModelError("this GGUF is a vision projector (mmproj), not a model", "name the model's own file")
    if kind == "adapter":
        raise ModelError("this GGUF is a LoRA adapter, not a model", "name the model that it adapts")
    if kind == "imatrix":
        raise ModelError("this GGUF is an importance matrix, not a model", "name the model's own file")


def _check_split(headers: Sequence[Header], files: Sequence[ModelFile]) -> None:
    """Raises HeaderError unless the files are all shards of one model, in order."""
    declared = headers[0].metadata.get("split.count") or 1
    if declared != len(headers):
        raise HeaderError(
            f"{_base(files[0])} is one of {declared} shards, and {len(headers)} are here",
            "shards must keep their names: NAME-00001-of-0000N.gguf",
        )
    if len(headers) == 1:
        return
    total = sum(len(h.tensors) for h in headers)
    for i, (header, file) in enumerate(zip(headers, files, strict=True)):
        keys = header.metadata
        if keys.get("split.count") != declared or keys.get("split.no") != i:
            raise HeaderError(
                f"{_base(file)} says that it is shard {keys.get('split.no')} of {keys.get('split.count')}, "
                f"not {i} of {declared}",
                "fetch the whole model again",
            )
        own = keys.get("general.architecture")
        if own is not None and own != headers[0].metadata["general.architecture"]:
            raise HeaderError(f"{_base(file)} is of another model: {own}", "fetch the whole model again")
        if keys.get("split.tensors.count", total) != total:
            raise HeaderError(
                f"{_base(file)} counts {keys.get('split.tensors.count')} tensors in the model, the shards "
                f"hold {total}: one of them is of another model",
                "fetch the whole model again",
            )


def _base(file: ModelFile) -> str:
    return Path(file.name).name


def _tensors(headers: Sequence[Header], files: Sequence[ModelFile]) -> tuple[Tensor, ...]:
    """All tensors with their shard; each inside its file, none twice."""
    found = []
    for shard, (header, file) in enumerate(zip(headers, files, strict=True)):
        for t in header.tensors:
            end = header.data_offset + t.offset + t.bytes
            if file.bytes and end > file.bytes:
                raise HeaderError(
                    f"{_base(file)} is cut short: {t.name} ends at byte {end}, the file at {file.bytes}",
                    "fetch the model again",
                )
            found.append(Tensor(t.name, t.dims, t.type, t.bytes, t.offset, shard))
    names = Counter(t.name for t in found)
    name, times = names.most_common(1)[0] if names else ("", 1)
    if times > 1:
        raise HeaderError(f"tensor {name} is in {times} shards: they are of different models")
    return tuple(found)
