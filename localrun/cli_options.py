"""Options that several commands share, in llama.cpp's spelling."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from localrun import __version__
from localrun.errors import UsageError
from localrun.units import parse_size

Body = Callable[..., Any]
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_ALIASES = {"stop": "down", "ls": "list", "serve": "up"}


def option(*names: str, **settings: Any) -> Callable[[Body], Body]:
    """As `click.option`, made when its command is called: a start needs few of the two hundred."""
    return _late(lambda: click.Option(names, **settings))


def argument(name: str, **settings: Any) -> Callable[[Body], Body]:
    """As `click.argument`, made when its command is called."""
    return _late(lambda: click.Argument((name,), **settings))


def _late(make: Callable[[], click.Parameter]) -> Callable[[Body], Body]:
    def add(function: Body) -> Body:
        function.__dict__.setdefault("late", []).append(make)
        return function

    return add


class Late(click.Command):
    """A command whose `option`s and `argument`s are made when they are first looked at."""

    @property
    def params(self) -> list[click.Parameter]:
        late = self.callback.__dict__.pop("late", ()) if self.callback else ()
        self._made[:0] = [make() for make in reversed(late)]
        return self._made

    @params.setter
    def params(self, value: list[click.Parameter]) -> None:
        self._made = value


class Alias(Late, click.Group):
    """A group whose commands answer to their aliases too, in the order they were added."""

    command_class = Late

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return (command.name if command else name), command, rest


class Size(click.ParamType[int]):
    """Bytes: 24GiB, 24GB, 24G (= GiB), or plain."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except UsageError as wrong:
            self.fail(f"{wrong}; {wrong.hint}", param, ctx)


class Context(click.ParamType[int | str]):
    """A context size in tokens, or `max`; 32k is 32768."""

    name = "n|max"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        text = str(value).strip().lower()
        if text == "max":
            return text
        number, unit = (text[:-1], 1024) if text.endswith("k") else (text, 1)
        if number.isascii() and number.isdigit() and int(number) > 0:
            return int(number) * unit
        self.fail(f"{value!r} is neither a number of tokens nor max", param, ctx)


