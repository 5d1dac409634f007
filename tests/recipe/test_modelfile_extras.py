"""What the catalogue adds to a Modelfile, and where Ollama can pull a quantization from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localrun.model.catalog import load_catalog
from localrun.model.sized import model_for
from localrun.recipe.modelfile import parse
from localrun.recipe.modelfile_extras import extras_for, tag_for
from localrun.recipe.modelfile_params import parameters
from localrun.recipe.modelfile_plan import modelfile_for
from tests.recipe.modelfile_values import plan

CATALOG = load_catalog()


@pytest.mark.parametrize("name", CATALOG.names)
def test_every_entry_of_the_catalogue_makes_a_modelfile_that_parses(name):
    entry = CATALOG.entry(name)
    of = replace(plan(), model=replace(plan().model, name=name, architecture=entry.architecture))
    text = modelfile_for(of, extras_for(entry, of.model)).text
    values = parameters(parse(text).commands)
    for key, value in entry.sampling:
        assert values[key] == value


def test_a_v3_2_file_gets_the_renderer_without_which_ollama_would_speak_chatml():
    entry = CATALOG.entry("deepseek-v3.2")
    export = modelfile_for(plan(), extras_for(entry, model_for(entry, "Q4_K_M")))
    got = parse(export.text).pairs()
    assert ("renderer", "deepseek3.1") in got
    assert ("parser", "deepseek3") in got
    assert any("DSML" in line for line in export.lost)


def test_a_model_whose_file_carries_its_template_gets_none():
    entry = CATALOG.entry("llama-4-scout")
    assert extras_for(entry, model_for(entry, "Q4_K_M")).renderer == ""


@pytest.mark.parametrize(
    ("name", "quant", "tag"),
    [
        ("llama-4-scout", "Q4_K_M", "llama4:scout"),
        ("llama-3.1-8b", "Q4_K_M", "llama3.1:8b"),
        ("llama-3.1-8b", "Q8_0", "hf.co/bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q8_0"),
        ("deepseek-v3.2", "UD-TQ1_0", "hf.co/unsloth/DeepSeek-V3.2-GGUF:UD-TQ1_0"),
        ("deepseek-v3.2", "Q4_K_M", ""),
        ("deepseek-v3.1", "UD-Q2_K_XL", ""),
        ("llama-4-scout", "UD-Q4_K_XL", ""),
    ],
)
def test_ollama_is_sent_only_where_it_finds_that_quant_in_one_file(name, quant, tag):
    entry = CATALOG.entry(name)
    assert tag_for(entry, model_for(entry, quant)) == tag
