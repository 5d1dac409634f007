"""The command line: arguments in, verbs called, one line and an exit code out.

Only click is imported here; everything else is imported by the command that needs it, so that
`--help` costs little more than click itself.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from localrun.cli_options import (
    CONTEXT,
    Alias,
    argument,
    bench_options,
    common,
    machine_options,
    option,
    plan_options,
    serve_options,
    version_option,
)
from localrun.cli_run import run_command

if TYPE_CHECKING:
    from localrun.commands.base import App


@click.group(cls=Alias, context_settings=CONTEXT)
@version_option
def cli() -> None:
    """Run large open-weight models on the machine you have.

    \b
    localrun up                   serve the small built-in model
    localrun plan deepseek-v3.2   what would run here, and why
    localrun run smollm2 "Hi"     one answer
    """


def _app(**flags: Any) -> App:
    from localrun.commands.base import App

    return App.make(os.environ, **flags)


@cli.command()
@argument("name", required=False)
@option("-d", "--detach", is_flag=True, help="Return once it answers; `localrun down` stops it.")
@option("--dry-run", is_flag=True, help="Print the exact command and environment; start nothing.")
@serve_options
@plan_options
@common
def up(
    name: str | None, detach: bool, dry_run: bool, json_: bool, flags: dict[str, Any], **options: Any
) -> None:
    """Serve a model: detect, plan, fetch if needed, launch, wait, watch. No NAME: the small default."""
    from localrun.commands import up as command

    command.run(_app(**flags), name, options, detach=detach, dry_run=dry_run, as_json=json_)


@cli.command()
@argument("name", required=False)
@option("--all", "everything", is_flag=True, help="Stop every model.")
@common
def down(name: str | None, everything: bool, json_: bool, flags: dict[str, Any]) -> None:
    """Stop a running model. No NAME: the only one."""
    from localrun.commands import running

    running.down(_app(**flags), name, everything, as_json=json_)


@cli.command()
@common
def ps(json_: bool, flags: dict[str, Any]) -> None:
    """List what runs: planned and measured memory, speed, KV fill, endpoint."""
    from localrun.commands import running

    running.ps(_app(**flags), as_json=json_)


@cli.command()
@argument("name", required=False)
@option("-f", "--follow", is_flag=True, help="Go on as the log grows.")
@common
def logs(name: str | None, follow: bool, json_: bool, flags: dict[str, Any]) -> None:
    """Print a model's engine log, running or not; --json: one object a line."""
    from localrun.commands import running

    running.logs(_app(**flags), name, follow, as_json=json_)


@cli.command()
@argument("name", required=False)
@common
def env(name: str | None, json_: bool, flags: dict[str, Any]) -> None:
    """Print shell exports for OpenAI clients: eval "$(localrun env)"."""
    from localrun.commands import running

    running.env(_app(**flags), name, as_json=json_)


@cli.command()
@argument("name")
@argument("prompt", required=False)
@option("--system", default="", help="A system message.")
@option("--temperature", type=float, default=None, help="Sampling temperature.")
@option("--seed", type=int, default=None, help="Sampling seed.")
@option("-n", "--max-tokens", type=click.IntRange(1), default=None, help="Most tokens to generate.")
@option("--stats", is_flag=True, help="Print speeds on stderr after each answer.")
@serve_options
@plan_options
@common
def run(name: str, prompt: str | None, json_: bool, flags: dict[str, Any], **options: Any) -> None:
    """Chat in the terminal, or answer PROMPT (or standard input) and exit. Starts NAME if needed."""
    from localrun.commands import run as command

    command.run(_app(**flags), name, prompt, options, as_json=json_)


@cli.command()
@argument("name", required=False)
@option("--verify", is_flag=True, help="Hold the plan against the engine's own dry run.")
@option("--svg", type=click.Path(dir_okay=False), default=None, help="Draw the memory picture to FILE.")
@machine_options
@serve_options
@plan_options
@common
def plan(name: str | None, json_: bool, flags: dict[str, Any], **options: Any) -> None:
    """Say what would run here and why, before any download. Launches nothing.

    Exit code 0: it fits. 1: it does not.
    """
    from localrun.commands import plan as command

    sys.exit(command.run(_app(**flags), name, options, as_json=json_))


@cli.command()
@argument("name", required=False)
@common
def show(name: str | None, json_: bool, flags: dict[str, Any]) -> None:
    """Show what a model is: architecture, sizes, context, licence."""
    from localrun.commands import models

    models.show(_app(**flags), name, as_json=json_)


@cli.command("list")
@common
def list_(json_: bool, flags: dict[str, Any]) -> None:
    """List the models on this machine and the catalogue."""
    from localrun.commands import models

    models.list_models(_app(**flags), as_json=json_)


@cli.command()
@argument("name", required=False)
@option("--quant", default=None, help="Which quantization.")
@option("-mm", "--mmproj", default=None, help="auto: its vision projector too.")
@common
def pull(name: str | None, quant: str | None, mmproj: str | None, json_: bool, flags: dict[str, Any]) -> None:
    """Fetch a model: resumable, verified. No NAME: the small default."""
    from localrun.commands import models

    models.pull(_app(**flags), name, quant, mmproj, as_json=json_)


