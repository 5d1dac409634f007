"""What a terminal shows: the live line, an answer as it comes, and nothing that steers it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localrun.show.text import printable, printer
from tests.expecting import nothing_left
from tests.terminal import Terminal
from tests.user import User


@pytest.mark.engine
def test_the_live_line_shows_speed_first_token_cache_and_memory(owner: User) -> None:
    with Terminal(owner, "up", "-t", "1", "-c", "1024") as terminal:
        terminal.expect(r"ready after [\d.]+ s with embedded, context 1024")
        terminal.expect(r"serving  http://127\.0\.0\.1:\d+/v1")
        terminal.expect(r"idle \| .*KV 0/1024 tokens, 0 B \(0%\) \| RAM \d+ MiB")
        asking = owner.start("run", "smollm2", "Tell me a story", "-n", "90", "--seed", "1")
        live = terminal.expect(
            r"(\d+\.\d) tok/s now \| [\d.]+ average \| first token \d+ ms \| KV (\d+)/1024 tokens, [\d.]+ MiB"
            r" \(\d+%\), \d+ left \| RAM \d+ MiB"
        )
        assert float(live[1]) > 0
        assert 0 < int(live[2]) <= 1024
        assert asking.wait().code == 0
        terminal.expect(r"idle \| \d+\.\d average \| first token \d+ ms")
        terminal.type("\x03")
        assert terminal.wait() == 130
    nothing_left(owner)


def test_the_live_line_stays_one_line_in_a_narrow_terminal(faker: User) -> None:
    with Terminal(faker, "up", "tiny.gguf", columns=40) as terminal:
        terminal.expect("idle")
        shown = len(terminal.raw)
        terminal.expect("idle")
        terminal.expect("idle")
        assert "\n" not in terminal.raw[shown:]
        terminal.type("\x03")
        assert terminal.wait() == 130


def test_a_chat_answers_goes_on_and_ends(faker: User) -> None:
    with Terminal(faker, "run", "./tiny.gguf") as terminal:
        terminal.expect(">>> ")
        terminal.type("hello\n")
        terminal.expect("w0 w1 w2 w3 w4 w5 w6 w7")
        terminal.expect(">>> ")
        terminal.type("/bye\n")
        assert terminal.wait() == 0
    nothing_left(faker)


def test_ctrl_c_in_a_chat_stops_the_answer_and_not_the_chat(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "slow"
    with Terminal(faker, "run", "./tiny.gguf") as terminal:
        terminal.expect(">>> ")
        terminal.type("hello\n")
        terminal.expect("w3 ")
        terminal.type("\x03")
        terminal.expect(r"\(stopped\)")
        terminal.expect(">>> ")
        terminal.type("\x04")
        assert terminal.wait() == 0
    nothing_left(faker)


def test_ctrl_c_at_the_prompt_ends_the_chat_and_its_engine(faker: User) -> None:
    with Terminal(faker, "run", "./tiny.gguf") as terminal:
        terminal.expect(">>> ")
        assert terminal.interrupt_prompt() == 130
        assert "Traceback" not in terminal.text
    nothing_left(faker)


def test_an_answer_cannot_steer_the_terminal(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "control"
    with Terminal(faker, "run", "./tiny.gguf", "hi", env={"NO_COLOR": "1"}) as terminal:
        terminal.expect("red")
        assert terminal.wait() == 0
        assert "\x1b]0;" not in terminal.raw
        assert "\x1b[31m" not in terminal.raw
        assert "\x07" not in terminal.raw


def test_an_answer_in_a_pipe_is_what_the_model_said(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "control"
    assert faker("run", "./tiny.gguf", "hi").out.startswith("\x1b]0;x\x07red\x1b[31m ")


def test_a_log_cannot_steer_the_terminal(faker: User) -> None:
    odd = faker.home / "\x1b[31mred.gguf"
    (faker.home / "tiny.gguf").rename(odd)
    assert faker("up", "-d", odd).code == 0
    assert "\x1b[31m" in faker("logs").out, "the fake quotes the path as the engine does"
    for command in ("logs", "ps"):
        with Terminal(faker, command, env={"NO_COLOR": "1"}) as terminal:
            assert terminal.wait() == 0
            assert "red" in terminal.raw
            assert "\x1b[31m" not in terminal.raw
    faker("down")


def test_no_colour_when_it_is_not_wanted(faker: User) -> None:
    for env, args in (({"NO_COLOR": "1"}, ()), ({}, ("--no-color",)), ({"TERM": "dumb"}, ())):
        with Terminal(faker, "ps", *args, env=env) as terminal:
            assert terminal.wait() == 0
            assert "\x1b[" not in terminal.raw
    assert "\x1b[" not in faker("ps").out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttab", "plain\n\ttab"),
        ("\x1b[31m", "�[31m"),
        ("a\rb", "a�b"),
        ("\x9b31m", "�31m"),
        ("\u202etxt", "�txt"),
        ("👩\u200d💻 می\u200cخواهم", "👩\u200d💻 می\u200cخواهم"),
        ("naïve 模型", "naïve 模型"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_bytes_that_come_in_parts_are_shown_whole(tmp_path: Path) -> None:
    class Screen:
        def __init__(self) -> None:
            self.shown = ""

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            self.shown += text
            return len(text)

        def flush(self) -> None:
            pass

    screen = Screen()
    show = printer(screen)  # type: ignore[arg-type]
    for byte in "模\x1b型\n".encode():
        show(bytes([byte]))
    assert re.fullmatch("模�型\n", screen.shown)


def test_a_benchmark_shows_how_far_it_is_in_one_line_and_ctrl_c_ends_it(faker: User) -> None:
    faker.env["FAKE_LLAMA"] = "bench-wait"
    with Terminal(
        faker, "bench", "tiny.gguf", "-t", "1", "-c", "512", "-p", "32", "-n", "8", "-r", "500"
    ) as terminal:
        terminal.expect(r"tiny  pp32, tg8; 500 repetitions")
        shown = len(terminal.raw)
        terminal.expect(r"tg8, repetition 2 of 500; pp32 500\.0 tok/s")
        assert "\n" not in terminal.raw[shown:]
        terminal.type("\x03")
        terminal.expect(r"pp32 +500\.0 +500\.0 to 500\.0")
        terminal.expect("interrupted: this is what was measured until then")
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text
    nothing_left(faker)
