"""What the vendors say of each card: memory, bandwidth, dense half-precision operations.

Operations are multiply-adds counted twice, without sparsity, with sums in fp32: the rate of a prompt's
matrix products. A card measured on the spot always wins over this table.
"""

from __future__ import annotations

import re
from functools import lru_cache

from localrun.value import dataclass

_GIB = 1 << 30
_WORD = re.compile(r"[a-z]+[0-9]*[a-z]*|[0-9]+[a-z]*")
#: Words that make another card of the same number: never matched by a name without them.
_APART = ("laptop", "mobile", "maxq")


@dataclass(frozen=True, slots=True)
class Spec:
    name: str
    vram: int  # bytes as sold; 0 = comes in several sizes, shared with the CPU
    bandwidth: int  # bytes per second
    flops: int  # operations per second
    source: str


# Rows: name, GiB, GB/s, TFLOPS.
_Row = tuple[str, int, float, float]
_TABLE: tuple[tuple[str, tuple[_Row, ...]], ...] = (
    (
        "NVIDIA RTX Blackwell GPU architecture white paper and GeForce product pages",
        (
            ("RTX 5090", 32, 1792, 209.5),
            ("RTX 5080", 16, 960, 112.6),
            ("RTX 5070 Ti", 16, 896, 87.9),
            ("RTX 5070", 12, 672, 61.7),
            ("RTX 5060 Ti", 16, 448, 47.4),
            ("RTX 5060 Ti", 8, 448, 47.4),
            ("RTX 5060", 8, 448, 38.4),
            ("RTX 5090 Laptop", 24, 896, 114.0),
            ("RTX 5080 Laptop", 16, 896, 83.4),
        ),
    ),
    (
        "NVIDIA Ada GPU architecture white paper and GeForce product pages",
        (
            ("RTX 4090", 24, 1008, 165.2),
            ("RTX 4090 D", 24, 1008, 147.1),
            ("RTX 4080 SUPER", 16, 736, 104.4),
            ("RTX 4080", 16, 716.8, 97.5),
            ("RTX 4070 Ti SUPER", 16, 672, 88.2),
            ("RTX 4070 Ti", 12, 504, 80.2),
            ("RTX 4070 SUPER", 12, 504, 71.0),
            ("RTX 4070", 12, 504, 58.3),
            ("RTX 4060 Ti", 16, 288, 44.1),
            ("RTX 4060 Ti", 8, 288, 44.1),
            ("RTX 4060", 8, 272, 30.2),
            ("RTX 4090 Laptop", 16, 576, 85.8),
            ("RTX 4080 Laptop", 12, 432, 67.8),
            ("RTX 4070 Laptop", 8, 256, 40.1),
            ("RTX 4060 Laptop", 8, 256, 29.1),
        ),
    ),
    (
        "NVIDIA Ampere GA102 GPU architecture white paper and GeForce product pages",
        (
            ("RTX 3090 Ti", 24, 1008, 80.0),
            ("RTX 3090", 24, 936.2, 71.0),
            ("RTX 3080 Ti", 12, 912.4, 68.2),
            ("RTX 3080", 12, 912.4, 61.3),
            ("RTX 3080", 10, 760.3, 59.5),
            ("RTX 3070 Ti", 8, 608.3, 43.5),
            ("RTX 3070", 8, 448, 40.6),
            ("RTX 3060 Ti", 8, 448, 32.4),
            ("RTX 3060", 12, 360, 25.5),
            ("RTX 3060", 8, 240, 25.5),
            ("RTX 3050", 8, 224, 18.2),
        ),
    ),
    (
        "NVIDIA Turing GPU architecture white paper, T4 and V100 data sheets",
        (
            ("RTX 2080 Ti", 11, 616, 53.8),
            ("T4", 16, 320, 65.0),
            ("V100 SXM2", 32, 900, 125.0),
            ("V100 SXM2", 16, 900, 125.0),
            ("V100 PCIE", 16, 900, 112.0),
        ),
    ),
    (
        "NVIDIA data sheets of the RTX workstation cards",
        (
            ("RTX PRO 6000 Blackwell Workstation", 96, 1792, 503.8),
            ("RTX PRO 6000 Blackwell Max-Q", 96, 1792, 438.9),
            ("RTX PRO 6000 Blackwell Server", 96, 1597, 503.8),
            ("RTX PRO 6000", 96, 1792, 503.8),
            ("RTX 6000 Ada", 48, 960, 364.2),
            ("RTX 5000 Ada", 32, 576, 261.1),
            ("RTX 4000 Ada", 20, 360, 106.9),
            ("RTX A6000", 48, 768, 154.8),
            ("RTX A5000", 24, 768, 111.1),
            ("RTX A4000", 16, 448, 76.7),
        ),
    ),
    (
        "NVIDIA data sheets of the data centre cards",
        (
            ("B200", 180, 8000, 2250.0),
            ("H200 NVL", 141, 4800, 835.5),
            ("H200", 141, 4800, 989.5),
            ("GH200 480GB", 96, 4000, 989.5),
            ("H100 NVL", 94, 3900, 835.5),
            ("H100 PCIe", 80, 2000, 756.5),
            ("H100 80GB HBM3", 80, 3350, 989.5),
            ("H100 SXM5", 80, 3350, 989.5),
            ("A100 SXM4 80GB", 80, 2039, 312.0),
            ("A100 80GB PCIe", 80, 1935, 312.0),
            ("A100 SXM4 40GB", 40, 1555, 312.0),
            ("A100 PCIE 40GB", 40, 1555, 312.0),
            ("L40S", 48, 864, 362.1),
            ("L40", 48, 864, 181.1),
            ("L4", 24, 300, 121.0),
            ("A40", 48, 696, 149.7),
            ("A30", 24, 933, 165.0),
            ("A10G", 24, 600, 70.0),
            ("A10", 24, 600, 125.0),
            ("GB10", 0, 273, 125.0),  # DGX Spark: 1 PFLOPS of sparse FP4, an eighth of it dense FP16
        ),
    ),
    (
        "AMD product pages and data sheets of Radeon and Instinct",
        (
            ("RX 9070 XT", 16, 640, 195.0),
            ("RX 9070", 16, 640, 145.0),
            ("RX 9060 XT", 16, 320, 103.0),
            ("RX 7900 XTX", 24, 960, 122.8),
            ("RX 7900 XT", 20, 800, 103.0),
            ("RX 7900 GRE", 16, 576, 92.0),
            ("RX 7800 XT", 16, 624, 74.6),
            ("RX 7700 XT", 12, 432, 70.3),
            ("RX 7600 XT", 16, 288, 45.1),
            ("RX 7600", 8, 288, 43.5),
            ("RX 6900 XT", 16, 512, 46.1),
            ("RX 6800 XT", 16, 512, 41.5),
            ("AI PRO R9700", 32, 640, 191.0),
            ("PRO W7900", 48, 864, 122.6),
            ("MI355X", 288, 8000, 2516.6),
            ("MI325X", 256, 6000, 1307.4),
            ("MI300X", 192, 5300, 1307.4),
            ("MI210", 64, 1638.4, 181.0),
            ("MI100", 32, 1228.8, 184.6),
            ("8060S", 0, 256, 59.4),  # Strix Halo: LPDDR5X-8000 at 256 bits; 40 units at 2.9 GHz
            ("8050S", 0, 256, 45.9),
            ("890M", 0, 120, 23.8),  # Strix Point with LPDDR5X-7500 at 128 bits
            ("780M", 0, 102.4, 16.6),  # Phoenix and Hawk Point with DDR5-6400 at 128 bits
        ),
    ),
    (
        "Intel Arc product pages: INT8 operations of the matrix engines, halved",
        (
            ("Arc A770", 16, 560, 131.0),
            ("Arc A770", 8, 512, 131.0),
            ("Arc A750", 8, 512, 114.5),
            ("Arc A380", 6, 186, 33.0),
            ("Arc B580", 12, 456, 116.5),
            ("Arc B570", 10, 380, 101.5),
            ("Arc Pro B60", 24, 456, 98.5),
            ("Arc Pro B50", 16, 224, 85.0),
        ),
    ),
)


def specs() -> tuple[Spec, ...]:
    return tuple(
        Spec(name, gib * _GIB, round(rate * 1e9), round(tflops * 1e12), source)
        for source, rows in _TABLE
        for name, gib, rate, tflops in rows
    )


@lru_cache(maxsize=64)
def find(name: str, vram: int = 0) -> Spec | None:
    """The table's entry for a card as its driver names it; of several sizes the nearest to `vram` bytes.

    The longest name wins: "NVIDIA GeForce RTX 4070 Ti SUPER" is no RTX 4070. None when it is not known.
    """
    words = _words(name)
    best: list[Spec] = []
    length = 0
    for spec in specs():
        own = _words(spec.name)
        if not _within(own, words) or any(word in words and word not in own for word in _APART):
            continue
        if len(own) > length:
            best, length = [], len(own)
        if len(own) == length:
            best.append(spec)
    return min(best, key=lambda spec: abs(spec.vram - vram), default=None)


def _words(name: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(name.lower().replace("max-q", "maxq")))


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))
