"""One conversation with a model, served or inside this process: text out as it comes, measured as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from localrun.engine import client
from localrun.engine.state import Record
from localrun.errors import EngineError

if TYPE_CHECKING:
    from localrun.engine.chat_prompt import ChatPrompt
    from localrun.engine.in_process import InProcess
    from localrun.native import MeterSnapshot

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer. `thinking` is what a reasoning model says before it answers."""

    text: str
    thinking: bool = False


@dataclass(slots=True)
class Timing:
    """Measured by the C meter: for a served model at the client, and rates are the engine's own where it sends them."""

    first_token_ms: float = 0.0
    between_p50_ms: float = 0.0  # from one token to the next
    between_p99_ms: float = 0.0
    prompt_tokens: int = 0
    generated: int = 0
    prompt_rate: float = 0.0  # tokens per second
    rate: float = 0.0
    finish: str = ""


class Model(Protocol):
    """Whoever answers. `options`: temperature, seed, max_tokens."""

    name: str

    def stream(self, messages: Messages, options: dict[str, Any], timing: Timing) -> Generator[Piece]:
        """The next answer, piece by piece; closing it stops it."""
        ...


@dataclass(slots=True)
class Conversation:
    """What was said so far. Not frozen: it grows."""

    model: Model
    options: dict[str, Any] = field(default_factory=dict)
    messages: Messages = field(default_factory=list)

    def say(self, role: str, text: str) -> None:
        self.messages.append({"role": role, "content": text})


def answer(conversation: Conversation, timing: Timing) -> Generator[Piece]:
    """The next answer, piece by piece; appended to the conversation, also when it is cut short."""
    said: list[str] = []
    pieces = conversation.model.stream(conversation.messages, conversation.options, timing)
    try:
        for piece in pieces:
            if not piece.thinking:
                said.append(piece.text)
            yield piece
    finally:
        pieces.close()
        conversation.say("assistant", "".join(said))


class Served:
    """A model that runs, by its endpoint."""

    def __init__(self, record: Record, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.name, self._record, self._clock = record.name, record, clock

    def stream(self, messages: Messages, options: dict[str, Any], timing: Timing) -> Generator[Piece]:
        from localrun.native import Meter

        handle, clock = self._record.handle, self._clock
        body = {
            "model": self.name,
            "messages": messages,
            "stream_options": {"include_usage": True},
            **options,
        }
        meter = Meter()
        meter.prompt_start(clock())
        try:
            for chunk in client.chat(handle.endpoint, body, handle.api_key):
                for piece in _pieces(timing, chunk):
                    meter.token(clock())
                    yield piece
        finally:
            _measured(timing, meter.snapshot(clock()))


class NoRoom(EngineError):
    """The conversation has outgrown the context."""


class Inside:
    """A model in this process."""

    def __init__(self, name: str, model: InProcess, prompt: ChatPrompt) -> None:
        self.name, self._model, self._prompt = name, model, prompt

    def stream(self, messages: Messages, options: dict[str, Any], timing: Timing) -> Generator[Piece]:
        from localrun.recipe.chat import Thinking

        ids = self._prompt.ids(messages)
        if len(ids) > self._model.n_ctx:
            raise NoRoom(f"the conversation has {len(ids)} tokens, the context {self._model.n_ctx}")
        chosen = {key: options[key] for key in ("temperature", "seed") if key in options}
        thinking = Thinking(self._prompt.text)
        sampling = self._model.sampling(**chosen)
        with self._model.generate(ids, sampling, max_tokens=options.get("max_tokens")) as texts:
            try:
                for text in texts:
                    yield from (Piece(*piece) for piece in thinking.feed(text))
                yield from (Piece(*piece) for piece in thinking.finish())
            finally:
                texts.close()
                timing.prompt_tokens, timing.generated = texts.state.n_prompt, texts.state.n_made
                timing.finish = {"eog": "stop", "context": "length"}.get(texts.finish, texts.finish)
                if texts.timing:
                    timing.prompt_rate = texts.timing.rate_prompt
                    _measured(timing, texts.timing)


def _measured(timing: Timing, seen: MeterSnapshot) -> None:
    timing.first_token_ms = seen.first_ns / 1e6 if seen.tokens else 0.0
    timing.between_p50_ms, timing.between_p99_ms = seen.p50_ns / 1e6, seen.p99_ns / 1e6
    timing.generated = timing.generated or seen.tokens
    timing.rate = timing.rate or seen.rate_average


def _pieces(timing: Timing, chunk: dict[str, Any]) -> list[Piece]:
    """What a chunk says. Raises EngineError for one that is not OpenAI's."""
    found = []
    try:
        _note(timing, chunk)
        for choice in chunk.get("choices") or ():
            timing.finish = str(choice.get("finish_reason") or timing.finish)
            delta = choice.get("delta") or {}
            for key, thinking in (("reasoning_content", True), ("content", False)):
                if text := delta.get(key):
                    found.append(Piece("" + text, thinking))
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        raise EngineError("the engine sent a chunk that makes no sense") from None
    return found


def _note(timing: Timing, chunk: dict[str, Any]) -> None:
    if usage := chunk.get("usage"):
        timing.prompt_tokens = int(usage.get("prompt_tokens", 0))
        timing.generated = int(usage.get("completion_tokens", 0))
    if timings := chunk.get("timings"):
        timing.prompt_rate = float(timings.get("prompt_per_second") or 0.0)
        timing.rate = float(timings.get("predicted_per_second") or 0.0)
