"""What is named where a plan does not fit, typed back: it gives the verdict that was promised."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localrun.cli import plan as command
from localrun.commands.base import App
from localrun.commands.machine import machine
from localrun.commands.plan import planned, wanted
from localrun.config import Session, load, paths
from localrun.errors import LocalrunError
from localrun.plan.fit import RANK
from localrun.plan.values import Alternative, Plan
from localrun.show.text import Style

MODELS = (
    "deepseek-v3.2",
    "llama-4-maverick",
    "llama-4-scout",
    "llama-3.1-70b",
    "mistral-small-3.2",
    "llama-3.1-8b",
)
MACHINES = (
    "--hardware cpu --ram 4GiB",
    "--hardware cpu --ram 16GiB",
    "--hardware cpu --ram 48GiB --disk-free 12GiB",
    "--hardware rtx-3060 --ram 16GiB",
    "--hardware rtx-4090 --ram 64GiB",
    "--hardware '2x rtx-3090' --ram 32GiB",
    "--hardware m3-max-36gb",
    "--hardware rtx-4060 --ram 64GiB --disk-free 60GiB",
)
FLAGS = (
    "-c 131072",
    "-c max --for context",
    "-c 65536 -np 8",
    "-ctk f16 -ctv f16 -c 32768",
    "-ngl 99 -ncmoe 0",
    "-ngl 99 -c 4096",
    "-ub 4096 -b 4096 -c 16384",
    "-fa off -c 32768",
    "-ot 'blk\\.[0-9]+\\.ffn_.*=CUDA0'",
    "--mmproj auto -ngl 99 -c 8192",
    "--quant Q8_0",
    "",
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    environ = {"HOME": str(tmp_path_factory.mktemp("home"))}
    config = load(environ)
    return App(Session(config, paths(environ, config)), Style(False), Style(False), True, True, False, True)


def typed(app: App, arguments: Sequence[str]) -> Plan | None:
    """The plan of a command line; None for one that is refused."""
    with command.make_context("plan", list(arguments)) as context:
        options: dict[str, Any] = dict(context.params)
    try:
        return planned(app, options.pop("name"), options)[1]
    except LocalrunError:
        return None


def instead(arguments: list[str], alternative: Alternative) -> list[str]:
    """The command line that an alternative asks for."""
    if alternative.change.startswith("localrun plan "):
        return shlex.split(alternative.change.partition(": ")[0])[2:]
    short = {"-ngl": "--n-gpu-layers", "-ncmoe": "--n-cpu-moe", "-np": "--parallel", "-ub": "--ubatch-size",
             "-b": "--batch-size", "-fa": "--flash-attn", "-ot": "--override-tensor"}  # fmt: skip
    kept, words = [], list(arguments)
    while words:
        word = words.pop(0)
        if short.get(word, word) in alternative.without:
            words.pop(0)
        else:
            kept.append(word)
    return [*kept, *alternative.flags]


@given(st.sampled_from(MODELS), st.sampled_from(MACHINES), st.sampled_from(FLAGS))
@settings(max_examples=70, deadline=None)
def test_every_alternative_keeps_its_promise(app: App, model: str, where: str, flags: str) -> None:
    """Typed as it is printed, beside or in place of what was typed before; no slower than it says."""
    arguments = [model, *shlex.split(where), *shlex.split(flags)]
    plan = typed(app, arguments)
    for alternative in plan.alternatives if plan else ():
        again = typed(app, instead(arguments, alternative))
        assert again is not None, alternative
        assert again.verdict == alternative.verdict, (arguments, alternative)
        assert again.speed.generation.expected >= alternative.generation * 0.999, (arguments, alternative)
        assert RANK[again.verdict] > RANK[plan.verdict]  # type: ignore[union-attr]


def test_each_flag_that_must_go_is_named(app: App) -> None:
    """Slots and a fixed placement: not the context alone, which was all that was said."""
    plan = typed(
        app, shlex.split("llama-3.1-8b --hardware rtx-3060 --ram 16GiB -ngl 99 -np 16 -c 131072 --quant Q8_0")
    )
    assert plan is not None
    assert plan.verdict == "too-big"
    first = plan.alternatives[0]
    assert "--ctx-size" in first.flags or "--n-gpu-layers" in first.without
    assert all(flag in first.change for flag in (*first.flags, *first.without))


def test_vision_is_given_up_before_the_model_is(app: App) -> None:
    line = "mistral-small-3.2 --hardware cpu --ram 19GiB --quant Q4_K_M --mmproj auto -c 8192"
    plan = typed(app, shlex.split(line))
    assert plan is not None
    assert plan.verdict == "pages"
    assert plan.alternatives[0].flags == ("--no-mmproj",)


def test_the_flags_mean_what_the_planner_calls_them(app: App) -> None:
    """Every flag that an alternative may name is one of the command's, and sets the field it stands for."""
    from localrun.plan.instead import _GROUPS

    values = {"--flash-attn": "on", "--override-tensor": "a=CPU", "--tensor-split": "1,1",
              "--cache-type-k": "q8_0", "--cache-type-v": "q8_0"}  # fmt: skip
    for group in _GROUPS:
        for field, flag in group:
            line = ["smollm2", flag] + ([] if flag.startswith("--no-") else [values.get(flag, "7")])
            with command.make_context("plan", line) as context:
                options: dict[str, Any] = dict(context.params)
            assert getattr(wanted(app, options), field) is not None, flag
    assert machine(app, {"hardware": "cpu"}).gpus == ()
