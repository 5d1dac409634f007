"""The engine's own account of memory: llama.cpp builds model, cache and graphs without allocating.

Runs in a child process of its own (`python -m localrun.engine.dryrun`), because llama.cpp aborts
the process on some inputs. Bytes are exact: they come from `llama_get_memory_breakdown`, per buffer
type, so that repacked weights (`CPU_REPACK`) show too, which `--fit` leaves out.
The layouts below are those of the pinned xllamacpp; defaults are compared before anything is set.
"""

from __future__ import annotations

import ctypes as c
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from localrun.errors import EngineError, EngineMissing
from localrun.plan.values import Settings

#: llama.cpp's `ggml_type` numbers of the cache types.
KV_TYPES = {
    "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7
}  # fmt: skip
_FLASH = {"auto": -1, "off": 0, "on": 1}
_EXPERTS = r"blk\.{}\.ffn_(up|down|gate|gate_up)_(ch|)exps"


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """Bytes that the engine would allocate in one of its buffer types."""

    device: str  # the buffer type's name: "CPU", "CPU_REPACK", "CUDA0", "CUDA_Host"
    model: int
    context: int
    compute: int


def dry_run(
    path: str, settings: Settings, *, backends: Sequence[str] = (), timeout: float = 120
) -> tuple[EngineMemory, ...]:
    """What the embedded engine would allocate for `settings`; `path` is a GGUF file (any size).

    `backends` are ggml backend libraries to load first. Raises EngineError with the engine's own
    last error line, EngineMissing without xllamacpp.
    """
    return dry_runs(path, [settings], backends=backends, timeout=timeout)[0]


def dry_runs(
    path: str, cases: Sequence[Settings], *, backends: Sequence[str] = (), timeout: float = 120
) -> tuple[tuple[EngineMemory, ...], ...]:
    """`dry_run` of many settings in one child, which loads the model once per placement."""
    request = json.dumps({"path": path, "cases": [asdict(s) for s in cases], "backends": list(backends)})
    argv = [sys.executable, "-m", "localrun.engine.dryrun"]
    # A debugger that an abort would start takes seconds and says nothing to a user.
    env = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    try:
        done = subprocess.run(
            argv, input=request.encode(), capture_output=True, timeout=timeout, check=False, env=env
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"the engine's dry run took longer than {timeout:.0f} s") from None
    except OSError as error:
        raise EngineError(f"the dry run could not start: {error}") from error
    answer = _answer(done.stdout)
    if done.returncode or answer is None:
        why = (answer or {}).get("error") or _last_line(done.stderr) or f"exit code {done.returncode}"
        kind = EngineMissing if (answer or {}).get("missing") else EngineError
        raise kind(f"the engine's dry run failed: {why}")
    return tuple(tuple(EngineMemory(*row) for row in case) for case in answer["memory"])


