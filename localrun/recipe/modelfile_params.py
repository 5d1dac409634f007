"""The PARAMETERs of a Modelfile: their types, and values as Ollama converts them (api.FormatParams).

Each parameter of Ollama v0.33 with its kind; what it ignores with a warning; and the conversion
of REQUIRES, which wants a version.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable
from typing import Literal

from localrun.recipe.modelfile import KEYWORDS, Command, ModelfileError

Kind = Literal["int", "float", "bool", "strings"]
Value = int | float | bool | str

#: Ollama's names of the commands that are not PARAMETERs: FROM is `model`.
COMMANDS = (KEYWORDS - {"from", "parameter"}) | {"model"}

KINDS: dict[str, Kind] = {
    "num_ctx": "int",
    "num_batch": "int",
    "num_gpu": "int",
    "main_gpu": "int",
    "use_mmap": "bool",
    "num_thread": "int",
    "draft_num_predict": "int",
    "num_keep": "int",
    "seed": "int",
    "num_predict": "int",
    "top_k": "int",
    "top_p": "float",
    "min_p": "float",
    "typical_p": "float",
    "repeat_last_n": "int",
    "temperature": "float",
    "repeat_penalty": "float",
    "presence_penalty": "float",
    "frequency_penalty": "float",
    "stop": "strings",
}
IGNORED = frozenset(
    {"penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock"}
    | {"mirostat", "mirostat_tau", "mirostat_eta"}
)

_INT = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEX = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
# Go's ParseFloat takes 1_000 in any base, though it documents that for prefixed ones alone.
_UNDERSCORE = re.compile(r"(?<=[0-9])_(?=[0-9])")
_UNDERSCORE_HEX = re.compile(r"(?<=[0-9a-fA-FxX])_(?=[0-9a-fA-F])")
_NAMED = re.compile(r"[+-]?(?:inf|infinity)|nan", re.IGNORECASE)
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}(?:-{_PRE}(?:\.{_PRE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?"
)


def convert(name: str, text: str) -> Value:
    """The value that Ollama stores for `PARAMETER name text`. Raises ValueError in Ollama's words.

    `strings` come back one at a time; a float is not rounded to 32 bits, but must fit them.
    """
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"unknown parameter '{name}'")
    value = _VALUES[kind](text)
    if value is None:
        raise ValueError(f"invalid {kind} value [{text}]")
    return value


def parameters(commands: Iterable[Command]) -> dict[str, Value | list[str]]:
    """The parameters of `/api/create`: of a scalar the last, of `stop` all. Raises ModelfileError."""
    found: dict[str, Value | list[str]] = {}
    for c in commands:
        if c.name in COMMANDS or c.name in IGNORED:
            continue
        try:
            value = convert(c.name, c.args)
        except ValueError as e:
            raise ModelfileError(c.line, c.column, str(e), hint_for(c.name, c.args)) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise ModelfileError(
                c.line, c.column, f"{c.name} {c.args} cannot be sent to a server", "write a number"
            )
        if isinstance(value, str):
            stops = found.setdefault(c.name, [])
            assert isinstance(stops, list)
            stops.append(value)
        else:
            found[c.name] = value
    return found


def version(text: str) -> tuple[int, int, int] | None:
    """Major, minor and patch of a REQUIRES or of a server; None where Ollama sees no semver."""
    text = text.removeprefix("v")
    if not _VERSION.fullmatch(text):
        return None
    numbers = re.split(r"[-+]", text)[0].split(".")
    major, minor, patch = (*map(int, numbers), 0, 0)[:3]
    return major, minor, patch


def hint_for(name: str, text: str) -> str:
    """What to write instead of a parameter that Ollama refuses."""
    if not name:
        return "write exactly one space between PARAMETER and the name"
    if name not in KINDS:
        import difflib

        near = difflib.get_close_matches(name.lower(), KINDS, n=1)
        return (
            f"names are case-sensitive; did you mean {near[0]}?"
            if near
            else f"known names: {', '.join(KINDS)}"
        )
    if "#" in text:
        return "a comment needs a line of its own"
    return {
        "int": "write a whole number in digits, such as 8192",
        "float": "write a number such as 0.7",
        "bool": "write true or false",
        "strings": "write a text",
    }[KINDS[name]]


def _to_int(text: str) -> int | None:
    # Nothing longer than this can be an int64, and Python refuses to convert endless digits.
    if len(text) > 4000 or not _INT.fullmatch(text):
        return None
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 63 else None


def _to_bool(text: str) -> bool | None:
    return _BOOLS.get(text)


def _to_float(text: str) -> float | None:
    if _NAMED.fullmatch(text):
        return float(text)
    decimal, prefixed = _UNDERSCORE.sub("", text), _UNDERSCORE_HEX.sub("", text)
    try:
        if _DECIMAL.fullmatch(decimal):
            value = float(decimal)
        elif _HEX.fullmatch(prefixed):
            value = float.fromhex(prefixed)
        else:
            return None
        struct.pack("<f", value)
    except (OverflowError, ValueError):
        return None
    return None if math.isinf(value) else value


def _to_text(text: str) -> str:
    return text


_VALUES = {"int": _to_int, "float": _to_float, "bool": _to_bool, "strings": _to_text}
