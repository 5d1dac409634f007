"""A Modelfile's commands -> a model on the server: uploaded, compared with what is there, created."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localrun.engine.ollama_client import Server, Shown, refuse_cloud, same_parameters
from localrun.engine.ollama_wire import Progress
from localrun.errors import EngineError, ModelError, UsageError
from localrun.model.ollama_name import parse_name
from localrun.recipe.modelfile import Command, Modelfile
from localrun.recipe.modelfile_params import Value, parameters
from localrun.units import format_size

#: On the server's disk at the worst moment, measured: the upload, llama-quantize's copy, the new blob.
#: The upload stays until a server starts, which deletes what no model uses.
COPIES = 3
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `ollama create` makes of a Modelfile: either files or a name, and the rest."""

    from_: str
    files: tuple[str, ...]
    adapters: tuple[str, ...]
    drafts: tuple[str, ...]
    parameters: Mapping[str, Value | list[str]]
    fields: Mapping[str, Any]  # template, system, renderer, parser, requires, license, messages


def wanted(modelfile: Modelfile, directory: str = "") -> Wanted:
    """Raises ModelfileError for a bad value, UsageError for a cloud model."""
    by_name: dict[str, list[str]] = {}
    for c in modelfile.commands:
        by_name.setdefault(c.name, []).append(c.args)
    files, from_ = [], ""
    for source in by_name.get("model", ()):
        path = os.path.join(directory, os.path.expanduser(source))
        if os.path.isfile(path):
            files.append(path)
        elif os.path.isdir(path):
            inside = sorted(glob.glob(os.path.join(glob.escape(path), "*.gguf")))
            if not inside:
                raise UsageError(
                    f"FROM {source} is a folder without GGUF files", "name its files, one FROM each"
                )
            files += inside
        elif os.path.isabs(os.path.expanduser(source)):
            raise ModelError(f"no such file: {path}", "a missing path would become the name of a model")
        else:
            refuse_cloud(source)
            from_ = source
    fields: dict[str, Any] = {
        name: by_name[name][-1]
        for name in ("template", "system", "renderer", "parser", "requires")
        if name in by_name
    }
    if "license" in by_name:
        fields["license"] = by_name["license"]
    if "message" in by_name:
        pairs = (text.partition(": ") for text in by_name["message"])
        fields["messages"] = [{"role": role, "content": text} for role, _, text in pairs]
    if from_ and files:
        raise UsageError("FROM names both files and a model", "keep one kind")
    check_shards(files)
    return Wanted(
        from_,
        tuple(files),
        tuple(os.path.join(directory, p) for p in by_name.get("adapter", ())[-1:]),
        tuple(os.path.join(directory, p) for p in by_name.get("draft", ())),
        parameters(modelfile.commands),
        fields,
    )


def check_shards(files: list[str]) -> None:
    """Raises ModelError when a split GGUF is not whole: the server would say so after the upload."""
    splits: dict[str, tuple[int, set[int]]] = {}
    for path in files:
        if match := _SHARD.fullmatch(os.path.basename(path)):
            splits.setdefault(match["stem"], (int(match["count"]), set()))[1].add(int(match["number"]))
    for stem, (count, here) in splits.items():
        if missing := sorted(set(range(1, count + 1)) - here):
            raise ModelError(f"{stem}: {len(missing)} of {count} shards missing, the first is {missing[0]}")


def create(
    server: Server,
    name: str,
    want: Wanted,
    progress: Progress,
    *,
    replace: bool = False,
    free: int | None = None,
) -> bool:
    """Make the model `name`; False when it is there already with these settings.

    `free` is what the server's disk has, in bytes; None = unknown, not checked. One that is there
    with other settings is replaced only with `replace`, else EngineError.
    """
    if parse_name(name) is None:
        raise UsageError(f"not a name for a model in Ollama: {name!r}", "letters, digits, - _ . and one :tag")
    if has(server, name):
        shown = server.show(name)
        different = differences(shown, want)
        if not different and not replace:
            return False
        if not replace:
            raise EngineError(f"{name} exists with other settings: {different}", "--yes replaces it")
    files = (*want.files, *want.adapters, *want.drafts)
    check_disk(files, free)
    sent = {path: server.upload(path, progress) for path in files}
    server.create(
        name,
        progress,
        from_=want.from_,
        files={os.path.basename(p): sent[p] for p in want.files},
        adapters={os.path.basename(p): sent[p] for p in want.adapters},
        draft_files={os.path.basename(p): sent[p] for p in want.drafts},
        parameters=dict(want.parameters),
        **want.fields,
    )
    return True


def has(server: Server, name: str) -> bool:
    """Whether the server has a model of this name, tag and defaults filled in."""
    full = parse_name(name)
    return full is not None and any(parse_name(n) == full for n in server.names())


def differences(shown: Shown, want: Wanted) -> str:
    """What a model there has otherwise, in words; empty when nothing that can be compared differs."""
    out = []
    if not same_parameters(shown, want.parameters):
        there: dict[str, list[str]] = {}
        for key, value in shown.parameters:
            there.setdefault(key, []).append(value)
        for key in sorted({*there, *want.parameters}):
            mine = want.parameters.get(key)
            one = Shown("", tuple((key, v) for v in there.get(key, ())), "", "", False)
            if not same_parameters(one, {} if mine is None else {key: mine}):
                out.append(
                    f"{key} {' '.join(there.get(key, ['unset']))} there, {mine if mine is not None else 'unset'} here"
                )
    if "template" in want.fields and shown.template != want.fields["template"]:
        out.append("another template")
    if "system" in want.fields and shown.system != want.fields["system"]:
        out.append("another system text")
    return "; ".join(out)


def check_disk(files: tuple[str, ...], free: int | None) -> None:
    """Raises EngineError when the copies that a create makes would not fit."""
    if free is None:
        return
    try:
        need = COPIES * sum(os.path.getsize(path) for path in files)
    except OSError as e:
        raise ModelError(f"cannot read {e.filename}: {e.strerror}") from None
    if need > free:
        raise EngineError(
            f"Ollama makes up to {COPIES} copies of a file: {format_size(need)} needed, {format_size(free)} free",
            "free space, set OLLAMA_MODELS to a larger disk, or use --engine llama-server: no copy",
        )


def commands_of(sources: tuple[str, ...], pairs: tuple[tuple[str, str], ...]) -> Modelfile:
    """A Modelfile of FROMs and PARAMETERs."""
    return Modelfile((*(Command("model", s) for s in sources), *(Command(n, v) for n, v in pairs)))
