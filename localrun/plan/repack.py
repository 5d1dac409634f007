"""Which CPU weights the engine copies into another layout, anonymous memory even where files are mapped.

Decided by the instruction sets that the engine was built for and that the machine has
(llama.cpp: ggml-cpu/repack.cpp, ggml-cpu/amx).
"""

from __future__ import annotations

from localrun.hardware.facts import Host
from localrun.model.facts import Tensor

#: What the embedded engine's wheels are built for.
EMBEDDED = {"x86_64": frozenset(("avx2",)), "arm64": frozenset(("neon", "dotprod"))}
#: Types by instruction set, for matrices whose number of rows 8 divides, or 4.
_BY_EIGHT = {
    "avx2": {"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"},
    "avx512f": {"Q2_K"},
    "i8mm": {"Q4_K", "Q5_K", "Q6_K"},
    "dotprod": {"Q4_K", "Q5_K", "Q6_K"},
}
_BY_FOUR = {"i8mm": {"Q4_0", "Q8_0"}, "dotprod": {"Q4_0", "Q8_0", "IQ4_NL", "MXFP4"}}
#: AMX tiles: (elements that must divide a row, block, bytes of a packed block).
_TILES = {
    "Q4_0": (32, 32, 18), "Q4_1": (32, 32, 20), "Q8_0": (32, 32, 38), "Q4_K": (256, 256, 148),
    "Q5_K": (256, 256, 180), "Q6_K": (256, 256, 210), "IQ4_XS": (256, 256, 138), "F16": (16, 1, 2),
}  # fmt: skip


def instructions(host: Host, build: frozenset[str] | None) -> frozenset[str]:
    """What both the engine's build and the machine have; `build` None = the embedded wheels."""
    built = EMBEDDED.get(host.arch, frozenset()) if build is None else build
    return built & frozenset(host.cpu.features) if host.cpu.features else built


def repackable(tensor: Tensor, sets: frozenset[str]) -> bool:
    """For a weight of two or three dimensions that lies on the CPU and is multiplied."""
    if _tiled(tensor, sets):
        return True
    # 3-d weights repack only where experts are routed to (MUL_MAT_ID).
    if len(tensor.dims) == 3 and "_exps." not in tensor.name:
        return False
    rows = tensor.dims[1]
    by_eight = rows % 8 == 0 and any(tensor.type in _BY_EIGHT.get(name, ()) for name in sets)
    return by_eight or (rows % 4 == 0 and any(tensor.type in _BY_FOUR.get(name, ()) for name in sets))


def packed_bytes(tensor: Tensor, sets: frozenset[str]) -> int:
    """Bytes of a repacked weight: as stored, but for AMX, whose tiles carry sums of their own."""
    if not _tiled(tensor, sets):
        return tensor.bytes
    _, block, size = _TILES[tensor.type]
    n = 1
    for dim in tensor.dims:
        n *= dim
    return n // block * size


def _tiled(tensor: Tensor, sets: frozenset[str]) -> bool:
    if "amx_int8" not in sets or len(tensor.dims) != 2 or tensor.type not in _TILES:
        return False
    return tensor.dims[0] % _TILES[tensor.type][0] == 0 and tensor.dims[1] % 32 == 0
