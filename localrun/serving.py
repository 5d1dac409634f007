"""How a user wants a model served, and the launch that follows from it and the config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localrun.config import Config
from localrun.errors import UsageError
from localrun.recipe.values import Launch

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
    if host not in _LOOPBACK and not key:
        raise UsageError(
            f"{host} can be reached by others: an API key is needed", "add --api-key, or stay on 127.0.0.1"
        )
    port = serving.port or config.port
    return Launch(str(path), name, host, port, key, config.cors_origins, rpc=serving.rpc)
