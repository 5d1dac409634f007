"""Tokens per second from bytes touched per token on each tier over its bandwidth.

A generated token reads every weight that it passes once, of the routed experts only those chosen,
and the cache that is held. What it reads from VRAM, RAM and disk adds up, for one layer waits for
the one before. Prompts are bound by compute, or by moving experts over the bus.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod

from localrun.hardware.facts import Gpu, Host
from localrun.model.facts import Model
from localrun.plan.kv import KvLayout
from localrun.plan.placement import Group, Rules, classify, layer_devices
from localrun.plan.rates import DISK_BANDWIDTH, FILL, GPU_BANDWIDTH, LINK, RAM_BANDWIDTH, Rates
from localrun.plan.values import Band, DeviceMemory, Settings, Speed
from localrun.plan.weights import spans

_TIERS = ("vram bandwidth", "ram bandwidth", "disk", "launch overhead")


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of one generated token, by what they are spent on."""

    vram: float
    ram: float
    disk: float
    fixed: float
    bound: float  # what the bandwidths alone allow: no run is faster

    @property
    def total(self) -> float:
        return self.vram + self.ram + self.disk + self.fixed


@dataclass(frozen=True, slots=True)
class Traffic:
    """A model's bytes per token, added up once: prefix sums over the blocks, index i = blocks 0..i-1."""

    host: Host
    rates: Rates
    n_layers: int
    dense: tuple[float, ...]
    active: tuple[float, ...]  # routed experts, the chosen share of them
    dense_s: tuple[float, ...]  # seconds on the CPU
    active_s: tuple[float, ...]
    experts: tuple[float, ...]  # all routed experts, bytes
    flops: tuple[float, ...]  # of one token
    head: float
    head_s: float
    head_flops: float
    pinned: tuple[tuple[int, float, float], ...]  # device, bytes a token, CPU seconds: by -ot
    threads: int

    @classmethod
    def of(cls, model: Model, host: Host, settings: Settings, rates: Rates) -> Traffic:
        """Of `settings` only override_tensor and threads count."""
        rules = Rules.of(model, host, settings)
        shape, threads = model.shape, min(settings.threads, max(host.cpu.cores, 1))
        share = shape.n_expert_used / shape.n_expert if shape.n_expert else 1.0
        rows = [[0.0] * 6 for _ in range(shape.n_layers)]
        head = [0.0, 0.0, 0.0]
        pinned: list[tuple[int, float, float]] = []
        bandwidth = float(host.ram.bandwidth or RAM_BANDWIDTH)
        known: dict[tuple[object, ...], tuple[float, float, float]] = {}
        for tensor, il, group, device in classify(model, rules):
            if il >= rules.n_trunk or group is Group.CPU or len(tensor.dims) < 2:
                continue
            routed = group is Group.EXPERT or (group is Group.PINNED and "_exps." in tensor.name)
            key = (tensor.type, tensor.dims, routed)
            if key not in known:
                touched = tensor.bytes * (share if routed else 1.0)
                seconds = rates.cpu_seconds(tensor.type, touched, threads, bandwidth)
                work = 2.0 * prod(tensor.dims) * (share if routed else 1.0)
                known[key] = touched, seconds / _routed(rates, routed), work
            touched, seconds, work = known[key]
            if il < 0:
                head = [head[0] + touched, head[1] + seconds, head[2] + work]
                continue
            row = rows[il]
            row[5] += work
            if group is Group.PINNED:
                pinned.append((device, touched / _routed(rates, routed), seconds))
                continue
            row[1 if routed else 0] += touched
            row[3 if routed else 2] += seconds
            row[4] += tensor.bytes if routed else 0.0
        dense, active, dense_s, active_s, experts, flops = (
            tuple(accumulate((row[i] for row in rows), initial=0.0)) for i in range(6)
        )
        return cls(host, rates, shape.n_layers, dense, active, dense_s, active_s, experts, flops,
                   head[0], head[1], head[2], tuple(pinned), threads)  # fmt: skip

    def costs(self, settings: Settings, memory: tuple[DeviceMemory, ...], kv: KvLayout) -> Costs:
        """Seconds of one token with `FILL` tokens held."""
        rates, cpu = self.rates, len(self.host.gpus)
        bandwidth = float(self.host.ram.bandwidth or RAM_BANDWIDTH)
        streams = max(kv.streams, 1)
        # A windowed layer's cache is short: what is held of it never exceeds it.
        held = max(kv.per_layer, default=0) * min(FILL, settings.ctx_size) / max(kv.cells * streams, 1)
        vram = ram = bound = fixed = touched = dense = 0.0
        layers = layer_devices(self.n_layers, self.host, settings)
        for device, start, stop in spans(layers[:-1]):
            middle = min(max(start, settings.n_cpu_moe), stop)
            cache = sum(min(held, layer / streams) for layer in kv.per_layer[start:stop])
            if device == cpu:
                middle = stop
                size = self.dense[stop] - self.dense[start]
                dense, touched = dense + size, touched + size
                bound += (size + cache) / bandwidth
                ram += self.dense_s[stop] - self.dense_s[start] + cache / (bandwidth * rates.ram)
                fixed += (stop - start) * rates.cpu_layer
            else:
                gpu = self.host.gpus[device]
                size = self.dense[stop] - self.dense[start] + cache
                routed = self.active[stop] - self.active[middle]
                speed, share = _bandwidth(gpu), rates.unified if gpu.unified else rates.gpu
                vram += (size + routed / rates.routed) / (speed * share)
                bound += (size + routed) / speed
                fixed += (stop - start) * rates.gpu_layer + (middle - start) * rates.hop
            routed = self.active[middle] - self.active[start]
            touched += routed
            bound += routed / bandwidth
            ram += self.active_s[middle] - self.active_s[start]
        vram, ram, bound = self._head(layers[-1], vram, ram, bound, bandwidth)
        for device, size, seconds in self.pinned:
            if device == cpu:
                ram, touched = ram + seconds, touched + size
            else:
                vram += size / (_bandwidth(self.host.gpus[device]) * rates.gpu)
        disk = self._disk(memory[-1], touched, dense)
        hops = sum(a != b for a, b in pairwise(layers)) * rates.hop
        return Costs(vram, ram, disk, fixed + hops + rates.token, bound + disk)

    def _head(
        self, device: int, vram: float, ram: float, bound: float, bandwidth: float
    ) -> tuple[float, float, float]:
        if device == len(self.host.gpus):
            return vram, ram + self.head_s, bound + self.head / bandwidth
        gpu = self.host.gpus[device]
        speed, share = _bandwidth(gpu), self.rates.unified if gpu.unified else self.rates.gpu
        return vram + self.head / (speed * share), ram, bound + self.head / speed

    def _disk(self, cpu: DeviceMemory, touched: float, dense: float) -> float:
        """Seconds of page faults: what of the mapped weights RAM cannot keep is read again.

        Dense weights are touched by every token, so they stay; of the experts the share that has no
        room misses. A dense model larger than RAM is read in order, the worst case for a page cache.
        """
        missing = missing_bytes(cpu)
        if missing <= 0 or touched <= 0:
            return 0.0
        speed = float(self.host.disk_bandwidth or DISK_BANDWIDTH)
        if dense >= touched:
            return min(touched, 2.0 * missing) / speed
        share = min(1.0, missing / max(cpu.mapped - dense, 1.0))
        return (touched - dense) * share / speed

    def prompt(self, settings: Settings, memory: tuple[DeviceMemory, ...]) -> float:
        """Prompt tokens per second, in ubatches."""
        rates, cpu, u = self.rates, len(self.host.gpus), max(1, min(settings.ubatch_size, settings.ctx_size))
        layers = layer_devices(self.n_layers, self.host, settings)
        cpu_rate = rates.cpu_flops * self.threads
        seconds = 0.0
        for device, start, stop in spans(layers[:-1]):
            work = (self.flops[stop] - self.flops[start]) * u
            if device == cpu:
                seconds += work / cpu_rate
                continue
            gpu = self.host.gpus[device]
            seconds += work / _flops(gpu, rates)
            middle = min(max(start, settings.n_cpu_moe), stop)
            moved = self.experts[middle] - self.experts[start]
            if moved:
                # llama.cpp copies a large batch's CPU weights to the GPU; a small one is done on the CPU.
                routed = (self.flops[middle] - self.flops[start]) * u * 0.9
                seconds += min(moved / float(gpu.link or LINK), routed / cpu_rate)
        missing = missing_bytes(memory[-1])
        if missing > 0:
            seconds += min(missing * 2.0, memory[-1].mapped) / float(
                self.host.disk_bandwidth or DISK_BANDWIDTH
            )
        return u / seconds if seconds > 0 else 0.0


