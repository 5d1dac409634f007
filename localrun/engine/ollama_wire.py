"""HTTP to Ollama without its Python client: what that client cannot ask, or too dearly.

Its import costs 400 ms, its create knows half of the fields, and it sends a blob that the server
already has. No proxy is used. All failures come out as LocalrunError.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from localrun.engine import ollama_errors
from localrun.engine.ollama_address import Address
from localrun.errors import EngineError, ModelError

#: (what, done, total) in bytes; total 0 = unknown.
Progress = Callable[[str, int, int], None]

_CHUNK = 1 << 20
#: No answer that we ask for is larger, nor any line of a stream.
_MOST = 64 << 20


@contextlib.contextmanager
def _connection(address: Address, patience: float) -> Iterator[http.client.HTTPConnection]:
    """A connection whose exceptions are ours. `patience` is seconds without a byte."""
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.host, address.port, timeout=patience)
    connected = False
    try:
        connection.connect()
        connected = True
        with contextlib.closing(connection):
            yield connection
    except TimeoutError:
        raise ollama_errors.silent(address.url, patience) from None
    except http.client.HTTPException as e:
        raise ollama_errors.garbled(address.url, repr(e)) from None
    except OSError as e:
        if connected:
            raise EngineError(f"the connection to Ollama broke: {e}", "run it again") from None
        raise ollama_errors.unreachable(address.url) from None


def ask(
    address: Address, method: str, path: str, body: Mapping[str, Any] | None, patience: float
) -> dict[str, Any]:
    """One JSON question, one JSON object."""
    with _connection(address, patience) as connection:
        payload = None if body is None else json.dumps(body).encode()
        connection.request(method, address.path + path, payload, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            data = response.read(_MOST)
    answer = _object(data)
    if response.status != 200:
        _refuse(response.status, data, address, path)
    if answer is None:
        raise ollama_errors.garbled(address.url, repr(data[:100]))
    return answer


def stream(address: Address, path: str, body: Mapping[str, Any], patience: float) -> Iterator[dict[str, Any]]:
    """The lines of an NDJSON answer. An `error` line under HTTP 200 is raised as the error it is."""
    with _connection(address, patience) as connection:
        payload = json.dumps(body).encode()
        connection.request("POST", address.path + path, payload, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            if response.status != 200:
                _refuse(response.status, response.read(_MOST), address, path)
            while line := response.readline(_MOST):
                if line.strip():
                    yield _step(line, address, path)


def _step(line: bytes, address: Address, doing: str) -> dict[str, Any]:
    step = _object(line)
    if step is None:
        raise ollama_errors.garbled(address.url, repr(line[:100]))
    if "error" in step:
        raise ollama_errors.from_response(whole(step.get("status")) or -1, str(step["error"]), doing)
    return step


def digest_of(path: str, progress: Progress) -> str:
    """`sha256:<hex>` of a file. Raises ModelError."""
    sha, done = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            total = os.fstat(file.fileno()).st_size
            while chunk := file.read(_CHUNK):
                sha.update(chunk)
                done += len(chunk)
                progress("reading", done, total)
    except OSError as e:
        raise ModelError(f"cannot read {path}: {e.strerror}") from None
    return f"sha256:{sha.hexdigest()}"


def has_blob(address: Address, digest: str, patience: float) -> bool:
    """Whether the server has this file already."""
    with _connection(address, patience) as connection:
        connection.request("HEAD", f"{address.path}/api/blobs/{digest}")
        with connection.getresponse() as response:
            response.read()
    if response.status not in (200, 404):
        _refuse(response.status, b"", address, "/api/blobs")
    return response.status == 200


def send_blob(address: Address, digest: str, path: str, progress: Progress, patience: float) -> None:
    """Upload one file; the server compares its digest."""
    with _connection(address, patience) as connection:
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below; its errors are not the connection's
        except OSError as e:
            raise ModelError(f"cannot read {path}: {e.strerror}") from None
        with file:
            size = os.fstat(file.fileno()).st_size
            connection.putrequest("POST", f"{address.path}/api/blobs/{digest}")
            connection.putheader("Content-Type", "application/octet-stream")
            connection.putheader("Content-Length", str(size))
            connection.endheaders()
            done = 0
            while chunk := file.read(min(_CHUNK, size - done)):
                connection.send(chunk)
                done += len(chunk)
                progress("sending", done, size)
            if done != size:
                raise ModelError(f"{path} became shorter while it was sent")
        with connection.getresponse() as response:
            data = response.read(_MOST)
    if response.status not in (200, 201):
        _refuse(response.status, data, address, "/api/blobs")


def whole(value: object) -> int:
    """A count from JSON; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(status: int, data: bytes, address: Address, doing: str) -> NoReturn:
    answer = _object(data)
    if answer is None or "error" not in answer:
        raise ollama_errors.garbled(address.url, f"HTTP {status} {data[:100]!r}")
    raise ollama_errors.from_response(status, str(answer["error"]), doing)
