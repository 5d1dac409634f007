"""The CUDA card of this machine, and part of its memory held by another process so that it meets a smaller one.

    python -m tests.gpu.card BYTES     holds so many bytes of the first visible card until its input ends

Holding goes through the driver's own library, which every machine with a CUDA card has.
"""

from __future__ import annotations

import contextlib
import ctypes as c
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from localrun.hardware.facts import Gpu, Host
from localrun.units import GIB, MIB

#: Allocated in pieces, so that fragments are used too.
_PIECE = 256 * MIB
#: How near a held card's free memory comes to what was asked for.
_NEAR = 64 * MIB
_TIMEOUT = 60.0  # seconds


class NoCard(Exception):
    """Why no CUDA card can be used here, in one line."""


def this_machine() -> Host:
    """As `localrun plan` sees it, with its first CUDA card alone and RAM's bandwidth measured."""
    from localrun.hardware.calibration import measure_ram
    from localrun.hardware.probe import detect

    host = detect()
    cards = [gpu for gpu in host.gpus if gpu.backend == "cuda"]
    if not cards:
        raise NoCard("; ".join(["no CUDA device", *(note for note in host.notes if "NVIDIA" in note)]))
    ram = replace(host.ram, bandwidth=measure_ram(host), bandwidth_source="measured")
    return replace(host, gpus=(cards[0],), ram=ram)


def now(gpu: Gpu) -> Gpu:
    """The card with the memory that is free at this moment, by NVML."""
    from localrun.hardware.nvml import refreshed

    return refreshed((gpu,))[0]


@contextlib.contextmanager
def held(gpu: Gpu, leave: int) -> Iterator[Gpu]:
    """The card while another process keeps all but `leave` bytes of it."""
    first = now(gpu)
    # The holder's own context takes some too: ask for less, then look, then ask for the rest.
    want = first.vram_free - leave - GIB // 2
    if want <= 0:
        raise NoCard(f"{first.name} has {first.vram_free // MIB} MiB free, less than {leave // MIB} MiB")
    process = _holder(want)
    try:
        short = now(gpu).vram_free - leave
        if short > _NEAR:
            _more(process, short)
        yield now(gpu)
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        process.wait(_TIMEOUT)


def _holder(size: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.gpu.card", str(size)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    _answer(process)
    return process


def _more(process: subprocess.Popen[str], size: int) -> None:
    assert process.stdin
    process.stdin.write(f"{size}\n")
    process.stdin.flush()
    _answer(process)


def _answer(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    line = process.stdout.readline().strip()
    if not line.startswith("held "):
        process.kill()
        process.communicate()
        raise NoCard(f"VRAM could not be held: {line or 'the holder ended'}")


class Driver:
    """A few calls of libcuda, on the first visible device."""

    def __init__(self) -> None:
        try:
            self.lib = c.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        except OSError as error:
            raise NoCard(f"no CUDA driver: {error}") from None
        device, self.context = c.c_int(), c.c_void_p()
        self._call("cuInit", c.c_uint(0))
        self._call("cuDeviceGet", c.byref(device), c.c_int(0))
        self._call("cuDevicePrimaryCtxRetain", c.byref(self.context), device)
        self._call("cuCtxSetCurrent", self.context)

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self.lib, name)(*arguments)
        if status:
            raise NoCard(f"{name} failed with CUDA error {status}")

    def allocate(self, size: int) -> int:
        """Bytes that were allocated, piece by piece, until `size` or the card's end."""
        done = 0
        while done < size:
            pointer, piece = c.c_uint64(), min(_PIECE, size - done)
            if self.lib.cuMemAlloc_v2(c.byref(pointer), c.c_size_t(piece)):
                break
            done += piece
        return done


def _hold(size: int) -> None:
    try:
        driver = Driver()
        print(f"held {driver.allocate(size)}", flush=True)
        for line in sys.stdin:
            print(f"held {driver.allocate(int(line))}", flush=True)
    except NoCard as why:
        print(why, flush=True)


def settled(gpu: Gpu, free: int) -> None:
    """Waits until the card has `free` bytes again: a driver takes a moment to clear up after a process."""
    deadline = time.monotonic() + _TIMEOUT
    while now(gpu).vram_free < free - _NEAR and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
