"""llama.cpp's own `--fit`, asked in a child process: where it would put a model on GPUs that need not exist.

`common_fit_params` is called in the embedded engine with the fake backend's GPUs; what it sets is
read back as Settings. Each dry run that it makes takes up to a second, and it makes about a dozen.
"""

from __future__ import annotations

import ctypes as c
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from localrun.engine import dryrun
from localrun.engine.libllama import FLASH, KV_TYPES, Override
from localrun.plan.boundary import FIT_MARGIN
from localrun.plan.values import Settings

#: What --fit leaves free on every device unless told otherwise (common.h: fit_params_target).
MARGIN = FIT_MARGIN
#: Smallest context that it would reduce to; with a context given it does not matter.
_MIN_CTX = 4096
_FIT = (
    "_Z17common_fit_paramsPKcP18llama_model_paramsP20llama_context_paramsPf"
    "P32llama_model_tensor_buft_overridePmjPK22common_fit_extra_model14ggml_log_level"
)
_ERRORS_ONLY = 4  # GGML_LOG_LEVEL_ERROR


def fit(
    path: str, cases: list[Settings], backend: Path, free: tuple[int, ...], timeout: float = 600
) -> list[Settings | None]:
    """What --fit makes of each case's context and cache types; None where it gives up.

    `free` is what the engine is told to be free on each GPU, in bytes.
    """
    request = json.dumps({"path": path, "cases": [asdict(s) for s in cases], "backend": str(backend)})
    done = subprocess.run(
        [sys.executable, "-m", "tests.plan.fit_peer"],
        input=request.encode(),
        capture_output=True,
        env={**os.environ, "FAKE_GPUS": ",".join(map(str, free))},
        cwd=Path(__file__).parents[2],
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"--fit failed: {done.stderr.decode('utf-8', 'replace')[-2000:]}")
    answers = json.loads(done.stdout.rpartition(b"\n")[2])
    return [_placed(s, a) if a else None for s, a in zip(cases, answers, strict=True)]


#: What --fit calls the routed experts of one layer.
_EXPERTS = "ffn_(up|down|gate_up|gate)_(ch|)exps=CPU"


def compact(placed: Settings | None) -> dict[str, Any] | None:
    """A placement for a file: layers without experts on a GPU as a run, from `first` to `last`."""
    if placed is None:
        return None
    bare, parts = split(placed)
    return {
        "n_gpu_layers": placed.n_gpu_layers,
        "tensor_split": list(placed.tensor_split),
        "bare": _runs(bare),
        "parts": [rf"blk\.{il}\.{rest}" for il, rest in parts],
    }


def expand(kept: dict[str, Any] | None) -> Settings | None:
    """The inverse, but for the order of patterns that exclude each other."""
    if kept is None:
        return None
    bare = [il for first, last in kept["bare"] for il in range(first, last + 1)]
    return Settings(
        ctx_size=0,
        n_gpu_layers=kept["n_gpu_layers"],
        tensor_split=tuple(kept["tensor_split"]),
        override_tensor=(*kept["parts"], *(rf"blk\.{il}\.{_EXPERTS}" for il in bare)),
    )


def split(placed: Settings) -> tuple[list[int], list[tuple[int, str]]]:
    """--fit's patterns: the layers whose experts it keeps in RAM, and (layer, pattern=buffer) of the others."""
    bare: list[int] = []
    parts: list[tuple[int, str]] = []
    for text in placed.override_tensor:
        match = re.fullmatch(r"blk\\\.(\d+)\\\.(.*)", text)
        assert match, text
        if match[2] == _EXPERTS:
            bare.append(int(match[1]))
        else:
            parts.append((int(match[1]), match[2]))
    return bare, parts


def _runs(numbers: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return runs


def _placed(asked: Settings, answer: dict[str, Any]) -> Settings:
    return replace(
        asked,
        n_gpu_layers=answer["n_gpu_layers"],
        n_cpu_moe=0,
        tensor_split=tuple(answer["tensor_split"]),
        override_tensor=tuple(answer["override_tensor"]),
    )


def _ask(engine: Any, path: str, case: dict[str, Any]) -> dict[str, Any] | None:
    lib = engine.lib
    model, context = lib.llama_model_default_params(), lib.llama_context_default_params()
    context.n_ctx, context.n_batch, context.n_ubatch = (
        case["ctx_size"],
        case["batch_size"],
        case["ubatch_size"],
    )
    context.n_seq_max = context.n_outputs_max = case["parallel"]
    context.flash_attn_type = FLASH[case["flash_attn"]]
    context.type_k, context.type_v = KV_TYPES[case["cache_type_k"]], KV_TYPES[case["cache_type_v"]]
    context.kv_unified = case["kv_unified"]
    lib.llama_max_tensor_buft_overrides.restype = c.c_size_t
    devices = lib.llama_max_devices()
    split = (c.c_float * devices)()
    overrides = (Override * lib.llama_max_tensor_buft_overrides())()
    margins = (c.c_size_t * devices)(*[MARGIN] * devices)
    ask = lib[_FIT]
    ask.restype = c.c_int
    status = ask(
        path.encode(), c.byref(model), c.byref(context), split, overrides, margins,
        c.c_uint32(_MIN_CTX), None, c.c_int(_ERRORS_ONLY),
    )  # fmt: skip
    if status != 0:
        return None
    named = []
    for row in overrides:
        if not row.pattern:
            break
        named.append(f"{row.pattern.decode()}={lib.ggml_backend_buft_name(c.c_void_p(row.buft)).decode()}")
    used = lib.ggml_backend_dev_count() - 1
    return {
        "n_gpu_layers": model.n_gpu_layers,
        "tensor_split": list(split[:used]) if any(split[:used]) else [],
        "override_tensor": named,
    }


def _child() -> None:
    request = json.load(sys.stdin)
    engine = dryrun._Engine([request["backend"]])
    answers = [_ask(engine, request["path"], case) for case in request["cases"]]
    sys.stdout.write("\n" + json.dumps(answers))
    sys.stdout.flush()


if __name__ == "__main__":
    _child()