def _apply(options: list[Callable[[Any], Any]], function: Body) -> Body:
    decorated = function
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def version_option(function: Body) -> Body:
    """`--version`, before anything else is looked at."""

    def tell(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
        del param
        if asked:
            click.echo(f"localrun {__version__}")
            ctx.exit()

    return option(
        "--version",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=tell,
        help="Show the version and exit.",
    )(function)


class EngineName(click.Choice[str]):
    """An engine by name; one that is planned is said to be missing rather than misspelt."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == "vllm":
            self.fail(f"vllm is not in this version yet; what works: {', '.join(self.choices)}", param, ctx)
        return super().convert(value, param, ctx)


def common(function: Body) -> Body:
    """What every command takes; the values arrive as `json_` and one dict `flags`."""

    @functools.wraps(function)
    def wrapped(
        *args: Any,
        json_: bool,
        explain: bool,
        yes: bool,
        offline: bool,
        no_color: bool,
        verbose: bool,
        **kwargs: Any,
    ) -> Any:
        flags = {"yes": yes, "offline": offline, "no_color": no_color, "verbose": verbose, "explain": explain}
        return function(*args, json_=json_, flags=flags, **kwargs)

    return _apply(
        [
            option("--json", "json_", is_flag=True, help="Print JSON."),
            option("--explain", is_flag=True, help="Say why, and where figures come from."),
            option("-y", "--yes", is_flag=True, help="Answer yes to questions."),
            option("--offline", is_flag=True, help="Use no network."),
            option("--no-color", is_flag=True, help="No colours (NO_COLOR does the same)."),
            option("-v", "--verbose", is_flag=True, help="Say more; show a failure's traceback."),
            version_option,
        ],
        wrapped,
    )


def plan_options(function: Body) -> Body:
    """Settings of the plan: one that the user sets is kept, the rest is planned around it."""
    swept = [
        option("-ctk", "--cache-type-k", default=None, help="KV cache type of K."),
        option("-ctv", "--cache-type-v", default=None, help="KV cache type of V."),
        option("-t", "--threads", type=click.IntRange(1), default=None, help="CPU threads."),
    ]
    return _apply([*_placement(), *swept, *_beside()], function)


def bench_options(function: Body) -> Body:
    """What is measured, in llama-bench's words; settings of the plan, three of them as lists to sweep."""
    what = [
        option("-p", "--n-prompt", default=None, help="Prompt lengths: 128,512; 0 = none."),
        option("-n", "--n-gen", default=None, help="Tokens to generate: 64; 0 = none."),
        option("-d", "--n-depth", default=None, help="Tokens in the cache before: 0,4096."),
        option("-r", "--repetitions", type=click.IntRange(1, 1000), default=3, show_default=True),
        option("-t", "--threads", default=None, help="CPU threads: 1,2 or 1-8*2."),
        option("-ctk", "--cache-type-k", default=None, help="KV cache types of K: f16,q8_0."),
        option("-ctv", "--cache-type-v", default=None, help="KV cache types of V; those of K if left out."),
        option("-o", "--output", default=None, help="Write the result as JSON to FILE."),
        option("--svg", default=None, help="Draw it to FILE."),
        option("--history", is_flag=True, help="Show earlier results; measure nothing."),
    ]
    return _apply([*what, *_placement()], function)


def _placement() -> list[Callable[[Any], Any]]:
    number = click.IntRange(1)
    return [
        option("--quant", default=None, help="A quantization, or auto."),
        option(
            "--for",
            "goal",
            type=click.Choice(["balanced", "speed", "context", "quality"]),
            default=None,
            help="What to maximise within memory.",
        ),
        option("-c", "--ctx-size", type=Context(), default=None, help="Context in tokens, or max."),
        option("-ngl", "--n-gpu-layers", type=click.IntRange(-1), default=None, help="Layers on GPUs."),
        option(
            "-ncmoe",
            "--n-cpu-moe",
            type=click.IntRange(0),
            default=None,
            help="Layers with experts in RAM.",
        ),
        option("-ot", "--override-tensor", multiple=True, help="regex=BUFFER, repeatable."),
        option("-fa", "--flash-attn", type=click.Choice(["on", "off", "auto"]), default=None),
        option("-np", "--parallel", type=number, default=None, help="Requests served at once."),
        option("-b", "--batch-size", type=number, default=None, help="Logical batch."),
        option("-ub", "--ubatch-size", type=number, default=None, help="Physical batch."),
        option("-ts", "--tensor-split", default=None, help="Shares of the GPUs: 3,1."),
    ]


def _beside() -> list[Callable[[Any], Any]]:
    return [
        option(
            "-mm",
            "--mmproj",
            default=None,
            help="Vision: a projector FILE, auto (the model's own) or none.",
        ),
        option("--no-mmproj", "mmproj", flag_value="none", help="No vision, the default."),
        option(
            "--no-mmproj-offload",
            "mmproj_offload",
            flag_value=False,
            default=None,
            help="Keep the projector off the GPU.",
        ),
        option("-md", "--model-draft", default=None, help="A smaller model FILE that drafts."),
        option(
            "-ngld",
            "--n-gpu-layers-draft",
            type=click.IntRange(-1),
            default=None,
            help="Its layers on GPUs.",
        ),
        option(
            "--spec-type",
            type=click.Choice(["draft-mtp"]),
            default=None,
            help="Draft with the model's own next-token blocks.",
        ),
    ]


def serve_options(function: Body) -> Body:
    return _apply(
        [
            option(
                "--engine",
                type=EngineName(["auto", "llama-server", "embedded", "in-process", "ollama"]),
                default=None,
                help="auto: what ran faster here; until measured, llama-server, else the embedded engine.",
            ),
            option("--host", default=None, help="Address to listen on; not loopback: needs a key."),
            option(
                "--port", type=click.IntRange(1, 65535), default=None, help="Default 8080, or the next free."
            ),
            option("--api-key", default=None, help="Ask clients for this key."),
            option("--rpc", default="", help="llama.cpp RPC servers: host:port,host:port."),
            option("--force", is_flag=True, help="Launch even what does not fit."),
        ],
        function,
    )


def machine_options(function: Body) -> Body:
    """A machine that is not here."""
    return _apply(
        [
            option("--hardware", default=None, help="A profile: rtx-4090, 2x rtx-3090, m3-max-36gb, cpu ..."),
            option("--vram", type=Size(), default=None, help="VRAM in all: 24GiB."),
            option("--ram", type=Size(), default=None, help="RAM: 64GiB."),
            option("--disk-free", type=Size(), default=None, help="Free disk."),
        ],
        function,
    )
