"""Which device holds which tensor, as llama.cpp places them, and the bytes that makes.

`place` walks the tensors; `Weights` adds them up once, so that a planner can ask for thousands of
placements. Both give the same bytes. Follows `llama_model::load_tensors`, `create_tensor` and the
buffer types' `get_alloc_size`.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import accumulate

from localrun.errors import UsageError
from localrun.hardware.facts import Gpu, Host
from localrun.model.facts import Model, Tensor
from localrun.plan.repack import instructions, packed_bytes, repackable
from localrun.plan.values import Settings
from localrun.value import dataclass, replace

#: What `-ncmoe N` matches in the first N blocks (common.h: LLM_FFN_EXPS_REGEX).
_EXPERTS = re.compile(r"blk\.(\d+)\.ffn_(up|down|gate|gate_up)_(ch|)exps")
_PLAIN_TYPES = frozenset(("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"))
#: Weight types that no kernel of a backend multiplies: they stay on the CPU.
_CPU_ONLY = {"cuda": frozenset(("TQ1_0", "TQ2_0")), "rocm": frozenset(("TQ1_0", "TQ2_0"))}
_BUFFER = {"cuda": "CUDA", "rocm": "ROCm", "sycl": "SYCL", "vulkan": "Vulkan", "metal": "MTL"}
ALIGN = {"cuda": 128, "rocm": 128, "sycl": 128, "vulkan": 64, "metal": 32}
ROW_PADDING = {"cuda": 512, "rocm": 512, "sycl": 512}
CPU_ALIGN = 32


@dataclass(frozen=True, slots=True)
class Placement:
    """Bytes of weights by device: the GPUs in order, then the CPU."""

    devices: tuple[str, ...]  # buffer names: "CUDA0", ..., "CPU"
    weights: tuple[int, ...]  # padded as the device's buffer pads them
    repacked: int  # the part of the CPU's that is copied into anonymous RAM even under mmap
    layers: tuple[int, ...]  # device index by block, then the output head's
    copied: int = 0  # the largest CPU weight that a large batch copies through the first GPU


def device_names(gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """llama.cpp's buffer names, the CPU last."""
    return (*(f"{_BUFFER[gpu.backend]}{gpu.index}" for gpu in gpus), "CPU")


def layer_devices(n_layers: int, host: Host, settings: Settings) -> tuple[int, ...]:
    """Device index by block, then of the head. Layers fill from the end: -ngl 1 is the head alone."""
    cpu = len(host.gpus)
    if len(settings.tensor_split) > cpu:
        raise UsageError(f"-ts names {len(settings.tensor_split)} GPUs, this machine has {cpu}")
    n = settings.n_gpu_layers if settings.n_gpu_layers >= 0 else n_layers + 1
    on_gpu = min(n, n_layers + 1) if cpu else 0
    first = (cpu,) * (n_layers + 1 - on_gpu)
    if cpu == 1:
        return first + (0,) * on_gpu
    return first + _spread(on_gpu, _shares(host, settings))


@lru_cache(maxsize=1024)
def _spread(on_gpu: int, shares: tuple[float, ...]) -> tuple[int, ...]:
    """Layers over several GPUs, in single precision as llama.cpp does it: the last bit decides a layer."""
    ends = [_f32(end) for end in accumulate(shares, lambda a, b: _f32(a + b))]
    ends = [_f32(end / ends[-1]) for end in ends] if ends and ends[-1] else [1.0] * len(shares)
    places = (_f32(il / on_gpu) for il in range(on_gpu))
    return tuple(min(bisect_right(ends, place), len(shares) - 1) for place in places)


def _shares(host: Host, settings: Settings) -> tuple[float, ...]:
    split = settings.tensor_split
    if any(share < 0 for share in split):
        raise UsageError("-ts: a share must not be negative")
    shares = [*split, *[0.0] * (len(host.gpus) - len(split))]
    if not any(shares):
        shares = [float(gpu.vram_free) for gpu in host.gpus]
    return tuple(_f32(share) for share in shares)


