"""AMD GPUs through sysfs, as the amdgpu driver describes them (kernel: gpu/amdgpu/driver-misc)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from localrun.hardware import cards
from localrun.hardware.facts import Backend, Gpu
from localrun.hardware.pci import AMD, PciCard, read_number, read_text
from localrun.hardware.visible import visible
from localrun.value import replace

#: Device id, or device id and revision -> marketing name; what libdrm's amdgpu.ids says of them, for
#: machines that lack the file.
_NAMES: dict[tuple[int, int | None], str] = {
    (0x744C, 0xC8): "AMD Radeon RX 7900 XTX",
    (0x744C, 0xCC): "AMD Radeon RX 7900 XT",
    (0x744C, 0xCE): "AMD Radeon RX 7900 GRE",
    (0x747E, 0xC8): "AMD Radeon RX 7800 XT",
    (0x747E, 0xFF): "AMD Radeon RX 7700 XT",
    (0x7550, 0xC0): "AMD Radeon RX 9070 XT",
    (0x7550, 0xC3): "AMD Radeon RX 9070",
    (0x73BF, 0xC0): "AMD Radeon RX 6900 XT",
    (0x73BF, 0xC1): "AMD Radeon RX 6800 XT",
    (0x7448, None): "AMD Radeon PRO W7900",
    (0x7551, None): "AMD Radeon AI PRO R9700",
    (0x740F, None): "AMD Instinct MI210",
    (0x74A1, None): "AMD Instinct MI300X",
    (0x74A5, None): "AMD Instinct MI325X",
    (0x75A3, None): "AMD Instinct MI355X",
    (0x1586, 0xC2): "AMD Radeon 8050S Graphics",
    (0x1586, None): "AMD Radeon 8060S Graphics",
    (0x150E, None): "AMD Radeon 890M Graphics",
    (0x15BF, None): "AMD Radeon 780M Graphics",
    (0x1900, None): "AMD Radeon 780M Graphics",
}
#: Graphics inside a processor that are large enough to run a model: Strix Halo, Strix Point, Phoenix,
#: Hawk Point. They take RAM.
_APUS = frozenset({0x1586, 0x150E, 0x15BF, 0x1900})
#: And those that are not: two to eight small units that would only slow the CPU down.
_TOO_SMALL = frozenset(
    {0x164E, 0x13C0, 0x15C8, 0x1901, 0x1114, 0x1681, 0x164D, 0x1638, 0x1636, 0x163F, 0x1435}
    | {0x15D8, 0x15DD, 0x164C, 0x1506}
)


def read_amd(
    found: Sequence[PciCard], environ: Mapping[str, str], ram_available: int, root: str = "/"
) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The AMD GPUs that an engine will see, and what could not be read. `ram_available` in bytes."""
    gpus: list[Gpu] = []
    notes: list[str] = []
    backend = _backend(root)
    for card in found:
        if card.vendor != AMD or card.device in _TOO_SMALL:
            continue
        name = _name(card, root)
        gpu = _gpu(card, name, backend, ram_available)
        if gpu is None:
            notes.append(f"{name} (PCI {card.address}) gives no memory figures: no amdgpu driver for it")
        elif backend is None:
            notes.append(f"{name} cannot be used: neither /dev/kfd nor /dev/dri is here")
        else:
            gpus.append(gpu)
    chosen = _visible(gpus, environ, backend)
    return tuple(replace(gpu, index=i) for i, gpu in enumerate(chosen)), tuple(notes)


def _backend(root: str) -> Backend | None:
    if os.path.exists(os.path.join(root, "dev/kfd")):  # ROCm's compute device
        return "rocm"
    return "vulkan" if os.path.exists(os.path.join(root, "dev/dri")) else None


def _gpu(card: PciCard, name: str, backend: Backend | None, ram_available: int) -> Gpu | None:
    total = read_number(card.path, "mem_info_vram_total")
    used = read_number(card.path, "mem_info_vram_used")
    if not total or used is None:
        return None
    free = max(0, total - used)
    gtt = read_number(card.path, "mem_info_gtt_total") or 0
    # A large carve-out, set in the BIOS, is memory of its own that RAM's total no longer counts; beside
    # a small one the GPU maps RAM, up to the GTT's size, and takes it from programs.
    unified = card.device in _APUS and gtt > total
    if unified:
        gtt_free = max(0, gtt - (read_number(card.path, "mem_info_gtt_used") or 0))
        total += gtt
        free += min(gtt_free, ram_available)
    spec = cards.find(name, total)
    unique = read_text(card.path, "unique_id")
    return Gpu(
        name=name,
        backend=backend or "vulkan",
        index=0,
        vram_total=total,
        vram_free=free,
        bandwidth=spec.bandwidth if spec else 0,
        flops=spec.flops if spec else 0,
        unified=unified,
        uuid=f"GPU-{unique}" if unique else f"PCI-{card.address}",
        driver=_driver(card),
        link=0 if card.device in _APUS else _link(card),
    )


def _name(card: PciCard, root: str = "/") -> str:
    own = read_text(card.path, "product_name")  # Instinct and Radeon PRO only
    if own:
        return own
    wanted = [f"{card.device:04X}", f"{card.revision:02X}"]
    for line in read_text(os.path.join(root, "usr/share/libdrm"), "amdgpu.ids").splitlines():
        fields = [field.strip() for field in line.split(",", 2)]
        if [field.upper() for field in fields[:2]] == wanted and len(fields) == 3:
            return fields[2]
    known = _NAMES.get((card.device, card.revision)) or _NAMES.get((card.device, None))
    return known or f"AMD GPU {card.device:04x}"


def _driver(card: PciCard) -> str:
    version = read_text(os.path.join(card.path, "driver/module"), "version")
    return f"amdgpu {version}" if version else "amdgpu"


def _link(card: PciCard) -> int:
    """Bytes per second by the fastest speed of the slot: the current one falls when the card idles."""
    speed = re.match(r"([0-9]{1,3}(?:\.[0-9])?) GT/s", read_text(card.path, "max_link_speed"))
    width = read_number(card.path, "current_link_width") or read_number(card.path, "max_link_width") or 0
    if speed is None:
        return 0
    transfers = float(speed[1]) * 1e9
    coding = 0.8 if transfers < 8e9 else 128 / 130  # 8b/10b up to PCIe 2
    return int(transfers / 8 * coding) * width


def _visible(gpus: list[Gpu], environ: Mapping[str, str], backend: Backend | None) -> list[Gpu]:
    """ROCR filters what the runtime sees and HIP numbers the rest; HIP obeys CUDA's variable too."""
    names: tuple[tuple[str, ...], ...] = (("GGML_VK_VISIBLE_DEVICES",),)
    if backend == "rocm":
        names = (("ROCR_VISIBLE_DEVICES",), ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"))
    for group in names:
        value = next((environ[name] for name in group if name in environ), None)
        gpus = [gpus[i] for i in visible(value, [gpu.uuid for gpu in gpus])]
    return gpus
