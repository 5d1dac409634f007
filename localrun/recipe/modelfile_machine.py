"""A Modelfile against a model and a machine: context, placement, memory. Pure; the plan brings both."""

from __future__ import annotations

from collections.abc import Iterator

from localrun.plan.values import Plan
from localrun.recipe.modelfile import Command, Modelfile
from localrun.recipe.modelfile_params import COMMANDS, IGNORED, KINDS, Value, convert
from localrun.units import format_size

Warnings = Iterator[tuple[Command, str, str]]


def warnings(modelfile: Modelfile, plan: Plan | None) -> Warnings:
    """What the parameters mean on the plan's machine, and without one what they always mean."""
    last = {c.name: c for c in modelfile.commands}
    values: dict[str, Value] = {}
    for name, c in last.items():
        if name in KINDS and name not in COMMANDS and name not in IGNORED:
            try:
                values[name] = convert(name, c.args)
            except ValueError:
                continue
    yield from _always(last, values)
    if plan is not None:
        yield from _context(last, values, plan)
        yield from _placement(last, values, plan)
        yield from _memory(last, values, plan)


def _always(last: dict[str, Command], values: dict[str, Value]) -> Warnings:
    if values.get("main_gpu", -1) != -1:
        yield last["main_gpu"], "main_gpu puts the whole model on one GPU (--split-mode none)", ""
    if values.get("use_mmap") is True:
        yield last["use_mmap"], "use_mmap true changes nothing: it is the default", "delete the line"
    num_ctx = values.get("num_ctx", 0)
    if isinstance(num_ctx, int) and num_ctx < 0:
        yield last["num_ctx"], f"num_ctx {num_ctx} becomes 4 tokens", "0 lets Ollama choose"
    num_gpu = values.get("num_gpu", -1)
    if isinstance(num_gpu, int) and num_gpu < -1:
        yield (
            last["num_gpu"],
            f"num_gpu {num_gpu} means the same as none",
            "-1 lets llama.cpp place the layers",
        )


def _context(last: dict[str, Command], values: dict[str, Value], plan: Plan) -> Warnings:
    num_ctx = values.get("num_ctx", 0)
    trained = plan.model.shape.n_ctx_train
    if isinstance(num_ctx, int) and trained and num_ctx > trained:
        text = f"num_ctx {num_ctx} is above the {trained} tokens of the model's training; Ollama cuts it"
        yield last["num_ctx"], text, f"num_ctx {trained} at most"


def _placement(last: dict[str, Command], values: dict[str, Value], plan: Plan) -> Warnings:
    num_gpu = values.get("num_gpu", -1)
    if isinstance(num_gpu, int) and num_gpu >= 0:
        layers = plan.model.shape.n_layers + 1  # the output head counts as one
        if not plan.host.gpus:
            if num_gpu:
                yield last["num_gpu"], "num_gpu means nothing here: there is no GPU", "delete the line"
        elif num_gpu > layers:
            text = f"num_gpu {num_gpu}: the model has {layers} layers, its output head counted"
            yield last["num_gpu"], text, f"num_gpu {layers} means the same"
        elif num_gpu and plan.model.shape.n_expert:
            text = "num_gpu switches llama.cpp's own placement off, and with it experts on the CPU"
            yield last["num_gpu"], text, "delete it, or set LLAMA_ARG_N_CPU_MOE in the server's environment"
    threads = values.get("num_thread", 0)
    if isinstance(threads, int) and threads > plan.host.cpu.cores:
        text = f"num_thread {threads} is above the {plan.host.cpu.cores} cores here, which is slower by far"
        yield last["num_thread"], text, f"num_thread {plan.host.cpu.cores}"


def _memory(last: dict[str, Command], values: dict[str, Value], plan: Plan) -> Warnings:
    place = last.get("num_ctx") or last["model"]
    num_ctx = values.get("num_ctx", 0)
    cells = num_ctx * plan.settings.parallel if isinstance(num_ctx, int) and num_ctx > 0 else plan.kv.cells
    need = sum(d.total for d in plan.memory) - plan.kv.bytes + cells * plan.kv.bytes_per_token
    have = sum(d.budget for d in plan.memory)
    if need > have:
        text = (
            f"needs {format_size(need)} of memory with this context (computed); here are {format_size(have)}"
        )
        yield place, text, "a smaller num_ctx, a smaller quantization, or a smaller model"
    elif plan.verdict == "pages":
        yield place, "the weights do not all fit in memory and would be read from disk for every token", ""
