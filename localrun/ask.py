"""One conversation with a running model: text out as it comes, measured as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localrun.engine import client
from localrun.engine.state import Record

if TYPE_CHECKING:
    from localrun.native import MeterSnapshot


@dataclass(slots=True)
class Conversation:
    """What was said so far. Not frozen: it grows."""

    record: Record
    options: dict[str, Any] = field(default_factory=dict)  # temperature, seed, max_tokens
    messages: list[dict[str, str]] = field(default_factory=list)

    def say(self, role: str, text: str) -> None:
        self.messages.append({"role": role, "content": text})


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer. `thinking` is what a reasoning model says before it answers."""

    text: str
    thinking: bool = False


@dataclass(slots=True)
class Timing:
    """Measured here, at the client, by the C meter; rates are the engine's own where it sends them."""

    first_token_ms: float = 0.0
    between_p50_ms: float = 0.0  # from one token to the next
    between_p99_ms: float = 0.0
    prompt_tokens: int = 0
    generated: int = 0
    prompt_rate: float = 0.0  # tokens per second
    rate: float = 0.0
    finish: str = ""


def answer(
    conversation: Conversation, timing: Timing, clock: Callable[[], int] = time.monotonic_ns
) -> Generator[Piece]:
    """The next answer, piece by piece; appended to the conversation, also when it is cut short."""
    from localrun.native import Meter

    handle = conversation.record.handle
    body = {
        "model": conversation.record.name,
        "messages": conversation.messages,
        "stream_options": {"include_usage": True},
        **conversation.options,
    }
    meter, said = Meter(), []
    meter.prompt_start(clock())
    try:
        for chunk in client.chat(handle.endpoint, body, handle.api_key):
            _note(timing, chunk)
            for choice in chunk.get("choices", ()):
                timing.finish = choice.get("finish_reason") or timing.finish
                delta = choice.get("delta", {})
                for key, thinking in (("reasoning_content", True), ("content", False)):
                    if text := delta.get(key):
                        meter.token(clock())
                        if not thinking:
                            said.append(text)
                        yield Piece(text, thinking)
    finally:
        _measured(timing, meter.snapshot(clock()))
        conversation.say("assistant", "".join(said))


def _measured(timing: Timing, seen: MeterSnapshot) -> None:
    timing.first_token_ms = seen.first_ns / 1e6 if seen.tokens else 0.0
    timing.between_p50_ms, timing.between_p99_ms = seen.p50_ns / 1e6, seen.p99_ns / 1e6
    timing.generated = timing.generated or seen.tokens
    timing.rate = timing.rate or seen.rate_average


def _note(timing: Timing, chunk: dict[str, Any]) -> None:
    if usage := chunk.get("usage"):
        timing.prompt_tokens = int(usage.get("prompt_tokens", 0))
        timing.generated = int(usage.get("completion_tokens", 0))
    if timings := chunk.get("timings"):
        timing.prompt_rate = float(timings.get("prompt_per_second") or 0.0)
        timing.rate = float(timings.get("predicted_per_second") or 0.0)
