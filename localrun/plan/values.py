"""A plan as a value: what would run, where every byte goes, how fast, and why."""

from __future__ import annotations

from typing import Literal

from localrun.hardware.facts import Host
from localrun.model.facts import Model
from localrun.value import dataclass

Verdict = Literal["fits", "pages", "too-big"]
Goal = Literal["balanced", "speed", "context", "quality"]
FlashAttn = Literal["on", "off", "auto"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine is launched with, in llama.cpp's names."""

    ctx_size: int
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch_size: int = 2048
    ubatch_size: int = 512
    parallel: int = 1
    kv_unified: bool = False
    n_gpu_layers: int = 0
    n_cpu_moe: int = 0
    override_tensor: tuple[str, ...] = ()  # "regex=BUFFER"
    tensor_split: tuple[float, ...] = ()
    flash_attn: FlashAttn = "auto"
    mmap: bool = True
    repack: bool = True
    swa_full: bool = False
    threads: int = 1
    cache_ram: int = 0  # bytes of llama-server's prompt cache
    ctx_checkpoints: int = 0  # per slot; llama-server's own default is 32
    moe_cache: int = 0  # bytes of VRAM that keep hot experts, where the engine has it
    mmproj_offload: bool = True  # a vision projector computes on the first GPU
    n_gpu_layers_draft: int = 0  # of the drafting model
    spec_type: str = ""  # "draft-mtp": the model's own next-token blocks draft


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings that the user fixed; None = the planner chooses."""

    goal: Goal = "balanced"
    quant: str | None = None
    ctx_size: int | Literal["max"] | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    batch_size: int | None = None
    ubatch_size: int | None = None
    parallel: int | None = None
    n_gpu_layers: int | None = None
    n_cpu_moe: int | None = None
    override_tensor: tuple[str, ...] | None = None
    tensor_split: tuple[float, ...] | None = None
    flash_attn: FlashAttn | None = None
    threads: int | None = None
    cache_ram: int | None = None
    mmap: bool | None = None
    mmproj_offload: bool | None = None
    n_gpu_layers_draft: int | None = None
    spec_type: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes on one device, by component."""

    device: str  # "CUDA0", "CPU" ...
    weights: int
    kv: int
    compute: int
    overhead: int  # context of the driver, output buffer, prompt cache, the process itself
    total: int
    budget: int  # what the device can give now
    mapped: int = 0  # the part of weights that is file pages, which the system may drop and reread


@dataclass(frozen=True, slots=True)
class Companion:
    """What is loaded beside the model, bytes on one device; counted there under overhead."""

    what: str  # "mmproj", "draft", "draft-mtp"
    device: str
    weights: int
    kv: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute


@dataclass(frozen=True, slots=True)
class Kv:
    bytes: int
    cells: int
    bytes_per_token: int


@dataclass(frozen=True, slots=True)
class Band:
    """Tokens per second."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True)
class Speed:
    generation: Band
    prompt: Band
    bound_by: str  # "ram bandwidth", "vram bandwidth", "disk", "cpu cores", "launch overhead"
    calibrated: bool = False


@dataclass(frozen=True, slots=True)
class Alternative:
    change: str  # what to do, beginning with what to type
    verdict: Verdict
    generation: float  # tokens per second, 0 = unknown
    flags: tuple[str, ...] = ()  # to add to the command; they win over those before them
    without: tuple[str, ...] = ()  # flags of the command to leave out


@dataclass(frozen=True, slots=True)
class Plan:
    verdict: Verdict
    model: Model
    host: Host
    settings: Settings
    memory: tuple[DeviceMemory, ...]  # GPUs in order, then "CPU"
    kv: Kv
    speed: Speed
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()
    fixes: tuple[str, ...] = ()  # priced: "n-cpu-moe 37 to 35: +1.9 GiB VRAM, +1.1 tok/s"
    ladder: tuple[tuple[int, Verdict, float], ...] = ()  # context, verdict, tok/s
    companions: tuple[Companion, ...] = ()  # beside the model: a projector, a draft
