"""The flags that the contract promises on every command, and what they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from localrun import __version__
from localrun.cli import cli
from tests.expecting import one_line
from tests.user import User

EVERYWHERE = {"--json", "--explain", "--yes", "-y", "--offline", "--no-color", "-v", "--version"}


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(cli))


def test_the_tree_is_whole() -> None:
    assert {("up",), ("plan",), ("engine", "install"), ("bench",)} <= set(ALL)


@pytest.mark.parametrize("args", [(), ("engine",)])
def test_the_version_is_told_without_a_command_too(user: User, args: tuple[str, ...]) -> None:
    done = user(*args, "--version")
    assert (done.code, done.out) == (0, f"localrun {__version__}\n"), done


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_takes_the_flags_of_the_contract(path: tuple[str, ...], capsys) -> None:
    flags = {flag for option in ALL[path].params for flag in option.opts}
    assert flags >= EVERYWHERE
    with pytest.raises(SystemExit) as done:
        cli.main([*path, "--version"], prog_name="localrun")
    assert done.value.code == 0
    assert capsys.readouterr().out == f"localrun {__version__}\n"


def test_explain_says_why_aside_of_the_output(user: User) -> None:
    for args, said in (
        (("show", "llama-4-scout"), "because: licence: "),
        (("hardware", "--hardware", "rtx-4090"), "because: estimated: "),
        (("modelfile", "smollm2", "--hardware", "cpu"), "because: context "),
    ):
        plain, explained = user(*args), user(*args, "--explain")
        assert plain.code == explained.code == 0, explained
        assert explained.out == plain.out
        assert said in explained.err
        assert "because" not in plain.err
    asked = ("plan", "deepseek-v3.2", "--hardware", "cpu")
    assert len(user(*asked, "--explain").out) > len(user(*asked).out)


def test_an_engine_that_is_planned_is_said_to_be_missing(user: User) -> None:
    done = user("plan", "smollm2", "--engine", "vllm")
    assert done.code == 2
    assert "vllm is not in this version yet; what works: auto, llama-server" in done.err
    assert "Traceback" not in done.err
    done = user("up", "smollm2", "--dry-run", env={"LOCALRUN_ENGINE": "vllm"})
    assert done.code == 2
    assert "no engine 'vllm' in this version" in done.err


def test_logs_as_json_are_one_object_a_line(user: User) -> None:
    folder = user.home / ".local/state/localrun/logs"
    folder.mkdir(parents=True)
    (folder / "tiny.log").write_bytes(b"one\n\x1b[2J two \xff\r\nno end")
    done = user("logs", "tiny", "--json")
    assert done.code == 0, done
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"name": "tiny", "line": text} for text in ("one", "\x1b[2J two \ufffd", "no end")
    ]
    assert "\x1b" not in done.out


@pytest.mark.parametrize("name", ["smollm2", "SmolLM2 135M", "smollm2:135m"])
def test_rm_takes_every_name_that_up_takes(user: User, name: str, default_model: Path) -> None:
    if user("show", name).code:
        pytest.skip("no such alias")
    folder = user.home / "models"
    folder.mkdir()
    copy = folder / default_model.name
    copy.write_bytes(default_model.read_bytes())
    done = user("rm", name, "--yes", env={"LOCALRUN_MODELS_DIR": str(folder)})
    assert done.code == 0, done
    assert not copy.exists()
    one_line(user("rm", name, "--yes", env={"LOCALRUN_MODELS_DIR": str(folder)}), 2, "is not on this machine")
