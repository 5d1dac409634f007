"""Ollama's Modelfile, read as Ollama reads it: bytes to commands, with a place for each refusal.

The grammar is that of `parser/parser.go` at v0.33, not of its documentation: no inline comments,
no escapes, characters that do not print are dropped without a word, and a string is looked at
for its end only where a line ends. Reading is linear in the text. What the parser lets through
and refuses later (values of parameters) is in `modelfile_params`; what it lets through and that
goes wrong at run time is in `modelfile_check`.

Commands that follow each other are cut apart in one call of the regular-expression engine, a million in
half a second; one that is wrong, or holds hundreds of quotation marks, is read by itself.
"""

from __future__ import annotations

import re
from itertools import repeat

from localrun.recipe.modelfile import KEYWORDS, ROLES, Command, Modelfile, ModelfileError, dropped

# Every character that Ollama drops is first replaced by NUL, which it drops too: one class to match.
_DROPPED = "\0"
_MANY = 64  # distinct dropped characters above which one table beats single replacements

_BLANKS = r"(?:[ \t\r\n]++|#[^\r\n]*+)*+"
_HEADS = (
    r"\0?(?:(?ai:FROM|LICENSE|TEMPLATE|SYSTEM|ADAPTER|DRAFT|RENDERER|PARSER|REQUIRES)|"
    r"(?ai:PARAMETER)[ \t][A-Za-z0-9_]*+|(?ai:MESSAGE)[ \t](?:system|user|assistant))"
)
_END = r"[ \t\0]*+(?=[\r\n]|\Z)"
_ONE, _THREE = '"', r'"\0*+"\0*+"'


def _quoted(mark: str) -> str:
    """A value between marks: one that ends on its line, else over lines. It ends where a mark ends a line."""
    inside = rf'[^"]*+(?:(?!{mark}{_END})"[^"]*+){{0,{_QUOTES}}}+'
    return rf"{mark}(?:([^\r\n]*){mark}{_END}|({inside}){mark}{_END})"


