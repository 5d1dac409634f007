"""NVIDIA cards through NVML: the only importer of pynvml.

pynvml costs about 30 ms to import: callers ask `pci.nvml_loads` first whether a driver is here at all.
NVML counts by PCI bus and knows nothing of CUDA_VISIBLE_DEVICES: `cuda` decides what an engine sees.
Any call may fail on any card, so each is asked for itself and a failure is a missing figure or a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from localrun.hardware import cards
from localrun.hardware.facts import Gpu, Source
from localrun.hardware.system import process_name
from localrun.value import dataclass, replace

#: Bytes per second and lane, after line coding; PCI-SIG's transfer rates, generations 1 to 6.
_LANE = (0, 250_000_000, 500_000_000, 984_615_385, 1_969_230_769, 3_938_461_538, 7_563_000_000)


@dataclass(frozen=True, slots=True)
class Card:
    """One physical card, at its NVML index. `gpu` is None when it does not answer."""

    gpu: Gpu | None
    mig: bool = False  # split into instances: only these can be used
    instances: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a card. `vram` is None where the system hides it."""

    pid: int  # as the driver counts: outside any container
    name: str
    vram: int | None  # bytes


def read_cards() -> tuple[tuple[Card, ...], tuple[str, ...]]:
    """Every card of this machine, and what could not be read. Never raises for an odd driver."""
    try:
        with _session() as nvml:
            return _read_all(nvml)
    except _Failed as failure:
        return (), (str(failure),)


def holders(gpu: Gpu) -> tuple[Holder, ...]:
    """The processes that hold memory of `gpu`, largest first; empty when it cannot be told."""
    found: dict[int, Holder] = {}
    try:
        with _session() as nvml:
            handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
            for ask in (
                nvml.nvmlDeviceGetComputeRunningProcesses,
                nvml.nvmlDeviceGetGraphicsRunningProcesses,
            ):
                for process in _ask(nvml, [], ask, handle):
                    name = process_name(process.pid)
                    found[process.pid] = Holder(process.pid, name, process.usedGpuMemory)
    except _Failed:
        return ()
    return tuple(sorted(found.values(), key=lambda holder: -(holder.vram or 0)))


def used_by(gpu: Gpu, pids: Iterable[int]) -> int | None:
    """Bytes of `gpu` that `pids` hold together; None when the driver does not tell (containers, WSL)."""
    wanted = set(pids)
    held = [holder.vram for holder in holders(gpu) if holder.pid in wanted and holder.vram is not None]
    return sum(held) if held else None


