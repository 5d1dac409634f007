"""A server that answers as Ollama 0.33 does, with the failures that the real one has.

Shapes were copied from a real server's answers. `faults` names what goes wrong; blobs are digested
and compared as there, manifests are a dict. Nothing is ever read from disk but what is uploaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FakeOllama:
    """State and switches; one per test."""

    def __init__(self, version: str = "0.33.0", **faults: Any) -> None:
        self.version = version
        self.faults = faults
        self.models: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, int] = {}
        self.loaded: dict[str, int] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.stalled = threading.Event()  # set at the end of a test: lets a stalled answer go
        self.url = ""

    def paths(self) -> list[str]:
        return [f"{method} {path.split(':')[0]}" for method, path, _ in self.requests]


def full(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeOllama

    def log_message(self, *args: object) -> None:
        pass

    def _json(self, status: int, value: Any) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _lines(self, steps: Iterator[Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for step in steps:
            data = step if isinstance(step, bytes) else json.dumps(step).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> Any:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        value = json.loads(data) if data[:1] == b"{" else data
        self.fake.requests.append((self.command, self.path, value))
        return value

    def do_HEAD(self) -> None:
        self._body()
        self._json(200 if self.path.rsplit("/", 1)[-1] in self.fake.blobs else 404, b"")

    def do_GET(self) -> None:
        self._body()
        fake = self.fake
        if "garbage" in fake.faults:
            return self._json(200, b"<html>not ollama</html>")
        if self.path == "/api/version":
            return self._json(200, {"version": fake.version})
        if self.path == "/api/tags":
            return self._json(200, {"models": [_tag(n, m) for n, m in fake.models.items()]})
        if self.path == "/api/ps":
            return self._json(200, {"models": [_ps(n, fake.models[n], c) for n, c in fake.loaded.items()]})
        return self._json(404, b"404 page not found")

    def do_DELETE(self) -> None:
        name = full(self._body()["model"])
        if self.fake.models.pop(name, None) is None:
            return self._json(404, {"error": f"model '{name}' not found"})
        return self._json(200, b"")

    def do_POST(self) -> None:
        body = self._body()
        fake = self.fake
        if "busy" in fake.faults:
            return self._json(
                503, {"error": "server busy, please try again.  maximum pending requests exceeded"}
            )
        if self.path.startswith("/api/blobs/"):
            return self._blob(body)
        name = full(str(body.get("model") or body.get("source") or ""))
        if self.path == "/api/create":
            return self._lines(self._create(name, body))
        if self.path == "/api/pull":
            return self._lines(self._pull(name))
        if name not in fake.models:
            return self._json(404, {"error": f"model '{name}' not found"})
        if self.path == "/api/show":
            return self._json(200, _show(fake.models[name]))
        if self.path == "/api/copy":
            fake.models[full(body["destination"])] = fake.models[name]
            return self._json(200, b"")
        if self.path == "/api/generate":
            return self._generate(name, body)
        return self._json(404, b"404 page not found")

    def _blob(self, body: bytes) -> None:
        wanted = self.path.rsplit("/", 1)[-1]
        got = "sha256:" + hashlib.sha256(body).hexdigest()
        if "digest_mismatch" in self.fake.faults:
            got = "sha256:" + "0" * 64
        if got != wanted:
            return self._json(400, {"error": f'digest mismatch, expected "{wanted}", got "{got}"'})
        self.fake.blobs[wanted] = len(body)
        return self._json(201, b"")

    def _create(self, name: str, body: dict[str, Any]) -> Iterator[Any]:
        fake = self.fake
        if "shard" in fake.faults:
            yield {"error": 'split GGUF "m-00001-of-00002.gguf" has 1 shards, expected 2'}
            return
        if "full" in fake.faults:
            yield {"error": "write /models/blobs/COPY123: no space left on device"}
            return
        base = fake.models.get(full(body.get("from", "")), {})
        if not base and not body.get("files"):
            yield {"error": "neither 'from' or 'files' was specified", "status": 400}
            return
        missing = [d for d in (body.get("files") or {}).values() if d not in fake.blobs]
        if missing:
            yield {"error": f"open blobs/{missing[0]}: no such file or directory"}
            return
        yield {"status": "parsing GGUF"}
        if body.get("files"):
            yield {"status": "validating GGUF model", "digest": "0" * 19, "total": 100, "completed": 50}
        if "cut" in fake.faults:
            return
        model = {**base, **{k: v for k, v in body.items() if k not in ("model", "from", "files", "stream")}}
        text = json.dumps(model, sort_keys=True)
        model["digest"] = hashlib.sha256(text.encode()).hexdigest()
        fake.models[name] = model
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    def _pull(self, name: str) -> Iterator[Any]:
        fake = self.fake
        yield {"status": "pulling manifest"}
        if "no_such_tag" in fake.faults:
            yield {"error": "pull model manifest: file does not exist"}
            return
        for done in range(fake.blobs.get("partial", 0), 101, 25):
            fake.blobs["partial"] = done
            yield {"status": "pulling 0123", "digest": "sha256:" + "0" * 64, "total": 100, "completed": done}
            if "stall" in fake.faults:
                fake.stalled.wait(60)
                return
            if fake.faults.get("drop_at") == done:
                del fake.faults["drop_at"]
                yield {"error": "max retries exceeded: unexpected EOF"}
                return
            if fake.faults.get("garbage_line"):
                yield b"<html>proxy error</html>\n"
        fake.models[name] = {
            "digest": "1" * 64,
            **({"remote_host": "https://ollama.com"} if "remote" in fake.faults else {}),
        }
        yield {"status": "verifying sha256 digest"}
        yield {"status": "success"}

    def _generate(self, name: str, body: dict[str, Any]) -> None:
        fake = self.fake
        if "oom" in fake.faults:
            text = "llama-server reported out-of-memory during startup: cudaMalloc failed: out of memory"
            return self._json(500, {"error": text})
        if "died" in fake.faults:
            return self._json(500, {"error": "llama-server process has terminated: signal: killed"})
        if body.get("keep_alive") == 0:
            fake.loaded.pop(name, None)
            return self._json(200, {"model": name, "done": True, "done_reason": "unload", "response": ""})
        if body.get("raw"):
            return self._measured(body)
        asked = fake.models[name].get("parameters", {}).get("num_ctx", 4096)
        fake.loaded[name] = min(asked, fake.faults.get("context_trained", asked))
        return self._json(200, {"model": name, "created_at": "2026-08-21T00:00:00Z", "response": "ok", "done": True,
                                "done_reason": "load", "eval_count": 1, "eval_duration": 10**8})  # fmt: skip

    def _measured(self, body: dict[str, Any]) -> None:
        """A raw prompt: 500 words a second; 20 tokens a second out, the first of them at once."""
        fault, n = self.fake.faults.get("raw", ""), len(body["prompt"].split())
        out = body["options"]["num_predict"]
        if fault == "dies":
            os._exit(3)
        if fault == "refuses":
            return self._json(400, {"error": "the input length exceeds the context length"})
        timed = {"prompt_eval_count": n, "prompt_eval_duration": n * 2_000_000, "eval_count": out,
                 "eval_duration": (out - 1) * 50_000_000 + 1000}  # fmt: skip
        if fault == "ends early":
            timed["eval_count"] = min(out, 3)
        if fault == "nonsense":
            timed = dict.fromkeys(timed, -1)
        return self._json(200, {"response": "ok", "done": True, **({} if fault == "mute" else timed)})


def _tag(name: str, model: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "model": name, "modified_at": "2026-11-22T03:16:19.268540621Z", "size": 98362432,
            "digest": model["digest"], "details": {"format": "gguf", "family": "llama"}}  # fmt: skip


def _ps(name: str, model: dict[str, Any], context: int) -> dict[str, Any]:
    return {"name": name, "model": name, "size": 2 << 30, "digest": model["digest"], "size_vram": 1 << 30,
            "details": {"family": "llama"}, "expires_at": "2318-01-01T00:00:00Z",
            "context_length": context}  # fmt: skip


def _show(model: dict[str, Any]) -> dict[str, Any]:
    lines = []
    for key, value in sorted((model.get("parameters") or {}).items()):
        for one in value if isinstance(value, list) else [value]:
            # As Go prints with %#v: a whole float has no point, a text has quotes and escapes.
            shown = json.dumps(one) if isinstance(one, str | bool) else f"{one:g}"
            lines.append(f"{key:<30} {shown}")
    remote = {k: model[k] for k in ("remote_host",) if k in model}
    return {"parameters": "\n".join(lines), "template": model.get("template", "{{ .Prompt }}"),
            "system": model.get("system", ""), "details": {"family": "llama"}, **remote,
            "model_info": {"general.architecture": "llama"}, "capabilities": ["completion"]}  # fmt: skip


@contextmanager
def serving(fake: FakeOllama, port: int = 0) -> Iterator[FakeOllama]:
    """Runs the fake on a free port of loopback; `fake.url` says where."""
    handler = type("Bound", (Handler,), {"fake": fake})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        fake.stalled.set()
        server.shutdown()
        server.server_close()
        thread.join()


def binary(folder: Path, **faults: Any) -> Path:
    """An executable `ollama` whose `serve` is this fake on the port of OLLAMA_HOST.

    It prints its environment's OLLAMA_* and LLAMA_ARG_* and every request's path.
    """
    path = folder / "ollama"
    root = Path(__file__).parents[2]
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
        f"from tests.fakes.ollama_server import main\nmain({faults!r})\n"
    )
    path.chmod(0o755)
    return path


def main(faults: dict[str, Any]) -> None:
    if "refuses" in faults:
        print("Error: listen tcp: bind: address already in use", flush=True)
        raise SystemExit(1)
    time.sleep(faults.get("slow_start", 0))
    for name, value in sorted(os.environ.items()):
        if name.startswith(("OLLAMA_", "LLAMA_ARG_", "LOCALRUN_")):
            print(f"env {name}={value}", flush=True)
    with serving(FakeOllama(**faults), int(os.environ["OLLAMA_HOST"].rpartition(":")[2])) as fake:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        seen = 0
        while not stop.wait(0.02):
            if fake.faults.get("crash_when_loaded") and fake.loaded:
                os._exit(3)
            for request in fake.requests[seen:]:
                print("request", request[0], request[1], flush=True)
                seen += 1
    print("fake ollama ended", flush=True)