def _f32(x: float) -> float:
    return float(struct.unpack("f", struct.pack("f", x))[0])


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides a tensor's device besides its block: overrides, the CPU's buffers, the GPU's padding."""

    devices: tuple[str, ...]
    overrides: tuple[tuple[re.Pattern[str], int], ...]
    backend: str  # of the GPUs, "" without any
    repack: frozenset[str]  # instruction sets that repack CPU weights; empty: no repacking
    n_trunk: int  # blocks that are loaded: next-token ones are skipped
    architecture: str

    @classmethod
    def of(cls, model: Model, host: Host, settings: Settings, build: frozenset[str] | None = None) -> Rules:
        """`build`: instruction sets of the engine's build, None = those of the embedded wheels."""
        devices = device_names(host.gpus)
        backend = host.gpus[0].backend if host.gpus else ""
        # With a GPU that offers pinned host buffers llama.cpp never reaches the repacking ones.
        repacks = settings.repack and backend in ("", "metal")
        return cls(
            devices,
            parse_overrides(settings.override_tensor, devices),
            backend,
            instructions(host, build) if repacks else frozenset(),
            # --spec-type draft-mtp loads the next-token blocks too.
            model.shape.n_layers - (0 if settings.spec_type else model.shape.n_nextn),
            model.architecture,
        )

    def loads(self, tensor: Tensor, il: int) -> bool:
        """Next-token blocks are skipped, but for a slip in deepseek32 that loads their gate's bias."""
        if il < self.n_trunk:
            return True
        return self.architecture == "deepseek32" and tensor.name.endswith("exp_probs_b.bias")

    def override(self, name: str) -> int | None:
        return next((device for pattern, device in self.overrides if pattern.search(name)), None)

    def gpu_takes(self, tensor: Tensor) -> bool:
        return tensor.type not in _CPU_ONLY.get(self.backend, ())

    def gpu_bytes(self, tensor: Tensor) -> int:
        size, padding = tensor.bytes, ROW_PADDING.get(self.backend, 1)
        short = -tensor.dims[0] % padding
        if short and tensor.type not in _PLAIN_TYPES:
            # `short` is a multiple of the block, so this is exact.
            size += tensor.bytes * short // _elements(tensor.dims)
        return _pad(size, ALIGN.get(self.backend, CPU_ALIGN))

    def cpu_bytes(self, tensor: Tensor) -> int:
        size = packed_bytes(tensor, self.repack) if self.repacks(tensor) else tensor.bytes
        return _pad(size, CPU_ALIGN)

    def shared(self, model: Model, tensor: Tensor, group: Group) -> bool:
        """A tied head on the CPU is the embedding itself, unless repacking gives it a buffer of its own."""
        return group is Group.HEAD and tensor not in model.tensors and not self.repacks(tensor)

    def copies(self, tensor: Tensor) -> int:
        """Bytes on the GPU of a CPU weight that large batches multiply there, 0 if they do not."""
        if not self.backend or len(tensor.dims) < 2 or not self.gpu_takes(tensor):
            return 0
        # The embedding is looked up; the head multiplies a few rows only.
        return 0 if tensor.name.startswith(("token_embd", "output")) else self.gpu_bytes(tensor)

    def repacks(self, tensor: Tensor) -> bool:
        """Whether a weight on the CPU is copied into a CPU_REPACK buffer."""
        if not self.repack or tensor.name.startswith("token_embd") or len(tensor.dims) < 2:
            return False
        return repackable(tensor, self.repack)


def _elements(dims: tuple[int, ...]) -> int:
    n = 1
    for dim in dims:
        n *= dim
    return n


