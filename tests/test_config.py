"""Settings: the three layers in order, every bad value named with its place, folders by XDG."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from localrun import config
from localrun.config import Config, load, paths
from localrun.errors import UsageError

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "config.example.toml"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".config/localrun").mkdir(parents=True)
    return {"HOME": str(tmp_path)}


def write(env: dict[str, str], text: str | bytes) -> Path:
    path = paths(env).config_file
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_without_a_file_the_defaults_hold(home: dict[str, str]) -> None:
    assert load(home) == Config()


def test_the_file_overrides_defaults_and_a_variable_overrides_the_file(home: dict[str, str]) -> None:
    write(home, 'port = 9000\nhost = "0.0.0.0"\n')
    got = load(home | {"LOCALRUN_PORT": "9001", "LOCALRUN_OFFLINE": "yes", "LOCALRUN_ENGINE": ""})
    assert (got.port, got.host, got.offline, got.engine) == (9001, "0.0.0.0", True, "auto")


def test_the_example_names_every_key_with_its_default_and_no_other() -> None:
    lines = [m[1] for m in re.finditer(r"^# ([a-z_]+ = .*)$", EXAMPLE.read_text(), re.MULTILINE)]
    assert tomllib.loads("\n".join(lines)) == asdict(Config())
    assert [line.split()[0] for line in lines] == [f.name for f in fields(Config)]


def test_the_example_loads_as_it_stands(home: dict[str, str]) -> None:
    assert load(home, EXAMPLE) == Config()


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('host = "a"\nport = "80"\n', 2, "port must be a whole number"),
        ("\n\nport = 70000", 3, "port must lie in 1 to 65535"),
        ("port = true", 1, "port must be a whole number"),
        ("offline = 1", 1, "offline must be true or false"),
        ('engine = "lama"', 1, "engine cannot be 'lama'"),
        ('cache_ram = "lots"', 1, "not a size"),
        ("prot = 1", 1, "unknown key 'prot'"),
        ("[server]\nport = 1", 1, "unknown key 'server'"),
        ('"goal" = 3', 1, "goal must be text"),
    ],
)
def test_a_bad_value_is_named_with_file_and_line(
    home: dict[str, str], text: str, line: int, why: str
) -> None:
    path = write(home, text)
    with pytest.raises(UsageError) as caught:
        load(home)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert why in str(caught.value)


def test_a_mistyped_key_gets_the_nearest_one_as_hint(home: dict[str, str]) -> None:
    write(home, "prot = 1")
    with pytest.raises(UsageError) as caught:
        load(home)
    assert caught.value.hint == "did you mean port?"


@pytest.mark.parametrize("text", [b"port = ", b"\xff\xfe", b"a = " + b"[" * 5000, b"port = 1\nport = 2\n"])
def test_what_is_not_toml_is_a_usage_error(home: dict[str, str], text: bytes) -> None:
    path = write(home, text)
    with pytest.raises(UsageError, match=re.escape(str(path))):
        load(home)


@pytest.mark.parametrize("text", ["\ufeffport = 9000\n", "port = 9000\r\n"])
def test_files_written_on_windows_are_read(home: dict[str, str], text: str) -> None:
    write(home, text)
    assert load(home).port == 9000


@pytest.mark.parametrize(
    ("variable", "value"), [("PORT", "80a"), ("PORT", "-1"), ("OFFLINE", "maybe"), ("PORT", "9" * 40)]
)
def test_a_bad_variable_is_named(home: dict[str, str], variable: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"LOCALRUN_{variable}"):
        load(home | {f"LOCALRUN_{variable}": value})


def test_a_file_that_was_named_must_exist(home: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no config file"):
        load(home, tmp_path / "none.toml")
    with pytest.raises(UsageError, match="no config file"):
        load(home | {"LOCALRUN_CONFIG": "~/none.toml"})
    with pytest.raises(UsageError, match="cannot be read"):
        load(home, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders")
def test_xdg_folders_are_honoured_and_relative_ones_ignored() -> None:
    usual = paths({"HOME": "/home/u"})
    assert usual.config_file == Path("/home/u/.config/localrun/config.toml")
    assert usual.state == Path("/home/u/.local/state/localrun")
    assert usual.models == Path("/home/u/.local/share/localrun/models")
    moved = paths({"HOME": "/home/u", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "rel"})
    assert (moved.models, moved.config) == (Path("/d/localrun/models"), usual.config)


def test_macos_folders_are_platformdirs_choice() -> None:
    code = (
        "import sys; sys.platform = 'darwin'; from localrun import config\n"
        "p = config.paths({'HOME': '/Users/u'}); print(p.config_file, p.models, p.hf_hub, sep='\\n')"
    )
    env = {"HOME": "/Users/u"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "/Users/u/Library/Application Support/localrun/config.toml",
        "/Users/u/Library/Application Support/localrun/models",
        "/Users/u/.cache/huggingface/hub",
    ]


def test_models_dir_comes_from_config_or_variable_and_knows_the_home() -> None:
    env = {"HOME": "/home/u", "LOCALRUN_MODELS_DIR": "~/m"}
    assert paths(env).models == Path("/home/u/m")
    assert paths({"HOME": "/home/u"}, Config(models_dir="/big")).models == Path("/big")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/home/u/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HF_HOME": "~/hf"}, "/home/u/hf/hub"),
        ({"HF_HOME": "/hf", "HF_HUB_CACHE": "/hub"}, "/hub"),
    ],
)
def test_the_shared_cache_is_where_other_tools_keep_it(variables: dict[str, str], expected: str) -> None:
    assert paths({"HOME": "/home/u"} | variables).hf_hub == Path(expected)


def test_importing_settings_pulls_in_neither_tomllib_nor_platformdirs() -> None:
    code = (
        "import sys; from localrun import config; config.load({'HOME': '/nowhere'}); "
        "print([m for m in ('tomllib', 'platformdirs', 'difflib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("[]" if sys.platform == "linux" else "['platformdirs']")


def test_every_default_passes_its_own_check() -> None:
    for field in fields(Config):
        value = getattr(Config(), field.name)
        assert config._checked(field.name, value, "here") == value
