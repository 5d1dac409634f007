"""How a command ends: what it raised as one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from localrun.errors import LocalrunError


def run_command(cli: click.Command, argv: list[str]) -> int:
    """Runs a command line to its exit code: 0, 1 failed, 2 usage, 130 interrupted. One line says why."""
    try:
        status = _command(cli, argv)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as failed:
        if _verbose(argv):
            raise
        where = f"{failed.filename}: " if failed.filename else ""
        _complain(LocalrunError(f"{where}{failed.strerror or failed}"))
        _drop_output()
        return 1


def _command(cli: click.Command, argv: list[str]) -> int:
    try:
        cli.main(argv, prog_name="localrun", standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except LocalrunError as failed:
        if _verbose(argv):
            import traceback

            traceback.print_exc()
        _complain(failed)
        return failed.exit_code
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except (OSError, click.Abort):
        raise
    except Exception as bug:
        if _verbose(argv):
            raise
        click.echo(f"localrun: a bug: {type(bug).__name__}: {bug}", err=True)
        click.echo("  please report it with what `-v` prints", err=True)
        return 1
    return 0


def _drop_output() -> None:
    """The reader went away (`| head`), or the disk is full: what is buffered must not raise at exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _verbose(argv: list[str]) -> bool:
    return "-v" in argv or "--verbose" in argv


def _complain(failed: LocalrunError) -> None:
    from localrun.show.text import printable

    click.echo(f"localrun: {printable(' '.join(str(failed).split()))}", err=True)
    if failed.hint:
        click.echo(f"  {printable(failed.hint)}", err=True)
