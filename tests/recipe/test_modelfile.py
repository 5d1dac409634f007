"""The grammar: every case was run through Ollama's own parser (v0.33.0-rc2), whose answers these are."""

from __future__ import annotations

import pytest

from localrun.recipe.modelfile import ModelfileError, parse
from localrun.recipe.modelfile_params import parameters

ACCEPTED = [
    ("FROM x # hi", [("model", "x # hi")]),
    ("from x", [("model", "x")]),
    ("\ufeffFROM x", [("model", "x")]),
    (b"\xef\xbb\xbfFROM x\n", [("model", "x")]),
    ("FROM x\n".encode("utf-16"), [("model", "x")]),
    (b"\xfe\xff" + "FROM x\n".encode("utf-16-be"), [("model", "x")]),
    ("FROM x\r\nSYSTEM a\r\n", [("model", "x"), ("system", "a")]),
    ("  \tFROM   /a path/with spaces.gguf  \n", [("model", "/a path/with spaces.gguf")]),
    ("# note\n\n#\nFROM x", [("model", "x")]),
    ("FROM x\nSYSTEM ", [("model", "x"), ("system", "")]),
    ("FROM x\nPARAMETER   num_ctx 1", [("model", "x"), ("", "num_ctx 1")]),
    ("FROM x\nPARAMETER num_ctx 8192 # c", [("model", "x"), ("num_ctx", "8192 # c")]),
    ("FROM x\nPARAMETER model y", [("model", "x"), ("model", "y")]),
    ('FROM x\nSYSTEM "a\nb"\n', [("model", "x"), ("system", "a\nb")]),
    ('FROM x\nSYSTEM """a\n  b\n"""', [("model", "x"), ("system", "a\n  b\n")]),
    ('FROM x\nSYSTEM """a""" b"""\n', [("model", "x"), ("system", 'a""" b')]),
    ('FROM x\nSYSTEM """a"""  \t\n', [("model", "x"), ("system", "a")]),
    ('FROM x\nSYSTEM """"""\n', [("model", "x"), ("system", "")]),
    ('FROM x\nSYSTEM """a""""\n', [("model", "x"), ("system", 'a"')]),
    ('FROM x\nSYSTEM ""\n', [("model", "x"), ("system", "")]),
    ('FROM x\nSYSTEM "\n""\n', [("model", "x"), ("system", '\n"')]),
    ('FROM x\nSYSTEM "a" b"\n', [("model", "x"), ("system", 'a" b')]),
    ('FROM x\nSYSTEM say "hi"\n', [("model", "x"), ("system", 'say "hi"')]),
    ("FROM x\nSYSTEM 'a'\n", [("model", "x"), ("system", "'a'")]),
    ("FROM x\nSYSTEM a\\nb\n", [("model", "x"), ("system", "a\\nb")]),
    ('FROM x\nSYSTEM """a\x01\u200b\xa0\tb"""\n', [("model", "x"), ("system", "a\tb")]),
    ('FROM x\nSYSTEM ""\u200b"a"""\n', [("model", "x"), ("system", "a")]),
    ('FROM x\nSYSTEM "a\r\nb"\n', [("model", "x"), ("system", "a\r\nb")]),
    ("\x01FROM x", [("model", "x")]),
    (b"FROM \xe2\x82x\xff", [("model", "\ufffdx\ufffd")]),
    (b"\xef\xbb\xbfFROM \xe2\x82x", [("model", "\ufffd\ufffdx")]),
    ("FROM x\nSYSTEM \U0001fae8\n", [("model", "x"), ("system", "\U0001fae8")]),
    ("FROM x\nMESSAGE user hi: there", [("model", "x"), ("message", "user: hi: there")]),
    ('FROM x\nMESSAGE assistant """a\nb"""', [("model", "x"), ("message", "assistant: a\nb")]),
    ("FROM a\nFROM b", [("model", "a"), ("model", "b")]),
    ("FROM a\nDRAFT d\nADAPTER b\nREQUIRES 0.14.0\nRENDERER r\nPARSER p\nLICENSE l\nTEMPLATE t",
     [("model", "a"), ("draft", "d"), ("adapter", "b"), ("requires", "0.14.0"),
      ("renderer", "r"), ("parser", "p"), ("license", "l"), ("template", "t")]),
]  # fmt: skip

