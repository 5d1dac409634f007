"""Tokens per second from bytes touched per token on each tier over its bandwidth.

A generated token reads every weight that it passes once, of the routed experts only those chosen,
and the cache that is held. What it reads from VRAM, RAM and disk adds up, for one layer waits for
the one before. Prompts are bound by compute, or by moving experts over the bus.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import prod

from localrun.hardware.facts import Gpu, Host
from localrun.model.facts import Model, Shape, Tensor
from localrun.plan.kv import KvLayout
from localrun.plan.placement import Classified, Group, Rules, classify, layer_devices
from localrun.plan.rates import DISK_BANDWIDTH, FILL, GPU_BANDWIDTH, LINK, RAM_BANDWIDTH, Rates
from localrun.plan.values import Band, DeviceMemory, Settings, Speed
from localrun.plan.weights import spans
from localrun.value import dataclass

_TIERS = ("vram bandwidth", "ram bandwidth", "disk", "launch overhead")
#: Times what reading takes, from which on more memory bandwidth would hardly help.
_CORES = 1.5
_PLAIN_CACHE = ("f16", "bf16", "f32")


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of one generated token, by what they are spent on."""

    vram: float
    ram: float  # on the CPU, whether its cores or its memory are what it waits for
    disk: float
    fixed: float
    bound: float  # what the bandwidths alone allow: no run is faster
    read: float  # of `ram`, what reading alone takes

    @property
    def total(self) -> float:
        return self.vram + self.ram + self.disk + self.fixed

    @property
    def bound_by(self) -> str:
        spent = (self.vram, self.ram, self.disk, self.fixed)
        most = _TIERS[spent.index(max(spent))]
        return "cpu cores" if most == "ram bandwidth" and self.ram > _CORES * self.read else most


@dataclass(frozen=True, slots=True)
class Attention:
    """Operations over the cache for each token held: prefix sums over the blocks."""

    full: tuple[float, ...]
    windowed: tuple[float, ...]
    indexer: tuple[float, ...]
    window: int
    top_k: int  # of the tokens held, those that the indexer chooses; 0 = all

    @classmethod
    def of(cls, shape: Shape) -> Attention:
        row = 2.0 * (shape.head_dim_k + shape.head_dim_v)
        trunk = shape.n_layers - shape.n_nextn
        heads = [row * n if il < trunk else 0.0 for il, n in enumerate(shape.n_head)]
        short = shape.swa_layers or (False,) * shape.n_layers
        indexer = 2.0 * shape.indexer_heads * shape.indexer_head_dim
        return cls(
            tuple(accumulate((0.0 if swa else n for n, swa in zip(heads, short, strict=True)), initial=0.0)),
            tuple(accumulate((n if swa else 0.0 for n, swa in zip(heads, short, strict=True)), initial=0.0)),
            tuple(indexer * min(il, trunk) for il in range(shape.n_layers + 1)),
            shape.swa_window, shape.indexer_top_k,
        )  # fmt: skip

    def work(self, start: int, stop: int, held: int) -> float:
        """Operations of blocks start..stop-1 for one token."""
        chosen = min(held, self.top_k) if self.top_k else held
        return (
            (self.full[stop] - self.full[start]) * chosen
            + (self.windowed[stop] - self.windowed[start]) * min(held, self.window or held)
            + (self.indexer[stop] - self.indexer[start]) * held
        )


