"""The linter: errors are what Ollama refuses, warnings what it takes and then gets wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localrun.recipe.modelfile import ModelfileError, parse
from localrun.recipe.modelfile_check import check
from localrun.recipe.modelfile_params import parameters, version
from tests.recipe.modelfile_values import CARD, plan


def texts(source, severity="warning", **kw):
    return [f.text for f in check(source, **kw) if f.severity == severity]


def test_a_valid_file_with_everything_ordinary_has_no_finding():
    source = (
        "FROM llama3.1:8b\nPARAMETER num_ctx 8192\nPARAMETER temperature 0.6\nPARAMETER stop <|eot|>\n"
        'SYSTEM """You are brief.\nAlways."""\nTEMPLATE """{{ .System }}{{ .Prompt }}"""\n'
        "RENDERER deepseek3.1\nPARSER deepseek3\nLICENSE MIT\nMESSAGE user hi\nREQUIRES 0.30\n"
    )
    assert check(source, exists=lambda _: False, plan=plan(), server=(0, 33, 0)) == ()


def test_a_parse_error_is_the_only_finding_and_has_its_place():
    (f,) = check('FROM x\nSYSTEM "open')
    assert (f.severity, f.line, f.column) == ("error", 2, 8)
    assert "closes" in f.text
    assert f.fix


def test_every_bad_value_is_reported_not_the_first_alone():
    source = "FROM x\nPARAMETER num_ctx 8k\nPARAMETER NUM_GPU 1\nREQUIRES soon\nPARAMETER top_p inf\n"
    found = [(f.line, f.column, f.text) for f in check(source) if f.severity == "error"]
    assert found == [
        (2, 1, "invalid int value [8k]"),
        (3, 1, "unknown parameter 'NUM_GPU'"),
        (4, 1, "requires must be a valid semver (e.g. 0.14.0)"),
        (5, 1, "top_p inf: JSON has no such number, so it never reaches a server"),
    ]
    assert "num_gpu" in next(f.fix for f in check(source) if f.line == 3)


@pytest.mark.parametrize("good", ["0.14.0", "v1", "1.2", "0.33.0-rc2", "1.0.0-a.b+c"])
def test_requires_takes_what_go_takes_for_a_version(good):
    assert check(f"FROM x\nREQUIRES {good}\n") == ()


@pytest.mark.parametrize("bad", ["", "1.02.0", "1.2-rc1", "latest", "1.2.3.4", "01"])
def test_requires_refuses_what_go_refuses(bad):
    assert texts(f"FROM x\nREQUIRES {bad}\n", "error")


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("FROM /no/such.gguf\n", "takes it for the name of a model"),
        ("FROM ./here.gguf\n", "takes it for the name of a model"),
        ("FROM x # hi\n", "no file and no possible name"),
        ("FROM deepseek-v3.2\n", "runs on Ollama's servers"),
        ("FROM gpt-oss:120b-cloud\n", "runs on Ollama's servers"),
        ("FROM x\nADAPTER /no/lora.gguf\n", "no such file: /no/lora.gguf"),
        ("FROM x\nPARAMETER f16_kv true\n", "ignores f16_kv"),
        ("FROM x\nPARAMETER license y\n", "read as the command"),
        ("FROM x\nPARAMETER seed 1\nPARAMETER seed 2\n", "set again on line 3"),
        ("FROM x\nSYSTEM a\nSYSTEM b\n", "set again on line 3"),
        ("FROM x\nSYSTEM be brief # really\n", "no inline comments"),
        ("FROM x\nPARAMETER stop a\\nb\n", "no escapes"),
        ("FROM x\nSYSTEM 'hi'\n", "single quotes are part"),
        ("FROM x\nSYSTEM a\u200bb\n", "drops U+200B"),
        ("FROM x\nTEMPLATE {% for m in messages %}\n", "Jinja"),
        ("FROM x\nTEMPLATE {{ .Prompt\n", "do not pair up"),
        ("FROM x\nTEMPLATE hello\n", "never shows the user's words"),
        ("FROM x\nRENDERER deepseek3.2\n", "no renderer 'deepseek3.2'"),
        ("FROM x\nPARSER llama4\n", "no parser 'llama4'"),
        ("FROM x\nPARAMETER main_gpu 1\n", "whole model on one GPU"),
        ("FROM x\nPARAMETER use_mmap true\n", "changes nothing"),
        ("FROM x\nREQUIRES 0.40\n", "server here is 0.33.0"),
    ],
)
def test_what_goes_wrong_later_is_a_warning(source, word):
    found = check(source, exists=lambda _: False, server=(0, 33, 0))
    assert [f.severity for f in found] == ["warning"]
    assert word in found[0].text


def test_a_folder_beside_the_file_shadows_the_model_of_that_name(tmp_path: Path):
    (tmp_path / "llama3").mkdir()
    found = texts("FROM llama3\n", directory=str(tmp_path), exists=lambda p: Path(p).exists())
    assert "beside the Modelfile" in found[0]


def test_a_path_is_looked_for_beside_the_modelfile(tmp_path: Path):
    (tmp_path / "m.gguf").touch()
    assert check("FROM ./m.gguf\n", directory=str(tmp_path), exists=lambda p: Path(p).exists()) == ()


@pytest.mark.parametrize(
    ("parameter", "word", "on"),
    [
        ("num_ctx 1000000", "above the 131072 tokens", plan()),
        ("num_ctx 131072", "needs", plan()),
        ("num_gpu 20", "there is no GPU", plan()),
        ("num_gpu 99", "49 layers", plan(gpus=(CARD,))),
        ("num_gpu 49", "experts on the CPU", plan(gpus=(CARD,), experts=16)),
        ("num_thread 64", "above the 8 cores", plan()),
        ("seed 1", "read from disk", plan(verdict="pages")),
    ],
)
def test_parameters_are_judged_against_the_model_and_the_machine(parameter, word, on):
    assert any(word in t for t in texts(f"FROM x\nPARAMETER {parameter}\n", plan=on))


@pytest.mark.parametrize("value", ['"write C # and F #"', '"""C #\nF #"""', "C#", '"a #b"'])
def test_a_hash_between_quotation_marks_or_in_a_word_is_meant(value):
    assert check(f"FROM x\nSYSTEM {value}\n") == ()


