"""Chat templates of strangers: what they make of a conversation, and how they are kept from doing anything else."""

from __future__ import annotations

from datetime import datetime

import pytest

from localrun.errors import ModelError
from localrun.recipe.chat import CHATML, Thinking, render
from localrun.recipe.chat_sandbox import Steps, TooMuch

NOW = datetime(2026, 11, 25, 12, 0)
SAID = [{"role": "user", "content": "Hi: 1234567 %"}]
BIG = "{% set x = 'a' * 10000000 %}"


def test_chatml() -> None:
    assert render(CHATML, SAID, now=NOW) == (
        "<|im_start|>user\nHi: 1234567 %<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>Hi: 1234567 %</s>"),
        ("{{ strftime_now('%Y-%m') }}", "2026-11"),
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{% for i in range(3) %}{% if i == 1 %}{% continue %}{% endif %}{{ i ~ none }}{% endfor %}", "0None2None"),
        ("{% macro f(n) %}<{{ n }}>{% endmacro %}{{ f(1000000) }}", "<1000000>"),
        ("{{ 'ab'.replace('a', 'c') }}{{ ['x', 1] | join(', ') }}{{ 'x: %s' | format('y') }}", "cbx, 1x: y"),
        ("{{ messages[0].content.ljust(20) | trim | indent(4) }}{{ '{} {}'.format(1, 2) }}", "Hi: 1234567 %1 2"),
        ("{{ messages[9] }}{{ nothing }}", ""),
        ("{{ '{{{}}}'.format('a') }}{{ ', '.join(['a', 'b']) }}{{ 3 * 4 }}{{ ('a' ~ ('b' ~ 1)) }}", "{a}a, b12ab1"),
    ],
)  # fmt: skip
def test_what_templates_use(template: str, made: str) -> None:
    assert render(template, SAID, now=NOW, bos="<s>", eos="</s>") == made


def test_a_template_may_refuse_in_its_own_words() -> None:
    with pytest.raises(ModelError, match="refuses this conversation: Roles must alternate!"):
        render("{{ raise_exception('Roles must\nalternate!') }}", SAID, now=NOW)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "not safely|unsafe|not callable|undefined"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% if %}", "Expected an expression"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ nothing.there.more }}", "undefined"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "too many steps"),
        ("{{ range(1000000000) | list }}", "too big|Range"),
        ("{{ 'x' * 1000000000 }}", "too long"),
        ("{{ [1] * 100000000000 }}", "too long"),
        ("{{ 2 ** 10 ** 8 }}", "power"),
        ("{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "too long"),
        ("{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", "too long"),
        ("{{ 'a' | center(1000000000) }}", "width"),
        ("{{ 'a'.ljust(1000000000) }}", "width"),
        ("{{ '%1000000000d' % 3 }}", "width"),
        ("{{ '%*d' % (1000000000, 3) }}", "width"),
        ("{{ '%1000000000d' | format(3) }}", "width"),
        ("{{ '{:1000000000}'.format(3) }}", "width"),
        ("{{ '{:{}}'.format(3, 1000000000) }}", "width"),
        (BIG + "{{ x.replace('a', x) | length }}", "too long"),
        (BIG + "{{ x | replace('a', x) | length }}", "too long"),
        (BIG + "{{ ([x] * 1000) | join | length }}", "too long"),
        (BIG + "{% for i in range(1000) %}{{ x }}{% endfor %}", "too long"),
        (BIG + "{% macro f() %}{% for i in range(1000) %}{{ x }}{% endfor %}{% endmacro %}{{ f() | length }}", "long"),
        ("{{ lipsum(n=100000) }}", "undefined"),
        ("{{ '{0:>{1}}'.format('a', 99999999) | length }}", "width"),
        ("{{ '{0:>{1}}'.format('a', '99999999') | length }}", "width"),
        (BIG + "{{ x.join(range(9) | map('string')) | length }}", "too long"),
        (BIG + "{{ [x] * 9 }}", "too long"),
        (BIG + "{{ ([x] * 9) | string | length }}", "too long"),
        (BIG + "{{ ([x] * 9) | tojson | length }}", "too long"),
        (BIG + "{{ ('' ~ (([x] * 9) ~ '')) | length }}", "too long"),
        (BIG + "{{ ('%s' % [[x] * 9]) | length }}", "too long"),
        ("{{ 'a'.encode().ljust(99999999) | length }}", "unsafe"),
        ("{{ (10).to_bytes(99999999, 'big') | length }}", "unsafe"),
        ("{{ 'aaaa'.translate({97: 'xxxx'}) }}", "unsafe"),
        ("{{ ('a\n' * 10000) | indent(10000) | length }}", "too long"),
        ("{{ ('\t' * 10000).expandtabs(10000) | length }}", "too long"),
        ("{% set n = namespace(x=3) %}{% for i in range(20) %}{% set n.x = n.x * n.x %}{% endfor %}", "number is too"),
    ],
)  # fmt: skip
def test_a_hostile_template_is_a_clean_error(template: str, why: str) -> None:
    with pytest.raises(ModelError, match=why) as refused:
        render(template, SAID, now=NOW)
    assert "\n" not in str(refused.value)


def test_counting_steps_leaves_other_tracers_alone() -> None:
    import sys

    seen: list[str] = []

    def tracer(_frame: object, event: str, _argument: object) -> None:
        seen.append(event)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        with pytest.raises(TooMuch), Steps(0):
            exec(compile("def f():\n    pass\nf()", "<template>", "exec"), {})
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


def split(prompt: str, *parts: str) -> tuple[str, str]:
    """What was thought, what was said."""
    thinking = Thinking(prompt)
    pieces = [piece for part in parts for piece in thinking.feed(part)] + list(thinking.finish())
    return "".join(t for t, inside in pieces if inside), "".join(t for t, inside in pieces if not inside)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 100])
def test_thoughts_are_told_from_answers_wherever_tokens_are_cut(cut: int) -> None:
    def parts(text: str) -> list[str]:
        return [text[i : i + cut] for i in range(0, len(text), cut)]

    thought = "<think>\nbecause </thi\n</think>\n\nyes </think> so\n"
    assert split("", *parts(thought)) == ("because </thi\n", "yes </think> so\n")
    assert split("...<think>\n", *parts("because</think>yes")) == ("because", "yes")
    assert split("", *parts("no <think> here")) == ("", "no <think> here")
    assert split("", *parts("<think>never ended")) == ("never ended", "")
    assert split("", *parts("<thi")) == ("", "<thi")
