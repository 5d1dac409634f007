"""A llama-server that serves nothing: the real one's flags, routes, shapes and last words.

`install(folder)` puts it there as `llama-server`. The environment variable FAKE_LLAMA says how it
behaves, several words apart by commas:

    die:KEY     says DEATHS[KEY] and ends as the real one does
    never       loads for ever                  slow-load   says 503 to the first five questions
    slow        20 tokens a second, unasked 10000 of them
    stubborn    ignores SIGTERM                 fork        has a child that ignores it too
    old         lacks newer flags and refuses them          garbage     does not speak HTTP
    control     answers with bytes that steer a terminal    thinks      reasons before it answers
    bench-X     what its second /completion does, X: die, refuse, hang, mute (no timings), nonsense, short, wait

A prompt of `die` kills it in mid-answer, `fail` makes it send an error there, `long` is too long.
Its texts and shapes were taken from llama.cpp's tree 0c1e57098; a test holds them to the real engine.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

FLAGS_WITH_VALUE = {
    "-ctxcp": "--ctx-checkpoints",
    "-m": "--model", "-a": "--alias", "-c": "--ctx-size", "-np": "--parallel", "-b": "--batch-size",
    "-ub": "--ubatch-size", "-ctk": "--cache-type-k", "-ctv": "--cache-type-v", "-fa": "--flash-attn",
    "-ngl": "--n-gpu-layers", "-ncmoe": "--n-cpu-moe", "-ot": "--override-tensor", "-ts": "--tensor-split",
    "-t": "--threads", "-cram": "--cache-ram", "-fit": "--fit", "-lv": "--log-verbosity", "-lm": "--load-mode",
    "-mm": "--mmproj", "": "--host --port --cors-origins --api-key --chat-template-file --rpc",
}  # fmt: skip
SWITCHES = (
    "--metrics --slots --no-slots --no-ui --ui --swa-full --repack --no-repack --kv-unified --no-kv-unified "
    "--jinja"
)
#: What a build of 2025 did not have.
NEWER = {
    "--no-ui",
    "--ui",
    "--no-kv-unified",
    "--fit",
    "-fit",
    "--ctx-checkpoints",
    "-ctxcp",
    "--cors-origins",
    "--load-mode",
    "-lm",
}

MIB = 1 << 20
#: The lines of the real engine, and its exit: a status, or minus the signal that ends it.
DEATHS: dict[str, tuple[tuple[str, ...], int]] = {
    "weights": (
        ("E alloc_tensor_range: failed to allocate CUDA0 buffer of size 6442450944",
         "E llama_model_load: error loading model: unable to allocate CUDA0 buffer",
         "E srv  llama_server: exiting due to model loading error"), 1),
    "kv": (
        ("E alloc_tensor_range: failed to allocate CPU buffer of size 2304000000000",
         "E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
         "E srv  llama_server: exiting due to model loading error"), 1),
    "compute": (
        ("E ggml_gallocr_reserve_n_impl: failed to allocate CUDA0 buffer of size 1234567890",
         "E graph_reserve: failed to allocate compute buffers",
         "E llama_init_from_model: failed to initialize the context: failed to allocate compute pp buffers"), 1),
    "output": (("E output_reserve: failed to allocate output buffer of size 16.00 MiB",), 1),
    "cuda": (
        ("E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: "
         "out of memory",), 1),
    "cuda-error": (("E CUDA error: no kernel image is available for execution on the device",), -6),
    "vulkan": (("E ggml_vulkan: Device memory allocation of size 4294967296 failed.",), 1),
    "metal": (("E ggml_metal_buffer_init: error: failed to allocate Metal buffer, size = 4096.00 MiB",), 1),
    "repack": (("ggml-backend.cpp:898: GGML_ASSERT(*cur_backend_id != -1) failed",), -6),
    "types": (
        ("E llama_init_from_model: model does not support different K (f16) and V (q8_0) cache types",), 1),
    "v-cache": (("E llama_init_from_model: quantized V cache requires flash_attn to be enabled",), 1),
    "bounds": (
        ("E llama_model_load: error loading model: tensor 'blk.16.ffn_down.weight' data is not within the file "
         "bounds, model is corrupted or incomplete",), 1),
    "architecture": (
        ("E llama_model_load: error loading model: error loading model architecture: unknown model architecture: "
         "'deepseek9'",), 1),
    "tokenizer": (
        ("E llama_model_load: error loading model: error loading model vocabulary: unknown pre-tokenizer type: "
         "'kimi-k9'",), 1),
    "missing": (
        ("E gguf_init_from_file: failed to open GGUF file '/nonexistent' (No such file or directory)",), 1),
    "magic": (("E gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'",), 1),
    "port": (("E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",), 1),
    "flag": (("error: invalid argument: --fit",), 1),
    "sigill": ((), -4),
    "killed": ((), -9),
    "segv": ((), -11),
    "silent": ((), 3),
}  # fmt: skip


def install(folder):  # type: ignore[no-untyped-def]
    """Write `folder/llama-server`. Returns the folder."""
    path = folder / "llama-server"
    # Through sh: a line that begins with #! may be too short for this interpreter's path.
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ISB "{os.path.abspath(__file__)}" "$@"\n')
    path.chmod(0o755)
    return folder


class State:
    """What /slots and /metrics tell."""

    def __init__(self, n_ctx: int) -> None:
        self.lock = threading.Lock()
        self.n_ctx, self.task, self.busy, self.held, self.decoded = n_ctx, 0, False, 0, 0
        self.prompt, self.prompt_s, self.predicted, self.predicted_s = 0, 0.0, 0, 0.0

    def slots(self) -> list[dict[str, object]]:
        slot: dict[str, object] = {
            "id": 0, "n_ctx": self.n_ctx, "speculative": False, "is_processing": self.busy,
        }  # fmt: skip
        if self.task:
            slot |= {
                "id_task": self.task,
                "n_prompt_tokens": self.held,
                "n_prompt_tokens_processed": 0,
                "n_prompt_tokens_cache": 0,
                "params": {"n_predict": -1},
                "next_token": [{"has_next_token": self.busy, "has_new_line": False, "n_remain": -1,
                                "n_decoded": self.decoded}],
            }  # fmt: skip
        return [slot]

    def metrics(self) -> str:
        return "".join(
            f"# HELP llamacpp:{name} {name}\n# TYPE llamacpp:{name} counter\nllamacpp:{name} {value:g}\n"
            for name, value in (
                ("prompt_tokens_total", self.prompt),
                ("prompt_seconds_total", self.prompt_s),
                ("tokens_predicted_total", self.predicted),
                ("tokens_predicted_seconds_total", self.predicted_s),
                ("requests_processing", int(self.busy)),
            )
        )


def log(line: str) -> None:
    sys.stderr.write(f"0.00.{int(time.monotonic() * 1000) % 1000:03}.000 {line}\n")
    sys.stderr.flush()


def known_flags(old: bool) -> tuple[dict[str, str], set[str]]:
    """Spelling -> long name of the flags that take a value, and the switches."""
    values = {name: name for names in FLAGS_WITH_VALUE.values() for name in names.split()}
    values |= {short: names for short, names in FLAGS_WITH_VALUE.items() if short}
    switches = set(SWITCHES.split())
    if old:
        values = {k: v for k, v in values.items() if k not in NEWER}
        switches -= NEWER
    return values, switches


def print_help(old: bool) -> None:
    values, switches = known_flags(old)
    print("----- common params -----\n\n-h,    --help, --usage                  print usage and exit")
    shorts = {long: short for short, long in values.items() if short != long}
    for long in sorted(set(values.values())):
        spelled = f"{shorts[long] + ',':<6} {long}" if long in shorts else long
        print(f"{spelled + ' N':<40} sets it (default: -1)")
    for switch in sorted(switches):
        print(f"{switch:<40} switches it")


def parse(argv: list[str], old: bool) -> dict[str, str]:
    values, switches = known_flags(old)
    found: dict[str, str] = {}
    rest = iter(argv)
    for word in rest:
        if word in values:
            found[values[word]] = next(rest)
        elif word in switches:
            found[word] = ""
        else:
            print(f"error: invalid argument: {word}", file=sys.stderr)
            sys.exit(1)
    return found


def die(key: str) -> None:
    lines, status = DEATHS[key]
    for line in lines:
        log(line)
    if status < 0:
        # No core files in the working folder.
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), -status)
        time.sleep(60)
    sys.exit(status)


def serve(args: dict[str, str], modes: set[str]) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    state = State(int(args.get("--ctx-size", "4096")))
    alias, key = args.get("--alias", "model"), args.get("--api-key") or os.environ.get("LLAMA_API_KEY", "")
    loading = [5 if "slow-load" in modes else 10**9 if "never" in modes else 0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "llama.cpp", ""

        def log_message(self, *_: object) -> None:
            pass

        def send(self, status: int, body: object, kind: str = "application/json; charset=utf-8") -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Access-Control-Allow-Origin", args.get("--cors-origins", "*"))
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, status: int, message: str, kind: str, **more: object) -> None:
            self.send(status, {"error": {"code": status, "message": message, "type": kind, **more}})

        def allowed(self) -> bool:
            if key and self.headers.get("Authorization") != f"Bearer {key}":
                self.refuse(401, "Invalid API Key", "authentication_error")
                return False
            if loading[0] > 0:
                loading[0] -= 1
                self.refuse(503, "Loading model", "unavailable_error")
                return False
            return True

        def do_GET(self) -> None:
            if self.path == "/health":
                if loading[0] > 0:
                    loading[0] -= 1
                    return self.refuse(503, "Loading model", "unavailable_error")
                return self.send(200, {"status": "ok"})
            if not self.allowed():
                return None
            if self.path == "/slots":
                return self.send(200, state.slots())
            if self.path == "/metrics":
                return self.send(200, state.metrics(), "text/plain; version=0.0.4")
            if self.path == "/v1/models":
                return self.send(200, {"object": "list", "data": [{"id": alias, "object": "model"}]})
            return self.refuse(404, "File Not Found", "not_found_error")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.allowed():
                return None
            if self.path == "/completion":
                with state.lock:
                    return self.complete(body)
            prompt = body["messages"][-1]["content"]
            if prompt == "long":
                message = "the request exceeds the available context size, try increasing it"
                return self.refuse(400, message, "exceed_context_size_error", n_prompt_tokens=99, n_ctx=64)
            with state.lock:
                return self.answer(prompt, body)

        def complete(self, body: dict) -> None:  # type: ignore[type-arg]
            """Token ids in: 500 a second; 20 a second out, the first of them at once."""
            state.task += 1
            fault = next((m[6:] for m in modes if m.startswith("bench-") and state.task > 1), "")
            n, out = len(body["prompt"]), max(body["n_predict"], 1)
            if fault == "die":
                log("E decode: failed to find a memory slot for batch of size 512")
                os._exit(1)
            if fault == "refuse" or n + out > state.n_ctx:
                message = f"request ({n} tokens) exceeds the available context size ({state.n_ctx} tokens)"
                return self.refuse(
                    400, message, "exceed_context_size_error", n_prompt_tokens=n, n_ctx=state.n_ctx
                )
            if fault in ("hang", "wait"):
                time.sleep(3600 if fault == "hang" else 0.3)
            slow = -1.0 if fault == "nonsense" else 1.0
            timings = {
                "cache_n": 0, "prompt_n": n, "prompt_ms": n * 2.0 * slow,
                "predicted_n": 1 if fault == "short" else out, "predicted_ms": (out - 1) * 50.0 * slow + 0.001,
            }  # fmt: skip
            state.held = n + out - 1
            return self.send(200, {} if fault == "mute" else {"timings": timings})

        def answer(self, prompt: str, body: dict) -> None:  # type: ignore[type-arg]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            most = body.get("max_tokens", 10000 if "slow" in modes else 8)
            state.task, state.busy, state.held, state.decoded = (
                state.task + 1,
                True,
                len(prompt.split()) + 3,
                0,
            )
            state.prompt, state.prompt_s = state.prompt + state.held, state.prompt_s + 0.01
            try:
                self.event({"delta": {"role": "assistant", "content": None}})
                if "thinks" in modes:
                    self.event({"delta": {"reasoning_content": "hmm, let me see"}})
                for i in range(most):
                    if i == 2 and prompt == "die":
                        os._exit(1)
                    if i == 2 and prompt == "fail":
                        return self.chunk('error: {"code":500,"message":"decode: failed to find a memory slot for '
                                          'batch of size 1","type":"server_error"}\n\n')  # fmt: skip
                    self.event(
                        {"delta": {"content": "\x1b]0;x\x07red\x1b[31m " if "control" in modes else f"w{i} "}}
                    )
                    state.held, state.decoded, state.predicted = state.held + 1, i + 1, state.predicted + 1
                    state.predicted_s += 0.05
                    if "slow" in modes:
                        time.sleep(0.05)
                self.event({"delta": {}, "finish_reason": "length" if "max_tokens" in body else "stop"})
                self.event(
                    None,
                    usage={"completion_tokens": most, "prompt_tokens": 5, "total_tokens": most + 5},
                    timings={"cache_n": 0, "prompt_n": 5, "prompt_ms": 10.0, "prompt_per_second": 500.0,
                             "predicted_n": most, "predicted_ms": most * 50.0, "predicted_per_second": 20.0},
                )  # fmt: skip
                self.chunk("data: [DONE]\n\n")
                self.chunk("")
            except OSError:
                log("I srv    stop: cancel task, the client went away")
                self.close_connection = True
            finally:
                state.busy = False

        def event(self, choice: object, **more: object) -> None:
            choices = [{"finish_reason": None, "index": 0, **choice}] if isinstance(choice, dict) else []
            self.chunk(
                "data: "
                + json.dumps({"choices": choices, "object": "chat.completion.chunk", **more})
                + "\n\n"
            )

        def chunk(self, text: str) -> None:
            data = text.encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    if "garbage" in modes:
        return garbage(int(args["--port"]))
    host, port = args.get("--host", "127.0.0.1"), int(args.get("--port", "8080"))
    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError:
        log(f"E srv         start: couldn't bind HTTP server socket, hostname: {host}, port: {port}")
        sys.exit(1)
    server.daemon_threads = True
    log(f"I srv          init: listening on http://{host}:{port}")
    server.serve_forever()


def garbage(port: int) -> None:
    import socket

    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                client.sendall(b"\x15\x03\x01 this is not HTTP\r\n\r\n")


def main(argv: list[str]) -> None:
    modes = set(os.environ.get("FAKE_LLAMA", "").split(","))
    if "--help" in argv:
        return print_help("old" in modes)
    args = parse(argv, "old" in modes)
    for mode in modes:
        if mode.startswith("die:"):
            die(mode.removeprefix("die:"))
    if "stubborn" in modes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "fork" in modes and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)
    log(f"I srv    load_model: loading model '{args['--model']}'")
    log("I load_tensors:   CPU_Mapped model buffer size =    92.10 MiB")
    log("I llama_kv_cache:        CPU KV buffer size =   180.00 MiB")
    log("I sched_reserve:        CPU compute buffer size =    22.64 MiB")
    serve(args, modes)


if __name__ == "__main__":
    main(sys.argv[1:])
