"""What the ollama engine's keeper is told and what it says: its arguments, and the marks in its log."""

from __future__ import annotations

from dataclasses import dataclass

#: How lines of the log begin that the engine looks for.
READY = "localrun: the model answers"
ERROR = "error: "
HINT = "hint: "


@dataclass(frozen=True, slots=True)
class Task:
    alias: str
    serve: str  # path of the ollama binary, or empty
    server: str  # URL, or empty: then OLLAMA_HOST of the environment
    tag: str  # a model that Ollama has or can pull, or empty
    files: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]


def to_argv(task: Task) -> tuple[str, ...]:
    """The arguments that `parse` reads back."""
    out = ["--alias", task.alias]
    for flag, value in (("--serve", task.serve), ("--server", task.server), ("--tag", task.tag)):
        if value:
            out += [flag, value]
    for path in task.files:
        out += ["--file", path]
    for name, value in task.parameters:
        out += ["--parameter", f"{name}={value}"]
    return tuple(out)


def parse(argv: list[str]) -> Task:
    import argparse

    parser = argparse.ArgumentParser(prog="ollama_keeper", allow_abbrev=False)
    for flag in ("--alias", "--serve", "--server", "--tag"):
        parser.add_argument(flag, default="")
    parser.add_argument("--file", action="append", default=[])
    parser.add_argument("--parameter", action="append", default=[])
    a = parser.parse_args(argv)
    pairs = tuple((p.partition("=")[0], p.partition("=")[2]) for p in a.parameter)
    return Task(a.alias, a.serve, a.server, a.tag, tuple(a.file), pairs)
