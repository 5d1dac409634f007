"""The choice over context, cache types, batch and quantization, by what the user wants most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2

from localrun.errors import UsageError
from localrun.hardware.facts import Host
from localrun.model.facts import Model
from localrun.plan.boundary import fill
from localrun.plan.fit import Candidate, Fitter
from localrun.plan.kv import check_types
from localrun.plan.quality import ACCEPTABLE, cache_loss, loss
from localrun.plan.rates import Rates
from localrun.plan.values import Goal, Settings, Verdict, Wanted
from localrun.units import GIB, MIB
from localrun.value import dataclass, replace

#: Contexts that are tried, largest first; the trained one is put before those that it is above.
LADDER = (10485760, 4194304, 1048576, 524288, 262144, 163840, 131072, 65536, 32768, 16384, 8192, 4096)
_LARGEST: dict[Goal, int] = {"balanced": 32768, "speed": 8192, "quality": 16384, "context": LADDER[0]}
#: A larger context may cost this share of the speed that the smallest one would have.
_MAY_COST: dict[Goal, float] = {"balanced": 0.15, "speed": 0.0, "quality": 0.3, "context": 0.9}
#: Faster than reading speed is worth nothing more, tokens per second.
_ENOUGH = 30.0
#: Slower than this is no conversation any more.
_USABLE = 2.0


@dataclass(frozen=True, slots=True)
class Offer:
    """One quantization that could be had: its size before its tensors are looked at."""

    quant: str
    bytes: int
    model: Callable[[], Model]


@dataclass(frozen=True, slots=True)
class Choice:
    fitter: Fitter
    found: Candidate


def contexts(trained: int, wanted: Wanted) -> list[int]:
    """Context sizes to try, the most wanted first."""
    if isinstance(wanted.ctx_size, int):
        return [wanted.ctx_size]
    goal: Goal = "context" if wanted.ctx_size == "max" else wanted.goal
    top = min(_LARGEST[goal], trained) if trained else _LARGEST[goal]
    return [top, *(n for n in LADDER if n < top)]


def cache_types(model: Model, wanted: Wanted) -> list[tuple[str, str]]:
    """K and V types to try. Raises UsageError for fixed ones that the model refuses."""
    k, v = wanted.cache_type_k, wanted.cache_type_v
    if k or v:
        return [(k or v or "f16", v or k or "f16")]
    if wanted.goal == "quality" or wanted.flash_attn == "off":
        return [("f16", "f16")]
    try:
        check_types(model.shape, _typed(Settings(4096), "q8_0", "q8_0"))
    except UsageError:
        return [("f16", "f16")]
    return [("f16", "f16"), ("q8_0", "q8_0")]


def _typed(settings: Settings, k: str, v: str) -> Settings:
    # A quantized V needs flash attention, so it is no longer left to the engine.
    plain = ("f16", "f32", "bf16")
    flash = "on" if settings.flash_attn == "auto" and not (k in plain and v in plain) else settings.flash_attn
    return replace(settings, cache_type_k=k, cache_type_v=v, flash_attn=flash)


def base(host: Host, wanted: Wanted) -> Settings:
    """What does not depend on the search: the user's flags, else the defaults."""
    cache = wanted.cache_ram
    if cache is None:
        # llama-server's own default is 8 GiB, which no small machine can spare.
        cache = min(GIB, host.ram.available // 16) // MIB * MIB
    ubatch = wanted.ubatch_size or min(512, wanted.batch_size or 512)
    return Settings(
        ctx_size=4096,
        batch_size=max(wanted.batch_size or 2048, ubatch),
        ubatch_size=ubatch,
        parallel=wanted.parallel or 1,
        override_tensor=wanted.override_tensor or (),
        tensor_split=wanted.tensor_split or (),
        flash_attn=wanted.flash_attn or "auto",
        threads=wanted.threads or threads_for(host),
        cache_ram=cache,
        mmap=wanted.mmap if wanted.mmap is not None else True,
        mmproj_offload=wanted.mmproj_offload is not False,
        spec_type=wanted.spec_type or "",
    )


def threads_for(host: Host) -> int:
    """Physical cores that are free, one left to the system where there are more than four.

    llama.cpp's threads spin at barriers: with as many as there are cores, one busy neighbour makes
    all of them wait, and the speed falls by ten times and more.
    """
    cpu = host.cpu
    free = int(cpu.threads_total - cpu.busy + 0.5)
    return max(1, min(cpu.cores - 1 if cpu.cores > 4 else cpu.cores, free))


def choose(model: Model, host: Host, wanted: Wanted, rates: Rates) -> Choice:
    """The best settings for one quantization, with what is served beside it on the GPU or off it."""
    settings = base(host, wanted)
    if model.projector is None and model.draft is None:
        return _choose(model, host, wanted, settings, rates)
    tries = [_choose(model, host, wanted, beside, rates) for beside in _beside(model, host, wanted, settings)]
    # On the GPU it is quick; off it only where the model would not fit else.
    return max(tries, key=lambda choice: choice.found.order[0])


def _beside(model: Model, host: Host, wanted: Wanted, settings: Settings) -> list[Settings]:
    """Where a projector and a draft may go: both on the GPU first."""
    layers = model.draft.shape.n_layers + 1 if model.draft and host.gpus else 0
    if wanted.n_gpu_layers_draft is not None:
        layers = min(layers, wanted.n_gpu_layers_draft) if wanted.n_gpu_layers_draft >= 0 else layers
    on = replace(settings, n_gpu_layers_draft=layers)
    off = replace(
        on,
        mmproj_offload=on.mmproj_offload and (model.projector is None or wanted.mmproj_offload is True),
        n_gpu_layers_draft=layers if wanted.n_gpu_layers_draft is not None else 0,
    )
    return [on] if off == on or not host.gpus else [on, off]


def _choose(model: Model, host: Host, wanted: Wanted, settings: Settings, rates: Rates) -> Choice:
    fitter = Fitter.of(model, host, wanted, settings, rates)
    sizes, types = contexts(model.shape.n_ctx_train, wanted), cache_types(model, wanted)
    smallest = fitter.best(replace(_typed(settings, *types[-1]), ctx_size=sizes[-1]))
    enough = smallest.rate * (1 - _MAY_COST[wanted.goal if wanted.ctx_size != "max" else "context"])
    for ctx in sizes if smallest.verdict != "too-big" else ():
        found = [fitter.best(replace(_typed(settings, k, v), ctx_size=ctx)) for k, v in types]
        good = [c for c in found if c.verdict == smallest.verdict and c.rate >= enough * 0.999]
        if good:
            # A smaller cache may leave room for layers: worth it where that is clearly faster.
            return Choice(fitter, max(good, key=_worth))
    return Choice(fitter, smallest)


def _worth(candidate: Candidate) -> float:
    # q8_0 must be 15 % faster: its speed at a full cache is not known as well as f16's.
    return log2(candidate.rate) - 4 * cache_loss(candidate.settings.cache_type_k)


def refine(choice: Choice) -> Choice:
    """The last steps, which only the chosen quantization is worth."""
    return Choice(choice.fitter, _checkpoints(choice.fitter, fill(choice.fitter, choice.found)))


def _checkpoints(fitter: Fitter, found: Candidate) -> Candidate:
    """Copies of the windowed cache, without which a chat's next turn reads the whole prompt again.

    Only where there is room for them: llama-server's own default of 32 is 38 GB for Scout.
    """
    if found.verdict != "fits" or not any(fitter.model.shape.swa_layers):
        return found
    for n in (4, 2, 1):
        kept = fitter.evaluate(replace(found.settings, ctx_checkpoints=n))
        if kept.verdict == "fits":
            return kept
    return found


def utility(found: Candidate, quant: str, goal: Goal) -> tuple[float, ...]:
    """Better is greater. The verdict always comes first."""
    s = found.settings
    cost = loss(quant) + cache_loss(s.cache_type_k)
    first = found.order[0]
    if goal == "speed":
        return (first, cost <= ACCEPTABLE, found.rate)
    if goal == "context":
        return (
            first,
            cost <= ACCEPTABLE,
            s.ctx_size,
            found.rate >= _USABLE,
            log2(min(found.rate, _ENOUGH)) - cost,
        )
    if goal == "quality":
        return (first, found.rate >= _USABLE, -cost, found.rate)
    # Where all of them page, every bit less is worth double: the wait is what hurts.
    return (first, log2(min(found.rate, _ENOUGH)) * (1 if found.verdict == "fits" else 3) - cost)


def choose_quant(offers: Sequence[Offer], host: Host, wanted: Wanted, rates: Rates) -> tuple[Model, Choice]:
    """The best of all quantizations. `offers` must not be empty.

    One is searched in full; it tells about what the others would give, in proportion to their size,
    and those are searched in the order of that promise until none is left that could win.
    """
    left = _worth_trying(offers, host)
    left.sort(key=lambda o: _first_guess(o, host))
    best: tuple[tuple[float, ...], Model, Choice] | None = None
    while left:
        offer = left.pop(0)
        model = offer.model()
        choice = choose(model, host, wanted, rates)
        worth = utility(choice.found, offer.quant, wanted.goal)
        if best is None or worth > best[0]:
            best = (worth, model, choice)
        promise = {o.quant: _promise(o, offer, choice.found, host, wanted.goal) for o in left}
        left = sorted(
            (o for o in left if promise[o.quant] > best[0]), key=lambda o: promise[o.quant], reverse=True
        )
    assert best is not None
    return best[1], best[2]


def _first_guess(offer: Offer, host: Host) -> tuple[bool, float]:
    """Smallest first: what fits the GPU whole with the least loss, else the least loss down to Q4."""
    vram = sum(g.vram_free for g in host.gpus)
    return offer.bytes * 1.1 > vram, abs(loss(offer.quant) - loss("Q4_K_M"))


def _promise(offer: Offer, known: Offer, found: Candidate, host: Host, goal: Goal) -> tuple[float, ...]:
    """No less than the utility that `offer` can have, judged from a quantization that was searched.

    A larger one is no faster and its verdict no better. A smaller one gains at most the share it is
    smaller twice over, since more of it moves to a faster tier, unless it fits the GPUs whole.
    """
    ratio = known.bytes / max(offer.bytes, 1)
    smaller = offer.bytes < known.bytes
    verdict: Verdict = "fits" if smaller else found.verdict
    rate = found.rate * (ratio**2 * 1.1 if smaller else max(ratio, 0.3))
    if smaller and known.bytes > sum(g.vram_free for g in host.gpus) > offer.bytes:
        rate = max(rate, _ENOUGH)
    largest = replace(found.settings, ctx_size=LADDER[0]) if smaller else found.settings
    hope = replace(found, verdict=verdict, rate=rate, settings=replace(largest, cache_type_k="f16"))
    return utility(hope, offer.quant, goal)


def _worth_trying(offers: Sequence[Offer], host: Host) -> list[Offer]:
    """Those that could fit by size alone; where none can, the three smallest, which may page.

    Of sizes within 4 % of each other only the better one is looked at.
    """
    room = host.ram.available + sum(g.vram_free for g in host.gpus if not g.unified)
    by_size = sorted(offers, key=lambda o: o.bytes)
    fitting = [offer for offer in by_size if offer.bytes <= room]
    chosen: list[Offer] = []
    for offer in fitting or by_size[:3]:
        if chosen and offer.bytes <= chosen[-1].bytes * 1.04:
            if loss(offer.quant) < loss(chosen[-1].quant):
                chosen[-1] = offer
            continue
        chosen.append(offer)
    return chosen
