"""Ollama's Modelfile, read as Ollama reads it: bytes to commands, with a place for each refusal.

The grammar is that of `parser/parser.go` at v0.33, not of its documentation: no inline comments,
no escapes, characters that do not print are dropped without a word, and a string is looked at
for its end only where a line ends. Reading is linear in the text. What the parser lets through
and refuses later (values of parameters) is in `modelfile_params`; what it lets through and that
goes wrong at run time is in `modelfile_check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from localrun.errors import LocalrunError

KEYWORDS = frozenset(
    {"from", "license", "template", "system", "adapter", "draft"}
    | {"renderer", "parser", "parameter", "message", "requires"}
)
ROLES = ("system", "user", "assistant")

#: Printable since Unicode 15.0, which Ollama's Go knows and Python 3.11 does not yet.
_SINCE_15 = (
    (0xCF3, 0xCF3), (0xECE, 0xECE), (0x10EFD, 0x10EFF), (0x1123F, 0x11241), (0x11B00, 0x11B09),
    (0x11F00, 0x11F10), (0x11F12, 0x11F3A), (0x11F3E, 0x11F59), (0x1342F, 0x1342F), (0x13440, 0x13455),
    (0x1B132, 0x1B132), (0x1B155, 0x1B155), (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A), (0x1E030, 0x1E06D),
    (0x1E08F, 0x1E08F), (0x1E4D0, 0x1E4F9), (0x1F6DC, 0x1F6DC), (0x1F774, 0x1F776), (0x1F77B, 0x1F77F),
    (0x1F7D9, 0x1F7D9), (0x1FA75, 0x1FA77), (0x1FA87, 0x1FA88), (0x1FAAD, 0x1FAAF), (0x1FABB, 0x1FABD),
    (0x1FABF, 0x1FABF), (0x1FACE, 0x1FACF), (0x1FADA, 0x1FADB), (0x1FAE8, 0x1FAE8), (0x1FAF7, 0x1FAF8),
    (0x2B739, 0x2B739), (0x31350, 0x323AF),
)  # fmt: skip

# Every character that Ollama drops is first replaced by NUL, which it drops too: one class to match.
_DROPPED = "\0"
_MANY = 64  # distinct dropped characters above which one table beats single replacements

_BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\r\n]*+)*+")
_WORD = re.compile(r"(?s)(.[A-Za-z]*+)([ \t]?)")
_PARAMETER = re.compile(r"([A-Za-z0-9_]*+)([ \t]?)")
_ROLE = re.compile(r"([A-Za-z]*+)([ \t]?)")
# Most lines by far: a command at the start of its line, with a value that no quotation mark opens.
_SIMPLE = re.compile(
    r"((?i:PARAMETER)[ \t]([A-Za-z0-9_]*+)|(?i:MESSAGE)[ \t](system|user|assistant)|"
    r"(?i:FROM|LICENSE|TEMPLATE|SYSTEM|ADAPTER|DRAFT|RENDERER|PARSER|REQUIRES))"
    r'[ \t]++(?!")([^\r\n\0]*+)\n'
)
_LINE = re.compile(r"[^\r\n]*+")
_OPEN = re.compile(r'"(?:\0*+"\0*+")?')
_CLOSE_ONE = re.compile(r'"[ \t\0]*+(?=[\r\n]|\Z)')
_CLOSE_THREE = re.compile(r'"\0*+"\0*+"[ \t\0]*+(?=[\r\n]|\Z)')
_SURROGATE = re.compile("[\ud800-\udfff]")


class ModelfileError(LocalrunError):
    """What Ollama's parser refuses. `line` and `column` count from 1, in characters; CRLF is one line end."""

    def __init__(self, line: int, column: int, text: str, hint: str = "") -> None:
        super().__init__(f"line {line}, column {column}: {text}", hint)
        self.line = line
        self.column = column
        self.text = text


class Command(NamedTuple):
    """One command under Ollama's own name for it: `model` for FROM, a PARAMETER by its name.

    `args` of a MESSAGE is `role: text`. A tuple, for a big file has a million of them.
    """

    name: str
    args: str
    line: int = 0  # of the keyword, from 1; 0 = not read from a text
    column: int = 0
    keyword: str = ""  # as it was written


class Modelfile(NamedTuple):
    commands: tuple[Command, ...]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Names and arguments without places: what two texts must share to mean the same."""
        return tuple((c.name, c.args) for c in self.commands)


class _Places:
    """Offsets to lines, for offsets that never go back, so that a file is counted once."""

    __slots__ = ("at", "line", "returns", "start", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = self.start = 0
        self.line = 1
        self.returns = "\r" in text

    def find(self, offset: int) -> tuple[int, int]:
        text, at = self.text, self.at
        breaks = text.count("\n", at, offset)
        last = text.rfind("\n", at, offset)
        if self.returns:
            breaks += text.count("\r", at, offset) - text.count("\r\n", at, offset)
            last = max(last, text.rfind("\r", at, offset))
        if breaks:
            self.line += breaks
            self.start = last + 1
        self.at = offset
        return self.line, offset - self.start + 1


def printable(char: str) -> bool:
    """Whether Go's strconv.IsPrint keeps this character; tab and line ends are kept elsewhere."""
    return char.isprintable() or any(a <= ord(char) <= b for a, b in _SINCE_15)


def dropped(text: str) -> set[str]:
    """The characters of `text` that Ollama would drop without a word."""
    return {c for c in set(text) if c not in "\t\r\n" and not printable(c)}


