"""A hub on the loopback: a package index for pip, a Hugging Face hub, plain files; with faults by script.

with Hub() as hub:
    hub.files["/files/a.bin"] = b"..."          any path, served with ETag and ranges
    hub.add_wheel("demo-model", "1.0", wheel)   an index for PIP_INDEX_URL=hub.index
    hub.add_repo("owner/name", {"a.gguf": b"..."})
    hub.faults.append(Fault("/files/a.bin", cut=1000))
    hub.requests                                what was asked: method, path, Range, Authorization
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Fault:
    """What goes wrong with the next `times` GETs whose path holds `path`."""

    path: str
    times: int = 1
    status: int = 0  # answer this instead of the file
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = -1  # close the connection after so many bytes of the body
    stall: bool = False  # at `cut`, leave it open and silent instead
    length: int = 0  # added to the announced Content-Length
    corrupt: bool = False  # flip a bit of every 1000th byte
    whole: bool = False  # ignore the Range header
    then: Callable[[], object] | None = None  # called once this answer is settled, before it is sent


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    range: str
    authorization: str


class Hub:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.sent = 0  # bytes of bodies
        self.at_once = self.most_at_once = 0  # requests under way, now and at most
        self.most = 0  # requests under way that are allowed, more are answered 403; 0 = any number
        self.on_sent: Callable[[int], None] = lambda _: None  # called with `sent` after each write
        self.chunk = 1 << 16
        self.carried: dict[int, int] = {}  # bytes of bodies by connection, named by the client's port
        self.over = threading.Event()
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.index = f"{self.url}/simple/"
        self.cdn = self.url.replace("127.0.0.1", "localhost")  # another host, to a client
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_wheel(self, project: str, version: str, wheel: bytes) -> None:
        name = f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
        self.files[f"/files/{name}"] = wheel
        link = {"filename": name, "url": f"{self.url}/files/{name}", "hashes": {"sha256": sha256(wheel)}}
        page = {"meta": {"api-version": "1.0"}, "name": project, "files": [link]}
        kind = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
        self.pages[f"/simple/{project}/"] = (200, kind, json.dumps(page).encode())

    def add_repo(self, repo: str, files: Mapping[str, bytes], commit: str = "c" * 40) -> None:
        """A repository as Hugging Face shows it: the tree, and each file behind a redirect to a CDN."""
        siblings = [
            {"rfilename": name, "size": len(data), "lfs": {"sha256": sha256(data), "size": len(data)}}
            for name, data in files.items()
        ]
        about = json.dumps({"id": repo, "sha": commit, "siblings": siblings, "gated": False}).encode()
        for path in (f"/api/models/{repo}", f"/api/models/{repo}/revision/main"):
            self.pages[path] = (200, {"Content-Type": "application/json"}, about)
        for name, data in files.items():
            self.files[f"/cdn/{sha256(data)}"] = data
            facts = {
                "Location": f"{self.cdn}/cdn/{sha256(data)}?Signature=secret",
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{sha256(data)}"',
                "X-Linked-Size": str(len(data)),
            }
            for revision in ("main", commit):
                self.pages[f"/{repo}/resolve/{revision}/{name}"] = (302, facts, b"")

    def settle(self) -> None:
        """Waits until nothing is under way: answers to clients that went away take a moment to fail."""
        until = time.monotonic() + 30
        while self.at_once and time.monotonic() < until:
            time.sleep(0.005)

    def bodies(self, part_of_path: str) -> list[Seen]:
        """The GETs whose path holds `part_of_path`, in order."""
        return [seen for seen in self.requests if seen.method == "GET" and part_of_path in seen.path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(project: str, version: str, files: Mapping[str, bytes]) -> bytes:
    """A wheel that pip takes, with `files` in it."""
    info = f"{project.replace('-', '_')}-{version}.dist-info"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return out.getvalue()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self._counted(body=False)

    def do_GET(self) -> None:
        self._counted(body=True)

    def _counted(self, body: bool) -> None:
        hub = self.server.hub
        with hub.lock:
            hub.at_once += 1
            hub.most_at_once = max(hub.most_at_once, hub.at_once)
        self._under_way = True
        try:
            self._answer(body)
        finally:
            self._over()

    def _over(self) -> None:
        """The request counts as answered: before its last bytes go, which the client may act on at once."""
        with self.server.hub.lock:
            self.server.hub.at_once -= self._under_way
            self._under_way = False

    def _answer(self, body: bool) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        fault = Fault("")
        with hub.lock:
            hub.requests.append(
                Seen(
                    self.command,
                    self.path,
                    self.headers.get("Range", ""),
                    self.headers.get("Authorization", ""),
                )
            )
            for candidate in hub.faults if body else ():
                if candidate.times > 0 and candidate.path in path:
                    candidate.times -= 1
                    fault = candidate
                    break
        if hub.most and hub.at_once > hub.most:
            self._send(403, {}, b"", fault, body)
        elif fault.status:
            self._send(fault.status, dict(fault.headers), b"", Fault(""), body)
        elif path in hub.files:
            self._send_file(hub.files[path], fault, body)
        elif path in hub.pages:
            self._send(*hub.pages[path], fault, body)
        else:
            self._send(404, {"X-Error-Code": "EntryNotFound"}, b"", fault, body)

    def _send_file(self, data: bytes, fault: Fault, body: bool) -> None:
        etag = f'"{sha256(data)[:16]}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", **fault.headers}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match or fault.whole or self.headers.get("If-Range", etag) != etag:
            return self._send(200, headers, data, fault, body)
        first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
        if first >= len(data):
            return self._send(416, {"Content-Range": f"bytes */{len(data)}"}, b"", fault, body)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self._send(206, headers, data[first : last + 1], fault, body)

    def _send(self, status: int, headers: dict[str, str], data: bytes, fault: Fault, body: bool) -> None:
        if fault.then:
            fault.then()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) + fault.length))
        if not body or not data:
            self._over()
        self.end_headers()
        if not body:
            return
        if fault.corrupt:
            data = bytes(b ^ 1 if i % 1000 == 0 else b for i, b in enumerate(data))
        end = len(data) if fault.cut < 0 else min(fault.cut, len(data))
        hub = self.server.hub
        for start in range(0, end, hub.chunk):
            piece = data[start : min(start + hub.chunk, end)]
            # Counted first: a client that has its bytes may look at once.
            with hub.lock:
                hub.sent += len(piece)
                port = self.client_address[1]
                hub.carried[port] = hub.carried.get(port, 0) + len(piece)
            if start + hub.chunk >= end:
                self._over()
            self.wfile.write(piece)
            hub.on_sent(hub.sent)
        if fault.stall:
            hub.over.wait(60)
        if fault.cut >= 0 or fault.length:
            self.close_connection = True
