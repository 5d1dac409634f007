"""Settings <-> llama-server's argv, one table for both ways.

The embedded host reads the same argv, so that both engines get the same launch and a
`--dry-run` line can be pasted. Spellings: llama.cpp `common/arg.cpp`, commit 0c1e57098.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, cast

from localrun.errors import UsageError
from localrun.plan.values import FlashAttn, Settings
from localrun.recipe.values import Launch
from localrun.units import MIB
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag with a value: `field` of Settings or Launch, `flag`, and text both ways."""

    field: str
    flag: str
    to_text: Callable[[Any], str] = str
    from_text: Callable[[str], Any] = str
    always: bool = True  # False: left out when the value is falsy


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


SETTINGS_FLAGS = (
    Flag("ctx_size", "--ctx-size", from_text=int),
    Flag("parallel", "--parallel", from_text=int),
    Flag("batch_size", "--batch-size", from_text=int),
    Flag("ubatch_size", "--ubatch-size", from_text=int),
    Flag("cache_type_k", "--cache-type-k"),
    Flag("cache_type_v", "--cache-type-v"),
    Flag("flash_attn", "--flash-attn"),
    Flag("n_gpu_layers", "--n-gpu-layers", from_text=int),
    Flag("override_tensor", "--override-tensor", ",".join, lambda t: tuple(t.split(",")), always=False),
    # After -ot: of two patterns that match, llama.cpp takes the one that was named first.
    Flag("n_cpu_moe", "--n-cpu-moe", from_text=int, always=False),
    Flag("tensor_split", "--tensor-split", lambda v: ",".join(f"{x:g}" for x in v), _floats, always=False),
    Flag("threads", "--threads", from_text=int),
    # llama-server counts its prompt cache in MiB; -1 and 0 mean no limit and none.
    Flag("cache_ram", "--cache-ram", lambda v: str(v // MIB), lambda t: int(t) * MIB),
    Flag("ctx_checkpoints", "--ctx-checkpoints", from_text=int),
    Flag("moe_cache", "--moe-cache-mib", lambda v: str(v // MIB), lambda t: int(t) * MIB, always=False),
    Flag("n_gpu_layers_draft", "--n-gpu-layers-draft", from_text=int, always=False),
    Flag("spec_type", "--spec-type", always=False),
)
LAUNCH_FLAGS = (
    Flag("model", "--model"),
    Flag("alias", "--alias"),
    Flag("host", "--host"),
    Flag("port", "--port", from_text=int),
    Flag("cors_origins", "--cors-origins"),
    Flag("chat_template_file", "--chat-template-file", always=False),
    Flag("mmproj", "--mmproj", always=False),
    Flag("model_draft", "--model-draft", always=False),
    Flag("rpc", "--rpc", always=False),
)
#: Switches: (field, value that emits it, flag).
SWITCHES = (
    ("swa_full", True, "--swa-full"),
    ("repack", False, "--no-repack"),
    ("mmproj_offload", False, "--no-mmproj-offload"),
    ("kv_unified", True, "--kv-unified"),
    ("kv_unified", False, "--no-kv-unified"),
)
#: Never left to the engine's defaults: placement is ours whole, or `--fit` would move it.
FIXED = ("--fit", "off", "--metrics", "--slots", "--no-ui", "--log-verbosity", "4")
#: What an older llama-server may lack without changing what is planned.
OPTIONAL = frozenset(
    {"--no-ui", "--slots", "--cache-ram", "--ctx-checkpoints", "--no-kv-unified", "--log-verbosity", "--fit"}
)


def to_argv(settings: Settings, launch: Launch) -> tuple[str, ...]:
    """llama-server's arguments, without the program's name."""
    out: list[str] = []
    for flags, values in ((LAUNCH_FLAGS, launch), (SETTINGS_FLAGS, settings)):
        for flag in flags:
            value = getattr(values, flag.field)
            # Left out, llama.cpp would put the whole draft on the GPU.
            if value or flag.always or (launch.model_draft and flag.field == "n_gpu_layers_draft"):
                out += [flag.flag, flag.to_text(value)]
    out += [name for field, value, name in SWITCHES if getattr(settings, field) is value]
    out += ["--load-mode", "mmap" if settings.mmap else "none"]
    if launch.chat_template_file:
        out.append("--jinja")
    return (*out, *FIXED)


#: What every launch says and what cannot be left out.
REQUIRED = (
    frozenset(w for w in to_argv(Settings(ctx_size=1), Launch("m", "m")) if w.startswith("--")) - OPTIONAL
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"engine arguments: {message}")


def parse_argv(argv: Iterable[str]) -> tuple[Settings, Launch]:
    """The inverse of `to_argv`. Raises UsageError on an argument it would not emit."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for flag in (*SETTINGS_FLAGS, *LAUNCH_FLAGS):
        parser.add_argument(flag.flag, dest=flag.field, type=flag.from_text, default=argparse.SUPPRESS)
    for field, value, name in SWITCHES:
        parser.add_argument(name, dest=field, action="store_const", const=value, default=argparse.SUPPRESS)
    parser.add_argument("--load-mode", choices=("mmap", "none"), default="mmap")
    for name in ("--fit", "--log-verbosity"):
        parser.add_argument(name)
    for name in ("--metrics", "--slots", "--no-ui", "--jinja"):
        parser.add_argument(name, action="store_true")
    found = vars(parser.parse_args(list(argv)))
    settings = {f.field: found[f.field] for f in SETTINGS_FLAGS if f.field in found}
    settings |= {field: found[field] for field, _, _ in SWITCHES if field in found}
    settings["flash_attn"] = cast(FlashAttn, settings.get("flash_attn", "auto"))
    launch = {f.field: found[f.field] for f in LAUNCH_FLAGS if f.field in found}
    try:
        return Settings(mmap=found["load_mode"] == "mmap", **settings), Launch(**launch)
    except TypeError as missing:
        raise UsageError(f"engine arguments: {missing}") from None


def supported(argv: tuple[str, ...], known: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`argv` without the optional flags that a build does not know, and the flags dropped.

    `known` is the set of flags in the build's `--help`; an empty set means unknown: all is kept.
    """
    if not known:
        return argv, ()
    kept: list[str] = []
    dropped: list[str] = []
    skip = False
    for i, word in enumerate(argv):
        if skip:
            skip = False
        elif word.startswith("--") and word not in known and word in OPTIONAL:
            dropped.append(word)
            skip = i + 1 < len(argv) and not argv[i + 1].startswith("-")
        else:
            kept.append(word)
    return tuple(kept), tuple(dropped)
