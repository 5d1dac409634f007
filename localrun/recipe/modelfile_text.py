"""What a Modelfile's texts lose or gain without a word: dropped characters, escapes, quotes, templates."""

from __future__ import annotations

import re
from collections.abc import Iterator

from localrun.recipe.modelfile import Command, Modelfile, dropped
from localrun.recipe.modelfile_read import source_text

Warnings = Iterator[tuple[Command, str, str]]

#: Names that v0.33 knows; any other makes a request fail, not the create.
RENDERERS = frozenset(
    """cogito cohere deepseek3.1 functiongemma gemma4 gemma4-large gemma4-small glimmer glm-4.7 glm-ocr laguna
    lfm2 lfm2-thinking nemotron-3-nano nemotron-3.5-nano olmo3 olmo3-32b-think olmo3-think olmo3.1 ornith
    poolside-v1 qwen3-coder qwen3-vl-instruct qwen3-vl-thinking qwen3.5 qwen3.8""".split()  # noqa: SIM905
)
PARSERS = frozenset(
    """cogito cohere deepseek3 functiongemma gemma4 gemma4-no-thinking glimmer glm-4.7 glm-ocr harmony laguna
    lfm2 lfm2-thinking ministral nemotron-3-nano nemotron-3.5-nano olmo3 olmo3-think ornith passthrough
    poolside-v1 qwen3 qwen3-coder qwen3-thinking qwen3-vl-instruct qwen3-vl-thinking qwen3.5""".split()  # noqa: SIM905
)

_PATHS = ("model", "adapter", "draft")
_LINE_END = re.compile(r"\r\n|\r|\n")
_ESCAPE = re.compile(r"\\[ntr\"]")


def text_warnings(modelfile: Modelfile, source: bytes | str) -> Warnings:
    """Warnings that need the text as it was written, and those on texts of single commands."""
    text = source_text(source)
    yield from _lost(text)
    yield from _inline_comments(modelfile, text)
    for c in modelfile.commands:
        yield from _escapes(c)
        yield from _template(c)
        yield from _names(c)


def _lost(text: str) -> Warnings:
    bad = dropped(text)
    if not bad:
        return
    first = re.compile("[" + "".join(map(re.escape, sorted(bad))) + "]")
    for number, content in enumerate(_LINE_END.split(text), 1):
        if not content.lstrip(" \t").startswith("#") and (match := first.search(content)):
            place = Command("", "", number, match.start() + 1)
            code = f"U+{ord(match[0]):04X}"
            yield (
                place,
                f"Ollama drops {code} here without a word",
                "take the character out, or a plain space",
            )


def _inline_comments(modelfile: Modelfile, text: str) -> Warnings:
    suspects = [
        c for c in modelfile.commands if c.name not in _PATHS and " #" in c.args and len(c.args) < 200
    ]
    lines = _LINE_END.split(text) if suspects else []
    for c in suspects:
        # A value between quotation marks is meant as it stands.
        if lines[c.line - 1].rstrip(" \t").endswith(c.args):
            yield (
                c,
                f"there are no inline comments: the value is {c.args!r}",
                "a comment needs a line of its own",
            )


def _escapes(c: Command) -> Warnings:
    if c.name == "stop" and not c.args:
        yield c, "an empty stop string", "delete the line"
    if c.name in ("stop", "system", "message", "license") and (match := _ESCAPE.search(c.args)):
        fix = 'write a real line end between """ and """' if match[0] == "\\n" else ""
        yield c, f"there are no escapes: {match[0]} stays a backslash and a letter", fix
    if c.name not in ("license", "message") and len(c.args) > 1 and c.args[0] == c.args[-1] == "'":
        yield c, "single quotes are part of the value", 'use " or """'


def _template(c: Command) -> Warnings:
    if c.name != "template":
        return
    if "{%" in c.args:
        yield (
            c,
            "this is a Jinja template; Ollama's TEMPLATE is a Go template",
            ("delete TEMPLATE: the template in the GGUF file is used then"),
        )
    elif c.args.count("{{") != c.args.count("}}"):
        yield c, "{{ and }} do not pair up: ollama create may refuse the template", "close every {{"
    elif "{{" not in c.args:
        yield c, "a template without {{ .Prompt }} or {{ .Messages }} never shows the user's words", ""


def _names(c: Command) -> Warnings:
    for name, known in (("renderer", RENDERERS), ("parser", PARSERS)):
        if c.name == name and c.args not in known:
            yield (
                c,
                f"Ollama 0.33 has no {name} {c.args!r}: requests would fail",
                f"one of {', '.join(sorted(known))}",
            )
