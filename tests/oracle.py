"""llama.cpp's own account of memory for sparse models: what the plan's figures must equal.

GPUs are those of tests/fakes/fake_gpu.c; sparse files live in one folder per run of the tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from localrun.engine.dryrun import dry_runs
from localrun.hardware.facts import Cpu, Gpu, Host, Ram
from localrun.model.facts import Model
from localrun.plan.values import Settings
from tests.fakes.gpu import build, fake_gpus
from tests.sparse import TypeOf, mixed_types, write_sparse

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Account:
    """Bytes that the engine would allocate on one device; pinned and repacked buffers are RAM."""

    weights: int = 0
    kv: int = 0
    compute: int = 0
    repacked: int = 0


def accounts(model: Model, cases: Sequence[Settings], gpus: Sequence[int] = ()) -> list[dict[str, Account]]:
    """The engine's accounts of `model` for every case, by device, with GPUs of so many bytes."""
    backends = [str(_backend())] if gpus else []
    with fake_gpus(gpus):
        runs = dry_runs(model.files[0].name, cases, backends=backends)
    found = []
    for run in runs:
        devices: dict[str, Account] = {}
        for row in run:
            name = row.device if row.device.startswith("CUDA") and row.device != "CUDA_Host" else "CPU"
            known = devices.get(name, Account())
            devices[name] = Account(
                known.weights + row.model,
                known.kv + row.context,
                known.compute + row.compute,
                known.repacked + (row.model if row.device == "CPU_REPACK" else 0),
            )
        found.append(devices)
    return found


def sparse_model(which: str, types: TypeOf | str = mixed_types) -> Model:
    """The model of tests/shapes.py as a sparse file, written once per run."""
    return _sparse(which, types)


@cache
def _sparse(which: str, types: TypeOf | str) -> Model:
    name = types if isinstance(types, str) else types.__name__
    return write_sparse(_folder() / f"{which}-{name}.gguf", which, types)


@cache
def _folder() -> Path:
    import atexit
    import shutil

    folder = Path(mkdtemp(prefix="localrun-sparse-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _backend() -> Path:
    library = build(_folder())
    if library is None:
        pytest.skip("no C compiler to build the fake GPU with")
    return library


def host(gpus: Sequence[int] = (), ram: int = 64 * GIB) -> Host:
    """A machine with these free bytes of VRAM, as the engine's dry run is made to see it."""
    return Host(
        name="oracle",
        system="linux",
        arch="x86_64",
        cpu=Cpu("any", 8, 16, 16, ("avx2",)),
        ram=Ram(ram, ram - 2 * GIB),
        gpus=tuple(Gpu("fake", "cuda", i, n, n) for i, n in enumerate(gpus)),
        simulated=True,
    )


def product(**axes: Sequence[object]) -> list[Settings]:
    """Settings of every combination of the axes."""
    names = list(axes)
    return [
        Settings(**dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
        for values in itertools.product(*axes.values())
    ]
