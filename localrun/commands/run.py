"""`run`: a chat in the terminal, or one answer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from localrun import running
from localrun import up as verbs
from localrun.ask import Conversation, Inside, Model, NoRoom, Piece, Served, Timing, answer
from localrun.commands.base import App, put_json
from localrun.commands.up import prepare
from localrun.engine import client
from localrun.errors import ModelError, UsageError
from localrun.show.text import printable

_HELP = "/bye or Ctrl-D ends, /clear forgets what was said, Ctrl-C stops an answer"
#: More text than this on standard input is a mistake: no context holds it.
_MOST_INPUT = 64 << 20


def run(app: App, name: str, prompt: str | None, options: dict[str, Any], as_json: bool) -> None:
    terminal = sys.stdin is not None and sys.stdin.isatty()
    piped = None if terminal or sys.stdin is None else _standard_input()
    question = "\n\n".join(_text(part) for part in (prompt, piped) if part)
    if not question and not terminal:
        raise UsageError("nothing to ask", "give a PROMPT, or pipe text in")
    inside = (options.get("engine") or app.session.config.engine) == "in-process"
    with (_inside if inside else _served)(app, name, options) as model:
        conversation = Conversation(model, _sampling(options))
        if options.get("system"):
            conversation.say("system", _text(options["system"]))
        if question:
            _one(app, conversation, question, bool(options.get("stats")), as_json)
        else:
            _chat(app, conversation, bool(options.get("stats")))


def _standard_input() -> str:
    data = sys.stdin.buffer.read(_MOST_INPUT + 1)
    if len(data) > _MOST_INPUT:
        raise UsageError("more than 64 MiB on standard input: no context holds that")
    return data.decode("utf-8", "replace").strip()


def _text(argument: str) -> str:
    """An argument as text: bytes that are none of the locale's become replacement characters."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _sampling(options: dict[str, Any]) -> dict[str, Any]:
    names = ("temperature", "seed", "max_tokens")
    return {name: options[name] for name in names if options.get(name) is not None}


@contextlib.contextmanager
def _inside(app: App, name: str, options: dict[str, Any]) -> Iterator[Model]:
    """The model in this process, for this command alone."""
    from localrun.engine.chat_prompt import ChatPrompt
    from localrun.engine.in_process import InProcess

    if options.get("rpc"):
        raise UsageError("the in-process engine has no RPC", "--engine llama-server, of a build that has it")
    prepared = prepare(app, name, options)
    verbs.check_verdict(prepared.plan, bool(options.get("force")), prepared.typed)
    app.tell(app.err("dim", f"loading {prepared.name} ..."))
    with InProcess.open(prepared.path, prepared.plan.settings, lambda _part: None) as model:
        template = prepared.launch.chat_template_file
        yield Inside(prepared.name, model, ChatPrompt(model.path, model.tokenizer, template))


@contextlib.contextmanager
def _served(app: App, name: str, options: dict[str, Any]) -> Iterator[Model]:
    """The running model called `name`; started for this command, and stopped after it, if none runs."""
    try:
        already = running.find(app.session, name)
    except UsageError:
        already = None
    # One that is still starting is waited for like one that nobody started yet.
    if already is not None and running.status(app.session, already).state == "ready":
        yield Served(already)
        return
    prepared = prepare(app, name, options)
    verbs.check_verdict(prepared.plan, bool(options.get("force")), prepared.typed)
    app.tell(app.err("dim", f"starting {prepared.name} ..."))
    try:
        yield Served(verbs.start(app.session, prepared, options.get("port") is not None, app.tell)[0])
    finally:
        running.end_own(app.session)


def _one(app: App, conversation: Conversation, question: str, stats: bool, as_json: bool) -> None:
    conversation.say("user", question)
    timing = Timing()
    if as_json:
        text = "".join(piece.text for piece in answer(conversation, timing) if not piece.thinking)
        put_json({"answer": text, "model": conversation.model.name, **stats_json(timing)})
        return
    for piece in answer(conversation, timing):
        _write(app, piece)
    sys.stdout.write("\n")
    if stats:
        app.tell(_stats(timing))
    if timing.finish == "length":
        app.tell(app.err("yellow", "the answer was cut: --max-tokens or the context is used up"))


def _chat(app: App, conversation: Conversation, stats: bool) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - line editing and history in input()
    app.tell(app.err("dim", f"{conversation.model.name}: {_HELP}"))
    while True:
        try:
            line = input(">>> ").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        if line in ("/bye", "/exit", "/quit"):
            return
        if line == "/clear":
            conversation.messages[:] = [m for m in conversation.messages if m["role"] == "system"]
        elif line in ("/?", "/help"):
            app.tell(_HELP)
        elif line:
            _turn(app, conversation, line, stats)


def _turn(app: App, conversation: Conversation, line: str, stats: bool) -> None:
    conversation.say("user", line)
    timing = Timing()
    pieces = answer(conversation, timing)
    try:
        for piece in pieces:
            _write(app, piece)
    except (client.Refused, NoRoom, ModelError) as wrong:
        # The context is full, or the template wants other turns: the chat goes on without this one.
        app.tell(app.err("yellow", str(wrong)))
        del conversation.messages[-2:]
    except KeyboardInterrupt:
        pieces.close()  # closes the connection: the engine stops generating
        app.tell(app.err("dim", " (stopped)"))
    sys.stdout.write("\n")
    sys.stdout.flush()
    if stats:
        app.tell(app.err("dim", _stats(timing)))


def _write(app: App, piece: Piece) -> None:
    """To a terminal without control characters; thinking is dim there, and left out of a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.write("" if piece.thinking else piece.text)
    else:
        text = printable(piece.text)
        sys.stdout.write(app.out("dim", text) if piece.thinking else text)
    sys.stdout.flush()


def _stats(t: Timing) -> str:
    return (
        f"{t.generated} tokens at {t.rate:.1f} tok/s, prompt of {t.prompt_tokens} at {t.prompt_rate:.1f} tok/s, "
        f"first token after {t.first_token_ms:.0f} ms, between tokens {t.between_p50_ms:.1f} ms "
        f"(99 % under {t.between_p99_ms:.1f}; measured)"
    )


def stats_json(t: Timing) -> dict[str, Any]:
    return {
        "finish_reason": t.finish,
        "prompt_tokens": t.prompt_tokens,
        "generated_tokens": t.generated,
        "speed": {
            "prompt": round(t.prompt_rate, 2),
            "generation": round(t.rate, 2),
            "first_token_ms": round(t.first_token_ms, 1),
            "between_tokens_p50_ms": round(t.between_p50_ms, 2),
            "between_tokens_p99_ms": round(t.between_p99_ms, 2),
        },
    }
