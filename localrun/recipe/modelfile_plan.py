"""A plan as a Modelfile and the environment beside it, with the reasons as comments. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Iterator

from localrun.errors import DoesNotFit, LocalrunError
from localrun.plan.values import Alternative, Plan
from localrun.recipe.modelfile import Command, Modelfile
from localrun.recipe.modelfile_params import KINDS
from localrun.recipe.modelfile_render import comment, render
from localrun.recipe.ollama_env import LLAMA_SERVER, Environment, Version, shell_lines, split_plan
from localrun.units import format_size
from localrun.value import dataclass

#: The server that the facts here were read from; newer ones are taken to be like it.
CURRENT: Version = (0, 33, 0)
#: Architectures that older servers do not know, with the first that does.
_SINCE = {"deepseek32": "0.30.0"}


@dataclass(frozen=True, slots=True)
class Extras:
    """What a Modelfile holds besides the plan. Empty means: leave it to the file or to Ollama."""

    tag: str = ""  # a name in Ollama's library, or hf.co/...: used in place of local files
    mmproj: str = ""
    adapter: str = ""
    draft: str = ""
    system: str = ""
    template: str = ""  # a Go template
    renderer: str = ""
    parser: str = ""
    licenses: tuple[str, ...] = ()
    sampling: tuple[tuple[str, float | int], ...] = ()  # Ollama's parameter names
    stop: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()  # what Ollama cannot do with this model, in words


@dataclass(frozen=True, slots=True)
class Export:
    text: str
    environment: Environment
    lost: tuple[str, ...]  # what neither can say, in words


def modelfile_for(
    plan: Plan, extras: Extras | None = None, *, server: Version = CURRENT, force: bool = False
) -> Export:
    """The Modelfile of a plan and what goes beside it.

    Raises DoesNotFit for a plan that does not fit, unless `force`; Unwritable for a text that Ollama
    would change; LocalrunError when the model's files are not on this machine and there is no tag.
    """
    if plan.verdict == "too-big" and not force:
        instead = "; ".join(a.change for a in plan.alternatives[:3])
        raise DoesNotFit(f"{plan.model.name} does not fit on {plan.host.name}", instead)
    extras = extras or Extras()
    split = split_plan(plan, server)
    groups = [
        (_head(plan), []),
        ("", list(_sources(plan, extras))),
        *_settings(plan, split.in_file, server),
        *_sampling(extras),
        ("", list(_texts(plan, extras, server))),
    ]
    text = "\n".join((comment(why) if why else "") + _lines(c) for why, c in groups if why or c)
    lost = (*split.lost, *extras.lost)
    return Export(text + _tail(split.environment, lost), split.environment, lost)


def parameters_for(plan: Plan, server: Version = CURRENT) -> tuple[Command, ...]:
    """The PARAMETERs alone that a plan asks for."""
    in_file = split_plan(plan, server).in_file
    return tuple(c for _, commands in _settings(plan, in_file, server) for c in commands)


def _lines(commands: list[Command]) -> str:
    # Rendered with a FROM before it, which render insists on, and cut off again.
    return render(Modelfile((Command("model", "x"), *commands))).split("\n", 1)[1]


def _head(plan: Plan) -> str:
    memory = ", ".join(
        f"{d.device} {format_size(d.total)} of {format_size(d.budget)}" for d in plan.memory if d.total
    )
    speed, how = plan.speed.generation, "calibrated" if plan.speed.calibrated else "estimated"
    known = "estimated from the published size" if plan.model.size_source == "published" else "computed"
    lines = [
        f"{plan.model.name}, {plan.model.quant}, for {plan.host.name}",
        f"Memory ({known}): {memory}.",
        f"Speed to expect ({how}): {speed.expected:.3g} tokens/s, {speed.low:.3g} to {speed.high:.3g}; "
        f"bound by {plan.speed.bound_by}.",
    ]
    if plan.verdict == "pages":
        lines.append("The weights do not all fit in memory: some are read from disk again and again.")
    if plan.verdict == "too-big":
        lines.append("IT DOES NOT FIT on that machine.")
    lines += [f"- {reason}" for reason in plan.reasons]
    if plan.verdict != "fits" and plan.alternatives:
        lines += ["What runs better there:", *(f"- {better(a)}" for a in plan.alternatives[:4])]
    return "\n".join(lines)


def better(alternative: Alternative) -> str:
    """One alternative in words."""
    rate = f", {alternative.generation:.3g} tokens/s" if alternative.generation else ""
    return f"{alternative.change}: {alternative.verdict}{rate}"


def _sources(plan: Plan, extras: Extras) -> Iterator[Command]:
    if extras.tag:
        yield Command("model", extras.tag)
    else:
        for file in plan.model.files:
            yield Command("model", _absolute(file.name))
    if extras.mmproj:
        yield Command("model", _absolute(extras.mmproj))
    if extras.adapter:
        yield Command("adapter", _absolute(extras.adapter))
    if extras.draft:
        yield Command("draft", _absolute(extras.draft))


def _absolute(path: str) -> str:
    # A path that Ollama does not find becomes the name of a model, and then a download.
    if not os.path.isabs(path):
        raise LocalrunError(f"{path} is not on this machine", "fetch it first: localrun pull")
    return path


def _settings(plan: Plan, in_file: bool, server: Version) -> Iterator[tuple[str, list[Command]]]:
    s = plan.settings
    per_slot = s.ctx_size // max(s.parallel, 1)
    slots = f", for each of {s.parallel} slots" if s.parallel > 1 else ""
    yield (
        f"Context in tokens{slots}: its cache takes {format_size(plan.kv.bytes)} (computed).",
        [Command("num_ctx", str(per_slot))],
    )
    if plan.host.gpus:
        layers = min(s.n_gpu_layers, plan.model.shape.n_layers + 1)
        if in_file:
            yield "Layers on the GPU, the output head counted.", [Command("num_gpu", str(layers))]
        elif server < LLAMA_SERVER:
            yield "num_gpu is left out: this server cannot be told the rest of the placement.", []
        else:
            yield (
                "num_gpu is left out: the placement is whole in the environment below.\n"
                + ("Without that environment llama.cpp places the layers by its own --fit."),
                [],
            )
    yield (
        "Tokens in one step: num_batch sets llama.cpp's batch and ubatch.",
        [Command("num_batch", str(s.ubatch_size))],
    )
    yield "Cores of the machine; more is slower.", [Command("num_thread", str(s.threads))]
    if not s.mmap:
        yield "The file is read into memory, not mapped.", [Command("use_mmap", "false")]


def _sampling(extras: Extras) -> Iterator[tuple[str, list[Command]]]:
    commands = []
    for name, value in extras.sampling:
        if name not in KINDS or name == "stop":
            raise LocalrunError(f"Ollama has no sampling parameter {name!r}")
        commands.append(Command(name, str(value)))
    commands += [Command("stop", text) for text in extras.stop]
    if commands:
        yield "The model's own defaults for sampling.", commands


def _texts(plan: Plan, extras: Extras, server: Version) -> Iterator[Command]:
    for name in ("system", "template", "renderer", "parser"):
        if value := getattr(extras, name):
            yield Command(name, value)
    for text in extras.licenses or ((plan.model.license,) if plan.model.license else ()):
        yield Command("license", text)
    needed = _SINCE.get(plan.model.architecture)
    if needed and server >= LLAMA_SERVER:
        yield Command("requires", needed)


def _tail(environment: Environment, lost: tuple[str, ...]) -> str:
    out = ""
    if environment:
        out += "\n" + comment("The rest goes into the environment of `ollama serve`, for all its models:")
        out += comment(shell_lines(environment).rstrip("\n"))
    if lost:
        out += "\n" + comment("\n".join(["What neither can say:", *(f"- {what}" for what in lost)]))
    return out
