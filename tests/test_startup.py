"""What a start loads and does, counted: a clock in a test would fail on a busy machine (bench/startup.py)."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from localrun import standins
from tests.user import User

#: Each costs a start 1 to 40 ms; what needs one imports it where it is used.
HEAVY = {
    "ast", "asyncio", "concurrent.futures", "dataclasses", "difflib", "email", "gettext", "hashlib",
    "http.client", "httpx2", "importlib.metadata", "inspect", "json", "logging", "msgspec", "ollama", "platform",
    "platformdirs", "pynvml", "rich", "ssl", "tempfile", "traceback", "urllib.request", "uuid", "xllamacpp",
}  # fmt: skip

#: Runs the console script's function, which ends by `os._exit` once what was registered is done.
COUNTED = """
import atexit, sys
sys.argv[0], told = "localrun", sys.argv.pop()
calls, before = 0, set(sys.modules)
def called(frame, event, argument):
    global calls
    calls += event == "call" or event == "c_call"
def tell():
    sys.setprofile(None)
    with open(told, "w") as file:
        print(calls, *set(sys.modules) - before, file=file)
atexit.register(tell)
sys.setprofile(called)
from localrun.__main__ import run
run()
"""
DEEPSEEK = ("deepseek-v3.2", "--hardware", "rtx-4090", "--ram", "64GiB")

#: A command -> the most function calls and modules it may take: what they were, and a sixth. A start that
#: needs more is a slower start: measure it with bench/startup.py before a number here grows.
STARTS = {
    ("--help",): (42_000, 92),
    ("plan", "--help"): (46_000, 92),
    ("plan", *DEEPSEEK): (280_000, 152),
    ("plan", "MODEL"): (122_000, 190),
    ("modelfile", *DEEPSEEK): (290_000, 162),
}


@pytest.mark.parametrize("args", STARTS, ids=" ".join)
def test_a_start_loads_little_and_does_little(
    args: tuple[str, ...], user: User, models: Path, tmp_path: Path
) -> None:
    model = next(models.glob("*.gguf"))
    told = tmp_path / "told"
    command = [sys.executable, "-c", COUNTED, *(str(model) if a == "MODEL" else a for a in args), str(told)]
    done = subprocess.run(command, env=user.env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: a plan that does not fit here
    calls, *modules = told.read_text().split()
    most_calls, most_modules = STARTS[args]
    assert not HEAVY & set(modules)
    assert len(modules) <= most_modules, sorted(modules)
    assert int(calls) <= most_calls


def test_what_is_printed_is_whole_though_the_interpreter_is_not_taken_apart(
    user: User, tmp_path: Path
) -> None:
    """A pipe's buffer, a file's, and what was registered for the end; the exit code too."""
    done = user("plan", "deepseek-v3.2", "--hardware", "cpu", "--explain")
    assert done.code == 1
    assert "what would work" in done.out
    code = (
        "import atexit, sys; from localrun import __main__ as m, cli\n"
        "atexit.register(print, 'registered')\n"
        "cli.main = lambda: (print('x' * 100_000), sys.exit(3))\n"
        "m.run()"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], env=user.env, capture_output=True, text=True, check=False
    )
    assert child.returncode == 3, child.stderr
    assert child.stdout == "x" * 100_000 + "\nregistered\n"


def test_other_threads_are_waited_for(user: User) -> None:
    code = (
        "import sys, threading, time; from localrun import __main__ as m, cli\n"
        "cli.main = lambda: (threading.Timer(0.2, print, ['late']).start(), sys.exit(0))\n"
        "m.run()"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], env=user.env, capture_output=True, text=True, check=True
    )
    assert child.stdout == "late\n"


def test_stand_ins_are_for_click_alone(user: User) -> None:
    """Everyone who asks later gets the real module; click gets it where it asks for more."""
    code = (
        "import sys\n"
        "from localrun.standins import imported_lightly\n"
        "with imported_lightly():\n"
        "    import click\n"
        "assert not {'inspect', 'uuid', 'gettext'} & set(sys.modules)\n"
        "held = click.core.inspect\n"
        "assert held.signature(lambda x: 0).parameters.keys() == {'x'}\n"
        "import inspect, uuid, gettext\n"
        "assert inspect is not held and inspect.__file__ and uuid.uuid4() and gettext.NullTranslations\n"
        "text = click.UUID.convert('12345678123456781234567812345678', None, None)\n"
        "assert isinstance(text, uuid.UUID)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=user.env, check=True)


@pytest.mark.parametrize(
    "text",
    ["", "one", " one\n  two", "a\n    b\n      c\n\n", "\n\n  x\n y\n   \n", "\ta\n\tb", "a\n\n\n   b\n  c"],
)
def test_help_texts_are_cleaned_as_by_the_real_one(text: str) -> None:
    assert standins.cleandoc(text) == inspect.cleandoc(text)