REFUSED = [
    ("", 1, 1, "no FROM line"),
    ("# only\n", 1, 1, "no FROM line"),
    ("SYSTEM hi\n", 1, 1, "no FROM line"),
    ("FORM x\n", 1, 1, "invalid command 'FORM'"),
    ("FROM x\n  FR0M y\n", 2, 3, "invalid command 'FR'"),
    ("FROM x\n1\n", 2, 1, "invalid command '1'"),
    ("FROM\n", 1, 5, "invalid command: FROM must be followed by a space"),
    ("FROM x\r\nSYSTEM\r\n", 2, 7, "invalid command: SYSTEM must be followed by a space"),
    ("FROM x\nSYSTEM#", 2, 7, "invalid command: SYSTEM must be followed by a space"),
    ("FROM x\nSYSTEM", 2, 1, "unexpected EOF"),
    ("FROM x\nPARAMETER num-ctx 1\n", 2, 14, "unexpected EOF: num"),
    ("FROM x\nPARAMETER num_ctx", 2, 18, "unexpected EOF: num_ctx"),
    ("FROM x\nPARAMETER num_ctx\n", 2, 18, "unexpected EOF: num_ctx"),
    ("FROM x\nMESSAGE robot hi\n", 2, 9, "message role must be one of"),
    ("FROM x\nMESSAGE User hi\n", 2, 9, "message role must be one of"),
    ("FROM x\nMESSAGE  user hi\n", 2, 9, "message role must be one of"),
    ("FROM x\nMESSAGE user\n", 2, 13, "unexpected EOF: user"),
    ('FROM x\nSYSTEM "hi" he said\nPARAMETER num_ctx 1\n', 2, 8, "unexpected EOF"),
    ('FROM x\nSYSTEM """a""" # c\n', 2, 8, "unexpected EOF"),
    ('FROM x\nSYSTEM """""\n', 2, 8, "unexpected EOF"),
    ('FROM x\r\r\n  SYSTEM  "a\n', 3, 11, "unexpected EOF"),
    ('FROM x\rSYSTEM "a', 2, 8, "unexpected EOF"),
]

BAD_VALUES = [
    ("num_ctx 8192 # c", "invalid int value [8192 # c]"),
    ("num_ctx 8192.0", "invalid int value [8192.0]"),
    ("num_ctx 8k", "invalid int value [8k]"),
    ("num_ctx 9223372036854775808", "invalid int value [9223372036854775808]"),
    ("num_ctx \u0663", "invalid int value [\u0663]"),
    ("  num_ctx 1", "unknown parameter ''"),
    ("NUM_CTX 1", "unknown parameter 'NUM_CTX'"),
    ("numa true", "unknown parameter 'numa'"),
    ("tfs_z 1", "unknown parameter 'tfs_z'"),
    ("n_cpu_moe 3", "unknown parameter 'n_cpu_moe'"),
    ("use_mmap yes", "invalid bool value [yes]"),
    ("use_mmap tRue", "invalid bool value [tRue]"),
    ("temperature hot", "invalid float value [hot]"),
    ("temperature 1e39", "invalid float value [1e39]"),
    ("temperature 0x1", "invalid float value [0x1]"),
    ("temperature NaN", "temperature NaN cannot be sent to a server"),
]


@pytest.mark.parametrize(("source", "commands"), ACCEPTED)
def test_what_ollama_accepts_is_read_as_ollama_reads_it(source, commands):
    assert list(parse(source).pairs()) == commands


@pytest.mark.parametrize(("source", "line", "column", "text"), REFUSED)
def test_what_ollama_refuses_is_refused_with_its_place(source, line, column, text):
    with pytest.raises(ModelfileError) as e:
        parse(source)
    assert (e.value.line, e.value.column) == (line, column)
    assert e.value.text.startswith(text)
    assert str(e.value).startswith(f"line {line}, column {column}: ")


@pytest.mark.parametrize(("tail", "text"), BAD_VALUES)
def test_a_bad_value_is_refused_in_ollamas_words(tail, text):
    modelfile = parse(f"FROM x\n\n PARAMETER {tail}\n")
    with pytest.raises(ModelfileError) as e:
        parameters(modelfile.commands)
    assert (e.value.line, e.value.column, e.value.text) == (3, 2, text)
    assert e.value.hint


def test_values_have_ollamas_types():
    lines = ["num_ctx +8192", "use_mmap T", "temperature .5", "top_p 1_0.5", "min_p 0x1p-2", "num_gpu -1"]
    modelfile = parse("FROM x\n" + "".join(f"PARAMETER {line}\n" for line in lines))
    assert parameters(modelfile.commands) == {
        "num_ctx": 8192, "use_mmap": True, "temperature": 0.5, "top_p": 10.5, "min_p": 0.25, "num_gpu": -1,
    }  # fmt: skip


def test_the_last_scalar_wins_and_stops_accumulate():
    text = 'FROM x\nPARAMETER seed 1\nPARAMETER seed 2\nPARAMETER stop a\nPARAMETER stop "b c"\n'
    assert parameters(parse(text).commands) == {"seed": 2, "stop": ["a", "b c"]}


def test_a_deprecated_parameter_is_passed_over_whatever_its_value():
    assert parameters(parse("FROM x\nPARAMETER mirostat nonsense\n").commands) == {}


def test_places_are_those_of_an_editor_whatever_ends_the_lines():
    text = "# a\r\nFROM x\rSYSTEM b\n\tPARAMETER seed 1"
    assert [(c.line, c.column) for c in parse(text).commands] == [(2, 1), (3, 1), (4, 2)]
