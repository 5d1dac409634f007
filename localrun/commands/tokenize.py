"""`tokenize`: token ids, pieces or a count, from the model's own vocabulary."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from localrun.commands.base import App, put
from localrun.commands.target import locate
from localrun.errors import LocalrunError, UsageError

_VOCABULARIES = (".json", ".model", ".tiktoken")


def run(app: App, name: str, text: str | None, options: dict[str, Any], as_json: bool) -> None:
    from localrun.tokenizer.command import tokenize_command

    data = _text(text, options.get("file"))
    show = "count" if options.get("count") else "pieces" if options.get("pieces") else "ids"
    rules, special = options.get("as_") or "own", bool(options.get("special"))
    cache = app.session.config.tokenizer_cache
    put(tokenize_command(_vocabulary(app, name), data, show, rules, special, json=as_json, cache=cache))


def _vocabulary(app: App, name: str) -> Path:
    """The file that holds the vocabulary of NAME; a tokenizer's own file may be named too."""
    path = Path(name).expanduser()
    if path.suffix in _VOCABULARIES:
        return path
    target = locate(app, name, None)
    if target.path is None:
        raise UsageError(f"{target.name} is not on this machine", f"localrun pull {target.name}")
    return target.path


def _text(text: str | None, file: str | None) -> str | bytes:
    if text is not None and file:
        raise UsageError("both TEXT and --file were given", "give one of them")
    if file:
        try:
            return Path(file).read_bytes()
        except OSError as failed:
            raise LocalrunError(f"cannot read {file}: {failed.strerror}") from None
    if text is not None:
        return text
    if sys.stdin.isatty():
        raise UsageError("nothing to tokenize", "give TEXT or --file, or pipe text in")
    return sys.stdin.buffer.read()
