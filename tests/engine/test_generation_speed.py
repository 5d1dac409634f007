"""The planner's word held to the engine's: generation within 20 %, foretold before anything ran.

Two short runs and the RAM kernel calibrate, as a first `localrun up` would; what other models reach is
then foretold and measured. One thread, and its own CPU time instead of the clock: a neighbour on the other
core cannot stretch that threefold, as it does the clock's (docs/speed.md has both).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.speed import enough_tokens, foretold, measured_run, plan_on_one_thread, this_machine
from localrun.model.facts import Model
from localrun.model.header import read_model
from localrun.plan.calibrate import calibrate
from localrun.plan.rates import Rates
from tests.engine_speed import measure
from tests.random_models import CASES, write_random

BY_NAME = {case.name: case for case in CASES}
CALIBRATES = "llama Q8_0"
FORETOLD = ("llama F16", "llama Q4_K_M", "mixtral Q4_0", "deepseek2 Q5_K", "llama4 Q3_K")
WITHIN = 0.20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speed")


@pytest.fixture(scope="module")
def rates(folder: Path, default_model: Path) -> Rates:
    runs = [
        measured_run(read_model(default_model), default_model, folder / "log"),
        measured_run(*written(folder, CALIBRATES), folder / "log"),
    ]
    return calibrate(runs, this_machine().ram.bandwidth)


def written(folder: Path, name: str) -> tuple[Model, Path]:
    """One file, written over by the next case: the disk never holds two."""
    path = folder / "random.gguf"
    write_random(path, BY_NAME[name].named, BY_NAME[name].types)
    return read_model(path), path


def within(model: Model, path: Path, rates: Rates, log: Path) -> None:
    plan = plan_on_one_thread(model)
    tokens = enough_tokens(plan)
    told = foretold(plan, rates, held=8 + tokens // 2).generation
    found = measure(path, plan.settings, log, tokens=tokens, prompt=0).generation
    assert told.expected == pytest.approx(found, rel=WITHIN), f"{told} foretold, {found:.1f} measured"


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("name", FORETOLD)
def test_random_models_generate_as_foretold(name: str, rates: Rates, folder: Path) -> None:
    within(*written(folder, name), rates, folder / "log")


@pytest.mark.slow
@pytest.mark.engine
def test_the_default_model_generates_as_foretold(default_model: Path, rates: Rates, folder: Path) -> None:
    within(read_model(default_model), default_model, rates, folder / "log")
