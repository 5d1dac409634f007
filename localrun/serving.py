"""How a user wants a model served, and the launch that follows from it and the config."""

from __future__ import annotations

import re
from pathlib import Path

from localrun.config import Config
from localrun.errors import UsageError
from localrun.recipe.values import Launch
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class Serving:
    """How the user wants it served; None = the config's value."""

    engine: str = ""
    host: str | None = None
    port: int | None = None
    api_key: str | None = None
    rpc: str = ""
    force: bool = False


def launch_for(config: Config, name: str, path: Path, serving: Serving) -> Launch:
    """Where it is served. Raises UsageError for an open address without a key."""
    host = serving.host or config.host
    key = config.api_key if serving.api_key is None else serving.api_key
    if not is_loopback(host) and not key:
        raise UsageError(
            f"{host} can be reached by others: an API key is needed", "add --api-key, or stay on 127.0.0.1"
        )
    # llama.cpp takes a comma for the end of a key and of an alias; a header carries ASCII.
    if not all("!" <= c <= "~" and c != "," for c in key):
        raise UsageError("an API key is made of ASCII letters, digits and signs, without spaces and commas")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(f"the path {path} is not UTF-8", "rename the file, or link to it") from None
    port = serving.port or config.port
    # ... and a leading dash for the next flag.
    alias = name.replace(",", "_").lstrip("-") or "model"
    return Launch(str(path), alias, host, port, key, config.cors_origins, rpc=serving.rpc)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A list of addresses is not loopback."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host, re.ASCII) is not None
