"""jinja2 for chat templates that anyone may have made: its immutable sandbox, with bounds. The only importer of jinja2.

Besides what jinja2 forbids, a template may take only so many steps and make only so much text: each line that its
code executes is counted, loops over more than jinja2's MAX_RANGE are refused there, and what makes much of little
(repeating, padding, replacing, joining) is asked for its size first.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

_STEPS = 2_000_000  # lines of the template's code; a long conversation takes some thousand
_TEXT, _ITEMS = 16 << 20, 1_000_000  # of one string, of one list
_COUNT = 100_000  # of a width
_BITS = 4096  # of a product of whole numbers
_NOT_OF_TEXT = frozenset(("encode", "maketrans", "translate"))
_LINES = {"indent": "\n", "expandtabs": "\t"}  # each of which is widened
_PADS = frozenset(("ljust", "rjust", "center", "zfill", "expandtabs", "indent", "batch", "slice"))


class TooMuch(Exception):
    """A size or a number of steps beyond what a template may ask for."""


class Steps:
    """Counts the lines executed meanwhile in code that jinja2 compiled, and raises TooMuch at the limit."""

    def __init__(self, limit: int = _STEPS) -> None:
        self._left = limit

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: Any, event: str, _argument: object) -> Callable[..., Any] | None:
        if event == "call" and frame.f_code.co_filename != "<template>":
            return None
        self._left -= 1
        if self._left < 0:
            raise TooMuch("it takes too many steps")
        return self._trace


def environment() -> Any:
    """As Hugging Face's transformers and llama.cpp render chat templates, within bounds."""
    from jinja2 import nodes
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**", "%", "+"))
        concat = staticmethod(_concat)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            # Methods that make much of little, and that no chat needs.
            if isinstance(obj, (bytes, int, float)) or (isinstance(obj, str) and attr in _NOT_OF_TEXT):
                return False
            return bool(super().is_safe_attribute(obj, attr, value))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            del context
            _check_operation(operator, left, right)
            return self.binop_table[operator](left, right)

        def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            owner = getattr(function, "__self__", None)
            if isinstance(owner, str):
                name = getattr(function, "__name__", "")
                if name == "join" and args:
                    args = (list(args[0]), *args[1:])
                _check_call(name, (owner, *args, *kwargs.values()))
            return super().call(context, function, *args, **kwargs)

        def wrap_str_format(self, value: Any) -> Any:
            formats = super().wrap_str_format(value)
            if formats is None:
                return None

            @functools.wraps(formats)
            def checked(*args: Any, **kwargs: Any) -> Any:
                if re.search(r"\{[^{}]*\{", value.__self__.replace("{{", "")):
                    raise TooMuch("a width is too large: it is an argument")
                _check_format(value.__self__, (*args, *kwargs.values()))
                return formats(*args, **kwargs)

            return checked

        def _parse(self, source: str, name: Any, filename: Any) -> Any:
            """a ~ b becomes a + b of texts, whose size is asked for."""
            tree = super()._parse(source, name, filename)
            for holder in reversed([tree, *tree.find_all(nodes.Node)]):  # inner ones first
                for field, value in list(holder.iter_fields()):
                    if isinstance(value, nodes.Concat):
                        setattr(holder, field, joined(value))
                    elif isinstance(value, list):
                        value[:] = [joined(v) if isinstance(v, nodes.Concat) else v for v in value]
            return tree

    def joined(concat: Any) -> Any:
        texts: list[Any] = [nodes.Filter(part, "string", [], [], None, None) for part in concat.nodes]
        return (
            functools.reduce(nodes.Add, texts).set_lineno(concat.lineno).set_environment(concat.environment)
        )

    made = Bounded(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], finalize=_whole)
    made.filters["tojson"] = _to_json
    for name in (*_PADS, "format", "replace", "join", "string", "tojson", "pprint"):
        if name in made.filters:
            made.filters[name] = _limited(name, made.filters[name])
    del made.globals["lipsum"]  # minutes of nonsense, for who asks for it
    return made


