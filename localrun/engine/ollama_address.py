"""Where Ollama's server is: OLLAMA_HOST as its own client reads it, made fit to connect to. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from localrun.errors import UsageError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 11434
_PORTS = {"http": 80, "https": 443}
_HOST_PORT = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<name>[^:\[\]]*)):(?P<port>[^:]*)")
_BAD = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}@?#]")


@dataclass(frozen=True, slots=True)
class Address:
    scheme: str
    host: str  # without brackets
    port: int
    path: str = ""  # begins with / or is empty

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, so that paths and free disk mean the same to both."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def server_address(ollama_host: str = "") -> Address:
    """The server that this value of OLLAMA_HOST names, to connect to. Raises UsageError.

    As Ollama: no scheme means http and port 11434, a scheme means that scheme's port, a port that
    is none means the default. Besides: an address that means "all" becomes loopback.
    """
    text = ollama_host.strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme not in _PORTS:
        raise UsageError(
            f"OLLAMA_HOST: not a scheme of a server: {scheme}", "write host:port or http://host:port"
        )
    default = _PORTS[scheme] if separator else DEFAULT_PORT
    authority, _, path = rest.partition("/")
    if _BAD.search(authority + path):
        raise UsageError(
            f"OLLAMA_HOST cannot be read: {ollama_host!r}", "write host:port, such as 127.0.0.1:11434"
        )
    host, port = _split(authority, default)
    return Address(scheme, _connectable(host), port, f"/{path.rstrip('/')}" if path.strip("/") else "")


def _split(authority: str, default: int) -> tuple[str, int]:
    match = _HOST_PORT.fullmatch(authority)
    if match is None:
        # A bare name, or an IPv6 address with or without brackets.
        return authority.strip("[]"), default
    port = match["port"]
    number = int(port) if re.fullmatch(r"\+?[0-9]{1,9}", port, re.ASCII) else -1
    return match["six"] if match["six"] is not None else match[
        "name"
    ], number if 0 < number < 65536 else default


def _connectable(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or DEFAULT_HOST
    if address.is_unspecified:
        return DEFAULT_HOST if address.version == 4 else "::1"
    return str(address)
