"""Every catalogue entry, held against its own shape, llama.cpp's rules and the published figures."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from localrun.errors import ModelError, UsageError
from localrun.model import catalog as module
from localrun.model.catalog import Catalog, catalog_of, invented, load_catalog, plain, sources
from localrun.model.entry import Entry
from localrun.model.quants import is_standard, sized_types
from localrun.model.sized import base_quant, model_by_rules, model_for, quants_of, repo_of
from localrun.model.tensor_facts import active_of, parameters_of
from localrun.model.tensors import parameters, tensor_list

CATALOG: Catalog = load_catalog()
ENTRIES = {name: CATALOG.entry(name) for name in CATALOG.names}
TEXT = Path(module.__file__).with_name("catalog.toml").read_text(encoding="utf-8")
TABLES: list[dict[str, Any]] = tomllib.loads(TEXT)["model"]
PAIRS = [(name, quant) for name, entry in ENTRIES.items() for quant in quants_of(entry)]


def test_the_models_that_people_want_are_there() -> None:
    assert set(CATALOG.names) >= {
        "deepseek-v3.2",
        "deepseek-v3.2-exp",
        "deepseek-v3.2-speciale",
        "deepseek-v3.1",
        "deepseek-r1",
        "llama-4-scout",
        "llama-4-maverick",
        "llama-3.1-8b",
        "llama-3.1-70b",
        "llama-3.1-405b",
        "mistral-small-3.2",
        "mistral-large-3",
        "smollm2",
    }


def test_the_quick_look_up_finds_what_a_full_parse_finds() -> None:
    """It reads two lines of each entry and no TOML; this is what keeps them on one line each."""
    assert [t["name"] for t in TABLES] == list(CATALOG.names)
    for table in TABLES:
        for name in (table["name"], *table["aliases"]):
            found = CATALOG.find(name)
            assert found is not None
            assert found.name == table["name"], name
    assert len(CATALOG.by_name) == len({plain(n) for t in TABLES for n in (t["name"], *t["aliases"])})


def tags(text: str) -> set[str]:
    return {tag.strip() for tag in text.split(",")}


def test_every_figure_names_a_source_that_is_explained() -> None:
    known = set(sources(CATALOG))
    used: set[str] = set()
    for table in TABLES:
        parts = [
            table[k]
            for k in ("license", "sampling", "template", "ollama", "shape", "parameters")
            if k in table
        ]
        parts += table.get("repo", [])
        parts += [f for r in table.get("repo", []) for f in r["files"] if "source" in f]
        parts += [r["shape"] for r in table.get("repo", []) if "shape" in r]
        for part in parts:
            assert tags(part["source"]) <= known, (table["name"], part)
            used |= tags(part["source"])
    assert used == known, "sources that nothing names"


@pytest.mark.parametrize("name", ENTRIES)
def test_parameters_are_those_of_the_tensors(name: str) -> None:
    entry = ENTRIES[name]
    named = tensor_list(
        entry.architecture,
        entry.shape,
        tied=entry.tied,
        rope_freqs=entry.rope_freqs,
        gate_bias=entry.gate_bias,
    )
    assert parameters(named) == entry.parameters
    tensors = model_by_rules(entry, "Q8_0").tensors
    assert parameters_of(tensors) == entry.parameters
    assert active_of(entry.shape, tensors) == entry.parameters_active


@pytest.mark.parametrize(("name", "quant"), PAIRS)
def test_a_published_size_is_plausible(name: str, quant: str) -> None:
    """Standard quants: within 1 % of the rules. Dynamic ones: between what their name's bits allow."""
    entry = ENTRIES[name]
    model = model_for(entry, quant)
    found = repo_of(entry, quant)
    assert model.weights_bytes == sum(t.bytes for t in model.tensors)
    assert all(t.bytes > 0 for t in model.tensors)
    if found is None or not found[1].bytes:
        assert model.size_source == "rules"
        return
    published = found[1].bytes
    assert sum(f.bytes for f in model.files) == published
    if is_standard(quant):
        assert abs(model.weights_bytes - published) < 0.01 * published + entry.shape.n_vocab * 64
    else:
        assert model.size_source == "published"
        assert model.weights_bytes == published
        floor = sum(size for *_, size in sized_types(found[0].architecture, found[0].shape, "IQ1_S"))
        bits = 8 * published / entry.parameters
        assert floor < published
        assert bits < {"1": 2.9, "2": 3.4, "3": 4.2, "4": 5.1}[base_quant(quant).strip("IQ")[0]]


def test_the_two_headline_models_have_the_known_sizes() -> None:
    assert model_for(ENTRIES["deepseek-v3.2"], "Q4_K_M").weights_bytes == 404_967_883_776
    assert model_for(ENTRIES["llama-4-scout"], "q4_k_m").weights_bytes == 65_346_798_336


def test_a_dynamic_quant_says_that_its_spread_is_estimated() -> None:
    model = model_for(ENTRIES["deepseek-v3.2"], "UD-Q2_K_XL")
    assert model.size_source == "published"
    assert model.architecture == "deepseek2"
    assert model.shape.indexer_heads == 0
    assert any("estimate" in note for note in model.notes)
    experts = sum(t.bytes for t in model.tensors if "_exps." in t.name)
    assert 0.9 < experts / model.weights_bytes < 0.98


