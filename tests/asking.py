"""Questions over HTTP to an engine that a test started."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

#: One thread and a small context: the machine may be busy, and spinning threads starve each other.
SMALL = ("-t", "1", "-c", "1024")


def ask(url: str, body: object = None, method: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers in lower case, body); an error status is an answer too."""
    data = json.dumps(body).encode() if body is not None else None
    sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    request = urllib.request.Request(url, data, sent, method=method or None)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, {k.lower(): v for k, v in refused.headers.items()}, refused.read()


def question(text: str = "Say hi", **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 6, "seed": 1, **more}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(root: str) -> bool:
    try:
        return ask(f"{root}/health")[0] == 200
    except OSError:
        return False