def parse(source: bytes | str) -> Modelfile:
    """The commands of a Modelfile. Raises ModelfileError where `ollama create` would refuse it."""
    text = _mark(source_text(source))
    places = _Places(text)
    commands = tuple(_commands(text, places))
    if not any(c.name == "model" for c in commands):
        raise ModelfileError(1, 1, "no FROM line", "begin with FROM and a model name or a GGUF file")
    return Modelfile(commands)


def source_text(source: bytes | str) -> str:
    """The characters that Ollama sees: byte order marks read and taken off, bad bytes as U+FFFD."""
    if isinstance(source, str):
        if not _SURROGATE.search(source):
            return source.removeprefix("\ufeff")
        source = source.encode("utf-8", "surrogatepass")
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if source.startswith(mark):
            return source[2:].decode(encoding, "replace")
    if source.startswith(b"\xef\xbb\xbf"):
        # After a byte order mark Go replaces each bad byte, without one each bad sequence.
        return _SURROGATE.sub("\ufffd", source[3:].decode("utf-8", "surrogateescape"))
    return source.decode("utf-8", "replace")


def _mark(text: str) -> str:
    bad = dropped(text) - {_DROPPED}
    if len(bad) > _MANY:
        return text.translate(dict.fromkeys(map(ord, bad), _DROPPED))
    for char in bad:
        text = text.replace(char, _DROPPED)
    return text


def _commands(text: str, places: _Places) -> Iterator[Command]:
    pos, end, simple = 0, len(text), _SIMPLE.match
    while True:
        if pos == places.start and (match := simple(text, pos)):
            yield _simple(match, places.line)
            pos = match.end()
            places.line, places.start, places.at = places.line + 1, pos, pos
            continue
        begin = _BLANK.match(text, pos).end()  # type: ignore[union-attr]  # matches the empty text too
        if begin == end:
            return
        line, column = places.find(begin)
        keyword, pos = _keyword(text, begin, places)
        name, role = keyword.lower(), ""
        if name == "from":
            name = "model"
        elif name == "parameter":
            name, pos = _parameter(text, pos, places)
        elif name == "message":
            role, pos = _role(text, pos, places)
        args, pos = _value(text, pos, places)
        yield Command(name, f"{role}: {args}" if role else args, line, column, keyword)
        if text.startswith("\n", pos):
            pos += 1
            places.find(pos)


def _simple(match: re.Match[str], line: int) -> Command:
    head, parameter, role, args = match.groups()
    args = args.rstrip(" \t")
    if parameter is not None:
        return Command(parameter, args, line, 1, head[:9])
    if role:
        return Command("message", f"{role}: {args}", line, 1, head[:7])
    name = head.lower()
    return Command("model" if name == "from" else name, args, line, 1, head)


def _keyword(text: str, pos: int, places: _Places) -> tuple[str, int]:
    match = _WORD.match(text, pos)
    assert match is not None
    # A dropped character counts as the first letter of a word, and then is gone.
    word = match[1].removeprefix(_DROPPED)
    if word.lower() in KEYWORDS and match[2]:
        return word, match.end()
    if match.end() == len(text) and not match[2]:
        raise ModelfileError(*places.find(pos), "unexpected EOF", f"{word} has no value")
    if word.lower() in KEYWORDS:
        raise ModelfileError(
            *places.find(match.end()),
            f"invalid command: {word} must be followed by a space and a value on the same line",
        )
    raise ModelfileError(
        *places.find(pos),
        f"invalid command {_shown(word or match[1])}",
        "commands are FROM, LICENSE, TEMPLATE, SYSTEM, ADAPTER, DRAFT, RENDERER, PARSER, PARAMETER, "
        "MESSAGE, REQUIRES; a comment is a line that begins with #",
    )


def _parameter(text: str, pos: int, places: _Places) -> tuple[str, int]:
    match = _PARAMETER.match(text, pos)
    assert match is not None
    if not match[2]:
        hint = "write PARAMETER, one space, the name, one space, the value; names have letters, digits and _"
        raise ModelfileError(*places.find(match.end()), f"unexpected EOF: {match[1]}", hint)
    return match[1], match.end()


def _role(text: str, pos: int, places: _Places) -> tuple[str, int]:
    match = _ROLE.match(text, pos)
    assert match is not None
    hint = "write MESSAGE, one space, system, user or assistant in small letters, one space, the text"
    if not match[2]:
        raise ModelfileError(*places.find(match.end()), f"unexpected EOF: {match[1]}", hint)
    if match[1] not in ROLES:
        raise ModelfileError(
            *places.find(pos), 'message role must be one of "system", "user", or "assistant"', hint
        )
    return match[1], match.end()


def _value(text: str, pos: int, places: _Places) -> tuple[str, int]:
    line = _LINE.match(text, pos)
    assert line is not None
    head = line[0].replace(_DROPPED, "").strip(" \t")
    if not head.startswith('"'):
        return head, line.end()
    three = head.startswith('"""')
    begin = text.index('"', pos)
    opening = _OPEN.match(text, begin)
    assert opening is not None
    inside = opening.end() if three else begin + 1
    closing = (_CLOSE_THREE if three else _CLOSE_ONE).search(text, inside)
    if closing is None:
        mark = '"""' if three else '"'
        raise ModelfileError(
            *places.find(begin),
            f"unexpected EOF: the {mark} that opens here never closes at the end of a line",
            f"close it with {mark} as the last characters of a line; nothing may follow, not even a comment",
        )
    return text[inside : closing.start()].replace(_DROPPED, ""), closing.end()


def _shown(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:40] + "...")
