"""Ollama's Modelfile as a value: its commands, and what its parser refuses. `modelfile_read` reads one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Modelfile:
    """The commands of a Modelfile. Of one that was read, names and arguments are at hand; the commands with
    their places are made when they are first asked for."""

    __slots__ = ("_args", "_commands", "_make", "_names")

    def __init__(
        self,
        commands: tuple[Command, ...] | None = None,
        names: Sequence[str] = (),
        args: Sequence[str] = (),
        make: Callable[[], tuple[Command, ...]] = tuple,
    ) -> None:
        self._commands, self._names, self._args, self._make = commands, names, args, make

    @property
    def commands(self) -> tuple[Command, ...]:
        if self._commands is None:
            self._commands = self._make()
        return self._commands

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Names and arguments without places: what two texts must share to mean the same."""
        if self._commands is not None:
            return tuple((c.name, c.args) for c in self._commands)
        return tuple(zip(self._names, self._args, strict=True))


def parse(source: bytes | str) -> Modelfile:
    """The commands of a Modelfile. Raises ModelfileError where `ollama create` would refuse it."""
    from localrun.recipe.modelfile_read import read

    return read(source)


def printable(char: str) -> bool:
    """Whether Go's strconv.IsPrint keeps this character; tab and line ends are kept elsewhere."""
    return char.isprintable() or any(a <= ord(char) <= b for a, b in _SINCE_15)


def dropped(text: str) -> set[str]:
    """The characters of `text` that Ollama would drop without a word."""
    return {c for c in set(text) if c not in "\t\r\n" and not printable(c)}
