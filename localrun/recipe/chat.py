"""Chat messages -> a prompt, by a model's own template; an answer -> what was thought and what is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from localrun.errors import ModelError
from localrun.recipe.chat_sandbox import Steps, environment

#: What llama.cpp falls back to for a model without a template.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
    bos: str = "",
    eos: str = "",
    **values: Any,
) -> str:
    """The prompt that asks for the assistant's next message; `values` are the template's own: tools, enable_thinking.

    Raises ModelError with the template's own words, or ours.
    """
    made = environment()
    made.globals["strftime_now"] = now.strftime
    made.globals["raise_exception"] = _refuse
    # Tools and documents are there also when there are none, as templates know it from Hugging Face.
    usual = {
        "add_generation_prompt": True,
        "bos_token": bos,
        "eos_token": eos,
        "tools": None,
        "documents": None,
    }
    try:
        with Steps():
            return str(made.from_string(template).render(**usual | values, messages=messages))
    except _Refused as refused:
        raise ModelError(f"the model's chat template refuses this conversation: {_line(refused)}") from None
    except Exception as wrong:  # a template may do anything that Python answers with an exception
        why = _line(wrong) or type(wrong).__name__
        raise ModelError(f"the model's chat template cannot be rendered: {why}") from None


class _Refused(Exception):
    """What a template says by raise_exception."""


def _refuse(message: object) -> None:
    raise _Refused(message)


def _line(wrong: BaseException) -> str:
    return " ".join(str(wrong).split())[:300]


class Thinking:
    """Tells what a reasoning model thinks from what it answers: <think> ... </think>, at the start of an answer."""

    OPEN, CLOSE = "<think>", "</think>"

    def __init__(self, prompt: str) -> None:
        """Some templates open the thought themselves: then `prompt` ends with the tag."""
        self._inside = prompt.rstrip().endswith(self.OPEN)
        self._began = self._fresh = self._inside
        self._held = ""

    def feed(self, text: str) -> Iterator[tuple[str, bool]]:
        """Pieces of what came, and whether each is a thought."""
        self._held += text
        if not self._began:
            start = self._held.lstrip()
            if self.OPEN.startswith(start):
                return  # it may still become the tag
            self._began = True
            if start.startswith(self.OPEN):
                self._inside = self._fresh = True
                self._held = start[len(self.OPEN) :]
        if self._inside:
            thought, tag, rest = self._held.partition(self.CLOSE)
            held = 0 if tag else _overlap(thought, self.CLOSE)
            yield from self._piece(thought[: len(thought) - held], True)
            self._held = rest if tag else thought[len(thought) - held :]
            if not tag:
                return
            self._inside, self._fresh = False, True
        yield from self._piece(self._held, False)
        self._held = ""

    def _piece(self, text: str, thinking: bool) -> Iterator[tuple[str, bool]]:
        """Without the line breaks that follow a tag."""
        if self._fresh:
            text = text.lstrip("\n")
        if text:
            self._fresh = False
            yield text, thinking

    def finish(self) -> Iterator[tuple[str, bool]]:
        if self._held:
            yield from self._piece(self._held, self._inside)
        self._held = ""


def _overlap(text: str, tag: str) -> int:
    """How much of the end of `text` the tag could begin with."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0)