# A value with more quotation marks than this inside is searched for its end, which is quicker.
_QUOTES = 400
_VALUE = rf'[ \t\0]*+(?:(?!")([^\r\n]*+)|(?!{_THREE}){_quoted(_ONE)}|{_quoted(_THREE)})'
_PLAIN = re.compile(f"{_BLANKS}({_HEADS})[ \\t]{_VALUE}")
_RUN = re.compile(f"(?:{_PLAIN.pattern})++")
_GROUPS = _PLAIN.groups + 1
_BLANK = re.compile(_BLANKS)
_WORD = re.compile(r"(?s)(.[A-Za-z]*+)([ \t]?)")
_PARAMETER = re.compile(r"([A-Za-z0-9_]*+)([ \t]?)")
_ROLE = re.compile(r"([A-Za-z]*+)([ \t]?)")
_LETTERS = re.compile(r"[A-Za-z]*+")
_LINE = re.compile(r"[^\r\n]*+")
_OPEN = re.compile(r'"(?:\0*+"\0*+")?')
_CLOSE_ONE = re.compile(r'"[ \t\0]*+(?=[\r\n]|\Z)')
_CLOSE_THREE = re.compile(r'"\0*+"\0*+"[ \t\0]*+(?=[\r\n]|\Z)')
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Reading:
    """What was read so far, in columns; and where in the text, so that places can be told later."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: list[str] = []
        self.args: list[str] = []
        self.keywords: list[str] = []
        self.runs: list[tuple[int, int]] = []  # offsets from and to; of a single command the same twice

    def whole(self) -> None:
        pos, text = 0, self.text
        while True:
            run = _RUN.match(text, pos)
            if run is not None:
                self.run(pos, run.end())
                pos = run.end()
            begin = _BLANK.match(text, pos).end()  # type: ignore[union-attr]  # matches the empty text too
            if begin == len(text):
                return
            pos = self.single(begin)

    def run(self, start: int, stop: int) -> None:
        """Commands that lie side by side, cut apart in one call: head, and value in one of five forms."""
        parts = _PLAIN.split(self.text[start:stop])
        heads, bare, *quoted = (parts[i::_GROUPS] for i in range(1, _GROUPS))
        if '"' not in self.text[start:stop]:
            if self.text.find(_DROPPED, start, stop) >= 0:
                bare = [value.replace(_DROPPED, "") for value in bare]
            found = [value.strip(" \t") for value in bare]
        else:
            found = [
                a.replace(_DROPPED, "").strip(" \t") if a is not None
                else b if b is not None else c if c is not None else d if d is not None else e
                for a, b, c, d, e in zip(bare, *quoted, strict=True)
            ]  # fmt: skip
            if self.text.find(_DROPPED, start, stop) >= 0:
                found = [value.replace(_DROPPED, "") for value in found]
        known = {head: _head(head) for head in set(heads)}
        if len(known) == 1:
            ((name, _, keyword),) = known.values()
            self.names += [name] * len(heads)
            self.keywords += [keyword] * len(heads)
        else:
            self.names += [known[head][0] for head in heads]
            self.keywords += [known[head][2] for head in heads]
        if any(role for _, role, _ in known.values()):
            found = [known[head][1] + value for head, value in zip(heads, found, strict=True)]
        self.args += found
        self.runs.append((start, stop))

    def single(self, begin: int) -> int:
        """One command of any form, from its first character; the offset behind it."""
        keyword, pos = _keyword(self.text, begin)
        name, role = keyword.lower(), ""
        if name == "from":
            name = "model"
        elif name == "parameter":
            name, pos = _parameter(self.text, pos)
        elif name == "message":
            role, pos = _role(self.text, pos)
            role += ": "
        value, pos = _value(self.text, pos)
        self.names.append(name)
        self.args.append(role + value)
        self.keywords.append(keyword)
        self.runs.append((begin, begin))
        return pos

    def commands(self) -> tuple[Command, ...]:
        at = _Places(self.text)
        lines, columns = [], []
        for start, stop in self.runs:
            found = (
                (m.start(1) for m in _PLAIN.finditer(self.text, start, stop)) if stop > start else (start,)
            )
            for offset in found:
                line, column = at.find(offset)
                lines.append(line)
                columns.append(column)
        rows = zip(self.names, self.args, lines, columns, self.keywords, strict=True)
        return tuple(map(tuple.__new__, repeat(Command), rows))


def _head(head: str) -> tuple[str, str, str]:
    """Ollama's name, the role that a MESSAGE's text follows, and the keyword as it was written."""
    text = head.removeprefix(_DROPPED)
    keyword = _LETTERS.match(text)[0]  # type: ignore[index]  # matches the empty text too
    name, rest = keyword.lower(), text[len(keyword) + 1 :]
    if name == "parameter":
        return rest, "", keyword
    return "model" if name == "from" else name, f"{rest}: " if rest else "", keyword


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


def read(source: bytes | str) -> Modelfile:
    """As `modelfile.parse`."""
    reading = _Reading(_mark(source_text(source)))
    reading.whole()
    if "model" not in reading.names:
        raise ModelfileError(1, 1, "no FROM line", "begin with FROM and a model name or a GGUF file")
    return Modelfile(None, reading.names, reading.args, reading.commands)


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


def _keyword(text: str, pos: int) -> tuple[str, int]:
    match = _WORD.match(text, pos)
    assert match is not None
    # A dropped character counts as the first letter of a word, and then is gone.
    word = match[1].removeprefix(_DROPPED)
    if word.lower() in KEYWORDS and match[2]:
        return word, match.end()
    if match.end() == len(text) and not match[2]:
        raise ModelfileError(*_place(text, pos), "unexpected EOF", f"{word} has no value")
    if word.lower() in KEYWORDS:
        raise ModelfileError(
            *_place(text, match.end()),
            f"invalid command: {word} must be followed by a space and a value on the same line",
        )
    raise ModelfileError(
        *_place(text, pos),
        f"invalid command {_shown(word or match[1])}",
        "commands are FROM, LICENSE, TEMPLATE, SYSTEM, ADAPTER, DRAFT, RENDERER, PARSER, PARAMETER, "
        "MESSAGE, REQUIRES; a comment is a line that begins with #",
    )


def _parameter(text: str, pos: int) -> tuple[str, int]:
    match = _PARAMETER.match(text, pos)
    assert match is not None
    if not match[2]:
        hint = "write PARAMETER, one space, the name, one space, the value; names have letters, digits and _"
        raise ModelfileError(*_place(text, match.end()), f"unexpected EOF: {match[1]}", hint)
    return match[1], match.end()


def _role(text: str, pos: int) -> tuple[str, int]:
    match = _ROLE.match(text, pos)
    assert match is not None
    hint = "write MESSAGE, one space, system, user or assistant in small letters, one space, the text"
    if not match[2]:
        raise ModelfileError(*_place(text, match.end()), f"unexpected EOF: {match[1]}", hint)
    if match[1] not in ROLES:
        raise ModelfileError(
            *_place(text, pos), 'message role must be one of "system", "user", or "assistant"', hint
        )
    return match[1], match.end()


def _value(text: str, pos: int) -> tuple[str, int]:
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
            *_place(text, begin),
            f"unexpected EOF: the {mark} that opens here never closes at the end of a line",
            f"close it with {mark} as the last characters of a line; nothing may follow, not even a comment",
        )
    return text[inside : closing.start()].replace(_DROPPED, ""), closing.end()


def _shown(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:40] + "...")


def _place(text: str, offset: int) -> tuple[int, int]:
    return _Places(text).find(offset)
