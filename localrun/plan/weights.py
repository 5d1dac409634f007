"""A model's bytes added up once, so that a planner may ask for thousands of placements.

Same rules and same bytes as `placement.place`, in closed form: prefix sums over the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from localrun.hardware.facts import Host
from localrun.model.facts import Model, Tensor
from localrun.plan.placement import Classified, Group, Placement, Rules, classify, layer_devices
from localrun.plan.values import Settings
from localrun.value import dataclass

#: gpu, stuck, stuck_repacked, cpu, repacked, widest: what a tensor or a block adds to `Sums`.
_Row = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Sums:
    """Bytes of blocks 0..i-1 at index i, were they on a GPU, and were they on the CPU."""

    gpu: tuple[int, ...]
    stuck: tuple[int, ...]  # stay on the CPU though their block is on a GPU: types that it cannot multiply
    stuck_repacked: tuple[int, ...]
    cpu: tuple[int, ...]
    repacked: tuple[int, ...]  # the part of `cpu` that is copied into anonymous RAM
    widest: tuple[int, ...]  # the largest weight that large batches copy to a GPU

    @classmethod
    def over(cls, blocks: list[_Row]) -> Sums:
        """From one row by block."""
        gpu, stuck, stuck_repacked, cpu, repacked = (
            tuple(accumulate((row[i] for row in blocks), initial=0)) for i in range(5)
        )
        widest = tuple(accumulate((row[5] for row in blocks), max, initial=0))
        return cls(gpu, stuck, stuck_repacked, cpu, repacked, widest)


@dataclass(frozen=True, slots=True)
class Weights:
    """Ask `place` for the placement of any -ngl, -ncmoe and -ts; -ot, repack and host are fixed in `of`."""

    rules: Rules
    host: Host
    n_layers: int
    rest: Sums  # everything in a block but its routed experts
    experts: Sums
    head: Sums  # a single entry
    copies: Sums  # a single entry, once per device that holds a block
    pinned: tuple[int, ...]  # by device
    pinned_repacked: int
    pinned_widest: int

    @classmethod
    def of(
        cls,
        model: Model,
        host: Host,
        settings: Settings,
        build: frozenset[str] | None = None,
        walk: Sequence[Classified] = (),
    ) -> Weights:
        """Of `settings` only override_tensor and repack count here. Raises UsageError for bad overrides.

        `walk`: what `classify` gives for these, where the caller has it.
        """
        rules = Rules.of(model, host, settings, build)
        n, cpu = model.shape.n_layers, len(rules.devices) - 1
        rest: list[list[_Row]] = [[] for _ in range(n)]
        experts: list[list[_Row]] = [[] for _ in range(n)]
        head: list[_Row] = []
        copies: list[_Row] = []
        pinned, pinned_repacked, copied = [0] * (cpu + 1), 0, 0
        known: dict[tuple[object, ...], _Row] = {}
        for tensor, il, group, device in walk or classify(model, rules):
            if group is Group.PINNED or group is Group.CPU:
                at = device if group is Group.PINNED else cpu
                if at != cpu:
                    pinned[at] += rules.gpu_bytes(tensor)
                    continue
                pinned[cpu] += rules.cpu_bytes(tensor)
                pinned_repacked += rules.cpu_bytes(tensor) if rules.repacks(tensor) else 0
                copied = max(copied, rules.copies(tensor))
                continue
            key = (tensor.type, tensor.dims, group)
            row = known.get(key)
            if row is None:
                row = known[key] = _row(rules, model, tensor, group)
            if group is Group.BLOCK:
                rest[il].append(row)
            elif group is Group.EXPERT:
                experts[il].append(row)
            else:
                (copies if group is Group.COPIES else head).append(row)
        return cls(rules, host, n, Sums.over(_added(rest)), Sums.over(_added(experts)),
                   Sums.over(_added([head])), Sums.over(_added([copies])),
                   tuple(pinned), pinned_repacked, copied)  # fmt: skip

    def place(self, settings: Settings) -> Placement:
        """The same as `placement.place` with these settings, in the time of a few additions."""
        layers = layer_devices(self.n_layers, self.host, settings)
        cpu = len(self.rules.devices) - 1
        weights, repacked = list(self.pinned), self.pinned_repacked
        for device, start, stop in spans(layers[:-1]):
            for sums, moved in ((self.rest, 0), (self.experts, settings.n_cpu_moe)):
                middle = min(max(start, moved), stop)
                repacked += self._add(weights, sums, cpu, start, middle)
                repacked += self._add(weights, sums, device, middle, stop)
        for device in set(layers[: self.rules.n_trunk]):
            repacked += self._add(weights, self.copies, device, 0, 1)
        repacked += self._add(weights, self.head, layers[-1], 0, 1)
        on_cpu = self.n_layers + 1 - self._on_gpu(settings)
        copied = max(self.pinned_widest, self.rest.widest[min(on_cpu, self.n_layers)],
                     self.experts.widest[min(max(on_cpu, settings.n_cpu_moe), self.n_layers)])  # fmt: skip
        return Placement(self.rules.devices, tuple(weights), repacked, layers, copied)

    def _on_gpu(self, settings: Settings) -> int:
        """Blocks and head that are on a GPU: the last ones."""
        n = settings.n_gpu_layers
        return min(n if n >= 0 else self.n_layers + 1, self.n_layers + 1) if self.host.gpus else 0

    def _add(self, weights: list[int], sums: Sums, device: int, start: int, stop: int) -> int:
        """Adds blocks start..stop-1 to `weights`; gives the bytes repacked."""
        if start >= stop:
            return 0
        cpu = len(weights) - 1
        if device == cpu:
            weights[cpu] += sums.cpu[stop] - sums.cpu[start]
            return sums.repacked[stop] - sums.repacked[start]
        weights[device] += sums.gpu[stop] - sums.gpu[start]
        weights[cpu] += sums.stuck[stop] - sums.stuck[start]
        return sums.stuck_repacked[stop] - sums.stuck_repacked[start]


def _row(rules: Rules, model: Model, tensor: Tensor, group: Group) -> _Row:
    on_cpu = 0 if group is Group.HEAD and rules.shared(model, tensor, group) else rules.cpu_bytes(tensor)
    repacked = rules.cpu_bytes(tensor) if rules.repacks(tensor) else 0
    copies = rules.copies(tensor)
    if rules.gpu_takes(tensor):
        return rules.gpu_bytes(tensor), 0, 0, on_cpu, repacked, copies
    return 0, on_cpu, repacked, on_cpu, repacked, copies


def _added(blocks: list[list[_Row]]) -> list[_Row]:
    """One row by block. Blocks are mostly alike: each kind of them is added up once."""
    known: dict[tuple[int, ...], _Row] = {}
    found = []
    for rows in blocks:
        kind = tuple(map(id, rows))
        if kind not in known:
            *sums, widest = zip(*rows, strict=True) if rows else ((0,),) * 6
            gpu, stuck, stuck_repacked, cpu, repacked = map(sum, sums)
            known[kind] = gpu, stuck, stuck_repacked, cpu, repacked, max(widest)
        found.append(known[kind])
    return found


def spans(layers: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(device, first block, one past the last) of each run of equal devices."""
    found, start, n = [], 0, len(layers)
    while start < n:
        # Devices come in few long runs: bisect instead of a walk.
        device, low, high = layers[start], start + 1, n
        if layers[-1] == device:
            low = n
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if layers[middle] == device else (low, middle)
        found.append((device, start, low))
        start = low
    return found
