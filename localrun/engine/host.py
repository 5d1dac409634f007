"""The embedded engine's process: xllamacpp's llama-server in this interpreter.

Run as `python -m localrun.engine.host ARGV` with llama-server's arguments. Ends on SIGTERM;
exits with 1 when the server cannot start (its own log lines on stderr say why).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Any

from localrun.engine.log_cap import trim
from localrun.errors import UsageError
from localrun.plan.values import Settings
from localrun.recipe.argv import parse_argv
from localrun.recipe.values import Launch
from localrun.units import MIB

#: Seconds between two looks at the size of the log, which is this process's output.
_LOOK = 2.0


def cache_type(xllamacpp: Any, name: str) -> Any:
    """ggml's type by its name in flags: `q8_0` -> GGML_TYPE_Q8_0. Raises UsageError."""
    try:
        return xllamacpp.ggml_type[f"GGML_TYPE_{name.upper()}"]
    except KeyError:
        raise UsageError(f"unknown KV cache type {name!r}") from None


def parameters(settings: Settings, launch: Launch, api_key: str) -> Any:
    """xllamacpp's CommonParams for one launch: the same as llama-server makes of the argv."""
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = launch.model
    p.model_alias = {launch.alias}
    p.hostnames, p.port = [launch.host], launch.port
    p.cors_origins, p.ui = launch.cors_origins, False
    p.api_keys = [api_key] if api_key else []
    p.endpoint_metrics = p.endpoint_slots = True
    p.verbosity = 4
    p.fit_params = False
    p.n_ctx, p.n_parallel, p.kv_unified = settings.ctx_size, settings.parallel, settings.kv_unified
    p.n_batch, p.n_ubatch = settings.batch_size, settings.ubatch_size
    p.cache_type_k = cache_type(xllamacpp, settings.cache_type_k)
    p.cache_type_v = cache_type(xllamacpp, settings.cache_type_v)
    p.swa_full, p.no_extra_bufts = settings.swa_full, not settings.repack
    p.cache_ram_mib, p.n_ctx_checkpoints = settings.cache_ram // MIB, settings.ctx_checkpoints
    flash, load = xllamacpp.llama_flash_attn_type, xllamacpp.llama_load_mode
    p.flash_attn_type = {
        "on": flash.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": flash.LLAMA_FLASH_ATTN_TYPE_DISABLED,
        "auto": flash.LLAMA_FLASH_ATTN_TYPE_AUTO,
    }[settings.flash_attn]
    p.load_mode = load.LLAMA_LOAD_MODE_MMAP if settings.mmap else load.LLAMA_LOAD_MODE_NONE
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = settings.threads
    _placement(p, settings)
    if launch.mmproj:
        p.mmproj.path, p.mmproj_use_gpu = launch.mmproj, settings.mmproj_offload
    _drafting(xllamacpp, p, settings, launch)
    if launch.chat_template_file:
        with open(launch.chat_template_file, encoding="utf-8") as file:
            p.chat_template = file.read()
    return p


def _drafting(xllamacpp: Any, p: Any, settings: Settings, launch: Launch) -> None:
    if launch.model_draft:
        p.speculative.draft.mparams.path = launch.model_draft
        p.speculative.draft.n_gpu_layers = settings.n_gpu_layers_draft
    kinds = xllamacpp.common_speculative_type
    if settings.spec_type:
        p.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_MTP]
    elif launch.model_draft:
        p.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]


def _placement(p: Any, settings: Settings) -> None:
    p.n_gpu_layers = settings.n_gpu_layers
    if settings.moe_cache:
        p.moe_cache_size = settings.moe_cache
    overrides = list(settings.override_tensor)
    # llama.cpp turns --n-cpu-moe N into N patterns of its own, common/common.h LLM_FFN_EXPS_REGEX.
    overrides += [
        rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU" for layer in range(settings.n_cpu_moe)
    ]
    if overrides:
        p.tensor_buft_overrides = ",".join(overrides)
    if settings.tensor_split:
        split = list(p.tensor_split)
        split[: len(settings.tensor_split)] = settings.tensor_split
        p.tensor_split = split


def main(argv: list[str]) -> int:
    settings, launch = parse_argv(argv)
    try:
        import xllamacpp

        wanted = parameters(settings, launch, os.environ.get("LLAMA_API_KEY", ""))
        # During the load the default action of SIGTERM stands: it ends the process at once.
        server = xllamacpp.Server(wanted)
    except (RuntimeError, UsageError, OSError) as failed:
        _flush_log()
        print(f"error: {failed}", file=sys.stderr, flush=True)  # noqa: T201 - the log is our output
        return 1
    _wait_for_signal()
    del server
    return 0


def _flush_log() -> None:
    """llama.cpp logs from a thread, and its last words, the reason of a failure, die with the process."""
    import ctypes

    files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if "xllamacpp" in name]
    for path in {file for file in files if file and not file.endswith(".py")}:
        with contextlib.suppress(OSError, AttributeError):
            lib = ctypes.CDLL(path)
            logger, flush = lib["_Z15common_log_mainv"], lib["_Z16common_log_flushP10common_log"]
            logger.restype, flush.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
            flush(logger())


def _wait_for_signal() -> None:
    """Sleep until SIGTERM or SIGINT, whichever thread the system gives it to."""
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    mine.settimeout(_LOOK)
    while True:
        try:
            mine.recv(1)
            return
        except TimeoutError:
            trim(sys.stdout.fileno())


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except UsageError as wrong:
        print(f"error: {wrong}", file=sys.stderr)  # noqa: T201
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: the C++ threads of the server may outlive the interpreter's teardown.
    os._exit(status)
