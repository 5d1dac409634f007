"""Light stand-ins for what click imports and hardly a start needs: a quarter of its import.

`imported_lightly()` holds them in place while click is imported; afterwards everyone else finds the real
modules. What is asked of a stand-in beyond what it has comes from the real module, then and later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any


class _Standin(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


@contextmanager
def imported_lightly() -> Iterator[None]:
    """Around `import click`. Modules that are loaded already stay as they are."""
    placed = [module for module in (_inspect(), _uuid(), _gettext()) if module.__name__ not in sys.modules]
    sys.modules.update((module.__name__, module) for module in placed)
    try:
        yield
    finally:
        for module in placed:
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]


def _inspect() -> ModuleType:
    """click cleans every help text, and asks whether a default is a function."""
    module = _Standin("inspect")
    module.__dict__.update(cleandoc=cleandoc, isfunction=lambda thing: isinstance(thing, FunctionType))
    return module


def cleandoc(text: str) -> str:
    """As `inspect.cleandoc`: without the margin of the lines after the first, and blank ends."""
    first, *rest = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip(" ")) for line in rest if line.strip(" ")), default=0)
    lines = [first.lstrip(" "), *(line[margin:] for line in rest)]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return "\n".join(lines)


def _uuid() -> ModuleType:
    """click names the class in a parameter type that nothing here uses."""

    class UUID:
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return import_module("uuid").UUID(*args, **kwargs)

    module = _Standin("uuid")
    module.__dict__["UUID"] = UUID
    return module


def _gettext() -> ModuleType:
    """click brings no translations, and the search for them costs as much as a command's options."""
    module = _Standin("gettext")
    module.__dict__.update(gettext=lambda text: text, ngettext=lambda one, many, n: one if n == 1 else many)
    return module