def _answer(stdout: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(stdout.strip().rpartition(b"\n")[2])  # the engine may print before it
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _last_line(stderr: bytes) -> str:
    """What an aborted engine said last; a failed assertion before anything else."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return next((line for line in lines if "GGML_ASSERT" in line), lines[-1] if lines else "")


# ---- the child ----------------------------------------------------------------------------------


class _ModelParams(c.Structure):
    _fields_ = [
        ("devices", c.c_void_p), ("overrides", c.c_void_p),
        ("n_gpu_layers", c.c_int32), ("split_mode", c.c_int32), ("load_mode", c.c_int32),
        ("lazy_mode", c.c_int32), ("main_gpu", c.c_int32), ("tensor_split", c.c_void_p),
        ("progress", c.c_void_p), ("progress_data", c.c_void_p), ("kv_overrides", c.c_void_p),
        ("vocab_only", c.c_bool), ("check_tensors", c.c_bool), ("use_extra_bufts", c.c_bool),
        ("no_host", c.c_bool), ("no_alloc", c.c_bool), ("load_mtp", c.c_bool),
    ]  # fmt: skip


class _ContextParams(c.Structure):
    _fields_ = [
        ("n_ctx", c.c_uint32), ("n_batch", c.c_uint32), ("n_ubatch", c.c_uint32),
        ("n_seq_max", c.c_uint32), ("n_rs_seq", c.c_uint32), ("n_outputs_max", c.c_uint32),
        ("n_outputs_max_per_seq", c.c_uint32), ("n_threads", c.c_int32), ("n_threads_batch", c.c_int32),
        ("ctx_type", c.c_int32), ("rope_scaling", c.c_int32), ("pooling", c.c_int32),
        ("attention", c.c_int32), ("flash_attn", c.c_int32), ("rope_base", c.c_float),
        ("rope_scale", c.c_float), ("yarn", c.c_float * 4), ("yarn_orig_ctx", c.c_uint32),
        ("defrag", c.c_float), ("cb_eval", c.c_void_p), ("cb_eval_data", c.c_void_p),
        ("type_k", c.c_int32), ("type_v", c.c_int32), ("abort", c.c_void_p), ("abort_data", c.c_void_p),
        ("reserved", c.c_void_p), ("embeddings", c.c_bool), ("offload_kqv", c.c_bool),
        ("no_perf", c.c_bool), ("op_offload", c.c_bool), ("swa_full", c.c_bool),
        ("kv_unified", c.c_bool), ("samplers", c.c_void_p), ("n_samplers", c.c_size_t),
        ("ctx_other", c.c_void_p),
    ]  # fmt: skip


class _Override(c.Structure):
    _fields_ = [("pattern", c.c_char_p), ("buft", c.c_void_p)]


class _Map(c.Structure):
    """A std::map returned by value: 48 bytes in libstdc++, 24 in libc++; both are read in `_rows`."""

    _fields_ = [("words", c.c_uint64 * 6)]


class _Engine:
    """llama.cpp's C API inside xllamacpp, by ctypes."""

    def __init__(self, backends: Sequence[str]) -> None:
        self.errors: list[str] = []
        # Backends resolve ggml's symbols in the engine.
        self.lib = lib = c.CDLL(_library(), mode=c.RTLD_GLOBAL if backends else c.DEFAULT_MODE)
        callback = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)

        def log(level: int, text: bytes, _data: int) -> None:
            if level >= 4:  # GGML_LOG_LEVEL_ERROR; 5 continues a line
                self.errors.append(text.decode("utf-8", "replace").strip())

        self._log = callback(log)
        lib.llama_log_set(self._log, None)
        for name, result in (
            ("llama_model_default_params", _ModelParams), ("llama_context_default_params", _ContextParams),
            ("llama_model_load_from_file", c.c_void_p), ("llama_init_from_model", c.c_void_p),
            ("ggml_backend_load", c.c_void_p), ("ggml_backend_dev_count", c.c_size_t),
            ("ggml_backend_dev_get", c.c_void_p), ("ggml_backend_dev_buffer_type", c.c_void_p),
            ("ggml_backend_buft_name", c.c_char_p), ("llama_max_devices", c.c_size_t),
        ):  # fmt: skip
            getattr(lib, name).restype = result
        self.breakdown = lib["_Z26llama_get_memory_breakdownPK13llama_context"]
        self.breakdown.restype = _Map
        for path in backends:
            if not lib.ggml_backend_load(path.encode()):
                raise EngineError(f"no ggml backend in {path}")
        self._check_layout()

    def _check_layout(self) -> None:
        """Compares the defaults that llama.cpp documents; a build with other layouts is refused."""
        m, ctx = self.lib.llama_model_default_params(), self.lib.llama_context_default_params()
        seen = (m.n_gpu_layers, m.split_mode, m.use_extra_bufts, m.no_alloc, ctx.n_ctx, ctx.n_batch,
                ctx.n_ubatch, ctx.n_seq_max, ctx.flash_attn, ctx.type_k, ctx.type_v, ctx.offload_kqv,
                ctx.op_offload, ctx.kv_unified)  # fmt: skip
        if seen != (-1, 1, True, False, 512, 2048, 512, 1, -1, 1, 1, True, True, False):
            raise EngineError("this xllamacpp lays out its parameters in a way that is not known here")

    def load(self, path: str, case: dict[str, Any]) -> int:
        params = self.lib.llama_model_default_params()
        params.n_gpu_layers = case["n_gpu_layers"]
        params.load_mode = 0  # a dry run maps nothing; llama.cpp's own does the same
        params.no_alloc = True
        params.use_extra_bufts = case["repack"]
        params.load_mtp = bool(case["spec_type"])
        overrides = self._overrides(case)
        params.overrides = c.cast(overrides, c.c_void_p) if overrides is not None else None
        split = (c.c_float * self.lib.llama_max_devices())(*case["tensor_split"])
        params.tensor_split = c.cast(split, c.c_void_p) if case["tensor_split"] else None
        model = self.lib.llama_model_load_from_file(path.encode(), params)
        if not model:
            raise EngineError(self._why("the model could not be loaded"))
        return int(model)

    def _overrides(self, case: dict[str, Any]) -> Any:
        pairs = [tuple(text.partition("=")[::2]) for text in case["override_tensor"]]
        pairs += [(_EXPERTS.format(il), "CPU") for il in range(case["n_cpu_moe"])]
        if not pairs:
            return None
        lib, named = self.lib, {}
        for i in range(lib.ggml_backend_dev_count()):
            buft = lib.ggml_backend_dev_buffer_type(c.c_void_p(lib.ggml_backend_dev_get(c.c_size_t(i))))
            named[lib.ggml_backend_buft_name(c.c_void_p(buft)).decode()] = buft
        for _, buffer in pairs:
            if buffer not in named:
                raise EngineError(f"the engine has no buffer {buffer!r}, only {', '.join(sorted(named))}")
        rows = [_Override(pattern.encode(), named[buffer]) for pattern, buffer in pairs]
        return (_Override * (len(rows) + 1))(*rows, _Override(None, None))

    def account(self, model: int, case: dict[str, Any]) -> list[tuple[str, int, int, int]]:
        params = self.lib.llama_context_default_params()
        params.n_ctx, params.n_batch = case["ctx_size"], case["batch_size"]
        params.n_ubatch, params.n_seq_max = case["ubatch_size"], case["parallel"]
        params.n_outputs_max = case["parallel"]  # as llama-server sets it
        params.n_threads = params.n_threads_batch = case["threads"]
        params.flash_attn = _FLASH[case["flash_attn"]]
        params.type_k, params.type_v = KV_TYPES[case["cache_type_k"]], KV_TYPES[case["cache_type_v"]]
        params.swa_full, params.kv_unified = case["swa_full"], case["kv_unified"]
        self.errors.clear()
        context = self.lib.llama_init_from_model(c.c_void_p(model), params)
        if not context:
            raise EngineError(self._why("the context could not be created"))
        rows = [
            (self.lib.ggml_backend_buft_name(c.c_void_p(buft)).decode(), *sizes)
            for buft, *sizes in _rows(self.breakdown(c.c_void_p(context)))
        ]
        self.lib.llama_free(c.c_void_p(context))
        return sorted(rows)

    def _why(self, fallback: str) -> str:
        return next((line for line in self.errors if line), fallback)


