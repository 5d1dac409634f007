"""What an engine is told, as values: the stage between a plan and a running process."""

from __future__ import annotations

from localrun.plan.values import Settings
from localrun.value import dataclass


@dataclass(frozen=True, slots=True)
class Launch:
    """Where and as what a model is served: the part of a launch that planning does not decide."""

    model: str  # absolute path of the GGUF, the first shard of a split one
    alias: str  # the name that /v1/models shows
    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str = ""  # travels in the environment, never in argv, which everyone can read
    cors_origins: str = ""  # empty: no cross-origin request is answered
    chat_template_file: str = ""
    mmproj: str = ""
    model_draft: str = ""
    rpc: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A process to start: argv and the environment that it needs besides the inherited one."""

    engine: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    settings: Settings
    launch: Launch

    @property
    def endpoint(self) -> str:
        """The OpenAI base URL."""
        return f"http://{url_host(self.launch.host)}:{self.launch.port}/v1"


def url_host(host: str) -> str:
    """`host` as a client reaches it: an address that means "all" becomes loopback, IPv6 gets brackets."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
