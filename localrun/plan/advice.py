"""Why a plan is what it is, and what a change would cost."""

from __future__ import annotations

from localrun.hardware.facts import Host
from localrun.plan.choose import LADDER, Choice, contexts
from localrun.plan.companions import MTP
from localrun.plan.compute import checkpoints
from localrun.plan.fit import Candidate
from localrun.plan.placement import block_of
from localrun.plan.speed import missing_bytes
from localrun.plan.values import Plan, Verdict, Wanted
from localrun.units import format_size
from localrun.value import replace

_COMPANIONS = {
    "mmproj": "vision projector (estimated graph)",
    "draft": "drafting model, its cache and graph (its gain in speed is not counted)",
    MTP: "next-token blocks draft: cache and graph of their own (the gain in speed is not counted)",
}

#: No more than this many fixes: a page, not a report.
_MOST = 6


def no_disk(needed: int, host: Host) -> str:
    return f"the download takes {format_size(needed)}, the disk has {format_size(host.disk_free)} free"


def reasons(plan: Plan, choice: Choice, wanted: Wanted) -> tuple[str, ...]:
    """One line for each decision, the verdict first."""
    s, shape = plan.settings, plan.model.shape
    lines = [_verdict(plan)]
    if plan.host.gpus:
        lines.append(_placement(plan))
    trained = shape.n_ctx_train
    if isinstance(wanted.ctx_size, int):
        lines.append(f"context {s.ctx_size} as asked")
        slot = s.ctx_size // (1 if s.kv_unified else s.parallel)
        if trained and slot > trained:
            lines.append(
                f"warning: the model was trained on {trained} tokens, and llama-server gives no slot more; "
                f"YaRN would stretch it {slot / trained:.1f} times"
            )
    else:
        first = contexts(trained, wanted)[0]
        if s.ctx_size == first:
            lines.append(f"context {s.ctx_size}" + (": all it was trained on" if first == trained else ""))
        else:
            lines.append(
                f"context {s.ctx_size}, reduced from {first}: the larger cache would not fit or cost speed"
            )
    if s.cache_type_k == "q8_0" and wanted.cache_type_k is None:
        lines.append("KV cache in q8_0: half of f16's memory for next to no quality")
    cpu = plan.host.cpu
    if wanted.threads is None and s.threads < cpu.cores and cpu.busy >= 0.5:
        lines.append(
            f"threads {s.threads} of {cpu.cores}: others keep {cpu.busy:.1f} cores busy (measured, one minute)"
        )
    if s.cache_ram:
        lines.append(
            f"prompt cache: up to {format_size(s.cache_ram)} of RAM as it fills, counted under other"
        )
    if kept := checkpoints(shape, s, choice.found.kv):
        lines.append(
            f"copies of the windowed cache ({s.ctx_checkpoints} a slot): up to {format_size(kept)} of RAM as they fill,"
            " counted under other; without one a chat's next turn reads its whole prompt again"
        )
    if not s.repack:
        lines.append("weights are not repacked: the copies would not fit in RAM")
    if not choice.found.kv.exact:
        low, high = choice.found.kv.low, choice.found.kv.high
        lines.append(
            f"architecture {plan.model.architecture} is unknown here: cache sized by its declared heads, "
            f"{format_size(low)} to {format_size(high)}"
        )
    lines += _beside(plan)
    return tuple(lines)


def _beside(plan: Plan) -> list[str]:
    """What is loaded beside the model, and what of the file is not."""
    shape, lines = plan.model.shape, []
    for what in dict.fromkeys(c.what for c in plan.companions):
        rows = [c for c in plan.companions if c.what == what]
        where = ", ".join(f"{format_size(c.total)} on {c.device}" for c in rows)
        lines.append(f"{_COMPANIONS[what]}: {where}, counted under other")
    if not plan.settings.mmproj_offload and plan.model.projector and plan.host.gpus:
        lines.append("the projector computes on the CPU: an image takes seconds")
    if shape.n_nextn and not plan.settings.spec_type:
        size = sum(t.bytes for t in plan.model.tensors if block_of(t.name) >= shape.n_layers - shape.n_nextn)
        lines.append(
            f"{shape.n_nextn} next-token-prediction block, {format_size(size)}: in the file, not loaded; "
            f"--spec-type {MTP} loads it to draft with"
        )
    return lines


def _verdict(plan: Plan) -> str:
    missing = missing_bytes(plan.host, plan.memory)
    if plan.verdict == "fits":
        room = min(d.budget - d.total for d in plan.memory)
        if any(gpu.unified for gpu in plan.host.gpus):
            room = min(room, plan.memory[-1].budget - sum(d.total for d in plan.memory))
        return f"all {format_size(sum(d.total for d in plan.memory))} are in memory, {format_size(room)} to spare"
    if plan.verdict == "pages":
        return f"{format_size(missing)} of the weights have no room in RAM and are read from disk again and again"
    over = [
        f"{d.device} is {format_size(d.total - d.budget)} over" for d in plan.memory if d.total > d.budget
    ]
    return f"needs {format_size(sum(d.total for d in plan.memory))}: {', '.join(over) or 'unified memory is over'}"


