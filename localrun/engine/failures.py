"""From an engine's last words to one line that says why, and one that says what to do.

The patterns are llama.cpp's messages, tree 0c1e57098; the first that matches the log wins,
causes before their consequences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LESS_KV = "a smaller --ctx-size, --cache-type-k q8_0 --cache-type-v q8_0, or --parallel 1"
_LESS_WEIGHTS = "fewer --n-gpu-layers, a larger --n-cpu-moe, or a smaller --quant"


@dataclass(frozen=True, slots=True)
class Failure:
    pattern: str
    why: str
    hint: str


_PORT = r"couldn't bind HTTP server socket.*port: (\d+)"
FAILURES = (
    Failure(_PORT, "port {0} is in use", "choose another with --port"),
    Failure(r"failed to allocate buffer for kv cache", "no memory for the KV cache", _LESS_KV),
    Failure(
        r"failed to allocate compute pp buffers|ggml_gallocr_reserve_n_impl: failed to allocate",
        "no memory for the compute buffer",
        "a smaller --ubatch-size, --flash-attn on",
    ),
    Failure(
        r"failed to allocate output buffer of size (\d+)", "no memory for the output buffer", "--parallel 1"
    ),
    Failure(r"unable to allocate (\S+) buffer", "no memory for the weights on {0}", _LESS_WEIGHTS),
    Failure(
        r"alloc_tensor_range: failed to allocate (\S+) buffer of size (\d+)",
        "no memory for the weights on {0} ({1} bytes)",
        _LESS_WEIGHTS,
    ),
    Failure(
        r"(cudaMalloc failed|ggml_vulkan: Device memory allocation of size|failed to allocate Metal buffer)",
        "the GPU is out of memory ({0})",
        _LESS_WEIGHTS,
    ),
    Failure(r"(CUDA error: .*)", "{0}", "localrun hardware shows the driver and the cards"),
    Failure(
        r"(GGML_ASSERT\(\*cur_backend_id != -1\))",
        "this build fails with repacked weights on this CPU: {0}",
        "another build avoids it: --engine embedded, or a llama-server built with -DGGML_NATIVE=OFF",
    ),
    Failure(
        r"does not support different K \((\S+)\) and V \((\S+)\) cache types",
        "this model needs one type for K and V, not {0} and {1}",
        "give --cache-type-k and --cache-type-v the same type",
    ),
    Failure(
        r"quantized V cache requires flash_attn|V cache quantization requires flash_attn",
        "a quantized V cache needs flash attention",
        "--flash-attn on, or --cache-type-v f16",
    ),
    Failure(
        r"data is not within the file bounds, model is corrupted or incomplete",
        "the model file is incomplete",
        "fetch it again: localrun pull",
    ),
    Failure(r"unknown model architecture: '([^']*)'", "this engine does not know the architecture {0!r}",
            "a newer engine is needed"),
    Failure(r"failed to open GGUF file '([^']*)' \(([^)]*)\)", "{0}: {1}", ""),
    Failure(r"bad GGUF version|failed to read header|invalid magic", "the engine cannot read the model's header",
            "fetch it again: localrun pull"),
    Failure(r"error: invalid argument: (\S+)", "this llama-server does not know {0}",
            "update it, or use --engine embedded"),
    Failure(r"unknown pre-tokenizer type: '([^']*)'", "this engine does not know the pre-tokenizer {0!r}",
            "a newer engine is needed"),
)  # fmt: skip

#: Exit statuses that say something by themselves, as a shell counts them.
_STATUS = {
    132: (
        "the engine used an instruction that this CPU does not have (SIGILL)",
        "use another build: --engine embedded",
    ),
    134: ("the engine aborted", ""),
    137: (
        "the engine was killed, most likely by the system for want of memory",
        f"{_LESS_KV}; or a smaller --quant",
    ),
    139: ("the engine crashed (SIGSEGV)", ""),
}


def explain(log: str, status: int | None) -> tuple[str, str]:
    """(why, what to do) from the log's text and the exit status (shell's count; None = unknown)."""
    for failure in FAILURES:
        found = re.search(failure.pattern, log)
        if found:
            groups = found.groups() or (found.group(),)
            return failure.why.format(*groups), failure.hint
    if status in _STATUS:
        why, hint = _STATUS[status]
        return why, hint or "localrun logs shows what it said"
    last = _last_error(log)
    code = "" if status is None else f" with status {status}"
    return f"the engine ended{code}{': ' + last if last else ''}", "localrun logs shows what it said"


def port_was_taken(log: str) -> bool:
    """Whether the engine ended because it could not listen."""
    return re.search(_PORT, log) is not None


def _last_error(log: str) -> str:
    """The last line that llama.cpp marks as an error (` E `), or the last line at all."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        if re.match(r"[\d.]+ E ", line) or "error" in line.lower():
            return re.sub(r"^[\d.]+ [A-Z] ", "", line)[:300]
    return lines[-1][:300] if lines else ""
