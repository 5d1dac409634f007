"""Commands to the text of a Modelfile that Ollama reads back unchanged, or a refusal.

Ollama has no escapes: what cannot be written as it stands is refused here, because it would be
cut, dropped or taken for something else there.
"""

from __future__ import annotations

import re

from localrun.errors import LocalrunError
from localrun.recipe.modelfile import ROLES, Command, Modelfile, dropped
from localrun.recipe.modelfile_params import COMMANDS

_PARAMETER = re.compile(r"[A-Za-z0-9_]+")
# A line inside a heredoc, other than its last, that Ollama would take for the end of it.
_EARLY_END = re.compile(r'"""[ \t]*[\r\n]')


class Unwritable(LocalrunError):
    """A command that no Modelfile can say."""


def render(modelfile: Modelfile) -> str:
    """The text whose parse gives the same names and arguments. Raises Unwritable where none does."""
    if not any(c.name == "model" for c in modelfile.commands):
        raise Unwritable("a Modelfile needs a FROM")
    return "".join(line(c) + "\n" for c in modelfile.commands)


def line(command: Command) -> str:
    """One command without its line end. Raises Unwritable."""
    name, args = command.name, command.args
    if name == "model":
        return f"FROM {quoted('FROM', args)}"
    if name == "message":
        role, separator, text = args.partition(": ")
        if role not in ROLES or not separator:
            raise Unwritable("a MESSAGE needs a role: system, user or assistant")
        return f"MESSAGE {role} {quoted('MESSAGE', text)}"
    if name in COMMANDS:
        return f"{name.upper()} {quoted(name.upper(), args)}"
    if not _PARAMETER.fullmatch(name):
        raise Unwritable(f"not the name of a parameter: {name!r}")
    return f"PARAMETER {name} {quoted(f'PARAMETER {name}', args)}"


def quoted(what: str, text: str) -> str:
    """`text` bare where that is safe, else between three quotation marks. Raises Unwritable."""
    if bad := dropped(text):
        shown = ", ".join(f"U+{ord(c):04X}" for c in sorted(bad)[:4])
        raise Unwritable(
            f"{what}: Ollama would drop {len(bad)} kind(s) of characters without a word: {shown}",
            "take them out of the text",
        )
    if text and text == text.strip(" \t") and not text.startswith('"') and not re.search(r"[\r\n]", text):
        return text
    if _EARLY_END.search(text):
        raise Unwritable(
            f'{what}: a line ends in """, which would end the text there',
            "put a character after the three quotation marks, such as a full stop",
        )
    return f'"""{text}"""'


def comment(text: str) -> str:
    """`text` as comment lines, however many lines it has."""
    return "".join(f"# {part}".rstrip() + "\n" for part in re.split(r"\r\n|\r|\n", text))
