"""`run --engine in-process` as its user meets it: with the real default model, in the command's own process."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrun.engine.libllama import find
from tests.asking import SMALL
from tests.expecting import nothing_left, one_line
from tests.terminal import Terminal
from tests.user import User

INSIDE = ("--engine", "in-process", *SMALL)
GREEDY = ("--temperature", "0")


@pytest.mark.engine
@pytest.mark.skipif(find()[0].package != "xllamacpp", reason="two libraries may round in two ways")
def test_the_answer_is_the_servers_own(owner: User) -> None:
    asked = ("run", "smollm2", "Name three colours, é.", *SMALL, *GREEDY, "-n", "12", "--json")
    inside, served = (owner(*asked, "--engine", engine).json() for engine in ("in-process", "embedded"))
    assert inside["answer"] == served["answer"] != ""
    for key in ("model", "finish_reason", "prompt_tokens", "generated_tokens"):
        assert inside[key] == served[key]
    assert inside["speed"].keys() == served["speed"].keys()
    assert all(rate > 0 for rate in inside["speed"].values())
    nothing_left(owner)


@pytest.mark.engine
def test_a_seed_and_standard_input_and_stats(owner: User) -> None:
    asked = ("run", "smollm2", *INSIDE, "--seed", "7", "-n", "8", "--stats")
    first, second = (owner(*asked, given="Name a colour.") for _ in range(2))
    assert first.code == second.code == 0
    assert first.out == second.out != "\n"
    assert "tok/s, prompt of" in first.err
    assert "first token after" in first.err
    nothing_left(owner)


@pytest.mark.engine
def test_a_chat_goes_on_and_ctrl_c_stops_an_answer_alone(owner: User) -> None:
    with Terminal(owner, "run", "smollm2", *INSIDE, *GREEDY, "--stats") as terminal:
        terminal.expect(">>> ")
        terminal.type("Write a very long story about a dog.\n")
        terminal.expect(r"dog\.\s+\w+ \w+")  # behind the echo: the answer
        terminal.type("\x03")
        terminal.expect(r"\(stopped\)")
        terminal.expect(r"tokens at [\d.]+ tok/s")
        terminal.expect(">>> ")
        terminal.type("Say hi.\n")
        terminal.expect(r"tokens at [\d.]+ tok/s", patience=120)
        terminal.expect(">>> ")
        terminal.type("/bye\n")
        assert terminal.wait() == 0
    nothing_left(owner)


@pytest.mark.engine
def test_a_conversation_that_outgrows_the_context_says_so(owner: User) -> None:
    done = owner("run", "smollm2", "word " * 600, "--engine", "in-process", "-t", "1", "-c", "512")
    one_line(done, 1)
    assert "tokens, the context 512" in done.err


@pytest.mark.parametrize("how", [("--engine", "in-process"), ()])
def test_up_says_that_it_serves_no_endpoint(user: User, how: tuple[str, ...]) -> None:
    """Before it would fetch anything."""
    env = {} if how else {"LOCALRUN_ENGINE": "in-process"}
    for more in ((), ("--dry-run",)):
        done = user("up", "smollm2", *how, *more, env=env)
        one_line(done, 2)
        assert "serves no endpoint" in done.err
        assert "localrun run NAME --engine in-process, or localrun bench" in done.err


@pytest.mark.parametrize("how", [("--engine", "in-process"), ()])
def test_a_plan_for_it_counts_no_servers_cache_and_names_no_command(
    faker: User, how: tuple[str, ...]
) -> None:
    done = faker("plan", "tiny.gguf", "--json", *how, env={} if how else {"LOCALRUN_ENGINE": "in-process"})
    plan = done.json()
    assert (done.code, plan["command"], plan["environment"]) == (0, [], {}), done.err
    served = faker("plan", "tiny.gguf", "--json").json()
    assert served["command"] != []
    assert "prompt cache" in " ".join(served["reasons"])
    assert "prompt cache" not in " ".join(plan["reasons"])
    assert plan["memory"][-1]["overhead"] < served["memory"][-1]["overhead"]


@pytest.mark.engine
def test_sampling_out_of_range_and_rpc_are_refused(owner: User) -> None:
    for wrong in (("--temperature", "-1"), ("--temperature", "nan"), ("--rpc", "127.0.0.1:1")):
        one_line(owner("run", "smollm2", "hi", *INSIDE, *wrong), 2)


@pytest.mark.engine
def test_a_hostile_template_in_the_file_is_one_line(owner: User, default_model: Path, tmp_path: Path) -> None:
    """The real model, its template replaced by one of the same length."""
    data = default_model.read_bytes()
    start = data.index(b"{% for message in messages %}{% if lo")
    size = int.from_bytes(data[start - 8 : start], "little")
    hostile = b"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".ljust(size)
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data[:start] + hostile + data[start + size :])
    done = owner("run", path, "hi", *INSIDE)
    one_line(done, 1)
    assert "chat template cannot be rendered: it takes too many steps" in done.err


@pytest.mark.engine
def test_interrupted_in_the_middle_of_an_answer(owner: User) -> None:
    with Terminal(owner, "run", "smollm2", "Write a very long story.", *INSIDE) as terminal:
        terminal.expect("[a-z]+ [a-z]+ [a-z]+ [a-z]+ [a-z]+")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text
    nothing_left(owner)
