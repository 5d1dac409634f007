"""Settings and folders: defaults < the config file < `LOCALRUN_*` variables.

`docs/config.example.toml` documents every key; a test holds it to `Config`.
The only importer of tomllib and platformdirs, and each only when it is needed: 22 and 26 ms.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from localrun.errors import UsageError
from localrun.units import parse_size
from localrun.value import dataclass, replace

ENGINES = ("auto", "llama-server", "embedded", "in-process", "ollama", "vllm")
GOALS = ("balanced", "speed", "context", "quality")


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting with its default. The flags of a command come on top of these."""

    engine: str = "auto"
    llama_server: str = ""  # path of a llama-server binary; empty = look on PATH
    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str = ""  # empty = none is asked
    cors_origins: str = ""  # comma-separated; empty = cross-origin requests are not answered
    ready_timeout: int = 600  # seconds
    models_dir: str = ""  # empty = Paths.data / "models"
    threads: int = 0  # 0 = the planner's choice
    offline: bool = False
    cache_ram: str = ""  # a size: the engine's prompt cache; empty = a sixteenth of free RAM, at most 1 GiB
    goal: str = "balanced"
    download_limit: str = ""  # a size per second; empty = none
    tokenizer_cache: bool = True  # vocabularies made ready are kept in Paths.cache


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie. Nothing here has been created yet."""

    config: Path  # the folder; the file is config_file
    state: Path
    cache: Path
    data: Path
    models: Path
    hf_hub: Path  # the Hugging Face cache that all tools share

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"


@dataclass(frozen=True, slots=True)
class Session:
    """What every verb needs of this user's set-up."""

    config: Config
    paths: Paths


_CHOICES = {"engine": ENGINES, "goal": GOALS}
_RANGES = {"port": (1, 65535), "ready_timeout": (1, 7 * 86400), "threads": (0, 4096)}
_SIZES = ("cache_ram", "download_limit")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_NAMES = {str: "text in quotes", int: "a whole number", bool: "true or false"}


def load(env: Mapping[str, str], path: Path | None = None) -> Config:
    """The settings in force. `path` (or LOCALRUN_CONFIG) replaces the usual file.

    A missing usual file is fine, a missing named one is not. UsageError names the file or variable,
    the key and, where it is known, the line.
    """
    named = path or _named(env)
    values = _read_file(named or paths(env).config_file, must_exist=named is not None)
    for key in Config.__match_args__:
        variable = f"LOCALRUN_{key.upper()}"
        if text := env.get(variable, ""):
            values[key] = _checked(key, _from_text(key, text, variable), variable)
    return replace(Config(), **values)  # type: ignore[arg-type]


def paths(env: Mapping[str, str], config: Config | None = None) -> Paths:
    """The folders for this user: XDG on Linux, the system's own on macOS and Windows."""
    home = _home(env)
    if sys.platform in ("darwin", "win32"):
        import platformdirs

        dirs = platformdirs.PlatformDirs("localrun", appauthor=False)
        found = (dirs.user_config_path, dirs.user_state_path, dirs.user_cache_path, dirs.user_data_path)
    else:
        found = (
            _xdg(env, "XDG_CONFIG_HOME", home / ".config") / "localrun",
            _xdg(env, "XDG_STATE_HOME", home / ".local/state") / "localrun",
            _xdg(env, "XDG_CACHE_HOME", home / ".cache") / "localrun",
            _xdg(env, "XDG_DATA_HOME", home / ".local/share") / "localrun",
        )
    chosen = config.models_dir if config else env.get("LOCALRUN_MODELS_DIR", "")
    models = _expand(chosen, home) if chosen else found[3] / "models"
    return Paths(*found, models=models, hf_hub=_hf_hub(env, home))


def _home(env: Mapping[str, str]) -> Path:
    home = env.get("HOME", "")
    return Path(home) if os.path.isabs(home) else Path.home()


def _xdg(env: Mapping[str, str], variable: str, default: Path) -> Path:
    # The XDG specification: a relative value is invalid and to be ignored.
    value = env.get(variable, "")
    return Path(value) if os.path.isabs(value) else default


def _expand(text: str, home: Path) -> Path:
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return Path(text).expanduser().absolute()


def _hf_hub(env: Mapping[str, str], home: Path) -> Path:
    # The order that huggingface_hub itself follows.
    for variable, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if value := env.get(variable, ""):
            return _expand(value, home) / below
    return _xdg(env, "XDG_CACHE_HOME", home / ".cache") / "huggingface" / "hub"


def _named(env: Mapping[str, str]) -> Path | None:
    text = env.get("LOCALRUN_CONFIG", "")
    return _expand(text, _home(env)) if text else None


def _read_file(path: Path, must_exist: bool) -> dict[str, object]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        if must_exist:
            raise UsageError(f"no config file at {path}") from None
        return {}
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text", "save it as UTF-8") from None
    except OSError as e:
        raise UsageError(f"{path}: cannot be read: {e.strerror}") from None
    import tomllib

    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise UsageError(f"{path}: not TOML: {e}") from None
    return {key: _checked(key, value, _place(path, text, key)) for key, value in table.items()}


def _place(path: Path, text: str, key: str) -> str:
    found = re.search(rf"""^\s*\[*\s*["']?{re.escape(key)}["']?\s*[=.\]]""", text, re.MULTILINE)
    return f"{path}:{text.count(chr(10), 0, found.end()) + 1}" if found else str(path)


def _from_text(key: str, text: str, variable: str) -> object:
    kind = type(getattr(Config(), key))
    if kind is bool and text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    if kind is int and re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        return int(text)
    if kind is str:
        return text
    raise UsageError(f"{variable}: {key} must be {_NAMES[kind]}, not {text!r}")


def _checked(key: str, value: object, place: str) -> object:
    """`value` if `key` may hold it, else UsageError that begins with `place`."""
    known = Config.__match_args__
    if key not in known:
        import difflib

        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else "the keys: " + ", ".join(known)
        raise UsageError(f"{place}: unknown key {key!r}", hint)
    kind = type(getattr(Config(), key))
    # type() and not isinstance(): True would pass for the port 1.
    if type(value) is not kind:
        raise UsageError(f"{place}: {key} must be {_NAMES[kind]}, not {value!r}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise UsageError(f"{place}: {key} cannot be {value!r}", "one of: " + ", ".join(_CHOICES[key]))
    if key in _RANGES and isinstance(value, int) and not _RANGES[key][0] <= value <= _RANGES[key][1]:
        raise UsageError(f"{place}: {key} must lie in {_RANGES[key][0]} to {_RANGES[key][1]}, not {value}")
    if key in _SIZES and isinstance(value, str) and value:
        try:
            parse_size(value)
        except UsageError as e:
            raise UsageError(f"{place}: {key}: {e}", e.hint) from None
    return value