def _placement(plan: Plan) -> str:
    s, layers = plan.settings, plan.model.shape.n_layers
    if s.n_gpu_layers == 0:
        return "nothing on the GPU"
    if s.n_gpu_layers <= layers:
        return f"{s.n_gpu_layers} of {layers + 1} layers on the GPU, the rest in RAM"
    if s.n_cpu_moe:
        kept = layers - s.n_cpu_moe
        rest = (
            f"all but the routed experts of {s.n_cpu_moe} layers"
            if kept > 0
            else "all but the routed experts"
        )
        return f"{rest} on the GPU: a token passes every dense weight but few experts"
    return "all layers on the GPU"


def ladder(plan: Plan, choice: Choice, wanted: Wanted) -> tuple[tuple[int, Verdict, float], ...]:
    """(context, verdict, tokens per second) with the placement that each context would get."""
    trained = plan.model.shape.n_ctx_train
    top = max(trained, plan.settings.ctx_size)
    steps = sorted({*(n for n in LADDER if n <= top), top, plan.settings.ctx_size})
    rungs: list[tuple[int, Verdict, float]] = []
    for ctx in steps:
        # The plan's own placement, and the search's, which does not fill single tensors in.
        same = choice.fitter.evaluate(replace(plan.settings, ctx_size=ctx))
        other = replace(plan.settings, ctx_size=ctx, override_tensor=wanted.override_tensor or ())
        found = max(same, choice.fitter.best(other), key=lambda c: c.order)
        rungs.append((ctx, found.verdict, found.rate if found.verdict != "too-big" else 0.0))
        if found.verdict == "too-big" and ctx > plan.settings.ctx_size:
            break
    return tuple(rungs)


def fixes(plan: Plan, choice: Choice, wanted: Wanted) -> tuple[str, ...]:
    """What one flag more or less would change, priced in memory and speed."""
    if plan.verdict == "too-big":
        return ()
    s, found = plan.settings, choice.found
    lines = []
    trials: list[tuple[str, Candidate]] = []
    evaluate = choice.fitter.evaluate
    if s.n_cpu_moe:
        fewer, more = max(0, s.n_cpu_moe - 2), min(plan.model.shape.n_layers, s.n_cpu_moe + 2)
        for n in (fewer, more):
            if n != s.n_cpu_moe:
                change = replace(s, n_cpu_moe=n, override_tensor=wanted.override_tensor or ())
                trials.append((f"n-cpu-moe {s.n_cpu_moe} to {n}", evaluate(change)))
    elif 0 < s.n_gpu_layers <= plan.model.shape.n_layers:
        for n in (s.n_gpu_layers - 2, s.n_gpu_layers + 2):
            if n > 0:
                trials.append((f"n-gpu-layers {s.n_gpu_layers} to {n}", evaluate(replace(s, n_gpu_layers=n))))
    if s.ctx_size * 2 <= plan.model.shape.n_ctx_train:
        trials.append(
            (f"ctx-size {s.ctx_size} to {s.ctx_size * 2}", evaluate(replace(s, ctx_size=s.ctx_size * 2)))
        )
    if s.cache_type_k == "f16" and len(_types(plan, wanted)) > 1:
        quantized = replace(s, cache_type_k="q8_0", cache_type_v="q8_0", flash_attn="on")
        trials.append(("KV f16 to q8_0", evaluate(quantized)))
    for name, trial in trials:
        lines.append(f"{name}: {_price(found, trial)}")
    return tuple(lines[:_MOST])


def _types(plan: Plan, wanted: Wanted) -> list[tuple[str, str]]:
    from localrun.plan.choose import cache_types

    return cache_types(plan.model, replace(wanted, goal="balanced", cache_type_k=None, cache_type_v=None))


def _price(before: Candidate, after: Candidate) -> str:
    parts = []
    for old, new in zip(before.memory, after.memory, strict=True):
        if abs(new.total - old.total) >= 1 << 20:
            name = "RAM" if old.device == "CPU" else old.device + " VRAM"
            sign = "+" if new.total > old.total else "-"
            parts.append(f"{sign}{format_size(abs(new.total - old.total))} {name}")
    gain = after.rate - before.rate
    if abs(gain) >= 0.05 and after.verdict != "too-big":
        parts.append(f"{gain:+.1f} tok/s")
    if after.verdict != before.verdict:
        parts.append({"fits": "then fits", "pages": "then pages", "too-big": "does not fit"}[after.verdict])
    return ", ".join(parts) or "changes nothing"
