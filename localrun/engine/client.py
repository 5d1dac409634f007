"""HTTP to an engine on this machine: small JSON questions, and a chat as it streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from localrun.errors import EngineError
from localrun.meter.values import Observation

if TYPE_CHECKING:
    import http.client

#: No answer of an engine that we ask for is larger; more is not one.
_MOST = 16 << 20


class Refused(EngineError):
    """The engine answered with an error: `status` is HTTP's, the text is its own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the engine answered {status}: {message}")
        self.status = status


def _connect(endpoint: str, timeout: float) -> http.client.HTTPConnection:
    import http.client  # 21 ms, which commands that ask no engine need not pay

    parts = urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname:
        raise EngineError(f"not an endpoint: {endpoint!r}")
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)


def _headers(api_key: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return headers


def _message(status: int, body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        text = body.decode("utf-8", "replace") or _phrase(status)
    return " ".join(str(text).split())[:500]


def _phrase(status: int) -> str:
    import http.client

    return http.client.responses.get(status, "")


def get(endpoint: str, path: str, api_key: str = "", timeout: float = 5.0) -> bytes:
    """The body of GET `path` (from the server's root). Raises OSError, Refused."""
    import http.client

    try:
        with closing(_connect(endpoint, timeout)) as connection:
            connection.request("GET", path, headers=_headers(api_key))
            response = connection.getresponse()
            body = response.read(_MOST)
    except http.client.HTTPException as broken:
        raise EngineError(f"the engine's answer is not HTTP: {broken!r}") from None
    if response.status != 200:
        raise Refused(response.status, _message(response.status, body))
    return body


def healthy(endpoint: str) -> bool:
    """Whether /health says ok. False while it loads or nothing listens."""
    try:
        return get(endpoint, "/health", timeout=2.0) != b""
    except (OSError, EngineError):
        return False


def serves(endpoint: str, alias: str, api_key: str = "") -> bool:
    """Whether the server there lists a model called `alias`. Any will do when `alias` is empty."""
    try:
        listed = json.loads(get(endpoint, "/v1/models", api_key))["data"]
        return not alias or any(alias in (m["id"], *m.get("aliases", ())) for m in listed)
    except (OSError, EngineError, AttributeError, LookupError, ValueError, TypeError, RecursionError):
        return False


def chat(
    endpoint: str, body: dict[str, Any], api_key: str = "", timeout: float | None = None
) -> Iterator[dict[str, Any]]:
    """Stream /v1/chat/completions: each chunk as the engine's JSON. Raises EngineError.

    Closing the generator closes the connection, which makes the engine stop generating.
    """
    import http.client

    payload = json.dumps({**body, "stream": True}).encode()
    path = urlsplit(endpoint).path.rstrip("/") + "/chat/completions"
    try:
        with closing(_connect(endpoint, timeout or 3600.0)) as connection:
            connection.request("POST", path, payload, _headers(api_key))
            with connection.getresponse() as response:
                if response.status != 200:
                    raise Refused(response.status, _message(response.status, response.read(_MOST)))
                yield from _events(response)
    except (OSError, http.client.HTTPException) as broken:
        raise EngineError(
            f"the connection to the engine broke: {broken or type(broken).__name__}",
            "see what the engine said: localrun logs",
        ) from None


def complete(endpoint: str, body: dict[str, Any], api_key: str, timeout: float) -> dict[str, Any]:
    """llama-server's own POST /completion, which takes token ids. Raises EngineError, Refused.

    `timeout`: seconds without a byte, and it sends none before it is done.
    """
    import http.client

    path = urlsplit(endpoint).path.rstrip("/").removesuffix("/v1") + "/completion"
    try:
        with closing(_connect(endpoint, timeout)) as connection:
            connection.request("POST", path, json.dumps({**body, "stream": False}), _headers(api_key))
            with connection.getresponse() as response:
                data = response.read(_MOST)
    except TimeoutError:
        raise EngineError(
            f"the engine did not answer within {timeout:.0f} s", "fewer tokens, or see: localrun logs"
        ) from None
    except (OSError, http.client.HTTPException) as broken:
        raise EngineError(
            f"the connection to the engine broke: {broken or type(broken).__name__}",
            "see what the engine said: localrun logs",
        ) from None
    if response.status != 200:
        raise Refused(response.status, _message(response.status, data))
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise EngineError("the engine's answer is not a JSON object")
    return answer


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Server-sent events: `data: {json}` lines until `[DONE]`; other fields are comments to us."""
    while line := response.readline(_MOST):
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.strip()
        if field == "error":
            raise EngineError(f"the engine failed in mid-answer: {_message(500, value.encode())}")
        if field != "data":
            continue
        if value == "[DONE]":
            return
        try:
            chunk = json.loads(value)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            raise EngineError("the engine sent a chunk that is not a JSON object")
        if "error" in chunk:
            raise EngineError(f"the engine failed in mid-answer: {_message(500, value.encode())}")
        yield chunk
    # Without this, an engine that dies at the right byte would pass for one that has finished.
    raise EngineError("the answer broke off", "see what the engine said: localrun logs")


def observe(endpoint: str, api_key: str = "") -> Observation | None:
    """llama-server's /slots and /metrics as one value; None while it does not answer.

    /metrics has no KV gauge (llama.cpp removed it), so occupancy comes from the slots.
    """
    try:
        slots = json.loads(get(endpoint, "/slots", api_key))
        metrics = _counters(get(endpoint, "/metrics", api_key).decode("utf-8", "replace"))
        held = tuple(int(s.get("n_prompt_tokens", 0)) for s in slots)
        return Observation(
            tokens_held=sum(held),
            tokens_capacity=sum(int(s["n_ctx"]) for s in slots),
            busy=sum(bool(s.get("is_processing")) for s in slots),
            generating=tuple(
                (int(s["id_task"]), _decoded(s)) for s in slots if s.get("is_processing") and "id_task" in s
            ),
            prompt_tokens=int(metrics.get("prompt_tokens_total", 0)),
            prompt_seconds=metrics.get("prompt_seconds_total", 0.0),
            generated_tokens=int(metrics.get("tokens_predicted_total", 0)),
            generated_seconds=metrics.get("tokens_predicted_seconds_total", 0.0),
            held=held,
            tokens_most=int(metrics.get("n_tokens_max", 0)),
        )
    except (
        OSError,
        EngineError,
        ArithmeticError,
        AttributeError,
        LookupError,
        ValueError,
        TypeError,
        RecursionError,
    ):
        return None  # it does not answer, or another program does


def _decoded(slot: dict[str, Any]) -> int:
    token = slot.get("next_token")
    # A list of one in builds since 2026, an object before.
    if isinstance(token, list):
        token = token[0] if token else None
    return int(token.get("n_decoded", 0)) if isinstance(token, dict) else 0


def _counters(text: str) -> dict[str, float]:
    """Prometheus text -> values by name, without the `llamacpp:` prefix."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("llamacpp:"):
            name, _, value = line.removeprefix("llamacpp:").partition(" ")
            found[name] = float(value)
    return found