def _pad(n: int, to: int) -> int:
    return -(-n // to) * to


def parse_overrides(
    overrides: Sequence[str], devices: tuple[str, ...]
) -> tuple[tuple[re.Pattern[str], int], ...]:
    """`regex=BUFFER` texts, the first match wins. Raises UsageError for a bad one."""
    parsed = []
    for text in overrides:
        pattern, equals, buffer = text.partition("=")
        if not equals or buffer not in devices:
            raise UsageError(f"-ot {text}: not REGEX=BUFFER", "buffers here: " + ", ".join(devices))
        if "," in text:
            raise UsageError(f"-ot {text}: llama.cpp reads a comma as the end of the pattern")
        try:
            parsed.append((re.compile(pattern, re.ASCII), devices.index(buffer)))
        except re.error as error:
            raise UsageError(f"-ot {text}: {error}") from None
    return tuple(parsed)


def block_of(name: str) -> int:
    """The number of a tensor's block, -1 outside of blocks."""
    if not name.startswith("blk."):
        return -1
    number = name[4:].partition(".")[0]
    return int(number) if number.isdigit() else -1


class Group(IntEnum):
    """How a tensor finds its device."""

    BLOCK = 0  # with its block
    EXPERT = 1  # with its block, or on the CPU by -ncmoe
    HEAD = 2
    CPU = 3  # always there: the embedding
    COPIES = 4  # one copy on every device that holds a block: rope_freqs
    PINNED = 5  # by -ot


#: tensor, block, group, pinned device
Classified = tuple[Tensor, int, Group, int]


def classify(model: Model, rules: Rules) -> Iterator[Classified]:
    """Every tensor that the engine loads, copies included."""
    tied = not any(tensor.name == "output.weight" for tensor in model.tensors)
    for tensor in model.tensors:
        il, group = group_of(tensor.name)
        if il >= rules.n_trunk and not rules.loads(tensor, il):
            continue
        pinned = rules.override(tensor.name) if rules.overrides else None
        if pinned is not None:
            yield tensor, il, Group.PINNED, pinned
            continue
        yield tensor, il, group, -1
        if tied and tensor.name == "token_embd.weight":
            yield replace(tensor, name="output.weight"), il, Group.HEAD, -1


@lru_cache(maxsize=16384)
def group_of(name: str) -> tuple[int, Group]:
    """A tensor's block, -1 outside of blocks, and how it finds its device when nothing overrides that.

    Kept by name: the quants of a model share their tensors' names, and a search looks at all of them.
    """
    il = block_of(name)
    if il >= 0:
        return il, Group.EXPERT if _EXPERTS.search(name) else Group.BLOCK
    if name.startswith("token_embd"):
        return il, Group.CPU
    return il, Group.COPIES if name.startswith("rope_") else Group.HEAD


def place(model: Model, host: Host, settings: Settings, build: frozenset[str] | None = None) -> Placement:
    """Tensor by tensor. Raises UsageError for overrides or shares that make no sense here."""
    rules = Rules.of(model, host, settings, build)
    layers = layer_devices(model.shape.n_layers, host, settings)
    cpu = len(rules.devices) - 1
    weights, repacked, copied = [0] * len(rules.devices), 0, 0
    for tensor, il, group, pinned in classify(model, rules):
        if group is Group.PINNED:
            devices = [pinned]
        elif group is Group.CPU or (group is Group.EXPERT and il < settings.n_cpu_moe):
            devices = [cpu]
        elif group is Group.COPIES:
            devices = sorted(set(layers[: rules.n_trunk]))
        else:
            devices = [layers[il if il >= 0 else -1]]
        for device in devices:
            if device != cpu and (group is Group.PINNED or rules.gpu_takes(tensor)):
                weights[device] += rules.gpu_bytes(tensor)
            elif not rules.shared(model, tensor, group):
                weights[cpu] += rules.cpu_bytes(tensor)
                repacked += rules.cpu_bytes(tensor) if rules.repacks(tensor) else 0
                copied = max(copied, rules.copies(tensor))
    return Placement(rules.devices, tuple(weights), repacked, layers, copied)


def mapped_span(model: Model, host: Host, settings: Settings) -> int:
    """Address space of the mapped CPU buffer: per file from the first to the last byte that lies there.

    This is what the engine's log calls `CPU_Mapped model buffer size`; GPU tensors in between count
    here and in no memory, so budgets use `Placement.weights`.
    """
    if not settings.mmap:
        return 0
    rules = Rules.of(model, host, settings)
    layers = layer_devices(model.shape.n_layers, host, settings)
    cpu = len(rules.devices) - 1
    ends: dict[int, tuple[int, int]] = {}
    for tensor, il, group, pinned in classify(model, rules):
        device = pinned if group is Group.PINNED else cpu
        if group in (Group.BLOCK, Group.EXPERT, Group.HEAD):
            device = layers[il if il >= 0 else -1]
        if group is Group.EXPERT and il < settings.n_cpu_moe:
            device = cpu
        if device != cpu and (group is Group.PINNED or rules.gpu_takes(tensor)):
            continue
        if not rules.repacks(tensor):
            first, last = ends.get(tensor.shard, (tensor.offset, 0))
            ends[tensor.shard] = min(first, tensor.offset), max(last, tensor.offset + tensor.bytes)
    return sum(last - first for first, last in ends.values())
