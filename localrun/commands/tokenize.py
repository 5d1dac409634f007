"""`tokenize`: token ids, pieces or a count, from the model's own vocabulary."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localrun.commands.base import App, put
from localrun.commands.target import locate
from localrun.errors import LocalrunError, UsageError

_VOCABULARIES = (".json", ".model", ".tiktoken")


def run(app: App, name: str, text: str | None, options: dict[str, Any], as_json: bool) -> None:
    from localrun.tokenizer.command import tokenize_command

    show = "count" if options.get("count") else "pieces" if options.get("pieces") else "ids"
    rules, special = options.get("as_") or "own", bool(options.get("special"))
    cache, path = app.session.config.tokenizer_cache, _vocabulary(app, name)
    with _text(text, options.get("file")) as data:
        for part in tokenize_command(path, data, show, rules, special, json=as_json, cache=cache):
            sys.stdout.write(part)
    put("")


def _vocabulary(app: App, name: str) -> Path:
    """The file that holds the vocabulary of NAME; a tokenizer's own file may be named too."""
    path = Path(name).expanduser()
    # A file that holds a vocabulary and no weights is as good; of a split model locate() finds the first part.
    alone = path.suffix == ".gguf" and "-of-" not in path.name and path.is_file()
    if path.suffix in _VOCABULARIES or alone:
        return path
    target = locate(app, name, None)
    if target.path is None:
        raise UsageError(f"{target.name} is not on this machine", f"localrun pull {target.pulled_as}")
    return target.path


@contextlib.contextmanager
def _text(text: str | None, file: str | None) -> Iterator[str | Callable[[int], bytes]]:
    """TEXT itself, or what reads the file or the standard input."""
    if text is not None and file:
        raise UsageError("both TEXT and --file were given", "give one of them")
    if text is not None:
        yield text
    elif file:
        try:
            with Path(file).open("rb") as opened:
                yield opened.read
        except OSError as failed:
            if failed.filename not in (file, None):
                raise
            raise LocalrunError(f"cannot read {file}: {failed.strerror}") from None
    elif sys.stdin.isatty():
        raise UsageError("nothing to tokenize", "give TEXT or --file, or pipe text in")
    else:
        yield sys.stdin.buffer.read