def refreshed(gpus: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """The same GPUs with the VRAM that is free now; unchanged where it cannot be read."""
    gpus = tuple(gpus)
    if not any(gpu.backend == "cuda" and gpu.uuid for gpu in gpus):
        return gpus
    fresh = []
    try:
        with _session() as nvml:
            for gpu in gpus:
                handle = _ask(nvml, None, nvml.nvmlDeviceGetHandleByUUID, gpu.uuid) if gpu.uuid else None
                memory = _memory(nvml, handle) if handle is not None else None
                fresh.append(replace(gpu, vram_free=memory.free) if memory and memory.total else gpu)
    except _Failed:
        return gpus
    return tuple(fresh)


class _Failed(Exception):
    """NVML as a whole does not answer; the text is the note."""


@contextmanager
def _session() -> Iterator[Any]:
    try:
        import pynvml
    except ImportError:
        raise _Failed("an NVIDIA driver is here, but the package nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _Failed(_init_note(pynvml, error)) from None
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise _Failed(f"NVIDIA driver: {error}") from None
    finally:
        _ask(pynvml, None, pynvml.nvmlShutdown)


def _init_note(nvml: Any, error: Exception) -> str:
    code = getattr(error, "value", None)
    if code == nvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "NVIDIA: the driver's kernel module is not loaded; `sudo modprobe nvidia` says why"
    if code == nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "NVIDIA: the driver was updated while its old kernel module still runs; reboot"
    if code == nvml.NVML_ERROR_NO_PERMISSION:
        return "NVIDIA: no permission to use the driver; the devices /dev/nvidia* must be readable"
    return f"NVIDIA: the driver does not start: {error}"


def _read_all(nvml: Any) -> tuple[tuple[Card, ...], tuple[str, ...]]:
    driver = _ask(nvml, "", nvml.nvmlSystemGetDriverVersion)
    found: list[Card] = []
    notes: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            gpu, note = _read_gpu(nvml, handle, index, driver)
        except nvml.NVMLError as error:
            notes.append(f"NVIDIA GPU {index} does not answer: {error}")
            found.append(Card(None))
            continue
        if note:
            notes.append(f"NVIDIA GPU {index}: {note}")
        mig = bool(_ask(nvml, [0, 0], nvml.nvmlDeviceGetMigMode, handle)[0])
        found.append(Card(gpu, mig, _read_instances(nvml, handle, gpu, driver) if mig else ()))
    return tuple(found), tuple(notes)


def _read_gpu(nvml: Any, handle: Any, index: int, driver: str) -> tuple[Gpu, str]:
    name = nvml.nvmlDeviceGetName(handle)
    memory = _memory(nvml, handle)
    note = ""
    if memory is None:
        raise nvml.NVMLError(nvml.NVML_ERROR_UNKNOWN)
    if memory.version == 1:
        note = "memory is read by NVML's old call, which counts what the driver reserves as used"
    spec = cards.find(name, memory.total)
    bandwidth, source = _bandwidth(nvml, handle, spec)
    gpu = Gpu(
        name=name,
        backend="cuda",
        index=index,
        vram_total=memory.total,
        vram_free=memory.free,
        bandwidth=bandwidth,
        bandwidth_source=source,
        flops=spec.flops if spec else 0,
        unified=memory.total == 0,
        uuid=_ask(nvml, "", nvml.nvmlDeviceGetUUID, handle),
        driver=driver,
        link=_link(nvml, handle),
    )
    return gpu, note


@dataclass(frozen=True, slots=True)
class _Memory:
    total: int  # bytes that programs can have: without what the driver reserves, as CUDA counts
    free: int
    version: int  # of the NVML call: 2 tells the reserved part, 1 hides it in "used"


def _memory(nvml: Any, handle: Any) -> _Memory | None:
    """None when the card gives no figures; zeros when it has no memory of its own (GB10, Jetson)."""
    try:
        v2 = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        return _Memory(v2.total - min(v2.reserved, v2.total), min(v2.free, v2.total), 2)
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_SUPPORTED:
            return _Memory(0, 0, 2)
        if error.value not in (nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH):
            return None
    v1 = _ask(nvml, None, nvml.nvmlDeviceGetMemoryInfo, handle)  # drivers before 510
    return None if v1 is None else _Memory(v1.total, min(v1.free, v1.total), 1)


def _bandwidth(nvml: Any, handle: Any, spec: cards.Spec | None) -> tuple[int, Source]:
    """Twice the memory clock (two transfers a cycle, as NVML counts cycles) times the bus width."""
    clock = _ask(nvml, 0, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM)  # MHz
    width = _ask(nvml, 0, nvml.nvmlDeviceGetMemoryBusWidth, handle)  # bits
    if clock > 0 and width > 0:
        return 2 * clock * 1_000_000 * width // 8, "computed"
    return (spec.bandwidth, "estimated") if spec else (0, "estimated")


def _link(nvml: Any, handle: Any) -> int:
    # The current generation falls when the card idles, so the greatest is taken; the width does not.
    generation = _ask(nvml, 0, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle)
    width = _ask(nvml, 0, nvml.nvmlDeviceGetCurrPcieLinkWidth, handle)
    width = width or _ask(nvml, 0, nvml.nvmlDeviceGetMaxPcieLinkWidth, handle)
    return _LANE[min(generation, len(_LANE) - 1)] * width if generation > 0 else 0


def _read_instances(nvml: Any, handle: Any, whole: Gpu, driver: str) -> tuple[Gpu, ...]:
    """The MIG instances of a card, each with its share of bandwidth and operations."""
    found: list[Gpu] = []
    for i in range(_ask(nvml, 0, nvml.nvmlDeviceGetMaxMigDeviceCount, handle)):
        instance = _ask(nvml, None, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i)
        memory = _memory(nvml, instance) if instance is not None else None
        if memory is None:
            continue  # NOT_FOUND: the numbering has holes
        share = memory.total / whole.vram_total if whole.vram_total else 0.0
        slices = getattr(_ask(nvml, None, nvml.nvmlDeviceGetAttributes, instance), "gpuInstanceSliceCount", 0)
        found.append(
            Gpu(
                name=_ask(nvml, f"{whole.name} MIG", nvml.nvmlDeviceGetName, instance),
                backend="cuda",
                index=whole.index,
                vram_total=memory.total,
                vram_free=memory.free,
                bandwidth=int(whole.bandwidth * min(1.0, share)),
                bandwidth_source="estimated",
                flops=whole.flops * min(slices, 7) // 7,  # a card has seven compute slices
                uuid=_ask(nvml, "", nvml.nvmlDeviceGetUUID, instance),
                driver=driver,
                link=whole.link,
            )
        )
    return tuple(found)


def _ask(nvml: Any, default: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's answer, or `default` when this card or driver has none."""
    try:
        return call(*arguments)
    except (nvml.NVMLError, UnicodeDecodeError):
        return default
