"""A plan and a running model as the JSON that the contract fixes."""

from __future__ import annotations

from typing import Any

from localrun.hardware.facts import Host
from localrun.plan.values import Band, Plan, Settings

SCHEMA = "localrun.plan/1"


def host_json(host: Host) -> dict[str, Any]:
    return {
        "simulated": host.simulated,
        "name": host.name,
        "gpus": [
            {
                "name": g.name,
                "vram_total": g.vram_total,
                "vram_free": g.vram_free,
                "bandwidth": g.bandwidth,
                "bandwidth_source": g.bandwidth_source,
                "backend": g.backend,
            }
            for g in host.gpus
        ],
        "ram_total": host.ram.total,
        "ram_free": host.ram.available,
        "ram_bandwidth": host.ram.bandwidth,
        "ram_bandwidth_source": host.ram.bandwidth_source,
        "disk_free": host.disk_free,
        "cores": host.cpu.cores,
    }


def settings_json(settings: Settings) -> dict[str, Any]:
    """Every setting under llama.cpp's name."""
    return {name: getattr(settings, name) for name in Settings.__dataclass_fields__}


def band_json(band: Band) -> dict[str, float]:
    return {"low": round(band.low, 2), "expected": round(band.expected, 2), "high": round(band.high, 2)}


def plan_json(plan: Plan, command: tuple[str, ...], environment: dict[str, str]) -> dict[str, Any]:
    """The document of `localrun plan NAME --json`; bytes and rates per second throughout."""
    model = plan.model
    return {
        "schema": SCHEMA,
        "verdict": plan.verdict,
        "name": model.name,
        "model": {
            "architecture": model.architecture,
            "quant": model.quant,
            "files": [{"name": f.name, "bytes": f.bytes} for f in model.files],
            "weights_bytes": model.weights_bytes,
            "size_source": model.size_source,
            "parameters": model.parameters,
            "parameters_active": model.parameters_active,
            "license": model.license,
            "context_trained": model.shape.n_ctx_train,
        },
        "hardware": host_json(plan.host),
        "settings": settings_json(plan.settings),
        "memory": [{name: getattr(d, name) for name in type(d).__dataclass_fields__} for d in plan.memory],
        "companions": [
            {name: getattr(c, name) for name in type(c).__dataclass_fields__} for c in plan.companions
        ],
        "kv": {"bytes": plan.kv.bytes, "cells": plan.kv.cells, "bytes_per_token": plan.kv.bytes_per_token},
        "speed": {
            "generation": band_json(plan.speed.generation),
            "prompt": band_json(plan.speed.prompt),
            "bound_by": plan.speed.bound_by,
            "calibrated": plan.speed.calibrated,
        },
        "reasons": list(plan.reasons),
        "alternatives": [
            {
                "change": a.change,
                "verdict": a.verdict,
                "generation": round(a.generation, 2),
                "flags": list(a.flags),
                "without": list(a.without),
            }
            for a in plan.alternatives
        ],
        "fixes": list(plan.fixes),
        "ladder": [
            {"ctx_size": ctx, "verdict": verdict, "generation": round(rate, 2)}
            for ctx, verdict, rate in plan.ladder
        ],
        "command": list(command),
        "environment": environment,
    }


def hardware_json(host: Host) -> dict[str, Any]:
    """The document of `localrun hardware --json`: the plan's hardware and what planning leaves out."""
    return {
        "schema": "localrun.hardware/1",
        **host_json(host),
        "system": host.system,
        "arch": host.arch,
        "cpu": {
            "name": host.cpu.name,
            "cores": host.cpu.cores,
            "threads": host.cpu.threads,
            "threads_total": host.cpu.threads_total,
            "features": list(host.cpu.features),
        },
        "ram_limited_by": host.ram.limited_by,
        "swap_free": host.ram.swap_free,
        "notes": list(host.notes),
    }
