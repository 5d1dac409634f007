"""A Modelfile judged before Ollama sees it: what its parser refuses, and what goes wrong later.

Errors are what `ollama create` would refuse; warnings are what it takes and then drops, misreads
or cannot run here. Pure: whether a path exists is a function that comes in.
"""

from __future__ import annotations

import math
import os.path
from collections.abc import Callable, Iterator
from typing import Literal

from localrun.model.ollama_name import is_cloud, parse_name
from localrun.plan.values import Plan
from localrun.recipe import modelfile_machine
from localrun.recipe.modelfile import Command, Modelfile, ModelfileError, parse
from localrun.recipe.modelfile_params import COMMANDS, IGNORED, KINDS, convert, hint_for, version
from localrun.recipe.modelfile_text import text_warnings
from localrun.value import dataclass

Exists = Callable[[str], bool]
_WEIGHTS = (".gguf", ".bin", ".safetensors")
_ONCE = frozenset({"template", "system", "adapter", "renderer", "parser", "requires"})


@dataclass(frozen=True, slots=True)
class Finding:
    severity: Literal["error", "warning"]
    line: int  # from 1
    column: int
    text: str
    fix: str = ""


def check(
    source: bytes | str,
    *,
    directory: str = "",
    exists: Exists | None = None,
    plan: Plan | None = None,
    server: tuple[int, int, int] | None = None,
) -> tuple[Finding, ...]:
    """Everything that can be said about a Modelfile, errors first, each in the order of the text.

    `directory` is where the file lies, for relative paths; without `exists` no path is judged;
    with a `plan` of the same model, memory and context are; with the `server`'s version, REQUIRES.
    """
    try:
        modelfile = parse(source)
    except ModelfileError as e:
        return (Finding("error", e.line, e.column, e.text, e.hint),)
    errors = list(_refused(modelfile))
    warnings = [
        *_repeated(modelfile),
        *_ignored(modelfile),
        *(w for c in modelfile.commands for w in _sources(c, directory, exists)),
        *_required(modelfile, server),
        *(_warning(c, text, fix) for c, text, fix in text_warnings(modelfile, source)),
        *(_warning(c, text, fix) for c, text, fix in modelfile_machine.warnings(modelfile, plan)),
    ]
    return (*errors, *sorted(warnings, key=lambda f: (f.line, f.column)))


def _warning(command: Command, text: str, fix: str = "") -> Finding:
    return Finding("warning", command.line, command.column, text, fix)


def _refused(modelfile: Modelfile) -> Iterator[Finding]:
    for c in modelfile.commands:
        if c.name == "requires" and version(c.args) is None:
            yield Finding("error", c.line, c.column, "requires must be a valid semver (e.g. 0.14.0)")
        if c.name in COMMANDS or c.name in IGNORED:
            continue
        try:
            value = convert(c.name, c.args)
        except ValueError as e:
            yield Finding("error", c.line, c.column, str(e), hint_for(c.name, c.args))
            continue
        if isinstance(value, float) and not math.isfinite(value):
            text = f"{c.name} {c.args}: JSON has no such number, so it never reaches a server"
            yield Finding("error", c.line, c.column, text, "write a finite number")


def _repeated(modelfile: Modelfile) -> Iterator[Finding]:
    last: dict[str, Command] = {}
    for c in modelfile.commands:
        if c.name in _ONCE or (c.name in KINDS and c.name != "stop"):
            if c.name in last:
                first = last[c.name]
                yield _warning(
                    first, f"{c.name} is set again on line {c.line}: the last one wins", "keep one"
                )
            last[c.name] = c


def _ignored(modelfile: Modelfile) -> Iterator[Finding]:
    for c in modelfile.commands:
        if c.name in IGNORED:
            yield _warning(c, f"Ollama ignores {c.name}", "delete the line")
        elif c.name in COMMANDS and c.keyword.lower() == "parameter":
            yield _warning(c, f"PARAMETER {c.name} is read as the command of that name", "write the command")


def _sources(c: Command, directory: str, exists: Exists | None) -> Iterator[Finding]:
    if c.name not in ("model", "adapter", "draft") or exists is None:
        return
    path = os.path.join(directory, os.path.expanduser(c.args))
    here = exists(path)
    if c.name != "model":
        if not here:
            yield _warning(c, f"no such file: {path}", "give the absolute path of a file that is here")
        return
    like_a_path = c.args.startswith(("/", ".", "~", "\\")) or c.args.lower().endswith(_WEIGHTS)
    if here:
        if not like_a_path:
            yield _warning(c, f"{c.args!r} is a file or folder beside the Modelfile and is used as such",
                           "name a tag, or write ./ before it")  # fmt: skip
    elif like_a_path:
        text = f"no such file: {path}; Ollama takes it for the name of a model and asks its registry for it"
        yield _warning(c, text, "give the absolute path of a file that is here")
    elif parse_name(c.args) is None:
        fix = "a comment needs a line of its own" if "#" in c.args else "write namespace/model:tag"
        yield _warning(c, f"no file and no possible name of a model: {c.args!r}", fix)
    elif is_cloud(c.args):
        fix = "take a GGUF file, or a tag that has local weights"
        yield _warning(c, f"{c.args} runs on Ollama's servers, not on this machine", fix)


def _required(modelfile: Modelfile, server: tuple[int, int, int] | None) -> Iterator[Finding]:
    for c in modelfile.commands:
        wanted = version(c.args) if c.name == "requires" else None
        if wanted and server and wanted > server:
            have = ".".join(map(str, server))
            yield _warning(c, f"REQUIRES {c.args}, but the server here is {have}", "update Ollama")
