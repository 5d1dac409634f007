"""Machines with NVIDIA cards, made up: a compiled libnvidia-ml.so.1 and the environment that finds it.

    env = fake_nvml(Driver(gpus=(rtx_4090(), rtx_3060(fail={"*": GPU_IS_LOST}))), tmp_path)
    subprocess.run([sys.executable, "-m", "localrun", "hardware"], env=env)

The real pynvml in that process loads the fake as it would a driver. Write the machine again with
`write_spec` and the next nvmlInit sees the change.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml.c")
FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-O1"]
MIB = 1 << 20

#: Codes of nvml.h.
NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
GPU_IS_LOST = 15
VERSION_MISMATCH = 18
UNKNOWN = 999


@dataclass(frozen=True)
class Process:
    pid: int
    vram: int | None = None  # bytes; None = the driver does not tell (WSL)
    graphics: bool = False


@dataclass(frozen=True)
class Device:
    """One card, or a MIG instance of one. `fail`: function name, or "*", -> the code it answers with."""

    name: str
    uuid: str
    total: int  # bytes
    reserved: int = 0
    used: int = 0
    clock: int = 0  # MHz of the memory; 0 = not supported
    width: int = 0  # bits of the bus
    pcie: tuple[int, int] = (0, 0)  # generation, lanes
    capability: tuple[int, int] = (8, 9)
    mig: bool = False
    instances: tuple[Device, ...] = ()
    slices: int = 0
    processes: tuple[Process, ...] = ()
    fail: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Driver:
    gpus: tuple[Device, ...] = ()
    version: str = "570.86.15"
    init: int = 0  # what nvmlInit answers
    fail: Mapping[str, int] = field(default_factory=dict)


def rtx_4090(**changes: object) -> Device:
    card = Device(
        "NVIDIA GeForce RTX 4090",
        "GPU-4090aaaa-0000-1111-2222-333344445555",
        total=24564 * MIB,
        reserved=347 * MIB,
        used=600 * MIB,
        clock=10501,
        width=384,
        pcie=(4, 16),
    )
    return replace(card, **changes)  # type: ignore[arg-type]


def rtx_3060(**changes: object) -> Device:
    card = Device(
        "NVIDIA GeForce RTX 3060",
        "GPU-3060bbbb-0000-1111-2222-333344445555",
        total=12288 * MIB,
        reserved=245 * MIB,
        used=100 * MIB,
        clock=7501,
        width=192,
        pcie=(4, 8),
        capability=(8, 6),
    )
    return replace(card, **changes)  # type: ignore[arg-type]


def a100_mig(**changes: object) -> Device:
    """An A100 40 GB cut into a 3g.20gb and a 2g.10gb instance."""
    card = Device(
        "NVIDIA A100-SXM4-40GB",
        "GPU-a100cccc-0000-1111-2222-333344445555",
        total=40960 * MIB,
        reserved=553 * MIB,
        clock=1215,
        width=5120,
        pcie=(4, 16),
        capability=(8, 0),
        mig=True,
        instances=(
            _instance("3g.20gb", "MIG-aaaa1111-0000-5555-6666-777788889999", 19968, 3),
            _instance("2g.10gb", "MIG-bbbb2222-0000-5555-6666-777788889999", 9856, 2),
        ),
    )
    return replace(card, **changes)  # type: ignore[arg-type]


def fake_nvml(driver: Driver, directory: Path, *, old: bool = False) -> dict[str, str]:
    """The environment in which a new process finds this machine. `old`: a driver before version 510."""
    spec = directory / "nvml-machine.txt"
    write_spec(driver, spec)
    env = dict(os.environ)
    libraries = [str(build(old=old)), env.get("LD_LIBRARY_PATH", "")]
    env["LD_LIBRARY_PATH"] = ":".join(part for part in libraries if part)
    env["FAKE_NVML"] = str(spec)
    env.pop("CUDA_VISIBLE_DEVICES", None)
    env.pop("CUDA_DEVICE_ORDER", None)
    return env


def write_spec(driver: Driver, path: Path) -> None:
    lines = [f"driver {driver.version}"]
    if driver.init:
        lines.append(f"fail nvmlInit {driver.init}")
    lines += [f"fail {call} {code}" for call, code in driver.fail.items()]
    for gpu in driver.gpus:
        lines += ["gpu", *_device_lines(gpu)]
        for instance in gpu.instances:
            lines += ["instance", *_device_lines(instance)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def build(*, old: bool = False) -> Path:
    """The directory that holds the compiled library; built once for each version of its source."""
    key = hashlib.sha256(SOURCE.read_bytes() + bytes([old])).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"localrun-fake-nvml-{os.getuid()}-{key}"
    library = directory / "libnvidia-ml.so.1"
    if library.exists():
        return directory
    directory.mkdir(mode=0o700, exist_ok=True)
    partial = directory / f"partial-{os.getpid()}"
    define = ["-DOLD_DRIVER"] if old else []
    subprocess.run(["gcc", *FLAGS, *define, "-shared", "-fPIC", "-o", partial, SOURCE], check=True)
    partial.replace(library)
    return directory


def _instance(profile: str, uuid: str, mib: int, slices: int) -> Device:
    name = f"NVIDIA A100-SXM4-40GB MIG {profile}"
    return Device(name, uuid, total=mib * MIB, slices=slices, capability=(8, 0))


def _device_lines(device: Device) -> list[str]:
    return [
        f"name {device.name}",
        f"uuid {device.uuid}",
        f"memory {device.total} {device.reserved} {device.used}",
        f"clock {device.clock} {device.width}",
        f"pcie {device.pcie[0]} {device.pcie[1]}",
        f"capability {device.capability[0]} {device.capability[1]}",
        f"slices {device.slices}",
        *(["mig"] if device.mig else []),
        *(f"process {p.pid} {_kind(p)} {'' if p.vram is None else p.vram}" for p in device.processes),
        *(f"fail {call} {code}" for call, code in device.fail.items()),
    ]


def _kind(process: Process) -> str:
    return "graphics" if process.graphics else "compute"
