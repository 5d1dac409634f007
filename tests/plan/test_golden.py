"""Plans for a dozen machines and models, committed as text that a person can judge.

`LOCALRUN_GOLDEN=write python -m pytest tests/plan/test_golden.py` writes them anew; read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localrun.commands.offers import offers_of
from localrun.hardware.profiles import profile
from localrun.hardware.sizes import override
from localrun.model.catalog import load_catalog
from localrun.plan.planner import make_plan
from localrun.plan.values import Wanted
from localrun.show.plan_text import plan_lines
from localrun.show.text import Style
from localrun.units import GIB

FOLDER = Path(__file__).parent.parent / "golden" / "plans"
CASES = (
    ("deepseek-v3.2", "rtx-4090", 64),
    ("deepseek-v3.2", "rtx-4090", 256),
    ("deepseek-v3.2", "2x rtx-4090", 512),
    ("deepseek-v3.2", "m3-ultra-512gb", None),
    ("deepseek-v3.1", "rtx-pro-6000", 512),
    ("llama-4-scout", "rtx-3060", 64),
    ("llama-4-scout", "rtx-4090", 128),
    ("llama-4-scout", "strix-halo", None),
    ("llama-4-maverick", "h100", None),
    ("llama-3.1-70b", "rtx-4090", 64),
    ("llama-3.1-70b", "m3-max-36gb", None),
    ("llama-3.1-8b", "cpu", None),
    ("mistral-small-3.2", "rtx-4080", 32),
    ("smollm2", "cpu", None),
)


@pytest.mark.parametrize(("model", "machine", "ram"), CASES)
def test_the_plan_is_the_one_that_was_judged(model: str, machine: str, ram: int | None) -> None:
    host = override(profile(machine), None, ram * GIB, None) if ram else profile(machine)
    plan = make_plan(offers_of(load_catalog().entry(model)), host, Wanted())
    text = "\n".join(plan_lines(plan, Style(False), explain=True)) + "\n"
    name = f"{model} on {machine}{f' {ram} GiB' if ram else ''}.txt".replace(" ", "-")
    path = FOLDER / name
    if os.environ.get("LOCALRUN_GOLDEN") == "write":
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} differs; judge it, then write it anew"
