"""Settings in words: only those that speed depends on, so that equal words are comparable runs."""

from __future__ import annotations

from collections.abc import Sequence

from localrun.plan.values import Settings

#: Of Settings, under which name; in the order they are told.
NAMED = (
    ("threads", "t"), ("cache_type_k", "ctk"), ("cache_type_v", "ctv"), ("n_gpu_layers", "ngl"),
    ("n_cpu_moe", "ncmoe"), ("override_tensor", "ot"), ("tensor_split", "ts"), ("flash_attn", "fa"),
    ("batch_size", "b"), ("ubatch_size", "ub"), ("parallel", "np"), ("mmap", "mmap"), ("repack", "repack"),
    ("moe_cache", "moe-cache"),
)  # fmt: skip
#: Left out where they have llama.cpp's usual value.
_USUAL = Settings(0, n_gpu_layers=-1, threads=0, cache_type_k="", cache_type_v="")


def in_words(settings: Settings) -> str:
    """`t 2, ctk f16, ctv f16, ngl 0`, and what else is not usual."""
    parts = [
        f"{short} {_text(getattr(settings, field))}"
        for field, short in NAMED
        if getattr(settings, field) != getattr(_USUAL, field)
    ]
    return ", ".join(parts)


def differing(many: Sequence[Settings]) -> tuple[tuple[str, str], ...]:
    """Of NAMED those in which the settings differ."""
    return tuple(
        (field, short) for field, short in NAMED if len({getattr(settings, field) for settings in many}) > 1
    )


def only(settings: Settings, fields: Sequence[tuple[str, str]]) -> str:
    """`ctk q8_0, t 2`: the fields named, for a line of a sweep."""
    return ", ".join(f"{short} {_text(getattr(settings, field))}" for field, short in fields)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ";".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