def missing_bytes(cpu: DeviceMemory) -> int:
    """File pages that RAM has no room for."""
    return max(0, cpu.total - cpu.budget)


def _routed(rates: Rates, routed: bool) -> float:
    return rates.routed if routed else 1.0


def _bandwidth(gpu: Gpu) -> float:
    return float(gpu.bandwidth or GPU_BANDWIDTH)


def _flops(gpu: Gpu, rates: Rates) -> float:
    # Cards without a figure: tensor cores do about 100 operations per byte of bandwidth.
    return float(gpu.flops or 100 * _bandwidth(gpu)) * rates.gpu_flops


def speed_of(traffic: Traffic, settings: Settings, memory: tuple[DeviceMemory, ...], kv: KvLayout) -> Speed:
    """The bands that a plan shows; no band's upper end is above what the bandwidths allow."""
    costs, rates = traffic.costs(settings, memory, kv), traffic.rates
    expected = 1.0 / costs.total
    most = 1.0 / costs.bound if costs.bound > 0 else expected * rates.high
    expected = min(expected, most)
    generation = Band(expected * rates.low, expected, min(expected * rates.high, most))
    p = traffic.prompt(settings, memory)
    spent = (costs.vram, costs.ram, costs.disk, costs.fixed)
    bound_by = _TIERS[spent.index(max(spent))]
    return Speed(generation, Band(p * 0.5, p, p * 1.6), bound_by, rates.calibrated)
