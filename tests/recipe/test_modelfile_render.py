"""Round trips over hostile texts, and time that grows with the length and no faster."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localrun.recipe import modelfile_read
from localrun.recipe.modelfile import Command, Modelfile, ModelfileError, dropped, parse
from localrun.recipe.modelfile_render import Unwritable, comment, line, render

HOSTILE = st.text(
    st.one_of(
        st.sampled_from("\"'\\#\n\r\t :x\x00\x01\u200b\xa0\ufeff\u2028\ufffd\ud800\U0001fae8é"),
        st.characters(),
    ),
    max_size=40,
)
QUOTES = st.lists(st.sampled_from(['"""', '"', "\n", "\r\n", " ", "\t", "a", "#"]), max_size=12).map("".join)
TEXT = st.one_of(HOSTILE, QUOTES)
COMMAND = st.one_of(
    st.builds(Command, st.sampled_from(["model", "system", "template", "license", "adapter", "draft"]), TEXT),
    st.builds(Command, st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True), TEXT),
    st.builds(
        lambda role, text: Command("message", f"{role}: {text}"),
        st.sampled_from(["system", "user", "assistant"]),
        TEXT,
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(COMMAND, max_size=5))
def test_what_is_written_reads_back_equal_or_is_refused(commands):
    modelfile = Modelfile((Command("model", "base"), *commands))
    try:
        text = render(modelfile)
    except Unwritable:
        return
    assert parse(text).pairs() == modelfile.pairs()
    assert parse(text.encode()).pairs() == modelfile.pairs()


@settings(max_examples=200, deadline=None)
@given(QUOTES)
def test_only_a_line_that_ends_in_three_quotes_is_refused(text):
    ends = [part.rstrip(" \t") for part in text.replace("\r", "\n").split("\n")]
    early = any(part.endswith('"""') for part in ends[:-1])
    if early:
        with pytest.raises(Unwritable):
            line(Command("system", text))
    else:
        assert parse("FROM x\n" + line(Command("system", text))).commands[1].args == text


@pytest.mark.parametrize("char", ["\x00", "\x7f", "\x85", "\xa0", "\u200b", "\u3000", "\ud800", "\U000e0001"])
def test_text_that_would_lose_a_character_is_refused_by_its_number(char):
    with pytest.raises(Unwritable, match=f"U\\+{ord(char):04X}"):
        line(Command("system", f"a{char}b"))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), TEXT.map(lambda t: "FROM x\n" + t)))
def test_no_input_ends_in_anything_but_commands_or_a_place(source):
    try:
        modelfile = parse(source)
    except ModelfileError as e:
        place = (e.line, e.column, e.exit_code)
    else:
        place = (1, 1, 1)
        assert not any(dropped(c.args) for c in modelfile.commands)
    assert place >= (1, 1, 1)


def test_a_comment_stays_one_however_many_lines_it_has():
    assert comment("a\nFROM evil\r\nb\rc") == "# a\n# FROM evil\n# b\n# c\n"
    assert parse(comment('x\n"""') + "FROM y").pairs() == (("model", "y"),)


@pytest.mark.parametrize(
    "piece",
    [
        '"""\n',
        '"',
        '" ',
        '""\0',
        '"\0\n',
        "\n",
        "\r",
        "#\n",
        "# \r\n",
        "FROM x\n",
        '\u200b"',
        "a \t",
        '"""a"""\n',
    ],
)
@pytest.mark.timeout(60)
def test_hostile_repetition_is_read_in_linear_time(piece):
    """Two megabytes: a reader that looks at a quadratic number of characters would take hours."""
    text = 'FROM x\nSYSTEM """' + piece * (2_000_000 // len(piece))
    with contextlib.suppress(ModelfileError):
        parse(text)
    with contextlib.suppress(ModelfileError):
        parse("FROM x\n" + piece * (2_000_000 // len(piece)))


PIECES = (
    "FROM x", "SYSTEM ", "ſYSTEM a", "PARAMETER ", "stop ", "MESSAGE ", "user ", "robot ", '"', '""', '"""', '\'', "\n",
    "\r\n", "\r", " ", "\t", "#", "a", "b c", "\x01", "\x00", "\u200b", "é", "\nFROM y\n", '"\n', '"""\n', '" \x01\n',
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
def test_commands_cut_out_by_the_run_are_those_read_one_by_one(text):
    together, alone = answer(text), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modelfile_read, "_RUN", re.compile("(?!)"))
        alone = answer(text)
    assert together == alone


def answer(text):
    try:
        found = parse("FROM x\n" + text)
    except ModelfileError as wrong:
        return str(wrong)
    pairs = found.pairs()
    assert pairs == tuple((c.name, c.args) for c in found.commands) == found.pairs()
    return found.commands
