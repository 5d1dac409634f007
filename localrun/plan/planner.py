"""The choice: from a model and a machine to settings that fit, with reasons."""

from __future__ import annotations

from dataclasses import replace

from localrun.hardware.facts import Host
from localrun.model.facts import Model
from localrun.plan.kv import kv_cache
from localrun.plan.values import Band, DeviceMemory, Kv, Plan, Settings, Speed, Wanted
from localrun.units import MIB, format_size


def make_plan(model: Model, host: Host, wanted: Wanted) -> Plan:
    ctx = wanted.ctx_size if isinstance(wanted.ctx_size, int) else model.shape.n_ctx_train
    settings = Settings(
        ctx_size=ctx,
        threads=wanted.threads or host.cpu.cores,
        cache_type_k=wanted.cache_type_k or "f16",
        cache_type_v=wanted.cache_type_v or "f16",
        parallel=wanted.parallel or 1,
    )
    layout = kv_cache(model.shape, settings, model.architecture)
    reasons = [f"weights {format_size(model.weights_bytes)}, KV {format_size(layout.bytes)}"]
    compute = 64 * MIB
    while layout.bytes + model.weights_bytes + compute > host.ram.available and settings.ctx_size > 4096:
        settings = replace(settings, ctx_size=settings.ctx_size // 2)
        layout = kv_cache(model.shape, settings, model.architecture)
        reasons.append(f"context reduced to {settings.ctx_size}")
    total = layout.bytes + model.weights_bytes + compute
    memory = DeviceMemory(
        "CPU", model.weights_bytes, layout.bytes, compute, 0, total, host.ram.available, model.weights_bytes
    )
    nothing = Band(0.0, 0.0, 0.0)
    return Plan(
        verdict="fits" if total <= host.ram.available else "too-big",
        model=model,
        host=host,
        settings=settings,
        memory=(memory,),
        kv=Kv(layout.bytes, layout.cells, layout.bytes_per_token),
        speed=Speed(nothing, nothing, "not estimated yet"),
        reasons=tuple(reasons),
    )
