"""The room that whole layers leave on the GPUs: filled with single expert tensors, or given to larger batches.

Experts go to RAM layer by layer (-ncmoe), and a layer of a large model is gigabytes. What remains
of a GPU takes parts of the last layers that went, named one by one in -ot patterns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from localrun.plan.fit import Candidate, Fitter, on_gpu
from localrun.plan.memory import GPU_MARGIN
from localrun.plan.placement import layer_devices
from localrun.plan.values import Settings
from localrun.units import MIB
from localrun.value import dataclass, replace

#: What --fit leaves free on every GPU (common.h: fit_params_target).
FIT_MARGIN = 1024 * MIB
_PART = re.compile(r"blk\.(\d+)\.(ffn_\w*exps)\.")
#: Layers on either side of the boundary whose experts may change places.
_LAYERS = 3
#: Prompts of a model with experts in RAM are read this many tokens at a time, if that costs no generation.
_UBATCHES = (2048, 1024)
#: A layer is touched for this many bytes more on the GPU, not for less: each is a pattern in the command.
_TRADE = 256 * MIB
#: What llama.cpp's --fit leaves free of a GPU beyond what we do. A larger batch may take that much of the
#: room, and no more: a plan never generates more slowly than --fit's.
_SPARE = FIT_MARGIN - GPU_MARGIN


@dataclass(frozen=True, slots=True)
class Part:
    """One expert tensor of a layer, its bias counted in."""

    layer: int
    name: str  # "ffn_up_exps"
    size: int  # bytes on a GPU
    home: int  # the GPU of its layer


def fill(fitter: Fitter, found: Candidate) -> Candidate:
    """`found` with its ubatch and the experts about its boundary made to use what room there is."""
    wanted, s = fitter.wanted, found.settings
    if not s.n_cpu_moe or not s.n_gpu_layers:
        return found
    free = wanted.n_cpu_moe is None and wanted.override_tensor is None and found.verdict != "too-big"
    parts = _parts(fitter, found) if free else ()
    least = sum(p.size for p in parts if p.layer >= s.n_cpu_moe)
    least += min(sum(max(0, d.budget - d.total - _SPARE) for d in found.memory[:-1]), _in_ram(parts, s))
    for ubatch in () if wanted.ubatch_size or wanted.batch_size else _UBATCHES:
        larger = fitter.evaluate(replace(s, ubatch_size=ubatch))
        if larger.verdict != found.verdict or larger.rate < found.rate * 0.999:
            continue
        packed = _packed(parts, larger)
        if sum(part.size for part in packed) >= least:
            return _with(fitter, larger, packed, parts)
    return _with(fitter, found, _packed(parts, found), parts)


def _in_ram(parts: Sequence[Part], settings: Settings) -> int:
    return sum(part.size for part in parts if part.layer < settings.n_cpu_moe)


def _parts(fitter: Fitter, found: Candidate) -> tuple[Part, ...]:
    """The expert tensors about the boundary, from the last layer on, the largest of a layer first."""
    s, rules, n_gpus = found.settings, fitter.sizer.weights.rules, len(fitter.host.gpus)
    layers = layer_devices(fitter.model.shape.n_layers, fitter.host, s)
    sizes: dict[tuple[int, str], int] = {}
    for tensor in fitter.model.tensors:
        match = _PART.match(tensor.name)
        if match is None:
            continue
        il = int(match[1])
        near = s.n_cpu_moe - _LAYERS <= il < min(s.n_cpu_moe + _LAYERS, rules.n_trunk)
        if near and layers[il] < n_gpus:
            if not rules.gpu_takes(tensor):
                return ()
            sizes[il, match[2]] = sizes.get((il, match[2]), 0) + rules.gpu_bytes(tensor)
    parts = (Part(il, name, size, layers[il]) for (il, name), size in sizes.items())
    return tuple(sorted(parts, key=lambda p: (-p.layer, -p.size, p.name)))


def _packed(parts: Sequence[Part], found: Candidate) -> dict[Part, int]:
    """Which GPU each part goes to that goes to one; the GPU where their layers live is filled first."""
    n = found.settings.n_cpu_moe
    room = [d.budget - d.total for d in found.memory[:-1]]
    packed = {part: part.home for part in parts if part.layer >= n}
    left = [part for part in parts if part.layer < n]
    homes = sorted({part.home for part in left})
    for gpu in (*homes, *(gpu for gpu in range(len(room)) if gpu not in homes)):
        chosen = _subset(left, room[gpu])
        room[gpu] -= sum(part.size for part in chosen)
        packed |= dict.fromkeys(chosen, gpu)
        left = [part for part in left if part not in chosen]
    for gpu in range(len(room)):
        # A smaller part on the GPU for a larger one in RAM: tensors of one kind differ by their types.
        trades = (
            (theirs.size - ours.size, ours, theirs)
            for ours in packed for theirs in left
            if packed[ours] == gpu and _TRADE <= theirs.size - ours.size <= room[gpu]
        )  # fmt: skip
        best = max(trades, key=lambda trade: trade[0], default=None)
        if best is not None:
            _, ours, theirs = best
            packed[theirs] = packed.pop(ours)
            left = [*(part for part in left if part != theirs), ours]
    return packed


def _subset(parts: Sequence[Part], room: int) -> tuple[Part, ...]:
    """The parts that fill `room` best; a layer more to touch must be worth it."""
    sums: list[tuple[int, tuple[Part, ...]]] = [(0, ())]
    for part in parts:
        sums += [(size + part.size, (*chosen, part)) for size, chosen in sums if size + part.size <= room]
    return max(sums, key=lambda s: s[0] - _TRADE * len({part.layer for part in s[1]}))[1]


def _with(fitter: Fitter, found: Candidate, packed: dict[Part, int], parts: Sequence[Part]) -> Candidate:
    """The placement with `packed` on the GPUs, where that is faster."""
    if sum(part.size for part in packed) <= sum(p.size for p in parts if p.layer >= found.settings.n_cpu_moe):
        return found
    trial = fitter.evaluate(_settings(fitter, found, packed, parts))
    return trial if on_gpu(trial) and trial.verdict == found.verdict and trial.rate > found.rate else found


def _settings(fitter: Fitter, found: Candidate, packed: dict[Part, int], parts: Sequence[Part]) -> Settings:
    """-ncmoe covers the layers below those touched; of these, -ot names what is not at home."""
    s, devices = found.settings, fitter.sizer.weights.rules.devices
    first = min(s.n_cpu_moe, *(part.layer for part in packed))
    away: dict[tuple[int, int], list[str]] = {}
    for part in parts:
        device = packed.get(part, len(devices) - 1)
        if part.layer >= first and device != part.home:
            away.setdefault((part.layer, device), []).append(part.name)
    patterns = (
        rf"blk\.{il}\.({'|'.join(sorted(names))})={devices[device]}"
        for (il, device), names in sorted(away.items())
    )
    return replace(s, n_cpu_moe=first, override_tensor=tuple(patterns))
