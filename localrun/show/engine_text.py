"""Engines as text and as JSON, and a build as it goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from localrun.engine.inventory import Found, uses_gpu
from localrun.engine.preference import Speeds
from localrun.hardware.facts import Gpu
from localrun.show.text import Style, bar, printable, say, table

SCHEMA = "localrun.engines/1"
#: Where a page has no room for all: the models whose support is new.
_TELLING = ("llama4", "deepseek2", "deepseek32", "qwen3next", "gpt-oss")
#: Without a terminal, a line every so many per cent.
_STEP = 10


def engine_lines(
    found: Sequence[Found],
    gpus: Sequence[Gpu],
    style: Style,
    ran: Speeds,
    why: str,
    short: Callable[[str], str] = str,
) -> list[str]:
    """A table of the engines, the one that `up` takes marked; below it why, and where each is."""
    if not found:
        return ["no llama.cpp here; localrun engine install gets one"]
    rows = [["", "engine", "build", "backends", "instructions", "knows", "this GPU", "tok/s"]]
    first = next((e for e in found if e.used), None)
    for one in found:
        seen = one.seen
        rows.append(
            [
                "*" if one is first else " ",
                one.kind,
                printable(one.label),
                ", ".join(("CPU", *seen.backends)),
                _widest(seen.features),
                " ".join(n for n in _TELLING if n in seen.architectures) or "?",
                {True: "yes", False: "no", None: "-"}[uses_gpu(seen, gpus)],
                f"{rate:.1f}" if (rate := (ran.rates or {}).get(one.build)) else "-",
            ]
        )
    lines = table(rows, right=(7,))
    lines = [style("bold", lines[0]), *lines[1:], ""]
    lines += [
        f"{one.kind} {printable(one.label)}: {printable(short(str(one.path)))} ({one.source})"
        for one in found
    ]
    if first is None:
        return [*lines, "none of them can be run by `up`: localrun engine install"]
    lines.append(f"* is what `up` takes: {printable(short(why)) or _usual(found, ran)}")
    if ran.model:
        lines.append(
            f"tok/s: generated here with {printable(ran.model)}, the middle of the last runs (measured)"
        )
    return lines


def _usual(found: Sequence[Found], ran: Speeds) -> str:
    """Why, where no two builds' speeds were compared."""
    if sum(one.used for one in found) < 2:
        return "it is the only one"
    few = ("none of them was measured here", "only one of them was measured here")[bool(ran.model)]
    if len(ran.rates or {}) > 1:
        few = "their runs here cannot be compared"
    return f"one made for this machine goes before a portable wheel; {few} (localrun bench NAME --engine ...)"


def _widest(features: Sequence[str]) -> str:
    """The instruction sets that decide speed; `?` where the build does not tell."""
    wanted = ("AMX_INT8", "AVX512", "AVX512_VNNI", "AVX2", "AVX", "SVE", "MATMUL_INT8", "DOTPROD", "NEON")
    told = [n for n in wanted if n in features]
    if "AVX512" in told or "AVX2" in told:
        told = [n for n in told if n != "AVX" and not (n == "AVX2" and "AVX512" in told)]
    return " ".join(told) or "?"


def engine_json(found: Sequence[Found], gpus: Sequence[Gpu], ran: Speeds, why: str) -> dict[str, Any]:
    first = next((e for e in found if e.used), None)
    return {
        "schema": SCHEMA,
        "why": why or None,
        "measured_with": ran.model or None,
        "engines": [
            {
                "kind": one.kind,
                "path": str(one.path),
                "source": one.source,
                "release": one.release,
                "version": one.seen.version,
                "build": one.seen.build or None,
                "commit": one.seen.commit,
                "compiler": one.seen.compiler,
                "backends": ["CPU", *one.seen.backends],
                "instructions": list(one.seen.features),
                "architectures": list(one.seen.architectures),
                "cuda": one.seen.cuda or None,
                "uses_gpu": uses_gpu(one.seen, gpus),
                "usable": one.used,
                "default": one is first,
                "generation": (ran.rates or {}).get(one.build),
            }
            for one in found
        ],
    }


class Building:
    """A build's progress on stderr: one line that is rewritten in a terminal, a line now and then elsewhere."""

    def __init__(self, live: bool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = sys.stderr.isatty() if live is None else live
        self._clock, self._began, self._said = clock, clock(), ("", -_STEP)

    def __call__(self, percent: int, what: str) -> None:
        if percent < 0:
            return self._line(what)
        name, last = self._said
        if self._live:
            sys.stderr.write(
                f"\r{what} [{bar([(percent / 100, '#')], 30)}] {percent:3d} %{self._left(percent)}\x1b[K"
            )
            sys.stderr.flush()
            self._said = (what, percent)
        elif what != name or percent >= last + _STEP:
            self._said = (what, percent)
            self._line(f"{what}: {percent} %{self._left(percent)}")

    def done(self) -> None:
        if self._live and self._said[0]:
            say()

    def _line(self, text: str) -> None:
        if self._live and self._said[0]:
            say()
            self._said = ("", -_STEP)
        say(text)

    def _left(self, percent: int) -> str:
        """Time left, from the pace until now; the first per cents say little."""
        if percent == 0:
            self._began = self._clock()
        if percent < 5 or percent >= 100:
            return ""
        seconds = (self._clock() - self._began) * (100 - percent) / percent
        return f", about {seconds / 60:.0f} min left" if seconds >= 60 else ", less than a minute left"