def test_findings_are_in_the_order_of_the_text_errors_first():
    source = "FROM x\nSYSTEM 'a'\nPARAMETER low_vram 1\nPARAMETER num_ctx x\n"
    assert [(f.severity, f.line) for f in check(source)] == [("error", 4), ("warning", 2), ("warning", 3)]


def test_the_place_of_a_dropped_character_is_its_own():
    (f,) = check("FROM x\r\nSYSTEM ab\u00a0c\r\n# \u00a0 in a comment is nothing\n")
    assert (f.line, f.column) == (2, 10)


PIECES = st.lists(
    st.sampled_from(
        ["FROM x", "PARAMETER num_ctx 8", "PARAMETER stop ", "SYSTEM ", "TEMPLATE {{", "MESSAGE user ", "REQUIRES 1",
         '"""', '"', "'", "#", "\n", "\r\n", " ", "\\n", "{%", "\u200b", "/x.gguf", "mirostat", "a" * 50, "-1", "nan"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(PIECES, PIECES.map(lambda t: "FROM y\n" + t), st.binary(max_size=80)))
def test_any_text_is_judged_and_an_error_means_that_ollama_refuses_it(source):
    found = check(source, exists=lambda _: False, plan=plan(gpus=(CARD,), experts=4), server=(0, 33, 0))
    assert all(f.line >= 1 and f.column >= 1 and f.text for f in found)
    try:
        modelfile = parse(source)
        parameters(modelfile.commands)
        refused = any(c.name == "requires" and version(c.args) is None for c in modelfile.commands)
    except ModelfileError:
        refused = True
    assert any(f.severity == "error" for f in found) == refused
