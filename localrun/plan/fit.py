"""Where the layers go: the fastest placement of one model with one context and one cache type.

llama.cpp fills layers from the end, so "more on the GPU" is one number, `n_gpu_layers`; routed
experts leave layer by layer from the front, one number more, `n_cpu_moe`. Both are monotone in
memory, so each is found by bisection rather than tried out.
"""

from __future__ import annotations

from collections.abc import Callable

from localrun.hardware.facts import Host
from localrun.model.facts import Model
from localrun.plan.kv import KvLayout
from localrun.plan.memory import Sizer
from localrun.plan.placement import Rules, classify
from localrun.plan.rates import Rates
from localrun.plan.speed import Traffic, missing_bytes
from localrun.plan.values import DeviceMemory, Settings, Verdict, Wanted
from localrun.value import dataclass, field, replace

RANK: dict[Verdict, int] = {"fits": 2, "pages": 1, "too-big": 0}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings with what they take and how fast they would be."""

    settings: Settings
    memory: tuple[DeviceMemory, ...]
    kv: KvLayout
    verdict: Verdict
    rate: float  # generation, tokens per second

    @property
    def order(self) -> tuple[int, float]:
        """Better is greater: the verdict first, then speed."""
        return RANK[self.verdict], self.rate


def verdict_of(host: Host, devices: tuple[DeviceMemory, ...], mmap: bool) -> Verdict:
    """`fits`: all in memory. `pages`: only mapped file pages are too many. Else `too-big`."""
    if any(d.total > d.budget for d in devices[:-1]):
        return "too-big"
    missing = missing_bytes(host, devices)
    if not missing:
        return "fits"
    return "pages" if mmap and missing <= devices[-1].mapped else "too-big"


@dataclass(slots=True)
class Fitter:
    """Finds placements for one model on one machine; keeps the sums that all of them share."""

    model: Model
    host: Host
    wanted: Wanted
    sizer: Sizer
    traffic: Traffic
    counted: tuple[object, ...]  # the overrides and the repacking that `sizer` and `traffic` have in them
    others: dict[tuple[object, ...], tuple[Sizer, Traffic]] = field(default_factory=dict)  # with others

    @classmethod
    def of(cls, model: Model, host: Host, wanted: Wanted, settings: Settings, rates: Rates) -> Fitter:
        return cls(model, host, wanted, *_sums_of(model, host, settings, rates), _counted(settings))

    def evaluate(self, settings: Settings) -> Candidate:
        """Quick for what was counted in; other overrides or repacking take a walk over all tensors, once."""
        sizer, traffic = self._sums(settings)
        devices, kv = sizer.memory(settings), sizer.kv(settings)
        rate = 1.0 / traffic.costs(settings, devices, kv).total
        return Candidate(settings, devices, kv, verdict_of(self.host, devices, settings.mmap), rate)

    def traffic_for(self, settings: Settings) -> Traffic:
        return self._sums(settings)[1]

    def _sums(self, settings: Settings) -> tuple[Sizer, Traffic]:
        key = _counted(settings)
        if key == self.counted:
            return self.sizer, self.traffic
        if key not in self.others:
            self.others[key] = _sums_of(self.model, self.host, settings, self.traffic.rates)
        return self.others[key]

    def best(self, settings: Settings) -> Candidate:
        """The fastest placement with the best verdict; what the user fixed stays."""
        found = max(self._placements(settings), key=lambda c: c.order)
        if found.verdict != "fits" and settings.repack and self.sizer.weights.rules.repack:
            # Repacked weights are copies that cannot be paged out; mapped ones can.
            found = max(found, self.best(replace(settings, repack=False)), key=lambda c: c.order)
        return found

    def _placements(self, settings: Settings) -> list[Candidate]:
        wanted, head = self.wanted, self.model.shape.n_layers + 1
        if not self.host.gpus or wanted.n_gpu_layers == 0:
            return [self.evaluate(replace(settings, n_gpu_layers=0, n_cpu_moe=wanted.n_cpu_moe or 0))]
        layers = wanted.n_gpu_layers
        if layers is not None:
            layers = head if layers < 0 else min(layers, head)
        if layers is not None and wanted.n_cpu_moe is not None:
            return [self._at(settings, layers, wanted.n_cpu_moe)]
        if layers is not None:
            return self._by_experts(settings, layers)
        if wanted.n_cpu_moe is not None:
            return [*self._by_layers(settings, wanted.n_cpu_moe), self._at(settings, 0, wanted.n_cpu_moe)]
        found = self._by_experts(settings, head)
        if not on_gpu(found[-1]):
            found += self._by_layers(settings, self._moe_layers())
            found += self._by_layers(settings, 0) if self._moe_layers() else []
        return [*found, self._at(settings, 0, 0)]

    def _moe_layers(self) -> int:
        return self.model.shape.n_layers if self.model.shape.n_expert else 0

    def _by_experts(self, settings: Settings, layers: int) -> list[Candidate]:
        """Everything on the GPUs, or with as few layers' experts in RAM as it takes."""
        full = self._at(settings, layers, 0)
        most = self._moe_layers()
        if on_gpu(full) or not most:
            return [full]
        least = bisect(1, most, lambda n: self._on_gpu(settings, layers, n))
        return [self._at(settings, layers, least)]

    def _by_layers(self, settings: Settings, n_cpu_moe: int) -> list[Candidate]:
        """As many whole layers on the GPUs as fit."""
        head = self.model.shape.n_layers + 1
        fewer = bisect(0, head, lambda n: self._on_gpu(settings, head - n, n_cpu_moe))
        return [self._at(settings, head - fewer, n_cpu_moe)]

    def _at(self, settings: Settings, layers: int, n_cpu_moe: int) -> Candidate:
        return self.evaluate(self._placed(settings, layers, n_cpu_moe))

    def _on_gpu(self, settings: Settings, layers: int, n_cpu_moe: int) -> bool:
        """`on_gpu` of `_at`, whose speed is not looked at."""
        chosen = self._placed(settings, layers, n_cpu_moe)
        return _within(self._sums(chosen)[0].memory(chosen))

    def _placed(self, settings: Settings, layers: int, n_cpu_moe: int) -> Settings:
        chosen = replace(settings, n_gpu_layers=layers, n_cpu_moe=n_cpu_moe)
        if len(self.host.gpus) > 1 and layers > 0 and self.wanted.tensor_split is None:
            return replace(chosen, tensor_split=self.split(chosen))
        return chosen

    def split(self, settings: Settings) -> tuple[float, ...]:
        """How many layers each GPU takes, as `-ts` counts: by bytes, for experts make layers unequal."""
        sizes = self._layer_sizes(settings)
        empty = self.sizer.memory(replace(settings, tensor_split=(1.0,) * len(self.host.gpus)))[:-1]
        room = [max(0, d.budget - d.compute - d.overhead) for d in empty]
        share = sum(sizes) / max(sum(room), 1)
        for step in range(11):
            counts = _fill(sizes, [r * min(share + step * (1 - share) / 10, 1.0) for r in room])
            if sum(counts) == len(sizes):
                return tuple(map(float, counts))
        counts[counts.index(max(counts))] += len(sizes) - sum(counts)
        return tuple(map(float, counts))

    def _layer_sizes(self, settings: Settings) -> list[int]:
        """GPU bytes of the last `n_gpu_layers` layers in order, the head last; cache included."""
        weights, kv = self.sizer.weights, self.sizer.kv(settings)
        n = self.model.shape.n_layers
        first = max(n + 1 - settings.n_gpu_layers, 0)
        sizes = []
        for il in range(first, n):
            size = weights.rest.gpu[il + 1] - weights.rest.gpu[il] + kv.per_layer[il]
            if il >= settings.n_cpu_moe:
                size += weights.experts.gpu[il + 1] - weights.experts.gpu[il]
            sizes.append(size)
        return [*sizes, weights.head.gpu[1]]


def _sums_of(model: Model, host: Host, settings: Settings, rates: Rates) -> tuple[Sizer, Traffic]:
    walk = tuple(classify(model, Rules.of(model, host, settings)))
    return Sizer.of(model, host, settings, walk), Traffic.of(model, host, settings, rates, walk)


def _counted(settings: Settings) -> tuple[object, ...]:
    return settings.override_tensor, settings.repack, settings.spec_type


def _fill(sizes: list[int], room: list[float]) -> list[int]:
    """How many of `sizes`, in order, go into each room; the rest is left over."""
    counts, at = [], 0
    for limit in room:
        held, start = 0, at
        while at < len(sizes) and held + sizes[at] <= limit:
            held += sizes[at]
            at += 1
        counts.append(at - start)
    return counts


def on_gpu(candidate: Candidate) -> bool:
    """Whether no GPU is over its budget."""
    return _within(candidate.memory)


def _within(memory: tuple[DeviceMemory, ...]) -> bool:
    return all(d.total <= d.budget for d in memory[:-1])


def bisect(low: int, high: int, good: Callable[[int], bool]) -> int:
    """The least n in low..high that is good, were all above it good too; `high` if none is."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle + 1, high)
    return low
