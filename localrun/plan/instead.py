"""What works where a plan does not fit: other settings, a smaller quant, more RAM.

Each alternative is what to type: flags to add to the command, which win over those before them, and flags
to leave out. Its verdict is that of the plan that this gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from localrun.errors import LocalrunError
from localrun.hardware.sizes import override
from localrun.model.facts import Model
from localrun.plan.choose import Offer, choose
from localrun.plan.fit import RANK, Candidate
from localrun.plan.quality import loss
from localrun.plan.rates import Rates
from localrun.plan.values import Alternative, Plan, Wanted
from localrun.units import GIB, format_size
from localrun.value import replace

#: No more than this many: a page, not a report.
_MOST = 6
#: The user's settings that take memory, together where one means little without the other, and their flags.
_GROUPS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("ctx_size", "--ctx-size"),),
    (("cache_type_k", "--cache-type-k"), ("cache_type_v", "--cache-type-v")),
    (("parallel", "--parallel"),),
    (("batch_size", "--batch-size"), ("ubatch_size", "--ubatch-size")),
    (("flash_attn", "--flash-attn"),),
    (("n_gpu_layers", "--n-gpu-layers"), ("n_cpu_moe", "--n-cpu-moe"),
     ("tensor_split", "--tensor-split"), ("override_tensor", "--override-tensor")),
    (("mmproj_offload", "--no-mmproj-offload"), ("n_gpu_layers_draft", "--n-gpu-layers-draft")),
)  # fmt: skip
#: Those for which a value says more than that they be left out.
_NAMED = ("ctx_size", "cache_type_k", "cache_type_v")


def alternatives(
    plan: Plan, wanted: Wanted, offers: Callable[[], Sequence[Offer]], rates: Rates
) -> tuple[Alternative, ...]:
    """On a verdict that is not `fits`: other settings, smaller quants, and the hardware that would do."""
    if plan.verdict == "fits":
        return ()
    every = offers()
    # Without its name another quantization might be chosen then, and another promise kept.
    same = ("--quant", plan.model.quant) if len(every) > 1 and wanted.quant is None else ()
    found: list[Alternative] = []
    found += _other_settings(plan, wanted, same, rates)
    found += _smaller_quants(plan, wanted, every, rates)
    found += _more_hardware(plan, wanted, same, rates)
    return tuple(a for a in found if RANK[a.verdict] > RANK[plan.verdict])[:_MOST]


def for_disk(
    plan: Plan, wanted: Wanted, offers: Sequence[Offer], to_download: Callable[[Model], int], rates: Rates
) -> tuple[Alternative, ...]:
    """Where the disk is what is missing, neither RAM nor settings help: the best quant that has room."""
    best: tuple[Offer, Model, Candidate] | None = None
    for offer in sorted(offers, key=lambda offer: loss(offer.quant)):
        if offer.quant == plan.model.quant or offer.bytes > plan.host.disk_free:
            continue
        model = _alike(offer, plan)
        if to_download(model) > plan.host.disk_free:
            continue
        found = choose(model, plan.host, wanted, rates).found
        if best is None or RANK[found.verdict] > RANK[best[2].verdict]:
            best = offer, model, found
        if found.verdict == "fits":
            break
    if best is None or best[2].verdict == "too-big":
        return ()
    offer, model, found = best
    size = format_size(to_download(model))
    return (_typed(("--quant", offer.quant), found, (), f"{size} to download"),)


def _typed(
    flags: tuple[str, ...], found: Candidate, without: tuple[str, ...] = (), words: str = ""
) -> Alternative:
    """`found`, as what to type for it."""
    text = " ".join(flags)
    if without:
        text += (" " if text else "") + "without " + " ".join(without)
    return Alternative(f"{text}: {words}" if words else text, found.verdict, found.rate, flags, without)


def _other_settings(plan: Plan, wanted: Wanted, same: tuple[str, ...], rates: Rates) -> list[Alternative]:
    """The user's own flags that stand in the way: one group of them where that is enough, else all."""
    fixed = [group for group in _GROUPS if any(getattr(wanted, field) is not None for field, _ in group)]
    tries = [(group,) for group in fixed] + ([tuple(fixed)] if len(fixed) > 1 else [])
    best: Alternative | None = None
    for groups in (*_sight(plan), *tries):
        tried = _freed(plan, wanted, groups, same, rates)
        if tried is not None and RANK[tried.verdict] > RANK[best.verdict if best else plan.verdict]:
            best = tried
        if best is not None and best.verdict == "fits":
            break
    return [best] if best else []