def test_a_published_size_that_the_rules_do_not_explain_wins_over_them() -> None:
    model = model_for(ENTRIES["mistral-large-3"], "Q4_K_M")
    assert model.size_source == "published"
    assert model.weights_bytes == 406_900_000_000


def test_metas_first_405b_stores_sixteen_key_heads() -> None:
    """That explains the published 245.7 GB, which eight heads do not."""
    entry = ENTRIES["llama-3.1-405b"]
    assert entry.shape.n_head_kv[0] == 8
    model = model_for(entry, "Q4_K_M")
    assert model.shape.n_head_kv[0] == 16
    assert model.size_source == "rules"
    assert round(model.weights_bytes / 1e9, 1) == 245.7


def test_shards_are_named_one_by_one() -> None:
    files = model_for(ENTRIES["deepseek-v3.2"], "UD-IQ1_S").files
    assert [f.name for f in files] == [
        f"UD-IQ1_S/DeepSeek-V3.2-UD-IQ1_S-{i:05}-of-00004.gguf" for i in (1, 2, 3, 4)
    ]
    assert sum(f.bytes for f in files) == 173_000_000_000


def test_a_quant_that_nobody_publishes_is_made_by_rule_and_says_so() -> None:
    model = model_for(ENTRIES["deepseek-v3.2-speciale"], "Q4_K_M")
    assert model.size_source == "rules"
    assert any("llama-quantize" in note for note in model.notes)


def test_a_quant_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ModelError, match="not published as UD-Q9_K_XL") as e:
        model_for(ENTRIES["llama-4-scout"], "UD-Q9_K_XL")
    assert "UD-Q2_K_XL" in e.value.hint


def test_an_entry_like_another_shares_its_shape_and_not_its_files() -> None:
    exp, v32 = ENTRIES["deepseek-v3.2-exp"], ENTRIES["deepseek-v3.2"]
    assert exp.shape == v32.shape
    assert exp.repos == ()
    assert exp.title != v32.title


def test_what_ollama_has_is_a_tag_or_a_reason() -> None:
    for entry in ENTRIES.values():
        assert entry.ollama.tag or entry.ollama.note
    assert "cloud only" in ENTRIES["deepseek-v3.2"].ollama.note
    assert ENTRIES["llama-4-scout"].ollama.tag == "llama4:scout"


def test_licences_are_as_published() -> None:
    assert ENTRIES["deepseek-v3.2"].license.id == "MIT"
    assert ENTRIES["mistral-large-3"].license.id == "Apache-2.0"
    assert "EU" in ENTRIES["llama-4-scout"].license.note


def test_invented_names_point_at_real_ones() -> None:
    for made_up in invented(CATALOG):
        for name in made_up.names:
            assert CATALOG.find(name) is None, name
            with pytest.raises(UsageError) as e:
                CATALOG.entry(name)
            assert made_up.says in str(e.value)
        assert all(instead in CATALOG.names for instead in made_up.instead)


def test_an_alias_of_two_models_is_refused() -> None:
    entry = '\n[[model]]\nname = "a"\naliases = ["x"]\n'
    with pytest.raises(ValueError, match="x names two models"):
        catalog_of(entry + entry.replace('"a"', '"b"'))


def fields(entry: Entry) -> list[str]:
    return [entry.title, entry.publisher, entry.vocab_pre, entry.license.id, entry.template.note]


@pytest.mark.parametrize("name", ENTRIES)
def test_no_entry_is_left_half_filled(name: str) -> None:
    entry = ENTRIES[name]
    assert all(fields(entry))
    assert entry.sampling
    assert 0 <= dict(entry.sampling)["temperature"] <= 2
    assert entry.publisher.count("/") == 1
    for repo in entry.repos:
        assert repo.name.count("/") == 1
        for file in repo.files:
            assert file.path.endswith(".gguf") or not file.path
            assert not file.path or file.shards


def test_the_recipes_example_is_an_entry() -> None:
    """docs/adding-a-model.md: what it shows can be pasted, and its figures are true."""
    recipe = Path(__file__).parents[2] / "docs" / "adding-a-model.md"
    example = recipe.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    entry = catalog_of("\n" + example).entry("mymodel:7b")
    named = tensor_list(entry.architecture, entry.shape)
    assert parameters(named) == entry.parameters
    model = model_for(entry, "Q4_K_M")
    assert active_of(entry.shape, model.tensors) == entry.parameters_active
    assert model.size_source == "rules"
    assert round(model.weights_bytes / 1e9, 2) == 4.37


def test_the_built_in_defaults_own_file_is_what_the_rules_say(default_model: Path) -> None:
    """The real SmolLM2: its header against the entry and the rules, tensor by tensor."""
    from localrun.model.header import read_model

    entry = ENTRIES["smollm2"]
    real, ruled = read_model(default_model), model_for(entry, "Q4_1")
    assert real.shape == ruled.shape == entry.shape
    assert {t.name: (t.type, t.dims, t.bytes) for t in real.tensors} == {
        t.name: (t.type, t.dims, t.bytes) for t in ruled.tensors
    }
    assert (real.quant, real.parameters, real.vocab_pre) == (ruled.quant, ruled.parameters, ruled.vocab_pre)
    assert real.license.lower() == entry.license.id.lower()
    assert real.files[0].bytes == ruled.files[0].bytes
