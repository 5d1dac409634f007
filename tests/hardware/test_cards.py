"""The table of cards, and how a driver's name finds its row."""

from __future__ import annotations

import pytest

from localrun.hardware import cards

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "vram", "expected"),
    [
        ("NVIDIA GeForce RTX 4090", 24, "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 D", 24, "RTX 4090 D"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16, "RTX 4090 Laptop"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 16, "RTX 4070 Ti SUPER"),
        ("NVIDIA GeForce RTX 4070 SUPER", 12, "RTX 4070 SUPER"),
        ("NVIDIA A100-SXM4-40GB", 40, "A100 SXM4 40GB"),
        ("NVIDIA A100-SXM4-80GB", 80, "A100 SXM4 80GB"),
        ("NVIDIA A100 80GB PCIe", 80, "A100 80GB PCIe"),
        ("NVIDIA H100 80GB HBM3", 80, "H100 80GB HBM3"),
        ("NVIDIA H100 PCIe", 80, "H100 PCIe"),
        ("NVIDIA H100 NVL", 94, "H100 NVL"),
        ("NVIDIA H200 NVL", 141, "H200 NVL"),
        ("NVIDIA L4", 24, "L4"),
        ("NVIDIA L40S", 48, "L40S"),
        ("Tesla T4", 15, "T4"),
        ("NVIDIA RTX 6000 Ada Generation", 48, "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96, "RTX PRO 6000 Blackwell Server"),
        (
            "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
            96,
            "RTX PRO 6000 Blackwell Max-Q",
        ),
        ("AMD Radeon RX 7900 XTX", 24, "RX 7900 XTX"),
        ("AMD Radeon 8060S Graphics", 96, "8060S"),
        ("Intel Arc B580 Graphics", 12, "Arc B580"),
    ],
)
def test_the_longest_name_wins(name: str, vram: int, expected: str) -> None:
    spec = cards.find(name, vram * GIB)
    assert spec is not None
    assert spec.name == expected


@pytest.mark.parametrize(
    "name",
    ["", "NVIDIA GeForce RTX 3070 Laptop GPU", "Quadro RTX 6000", "NVIDIA GeForce GTX 1060", "llvmpipe"],
)
def test_an_unknown_card_has_no_row(name: str) -> None:
    assert cards.find(name, 8 * GIB) is None


def test_of_several_sizes_the_nearest_is_taken() -> None:
    small, large = (cards.find("NVIDIA GeForce RTX 3060", gib * GIB) for gib in (8, 12))
    assert small is not None
    assert large is not None
    assert (small.bandwidth, large.bandwidth) == (240_000_000_000, 360_000_000_000)


def test_every_row_is_plausible_and_says_where_it_is_from() -> None:
    for spec in cards.specs():
        assert spec.source
        assert spec.vram == 0 or 6 * GIB <= spec.vram <= 288 * GIB, spec
        assert 100e9 <= spec.bandwidth <= 8000e9, spec
        assert 5e12 <= spec.flops <= 3000e12, spec
        # Of each byte read 20 to 600 operations: outside, a digit slipped.
        assert 20 <= spec.flops / spec.bandwidth <= 600, spec


def test_every_row_finds_itself() -> None:
    for spec in cards.specs():
        assert cards.find(spec.name, spec.vram) == spec
