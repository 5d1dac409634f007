"""The engine's own account of memory: llama.cpp builds model, cache and graphs without allocating.

Runs in a child process of its own (`python -m localrun.engine.dryrun`), because llama.cpp aborts
the process on some inputs. Bytes are exact: they come from `llama_get_memory_breakdown`, per buffer
type, so that repacked weights (`CPU_REPACK`) show too, which `--fit` leaves out.
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

from localrun.engine.libllama import Found, Library, embedded_path
from localrun.engine.llama_model import context_params, load_model, model_params, new_context
from localrun.errors import EngineError, EngineMissing
from localrun.plan.values import Settings


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


class _Map(c.Structure):
    """A std::map returned by value: 48 bytes in libstdc++, 24 in libc++; both are read in `_rows`."""

    _fields_ = [("words", c.c_uint64 * 6)]


class _Engine:
    """xllamacpp's library, and the one C++ function that tells what a context takes."""

    def __init__(self, backends: Sequence[str]) -> None:
        self.library = Library(Found("xllamacpp", embedded_path()), backends)
        self.lib = self.library.c
        self.breakdown = self.lib["_Z26llama_get_memory_breakdownPK13llama_context"]
        self.breakdown.restype = _Map

    def load(self, path: str, settings: Settings) -> int:
        params, kept = model_params(self.library, settings)
        params.load_mode = 0  # a dry run maps nothing; llama.cpp's own does the same
        params.no_alloc = True
        params.load_mtp = bool(settings.spec_type)
        model = load_model(self.library, path, params)
        del kept
        return model

    def account(self, model: int, settings: Settings) -> list[tuple[str, int, int, int]]:
        context = new_context(self.library, model, context_params(self.library, settings))
        rows = [
            (self.lib.ggml_backend_buft_name(c.c_void_p(buft)).decode(), *sizes)
            for buft, *sizes in _rows(self.breakdown(c.c_void_p(context)))
        ]
        self.lib.llama_free(c.c_void_p(context))
        return sorted(rows)


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


def _settings(case: dict[str, Any]) -> Settings:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in case.items()}
    return Settings(**values)


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    try:
        engine = _Engine(request["backends"])
        out: list[Any] = []
        loaded: Any = None
        model = 0
        for settings in map(_settings, request["cases"]):
            placement = (settings.n_gpu_layers, settings.n_cpu_moe, settings.override_tensor,
                         settings.tensor_split, settings.repack, settings.spec_type)  # fmt: skip
            if placement != loaded:
                if model:
                    engine.lib.llama_model_free(c.c_void_p(model))
                model, loaded = engine.load(request["path"], settings), placement
            out.append(engine.account(model, settings))
    except EngineError as error:
        return {"error": str(error), "missing": isinstance(error, EngineMissing)}
    return {"memory": out}


def _child() -> int:
    answer = _serve(json.load(sys.stdin))
    sys.stdout.write("\n" + json.dumps(answer))
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(_child())
