"""The committed Modelfiles are what the planner says now, and each is what Ollama takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from localrun.recipe.modelfile import ModelfileError, parse
from localrun.recipe.modelfile_check import check
from localrun.recipe.modelfile_params import parameters

FOLDER = Path(__file__).parents[2] / "modelfiles"
COMMITTED = {str(p.relative_to(FOLDER)): p.read_text("utf-8") for p in sorted(FOLDER.glob("*/*.Modelfile"))}


@pytest.fixture(scope="module")
def wanted():
    spec = importlib.util.spec_from_file_location("generate_modelfiles", FOLDER / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate()


def test_the_committed_files_are_those_that_the_planner_makes(wanted):
    """After a change to the planner: python modelfiles/generate.py"""
    assert sorted(COMMITTED) == sorted(wanted)
    stale = [name for name, text in wanted.items() if COMMITTED[name] != text]
    assert not stale, f"{len(stale)} are stale; run: python modelfiles/generate.py"


@pytest.mark.parametrize("name", COMMITTED)
def test_each_file_is_accepted_or_says_that_nothing_fits(name):
    text = COMMITTED[name]
    if "does not fit" in text.splitlines()[0]:
        with pytest.raises(ModelfileError, match="no FROM line"):
            parse(text)
        assert "What would help" in text
        return
    assert check(text) == ()
    assert parameters(parse(text).commands)["num_ctx"] >= 1024
    assert "Speed to expect" in text
