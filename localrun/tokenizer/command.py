"""What `localrun tokenize` prints, as text: arguments and files are the caller's affair."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Any

from localrun.errors import UsageError
from localrun.tokenizer.tokenizer import Tokenizer

SHOWS = ("ids", "pieces", "count")


def tokenize_command(
    path: str | Path,
    text: str | bytes,
    show: str = "ids",
    rules: str = "own",
    special: bool = False,
    json: bool = False,
    cache: bool | None = None,
) -> str:
    """The ids, the pieces or the count of `text` by the vocabulary at `path`, without a newline at the end.

    With `json` an object that holds ids and count, and pieces where they are shown: those as text, with U+FFFD for
    bytes that are not a whole character. Raises ModelError for the file, UsageError for `show` or `rules`.
    """
    if show not in SHOWS:
        raise UsageError(f"no such view of tokens: {show!r}", f"one of {', '.join(SHOWS)}")
    tokenizer = Tokenizer.open(path, rules, cache)
    if show == "count" and not json:
        return str(tokenizer.count(text, special))
    ids = tokenizer.encode(text, special)
    if json:
        fields: dict[str, Any] = {"schema": "localrun.tokenize/1", "rules": rules, "count": len(ids)}
        if show != "count":
            fields["ids"] = ids
        if show == "pieces":
            fields["pieces"] = [tokenizer.piece(token).decode("utf-8", "replace") for token in ids]
        return json_module.dumps(fields, ensure_ascii=False)
    if show == "ids":
        return " ".join(map(str, ids))
    return "\n".join(f"{token:>7}  {_shown(tokenizer.piece(token))}" for token in ids)


def _shown(piece: bytes) -> str:
    """One line, whatever is in it: quotes around, escapes for what would not print."""
    text = piece.decode("utf-8", "backslashreplace")
    return (
        '"'
        + "".join(c if c.isprintable() and c != '"' else c.encode("unicode_escape").decode() for c in text)
        + '"'
    )