@cli.command()
@argument("name")
@common
def rm(name: str, json_: bool, flags: dict[str, Any]) -> None:
    """Delete a model's files, after asking."""
    from localrun.commands import models

    models.remove(_app(**flags), name, as_json=json_)


@cli.command()
@argument("name", required=False)
@option("-o", "--output", type=click.Path(dir_okay=False), default=None, help="Write it to FILE.")
@option("--check", "check_file", default=None, help="Judge FILE (-: standard input) as Ollama would.")
@option(
    "--env",
    "env_form",
    type=click.Choice(["shell", "systemd", "launchctl"]),
    default="shell",
    help="How the environment is written.",
)
@option("--ollama-version", default=None, help="The server's version, if it is an old one.")
@machine_options
@serve_options
@plan_options
@common
def modelfile(
    name: str | None, check_file: str | None, json_: bool, flags: dict[str, Any], **options: Any
) -> None:
    """Print an Ollama Modelfile for this machine, and the environment it needs; or check one.

    --check with a NAME also judges the file against that model's plan. Its exit code: 1 for what
    Ollama refuses, 0 with warnings for what would go wrong later.
    """
    from localrun.commands import modelfile as command

    app = _app(**flags)
    if check_file:
        sys.exit(command.check(app, check_file, name, options, as_json=json_))
    sys.exit(command.write(app, name, options, as_json=json_))


@cli.command()
@argument("name")
@argument("text", required=False)
@option("--file", type=click.Path(dir_okay=False), default=None, help="The text of FILE.")
@option("--count", is_flag=True, help="Only how many.")
@option("--pieces", is_flag=True, help="Each id with its bytes.")
@option("--special", is_flag=True, help="Read special tokens that stand in the text as such.")
@option(
    "--as",
    "as_",
    type=click.Choice(["own", "llama.cpp"]),
    default="own",
    help="Whose ids: the model's own, or the engine's.",
)
@common
def tokenize(name: str, text: str | None, json_: bool, flags: dict[str, Any], **options: Any) -> None:
    """Token ids or a count, from the model's own vocabulary; reads standard input without TEXT."""
    from localrun.commands import tokenize as command

    command.run(_app(**flags), name, text, options, as_json=json_)


@cli.command()
@argument("name", required=False)
@bench_options
@serve_options
@common
def bench(name: str | None, json_: bool, flags: dict[str, Any], **options: Any) -> None:
    """Measure prompt and generation speed, beside the plan's figures and earlier results."""
    from localrun.commands import bench as command

    command.run(_app(**flags), name, options, as_json=json_)


@cli.command()
@machine_options
@common
def hardware(json_: bool, flags: dict[str, Any], **options: Any) -> None:
    """Show what was detected, and where each figure comes from."""
    from localrun.commands import hardware as command

    command.run(_app(**flags), options, as_json=json_)


@cli.group(cls=Alias, context_settings=CONTEXT)
@version_option
def engine() -> None:
    """The llama.cpp builds on this machine, and the one that fits it."""


@engine.command("list")
@common
def engine_list(json_: bool, flags: dict[str, Any]) -> None:
    """List every llama.cpp here: build, backends, instruction sets, architectures."""
    from localrun.commands import engine as command

    command.list_engines(_app(**flags), as_json=json_)


@engine.command("install")
@option("--native", is_flag=True, help="Build llama.cpp here, for this CPU and GPU (20 CPU minutes).")
@option("-j", "--jobs", type=click.IntRange(1), default=None, help="Compilers at once.")
@common
def engine_install(native: bool, jobs: int | None, json_: bool, flags: dict[str, Any]) -> None:
    """Install the engine that fits this machine; says the exact command first."""
    from localrun.commands import engine as command

    command.install(_app(**flags), native, jobs, as_json=json_)


@cli.command()
@common
def doctor(json_: bool, flags: dict[str, Any]) -> None:
    """Say what is wrong with this machine's set-up, and the command that mends it.

    Exit code 0: nothing stops a run. 1: something does.
    """
    from localrun.commands import doctor as command

    sys.exit(command.run(_app(**flags), as_json=json_))


@cli.command()
@argument("file", type=click.Path(dir_okay=False))
@argument("quant", metavar="TYPE")
@option("-o", "--output", type=click.Path(dir_okay=False), default=None, help="The new file.")
@option("--force", is_flag=True, help="Quantize what is quantized already.")
@common
def quantize(
    file: str, quant: str, output: str | None, force: bool, json_: bool, flags: dict[str, Any]
) -> None:
    """Make FILE smaller: TYPE is a quantization of llama.cpp's, such as Q4_K_M."""
    from localrun.commands import quantize as command

    command.run(_app(**flags), file, quant, output, force, as_json=json_)


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> None:
    """The console script. Exit codes: 0, 1 failed, 2 usage, 130 interrupted."""
    for name in ("SIGTERM", "SIGHUP"):
        # An ended terminal or a polite kill stops the engine as Ctrl-C does.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # One that was closed (`>&-`) is nothing to read, and nowhere to write.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        # A file name or a model's word that the terminal's encoding lacks is escaped, not a crash.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run_command(cli, sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    main()
