"""From comma lists to what is measured: cases, settings, and what must fit a context. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from localrun.bench.values import Case
from localrun.errors import UsageError
from localrun.plan.kv import KV_TYPES
from localrun.plan.values import Speed, Wanted

#: More values than this in one list are a slip of the keyboard, not a sweep.
_MOST = 64
_LARGEST = 10**8
#: llama-bench's: 128, 512-2048*2, 1-8+1.
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?:([+*])(\d{1,9}))?)?", re.ASCII)
#: Defaults that a laptop measures in seconds; less of them where a repetition would take longer.
PROMPTS, GENERATED, REPETITIONS = (128, 512), (64,), 3
_PATIENCE = 15.0  # seconds for one repetition of a default
_FEW = (16, 64)  # of a prompt and of an answer, where even the smallest default takes that long


def counts(text: str, flag: str, least: int = 0) -> tuple[int, ...]:
    """`128,512` or a range as llama-bench writes it, in order, each once. Raises UsageError."""
    found: dict[int, None] = {}
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        values = _range(match, part) if match else ()
        if not values or min(values) < least or max(values) > _LARGEST:
            raise UsageError(
                f"{flag} {text!r}: not a list of whole numbers from {least}",
                f"{flag} 128,512 or {flag} 128-512*2",
            )
        found |= dict.fromkeys(values)
    _few(len(found), flag)
    return tuple(found)


def _range(match: re.Match[str], part: str) -> tuple[int, ...]:
    first, last = int(match[1]), int(match[2] or match[1])
    step = int(match[4] or 1)
    if first > last or step < 1 or (match[3] == "*" and (step < 2 or first < 1)):
        return ()
    values = [first]
    while len(values) <= _MOST:
        following = values[-1] * step if match[3] == "*" else values[-1] + step
        if following > last:
            break
        values.append(following)
    if len(values) > _MOST:
        raise UsageError(f"{part.strip()!r} is more than {_MOST} values", "take a larger step")
    return tuple(values)


def cache_types(text: str, flag: str) -> tuple[str, ...]:
    """`f16,q8_0`, each once. Raises UsageError."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(found):
        raise UsageError(f"{flag} {text!r}: an empty value in the list", f"{flag} f16,q8_0")
    for kind in found:
        if kind not in KV_TYPES:
            raise UsageError(f"{flag} {kind}: not a cache type", "one of " + ", ".join(KV_TYPES))
    _few(len(found), flag)
    return found


def _few(n: int, flag: str) -> None:
    if n > _MOST:
        raise UsageError(f"{flag}: {n} values are too many", f"at most {_MOST}")


def cases(prompts: Iterable[int], generated: Iterable[int], depths: Iterable[int]) -> tuple[Case, ...]:
    """Depth by depth, prompts first; a 0 leaves one out, as in llama-bench. Raises UsageError."""
    prompts, generated = tuple(prompts), tuple(generated)
    found = tuple(
        case
        for depth in sorted(set(depths))
        for case in (*(Case(n, 0, depth) for n in prompts if n), *(Case(0, n, depth) for n in generated if n))
    )
    if not found:
        raise UsageError("nothing to measure: no prompt and nothing to generate", "-p 512, -n 64, or both")
    return found


def usual(speed: Speed) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Prompt lengths and tokens to generate for a model that is foretold to run so fast."""
    prompt, generation = speed.prompt.expected, speed.generation.expected
    prompts = tuple(n for n in PROMPTS if n <= prompt * _PATIENCE)
    generated = tuple(n for n in GENERATED if n <= generation * _PATIENCE)
    return prompts or _FEW[1:], generated or _FEW[:1]


def needed(found: Sequence[Case]) -> int:
    """Tokens of context that the longest case takes, with the token that is sampled behind it."""
    return max(case.depth + case.tokens for case in found) + 2


def swept(
    wanted: Wanted, threads: Sequence[int], type_k: Sequence[str], type_v: Sequence[str]
) -> tuple[Wanted, ...]:
    """Every combination, threads innermost; what a list leaves out stays the plan's own choice.

    Values follow the keys where only those were named: a model that keeps both together takes nothing else.
    """
    of_k: Sequence[str | None] = type_k or [wanted.cache_type_k]
    of_v: Sequence[str | None] = type_v or [wanted.cache_type_v]
    of_t = threads or [0]
    return tuple(
        replace(wanted, cache_type_k=k, cache_type_v=v, threads=t or wanted.threads)
        for k, v, t in product(of_k, of_v, of_t)
    )
