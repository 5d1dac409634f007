"""Our chat templates against the published encodings, on a table of conversations.

`golden/chat_deepseek_v3_2.json` holds what DeepSeek's own encoding script makes of each conversation,
`golden/chat_llama_4.json` what the template published with Llama 4 makes of it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from localrun.recipe import chat_sandbox
from localrun.recipe.chat_templates import template_file
from tests.recipe.modelfile_values import plan

GOLDEN = Path(__file__).parents[1] / "golden"
MODEL = plan().model
V32 = json.loads((GOLDEN / "chat_deepseek_v3_2.json").read_text("utf-8"))
LLAMA4 = json.loads((GOLDEN / "chat_llama_4.json").read_text("utf-8"))


class Refused(Exception):
    pass


def refuse(message):
    raise Refused(message)


def render(architecture, **values):
    """As Hugging Face's transformers and llama.cpp render, in our own sandbox."""
    environment = chat_sandbox.environment()
    environment.globals["raise_exception"] = refuse
    path = template_file(replace(MODEL, architecture=architecture))
    values = {"bos_token": "", "add_generation_prompt": True, "tools": None, **values}
    return environment.from_string(Path(path).read_text("utf-8")).render(**values)


@pytest.mark.parametrize("case", V32, ids=[f"{c['name']}, thinking {c['thinking']}" for c in V32])
def test_deepseek_v3_2_is_encoded_as_its_publisher_does(case):
    got = render(
        "deepseek32",
        messages=case["messages"],
        tools=case["tools"],
        thinking=case["thinking"],
        bos_token="<｜begin▁of▁sentence｜>",
    )
    assert got == case["prompt"]


@pytest.mark.parametrize("case", LLAMA4, ids=[f"{c['name']}, {c['in_user']}" for c in LLAMA4])
def test_llama_4_is_encoded_as_its_published_template_does(case):
    got = render(
        "llama4",
        messages=case["messages"],
        tools=case["tools"],
        tools_in_user_message=case["in_user"],
        bos_token="<|begin_of_text|>",
    )
    assert got == case["prompt"]


USER = {"role": "user", "content": "hi"}


def test_the_documented_forms_come_out_literally():
    assert render("deepseek32", messages=[USER], thinking=True) == "<｜User｜>hi<｜Assistant｜><think>"
    assert (
        render("deepseek32", messages=[USER], enable_thinking=False) == "<｜User｜>hi<｜Assistant｜></think>"
    )
    user = "<|header_start|>user<|header_end|>\n\nhi<|eot|>"
    assert render("llama4", messages=[USER]) == user + "<|header_start|>assistant<|header_end|>\n\n"


@pytest.mark.parametrize("architecture", ["deepseek32", "llama4"])
def test_without_the_generation_prompt_nothing_opens_the_answer(architecture):
    assert "ssistant" not in render(architecture, messages=[USER], add_generation_prompt=False)


def test_parts_of_a_content_list_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert "<｜User｜>ab<" in render("deepseek32", messages=[{"role": "user", "content": parts}])


def test_an_answer_with_an_empty_list_of_calls_is_not_lost():
    """The published Llama 4 template drops such a message."""
    messages = [USER, {"role": "assistant", "content": "yes", "tool_calls": []}, USER]
    for architecture in ("llama4", "deepseek32"):
        assert "yes" in render(architecture, messages=messages)


def test_a_result_without_a_call_and_calls_that_are_text_are_refused():
    with pytest.raises(Refused, match="without a tool call"):
        render("deepseek32", messages=[USER, {"role": "tool", "content": "x"}])
    call = {"function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(Refused, match="must be an object"):
        render("deepseek32", messages=[USER, {"role": "assistant", "content": "", "tool_calls": [call]}])


def test_a_file_with_its_own_template_keeps_it():
    assert template_file(replace(MODEL, architecture="deepseek32", chat_template=True)) == ""


@pytest.mark.parametrize(
    ("name", "known"),
    [("DeepSeek V3.2", True), ("deepseek_v3.2_exp", True), ("DeepSeek-V3.1", False), ("deepseek-r1", False)],
)
def test_a_deepseek2_file_is_told_apart_by_its_name(name, known):
    assert bool(template_file(replace(MODEL, architecture="deepseek2", name=name))) is known


def test_other_architectures_have_none():
    assert template_file(replace(MODEL, architecture="llama")) == ""
