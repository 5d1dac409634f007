"""What `localrun tokenize` prints: arguments and files are the caller's affair."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from localrun.errors import UsageError
from localrun.native.tok import Bytes
from localrun.tokenizer.blocks import blocks_from
from localrun.tokenizer.tokenizer import Text, Tokenizer

SHOWS = ("ids", "pieces", "count")
Read = Callable[[int], bytes]


def tokenize_command(
    path: str | Path,
    text: Text | Read,
    show: str = "ids",
    rules: str = "own",
    special: bool = False,
    json: bool = False,
    cache: bool | None = None,
) -> Iterator[str]:
    """The ids, the pieces or the count of `text` by the vocabulary at `path`, in parts as they come, without a
    newline at the end. `text` may be what reads so many bytes of a stream, which is never held whole where its
    tokens need not be.

    With `json` an object that holds ids and count, and pieces where they are shown: those as text, with U+FFFD for
    bytes that are not a whole character. Raises ModelError for the file, UsageError for `show` or `rules`.
    """
    if show not in SHOWS:
        raise UsageError(f"no such view of tokens: {show!r}", f"one of {', '.join(SHOWS)}")
    tokenizer = Tokenizer.open(path, rules, cache)
    blocks = _blocks(tokenizer, text)
    if show == "count":
        count = sum(tokenizer.count(block, special) for block in blocks)
        yield _json(rules, count, {}) if json else str(count)
    elif json:
        ids = [token for block in blocks for token in tokenizer.encode(block, special)]
        fields: dict[str, Any] = {"ids": ids}
        if show == "pieces":
            fields["pieces"] = [tokenizer.piece(token).decode("utf-8", "replace") for token in ids]
        yield _json(rules, len(ids), fields)
    else:
        yield from _lines(tokenizer, blocks, show, special)


def _blocks(tokenizer: Tokenizer, text: Text | Read) -> Iterable[Text]:
    if not callable(text):
        return (text,)
    return blocks_from(text) if tokenizer.can_cut else (_all(text),)


def _all(read: Read) -> Bytes:
    out = bytearray()
    while part := read(1 << 24):
        out += part
    return out


def _json(rules: str, count: int, fields: dict[str, Any]) -> str:
    return json_module.dumps(
        {"schema": "localrun.tokenize/1", "rules": rules, "count": count, **fields}, ensure_ascii=False
    )


def _lines(tokenizer: Tokenizer, blocks: Iterable[Text], show: str, special: bool) -> Iterator[str]:
    between = ""
    for block in blocks:
        ids = tokenizer.encode(block, special)
        if not ids:
            continue
        yield between
        if show == "ids":
            yield " ".join(map(str, ids))
        else:
            yield "\n".join(f"{token:>7}  {_shown(tokenizer.piece(token))}" for token in ids)
        between = " " if show == "ids" else "\n"


def _shown(piece: bytes) -> str:
    """One line, whatever is in it: quotes around, escapes for what would not print."""
    text = piece.decode("utf-8", "backslashreplace")
    return (
        '"'
        + "".join(c if c.isprintable() and c != '"' else c.encode("unicode_escape").decode() for c in text)
        + '"'
    )