def _to_json(value: Any, indent: int | None = None, ensure_ascii: bool = False, **kwargs: Any) -> str:
    # No HTML escapes, unlike jinja2's own.
    known = {key: kwargs[key] for key in ("separators", "sort_keys") if key in kwargs}
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **known)


def _limited(name: str, function: Any) -> Any:
    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Any:
        # Some filters take the context or the environment first.
        first = 1 if hasattr(function, "jinja_pass_arg") else 0
        if name == "join" and len(args) > first:
            args = (*args[:first], list(args[first]), *args[first + 1 :])
        _check_call(name, (*args[first:], *kwargs.values()))
        return function(*args, **kwargs)

    return limited


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple, dict)) else 32


def _whole(value: Any) -> Any:
    """The value, unless its parts make too long a text."""
    left, waiting = _TEXT, [value]
    while waiting:
        one = waiting.pop()
        left -= len(one) if isinstance(one, str) else 8
        if left < 0:
            raise TooMuch("a text is too long")
        if isinstance(one, dict):
            waiting += [part for pair in one.items() for part in pair]
        elif isinstance(one, (list, tuple)):
            waiting += one
    return value


def _concat(parts: Iterable[str]) -> str:
    """What jinja2 makes of a template's or a macro's parts."""
    pieces, size = [], 0
    for part in parts:
        pieces.append(part)
        size += len(part)
        if size > _TEXT:
            raise TooMuch("the text is too long")
    return "".join(pieces)


def _check_call(name: str, values: Sequence[Any]) -> None:
    if name in _PADS and any(isinstance(v, int) and v > _COUNT for v in values):
        raise TooMuch("a width is too large")
    if name in ("string", "tojson", "pprint"):
        _whole(values[0])
    if name in _LINES:
        width = max((v if isinstance(v, int) else _size(v) for v in values[1:]), default=8)
        if (str(values[0]).count(_LINES[name]) + 1) * width > _TEXT:
            raise TooMuch("a text is too long")
    if name == "format":
        _check_format(values[0], values[1:])
    if name == "replace" and len(values) > 2:
        text, old, new = (str(v) for v in values[:3])
        if (text.count(old) if old else len(text) + 1) * len(new) > _TEXT:
            raise TooMuch("a text is too long")
    if name == "join":
        lists = [v for v in values if isinstance(v, (list, tuple))]
        between = max((_size(v) for v in values if isinstance(v, str)), default=0)
        if sum(_size(item) + between for v in lists for item in v) > _TEXT:
            raise TooMuch("a text is too long")


def _check_format(text: Any, values: Sequence[Any]) -> None:
    """No wide fields, whether in the format or as an argument, and no more text than is allowed."""
    fields = str(text).count("{") + str(text).count("%")
    if re.search(r"\d{6}", str(text)) or any(isinstance(v, int) and abs(v) > _COUNT**2 for v in values):
        raise TooMuch("a width is too large")
    if any(mark in str(text) for mark in ("*", "{:{")) and any(
        isinstance(v, int) and v > _COUNT for v in values
    ):
        raise TooMuch("a width is too large")
    if _size(text) + fields * max(map(_size, values), default=0) > _TEXT:
        raise TooMuch("a text is too long")


def _check_operation(operator: str, left: Any, right: Any) -> None:
    if operator == "**" and not (abs(left) < 1000 and abs(right) < 100):
        raise TooMuch("a power is too large")
    if operator == "*" and isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _BITS:
            raise TooMuch("a number is too large")
        return
    if operator == "%" and isinstance(left, str):
        _whole(right)
        _check_format(left, right if isinstance(right, tuple) else (right,))
    if operator in "*+":
        sizes = [len(side) if hasattr(side, "__len__") else 0 for side in (left, right)]
        size = sum(sizes)
        if operator == "*":
            size = sizes[0] * right if sizes[0] else sizes[1] * left if sizes[1] else 0
        if size > (_TEXT if isinstance(left, str) or isinstance(right, str) else _ITEMS):
            raise TooMuch("a text or a list is too long")
