"""Fetching, in ratios of one run: 1 GB against `curl` and `sha256sum`; a 405 GB model's header by range.

    python bench/fetch.py

Targets: at least 0.9 times curl followed by sha256sum; at most 12 MB read and 3 requests in flight. The
server is a process of its own on the loopback, which sends by sendfile. Needs 3 GB of disk for a minute.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import platform
import random
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from localrun.config import paths
from localrun.model.fetch import ensure
from localrun.model.hub_source import HubRepo
from localrun.model.part import Part
from localrun.model.remote import RepoHeaders
from localrun.model.sources import Net, Request, Silent, UrlSource
from localrun.model.transfer import Http
from localrun.model.variants import RepoFile, variants_of
from tests.sparse import write_sparse

SIZE = 1_000_000_000
ROUNDS = 5


class Files(BaseHTTPRequestHandler):
    """Serves a folder: `/x` is its file `x`, and so is `/any/thing/x`."""

    protocol_version = "HTTP/1.1"
    folder: Path
    told: Any  # [bytes sent, requests, under way, most under way]
    lock = threading.Lock()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        with self.lock:
            self.told[1] += 1
            self.told[2] += 1
            self.told[3] = max(self.told[3], self.told[2])
        with (self.folder / self.path.rpartition("/")[2]).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            at, end = (int(asked[1]), min(int(asked[2] or size), size - 1) + 1) if asked else (0, size)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - at))
            self.send_header("Content-Range", f"bytes {at}-{end - 1}/{size}")
            self.end_headers()
            self.wfile.flush()
            while at < end:
                sent = os.sendfile(self.connection.fileno(), file.fileno(), at, min(4 << 20, end - at))
                at += sent
                with self.lock:
                    self.told[0] += sent
        with self.lock:
            self.told[2] -= 1


def serve(folder: Path, told: Any, port: Any) -> None:
    Files.folder, Files.told = folder, told
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    port.value = server.server_address[1]
    server.serve_forever()


def fetch_against_curl(folder: Path, url: str) -> None:
    with (folder / "big").open("wb") as file:
        dice = random.Random(1)
        for _ in range(SIZE // 1_000_000):
            file.write(dice.randbytes(1_000_000))
    with (folder / "big").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    ratios, ranged = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(["curl", "-s", "-o", folder / "theirs", f"{url}/big"], check=True)
        subprocess.run(["sha256sum", folder / "theirs"], check=True, stdout=subprocess.DEVNULL)
        theirs = time.perf_counter() - start
        (folder / "theirs").unlink()
        ours = {streams: take(folder, url, sha256, streams) for streams in (4, 1)}
        ratios.append(theirs / ours[4])
        ranged.append(ours[1] / ours[4])
        print(
            f"  curl, then sha256sum {theirs:5.2f} s   fetch and verify {ours[4]:5.2f} s   {ratios[-1]:.2f}x   "
            f"over one connection {ours[1]:5.2f} s"
        )
    (folder / "big").unlink()
    print(f"1 GB fetched and verified: {statistics.median(ratios):.2f}x curl and sha256sum (target 0.9)")
    print(f"four connections against one, neither throttled: {statistics.median(ranged):.2f}x")


def take(folder: Path, url: str, sha256: str, streams: int) -> float:
    """Seconds to fetch and verify over so many connections."""
    part = Part(folder / "ours")
    start = time.perf_counter()
    with Http(Net(os.environ, streams=streams)) as http:
        http.download_verified(f"{url}/big", part, name="big", total=SIZE, sha256=sha256, progress=Silent())
    took = time.perf_counter() - start
    part.discard()
    return took


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def with_vocabulary(path: Path, n: int) -> None:
    """Puts a vocabulary of `n` tokens and as many merges, as long as DeepSeek's on the average, into a header."""
    dice = random.Random(2)
    with path.open("rb") as file:
        head = file.read(8 << 20)
    from localrun.native import read_header

    before = read_header(head, path.stat().st_size)
    words = [dice.randbytes(4).hex()[: dice.randrange(2, 9)].encode() for _ in range(n)]
    arrays = b"".join(
        string(key) + struct.pack("<IIQ", 9, 8, n) + b"".join(string(item) for item in items)
        for key, items in (
            (b"tokenizer.ggml.tokens", words),
            (
                b"tokenizer.ggml.merges",
                [b"%b %b" % (a, b) for a, b in zip(words, words[1:] + words[:1], strict=True)],
            ),
        )
    )
    (n_kv,) = struct.unpack_from("<Q", head, 16)
    new = head[:16] + struct.pack("<Q", n_kv + 2) + arrays + head[24 : before.data_offset]
    new += bytes(-len(new) % 32)
    size = len(new) + path.stat().st_size - before.data_offset
    with path.open("wb") as file:
        file.write(new)
        file.truncate(size)


def remote_header(folder: Path, url: str, told: Any) -> None:
    path = folder / "DeepSeek-V3.2-Q4_K_M.gguf"
    write_sparse(path, "v3.2", "Q4_K")
    with_vocabulary(path, 129_280)
    size = path.stat().st_size
    env = {"HF_ENDPOINT": url, "HOME": str(folder)}
    repo = HubRepo("o/r", "c" * 40, (RepoFile(path.name, size, "a" * 64),))
    told[:] = [0, 0, 0, 0]
    with Http(Net(env)) as http:
        start = time.perf_counter()
        model = RepoHeaders(http, repo, paths(env), env).model(variants_of(repo.files)[0])
        took = time.perf_counter() - start
    print(
        f"the header of {size / 1e9:.0f} GB: {told[0] / 1e6:.1f} MB read (it has "
        f"{model.files[0].data_offset / 1e6:.1f}), {told[1]} requests, at most {told[3]} in flight, "
        f"{took:.2f} s (targets 12 MB, 3)"
    )


def second_call(folder: Path, url: str) -> None:
    data = bytes(100_000_000)
    (folder / "again").write_bytes(data)
    request = Request("again.gguf", hashlib.sha256(data).hexdigest(), len(data), (UrlSource(f"{url}/again"),))
    env = {"HOME": str(folder)}
    ensure(request, paths(env), Net(env))
    times = []
    for _ in range(100):
        start = time.perf_counter()
        ensure(request, paths(env), Net(env))
        times.append(time.perf_counter() - start)
    print(f"ensure() of 100 MB that are here: {statistics.median(times) * 1e6:.0f} µs")


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name, multiprocessing.Manager() as manager:
        folder, told, port = Path(name), manager.list([0, 0, 0, 0]), manager.Value("i", 0)
        server = multiprocessing.Process(target=serve, args=(folder, told, port), daemon=True)
        server.start()
        while not port.value:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{port.value}"
        fetch_against_curl(folder, url)
        remote_header(folder, url, told)
        second_call(folder, url)
        server.terminate()


if __name__ == "__main__":
    main()