_Groups = tuple[tuple[tuple[str, str], ...], ...]


def _sight(plan: Plan) -> Iterator[_Groups]:
    """An empty choice of settings stands for going without vision."""
    if plan.model.projector is not None:
        yield ()


def _freed(
    plan: Plan, wanted: Wanted, groups: _Groups, same: tuple[str, ...], rates: Rates
) -> Alternative | None:
    """What the plan would be were `groups` not set by the user; None where nothing could be."""
    model = plan.model if groups else replace(plan.model, projector=None)
    pairs = [pair for group in groups for pair in group]
    nothing: dict[str, Any] = dict.fromkeys((field for field, _ in pairs), None)
    try:
        chosen = choose(model, plan.host, replace(wanted, **nothing), rates).found.settings
        named: dict[str, Any] = {field: getattr(chosen, field) for field, _ in pairs if field in _NAMED}
        found = choose(model, plan.host, replace(wanted, **nothing | named), rates).found
    except LocalrunError:
        return None
    flags = [] if groups else ["--no-mmproj"]
    for field, flag in pairs:
        flags += [flag, str(named[field])] if field in named else []
    left = [flag for field, flag in pairs if getattr(wanted, field) is not None and field not in named]
    return _typed((*flags, *same), found, tuple(left))


def _smaller_quants(plan: Plan, wanted: Wanted, offers: Sequence[Offer], rates: Rates) -> list[Alternative]:
    """The best that fits; where none does, the best that is better off."""
    smaller = sorted((o for o in offers if o.bytes < plan.model.weights_bytes), key=lambda o: loss(o.quant))
    better: list[Alternative] = []
    for offer in smaller:
        found = choose(_alike(offer, plan), plan.host, wanted, rates).found
        if found.verdict == "fits":
            return [_typed(("--quant", offer.quant), found)]
        if RANK[found.verdict] > RANK[plan.verdict] and not better:
            better = [_typed(("--quant", offer.quant), found)]
    return better


def _alike(offer: Offer, plan: Plan) -> Model:
    """Another quantization, with what is served beside the planned one."""
    return replace(offer.model(), projector=plan.model.projector, draft=plan.model.draft)


#: RAM in sizes that machines are sold with, GiB.
_SOLD = (16, 24, 32, 36, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def _more_hardware(plan: Plan, wanted: Wanted, same: tuple[str, ...], rates: Rates) -> list[Alternative]:
    """The smallest machine of this kind, by its RAM, on which this very model fits."""
    host, unified = plan.host, any(gpu.unified for gpu in plan.host.gpus)
    # What is held now less what there is: no smaller size can do, so the search starts there.
    short = sum(d.total for d in plan.memory) - sum(d.budget for d in plan.memory)
    for size in _SOLD:
        total = size * GIB
        if total <= host.ram.total or (not unified and total < host.ram.total + short):
            continue
        found = choose(plan.model, override(host, ram=total), wanted, rates).found
        if found.verdict == "fits":
            what = f"a machine of this kind with {size} GiB" if unified else f"{size} GiB of RAM"
            words = f"{what} instead of {format_size(host.ram.total)}"
            return [_typed(("--ram", f"{size}GiB", *same), found, (), words)]
    return []