def _rows(tree: _Map) -> Iterator[tuple[int, int, int, int]]:
    """The entries of a std::map: a node holds its value at byte 32 in both ABIs."""
    apple = sys.platform == "darwin"
    root, left, right = (tree.words[1], 0, 8) if apple else (tree.words[2], 16, 24)
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not node:
            continue
        waiting += [c.c_uint64.from_address(node + left).value, c.c_uint64.from_address(node + right).value]
        yield tuple((c.c_uint64 * 4).from_address(node + 32))


def _library() -> str:
    from importlib.util import find_spec

    spec = find_spec("xllamacpp")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        from pathlib import Path

        for path in sorted(Path(folder).glob("xllamacpp*.so")):
            return str(path)
    raise EngineMissing("xllamacpp is not installed")


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    keys = ("n_gpu_layers", "n_cpu_moe", "override_tensor", "tensor_split", "repack", "spec_type")
    try:
        engine = _Engine(request["backends"])
        out, loaded, model = [], None, 0
        for case in request["cases"]:
            placement = [case[key] for key in keys]
            if placement != loaded:
                if model:
                    engine.lib.llama_model_free(c.c_void_p(model))
                model, loaded = engine.load(request["path"], case), placement
            out.append(engine.account(model, case))
    except EngineError as error:
        return {"error": str(error), "missing": isinstance(error, EngineMissing)}
    return {"memory": out}


def _child() -> int:
    answer = _serve(json.load(sys.stdin))
    sys.stdout.write("\n" + json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(_child())