#: dense, active, dense_s, active_s, experts, flops, prompt_s, prompt_active_s: what a tensor or a block
#: adds to `Traffic`.
_Row = tuple[float, float, float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Counted:
    """What turns a tensor into its row."""

    rules: Rules
    rates: Rates
    shape: Shape
    threads: int
    bandwidth: float

    def row(self, tensor: Tensor, routed: bool) -> _Row:
        shape, rates = self.shape, self.rates
        share = shape.n_expert_used / shape.n_expert if shape.n_expert else 1.0
        part = share if routed else 1.0
        touched, work = tensor.bytes * part, 2.0 * prod(tensor.dims) * part
        packed = self.rules.repacks(tensor)
        seconds = rates.cpu_seconds(tensor.type, touched, self.threads, self.bandwidth, packed, routed)
        prompt = rates.prompt_seconds(tensor.type, work, self.threads, packed)
        if not routed:
            return touched, 0.0, seconds, 0.0, 0.0, work, prompt, 0.0
        prompt *= rates.prompt_routed
        return 0.0, touched, 0.0, seconds, float(tensor.bytes), work, prompt, prompt


def _added(blocks: list[list[_Row]]) -> list[list[float]]:
    """One row by block. Blocks are mostly alike: each kind of them is added up once."""
    known: dict[tuple[int, ...], list[float]] = {}
    for rows in blocks:
        kind = tuple(map(id, rows))
        if kind not in known:
            known[kind] = [sum(column) for column in zip(*rows, strict=True)] or [0.0] * 8
    return [known[tuple(map(id, rows))] for rows in blocks]


@dataclass(frozen=True, slots=True)
class Traffic:
    """A model's bytes per token, added up once: prefix sums over the blocks, index i = blocks 0..i-1."""

    host: Host
    rates: Rates
    n_layers: int
    n_vocab: int
    gpu_experts: float  # share of the dense rate that routed experts reach on a GPU
    dense: tuple[float, ...]
    active: tuple[float, ...]  # routed experts, the chosen share of them
    dense_s: tuple[float, ...]  # seconds on the CPU
    active_s: tuple[float, ...]
    experts: tuple[float, ...]  # all routed experts, bytes
    flops: tuple[float, ...]  # of one token
    prompt_s: tuple[float, ...]  # seconds of one prompt token on the CPU
    prompt_active_s: tuple[float, ...]  # the routed experts' part of them
    attention: Attention
    head: float
    head_s: float
    #: By -ot: device, block, bytes a token, the same as a GPU reads them, CPU seconds.
    pinned: tuple[tuple[int, int, float, float, float], ...]
    threads: int
    factor: float  # seconds of this very model, measured over expected

    @classmethod
    def of(
        cls,
        model: Model,
        host: Host,
        settings: Settings,
        rates: Rates,
        walk: Sequence[Classified] = (),
    ) -> Traffic:
        """Of `settings` only override_tensor, repack and threads count. `walk`: as for `Weights.of`."""
        rules = Rules.of(model, host, settings)
        trunk = model.shape.n_layers - model.shape.n_nextn
        shape, threads = model.shape, min(settings.threads, max(host.cpu.cores, 1))
        blocks: list[list[_Row]] = [[] for _ in range(shape.n_layers)]
        gpu_experts = rates.gpu_experts(shape.n_expert_used)
        head, head_s = 0.0, 0.0
        pinned: list[tuple[int, int, float, float, float]] = []
        counted = _Counted(rules, rates, shape, threads, float(host.ram.bandwidth or RAM_BANDWIDTH))
        known: dict[tuple[object, ...], _Row] = {}
        for tensor, il, group, device in walk or classify(model, rules):
            # What drafts (next-token blocks) is not counted: neither its cost nor its gain is known.
            if il >= trunk or group is Group.CPU or len(tensor.dims) < 2:
                continue
            key = (tensor.type, tensor.dims, group)
            row = known.get(key)
            if row is None or group is Group.PINNED:
                routed = group is Group.EXPERT or (group is Group.PINNED and "_exps." in tensor.name)
                row = known[key] = counted.row(tensor, routed)
                if group is Group.PINNED and il >= 0:
                    touched, seconds = row[0] + row[1], row[2] + row[3]
                    read = touched / (gpu_experts if routed else 1.0)
                    pinned.append((device, il, touched, read, seconds))
                    row = (0.0, 0.0, 0.0, 0.0, 0.0, row[5], row[6], 0.0)
            if il < 0:
                head, head_s = head + row[0] + row[1], head_s + row[2] + row[3]
            else:
                blocks[il].append(row)
        dense, active, dense_s, active_s, experts, flops, prompt_s, prompt_active_s = (
            tuple(accumulate(column, initial=0.0)) for column in zip(*_added(blocks), strict=True)
        )
        factor = rates.models.get(fingerprint(model), 1.0) if rates.models else 1.0
        return cls(host, rates, shape.n_layers, shape.n_vocab, gpu_experts, dense, active, dense_s, active_s, experts,
                   flops, prompt_s, prompt_active_s, Attention.of(shape), head, head_s, tuple(pinned),
                   threads, factor)  # fmt: skip

    def costs(
        self, settings: Settings, memory: tuple[DeviceMemory, ...], kv: KvLayout, held: int = FILL
    ) -> Costs:
        """Seconds of one token with `held` tokens in the cache, or as many as it takes."""
        rates, cpu = self.rates, len(self.host.gpus)
        bandwidth = float(self.host.ram.bandwidth or RAM_BANDWIDTH)
        streams = max(kv.streams, 1)
        held = min(held, settings.ctx_size or held)
        # A windowed layer's cache is short: what is held of it never exceeds it.
        most = max(kv.per_layer, default=0) * held / max(kv.cells * streams, 1)
        plain = settings.cache_type_k in _PLAIN_CACHE and settings.cache_type_v in _PLAIN_CACHE
        attend = (rates.cpu_attention if plain else rates.cpu_attention_quantized) * self.threads
        vram = ram = bound = fixed = touched = dense = 0.0
        layers = layer_devices(self.n_layers, self.host, settings)
        for device, start, stop in spans(layers[:-1]):
            middle = min(max(start, settings.n_cpu_moe), stop)
            cache = sum(min(most, layer / streams) for layer in kv.per_layer[start:stop])
            work = self.attention.work(start, stop, held)
            size = self.dense[stop] - self.dense[start]
            if device == cpu:
                middle = stop
                dense, touched = dense + size, touched + size
                bound += (size + cache) / bandwidth
                attention = work / attend + cache / min(rates.cpu_cache * self.threads, bandwidth * rates.ram)
                ram += self.dense_s[stop] - self.dense_s[start] + attention * rates.ram_time
                fixed += (stop - start) * rates.cpu_layer
            else:
                gpu = self.host.gpus[device]
                size += cache
                routed = self.active[stop] - self.active[middle]
                speed, share = _bandwidth(gpu), rates.unified if gpu.unified else rates.gpu
                vram += (size + routed / self.gpu_experts) / (speed * share) + work / _flops(gpu, rates)
                bound += (size + routed) / speed
                fixed += (stop - start) * rates.gpu_layer + (middle - start) * rates.hop
            routed = self.active[middle] - self.active[start]
            touched += routed
            bound += routed / bandwidth
            ram += self.active_s[middle] - self.active_s[start]
        vram, ram, bound = self._head(layers[-1], vram, ram, bound, bandwidth)
        split = set()
        for device, il, size, read, seconds in self.pinned:
            if device != layers[il] != cpu and il >= settings.n_cpu_moe:
                split.add(il)
            if device == cpu:
                ram, touched, bound = ram + seconds, touched + size, bound + size / bandwidth
            else:
                speed = _bandwidth(self.host.gpus[device])
                vram, bound = vram + read / (speed * rates.gpu), bound + size / speed
        fixed += len(split) * rates.hop
        disk = self._disk(memory, touched, dense)
        fixed += sum(a != b for a, b in pairwise(layers)) * rates.hop + rates.token
        fixed += self.n_vocab * rates.vocab
        f = self.factor
        read = (touched + (self.head if layers[-1] == cpu else 0.0)) / (bandwidth * rates.ram)
        return Costs(vram * rates.vram_time * f, ram * f, disk * rates.disk_time * f, fixed * f,
                     max(bound, disk), read * rates.ram_time * f)  # fmt: skip

    def _head(
        self, device: int, vram: float, ram: float, bound: float, bandwidth: float
    ) -> tuple[float, float, float]:
        if device == len(self.host.gpus):
            return vram, ram + self.head_s, bound + self.head / bandwidth
        gpu = self.host.gpus[device]
        speed, share = _bandwidth(gpu), self.rates.unified if gpu.unified else self.rates.gpu
        return vram + self.head / (speed * share), ram, bound + self.head / speed

    def _disk(self, memory: tuple[DeviceMemory, ...], touched: float, dense: float) -> float:
        """Seconds of page faults: what of the mapped weights RAM cannot keep is read again.

        Dense weights are touched by every token, so they stay; of the experts the share that has no
        room misses. A dense model larger than RAM is read in order, the worst case for a page cache.
        """
        missing = missing_bytes(self.host, memory)
        if missing <= 0 or touched <= 0:
            return 0.0
        speed = float(self.host.disk_bandwidth or DISK_BANDWIDTH)
        if dense >= touched:
            return min(touched, 2.0 * missing) / speed
        # Not all experts are asked for alike: those that stayed are the ones in demand.
        share = float(min(1.0, missing / max(memory[-1].mapped - dense, 1.0)) ** 1.25)
        return (touched - dense) * share / speed

    def prompt(self, settings: Settings, memory: tuple[DeviceMemory, ...]) -> float:
        """Prompt tokens per second, in ubatches."""
        rates, cpu, u = self.rates, len(self.host.gpus), max(1, min(settings.ubatch_size, settings.ctx_size))
        layers = layer_devices(self.n_layers, self.host, settings)
        seconds = 0.0
        for device, start, stop in spans(layers[:-1]):
            if device == cpu:
                work = self.attention.work(start, stop, u // 2) / rates.prompt_attention
                other = (work + (stop - start) * rates.prompt_layer) / self.threads
                seconds += (self.prompt_s[stop] - self.prompt_s[start] + other) * u
                continue
            gpu = self.host.gpus[device]
            seconds += (self.flops[stop] - self.flops[start]) * u / _flops(gpu, rates)
            middle = min(max(start, settings.n_cpu_moe), stop)
            moved = self.experts[middle] - self.experts[start]
            if moved:
                # llama.cpp copies a large batch's CPU weights to the GPU; a small one is done on the CPU.
                routed = (self.prompt_active_s[middle] - self.prompt_active_s[start]) * u
                seconds += min(moved / float(gpu.link or LINK), routed)
        missing = missing_bytes(self.host, memory)
        if missing > 0:
            seconds += min(missing * 2.0, memory[-1].mapped) / float(
                self.host.disk_bandwidth or DISK_BANDWIDTH
            )
        return u / (seconds * rates.prompt_time) if seconds > 0 else 0.0


def missing_bytes(host: Host, memory: tuple[DeviceMemory, ...]) -> int:
    """Bytes that RAM has no room for; a unified GPU's are in RAM too."""
    *gpus, cpu = memory
    shared = sum(d.total for d in gpus) if any(gpu.unified for gpu in host.gpus) else 0
    return max(0, cpu.total + shared - cpu.budget)


def _bandwidth(gpu: Gpu) -> float:
    return float(gpu.bandwidth or GPU_BANDWIDTH)


def _flops(gpu: Gpu, rates: Rates) -> float:
    # Cards without a figure: tensor cores do about 100 operations per byte of bandwidth.
    return float(gpu.flops or 100 * _bandwidth(gpu)) * rates.gpu_flops


def fingerprint(model: Model) -> str:
    """The same text for the same weights in the same quantization, whatever the file is called."""
    return f"{model.architecture} {model.quant} {model.parameters} {model.weights_bytes}"


def speed_of(
    traffic: Traffic, settings: Settings, memory: tuple[DeviceMemory, ...], kv: KvLayout, held: int = FILL
) -> Speed:
    """The bands that a plan shows. Until calibrated, no upper end is above what the bandwidths allow."""
    costs, rates = traffic.costs(settings, memory, kv, held), traffic.rates
    expected = 1.0 / costs.total
    most = expected * rates.high
    if costs.bound > 0 and not rates.calibrated:
        most = min(most, 1.0 / costs.bound)
        expected = min(expected, most)
    generation = Band(expected * rates.low, expected, most)
    p = traffic.prompt(settings, memory)
    return Speed(generation, Band(p * 0.5, p, p * 1.6), costs.bound_by, rates.calibrated)
