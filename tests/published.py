"""Single-stream generation that people measured and published, with the machines they had."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from localrun.hardware.facts import Cpu, Host, Ram
from localrun.hardware.profiles import profile
from localrun.model.catalog import load_catalog
from localrun.model.facts import Model
from localrun.model.sized import model_for
from localrun.plan.choose import choose
from localrun.plan.rates import DEFAULT
from localrun.plan.speed import Traffic, speed_of
from localrun.plan.values import Speed, Wanted
from localrun.units import GIB

#: Tokens held while such figures are taken: a short question and its answer.
HELD = 300


@dataclass(frozen=True, slots=True)
class Published:
    what: str
    model: str  # of the catalogue
    quant: str
    host: Host
    rate: float  # tokens per second
    size: int = 0  # bytes of all files where they were not those of the catalogue
    outside: str = ""  # why no such machine's plan would foretell it


def _cpu(name: str, cores: int, ram: int, bandwidth: float, disk: float = 3.5e9) -> Host:
    """A machine without a GPU. `ram` in GiB, `bandwidth` what its channels sustain."""
    base = profile("cpu-server")
    return replace(
        base,
        name=name,
        cpu=Cpu(name, cores, cores, 2 * cores, ("avx2", "f16c", "fma")),
        ram=Ram(ram * GIB, (ram - 3) * GIB, int(bandwidth), "given"),
        disk_free=2000 * GIB,
        disk_bandwidth=int(disk),
    )


def _strix_halo() -> Host:
    """With as much of its RAM given to the GPU as Linux lets it take."""
    base = profile("strix-halo")
    return replace(base, gpus=tuple(replace(g, vram_total=120 * GIB, vram_free=118 * GIB) for g in base.gpus))


def _with_cpu(gpu: str, cpu: Host) -> Host:
    return replace(cpu, gpus=profile(gpu).gpus)


RUNS: tuple[Published, ...] = (
    Published("R1, M3 Ultra 512 GB", "deepseek-r1", "Q4_K_M", profile("m3-ultra-512gb"), 20.2),
    Published("Llama 3.1 70B, M3 Ultra", "llama-3.1-70b", "Q4_K_M", profile("m3-ultra-512gb"), 14.1),
    Published("Scout, Strix Halo 128 GB", "llama-4-scout", "UD-Q4_K_XL", _strix_halo(), 21.0),
    Published("Scout, Strix Halo 128 GB", "llama-4-scout", "Q6_K", _strix_halo(), 16.0),
    Published("Scout, Strix Halo 128 GB", "llama-4-scout", "Q8_0", _strix_halo(), 12.6),
    Published("Llama 3.1 8B, RTX 3080", "llama-3.1-8b", "Q4_K_M", profile("rtx-3080"), 112.0),
    Published(
        "Llama 3.1 70B, 7900X and RTX 4090",
        "llama-3.1-70b",
        "Q4_K_M",
        _with_cpu("rtx-4090", _cpu("AMD Ryzen 9 7900X", 12, 64, 65e9)),
        3.1,
    ),
    Published(
        "R1 130 GB, i7-14700 and RTX 4090, ik_llama",
        "deepseek-v3.1",
        "UD-IQ1_S",
        _with_cpu("rtx-4090", _cpu("Intel Core i7-14700", 14, 192, 65e9)),  # 8 fast cores, 12 that count half
        7.0,
        size=131 * 10**9,
    ),
    Published(
        "V3/R1, EPYC 9005 with 12 channels",
        "deepseek-r1",
        "Q8_0",
        _cpu("AMD EPYC 9005", 32, 768, 430e9),
        7.2,
    ),
    Published(
        "V3/R1, 2x Xeon 6454S",
        "deepseek-r1",
        "Q4_K_M",
        _cpu("Intel Xeon 6454S", 32, 768, 230e9),
        4.5,
        outside="two sockets, and a build of early 2025 that kept the whole attention uncompressed",
    ),
    Published(
        "R1 212 GB, 96 GB RAM, from NVMe",
        "deepseek-v3.1",
        "UD-Q2_K_XL",
        _cpu("AMD Ryzen 9 9950X", 16, 96, 70e9, disk=11e9),
        2.0,
        size=212 * 10**9,
    ),
    Published(
        "V3.2 Q8_0, RTX PRO 6000 and EPYC 9374F",
        "deepseek-v3.2",
        "Q8_0",
        _with_cpu("rtx-pro-6000", _cpu("AMD EPYC 9374F", 32, 1152, 345e9)),
        10.9,
    ),
)


@lru_cache
def foretold(run: Published) -> Speed:
    """What a plan for that machine says, with the default rates."""
    model = model_for(load_catalog().entry(run.model), run.quant)
    model = _resized(model, run.size) if run.size else model
    found = choose(model, run.host, Wanted(ctx_size=4096, cache_ram=0), DEFAULT).found
    traffic = Traffic.of(model, run.host, found.settings, DEFAULT)
    return speed_of(traffic, found.settings, found.memory, found.kv, HELD)


def _resized(model: Model, size: int) -> Model:
    """The same with smaller experts: earlier dynamic quants of the same tensors."""
    experts = sum(t.bytes for t in model.tensors if "_exps." in t.name)
    share = 1 - (model.weights_bytes - size) / experts
    tensors = tuple(
        replace(t, bytes=int(t.bytes * share)) if "_exps." in t.name else t for t in model.tensors
    )
    return replace(model, tensors=tensors, weights_bytes=sum(t.bytes for t in tensors))
