"""Vision projectors of full real size as sparse files, and llama.cpp's own account of what they take.

python -m tests.projectors FILE FLASH     prints weights and graph in bytes, as `--fit` would count them
"""

from __future__ import annotations

import ctypes as c
import math
import subprocess
import sys
from pathlib import Path

from localrun.model.vision import Vision, tensors, whole

PIXTRAL = Vision("pixtral", 24, 1024, 4096, 16, 1540, 14, 2, 5120, 0, "")
LLAMA4 = Vision("llama4", 34, 1408, 5632, 16, 336, 14, 2, 5120, 4096, "")


def write(path: Path, v: Vision) -> Path:
    """The file as llama.cpp's converter would write it in F16, its weights a hole."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(v.kind)
    for name, value in (
        ("projection_dim", v.n_out), ("image_size", v.image_size), ("patch_size", v.patch_size),
        ("embedding_length", v.n_embd), ("feed_forward_length", v.n_ff), ("block_count", v.n_layers),
        ("attention.head_count", v.n_head),
    ):  # fmt: skip
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    writer.add_vision_attention_layernorm_eps(1e-5)
    if v.kind == "pixtral":
        writer.add_vision_spatial_merge_size(v.merge)
        writer.add_vision_use_silu(True)
    else:
        writer.add_vision_projector_scale_factor(v.merge)
        writer.add_vision_use_gelu(True)
    size = 0
    for name, dims in tensors(v):
        kind, width = (np.float32, 4) if whole(name, dims) else (np.float16, 2)
        writer.add_tensor_info(name, tuple(reversed(dims)), np.dtype(kind), math.prod(dims) * width)
        size += -(-math.prod(dims) * width // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    start = -(-path.stat().st_size // 32) * 32
    with path.open("r+b") as file:
        file.truncate(start + size)
    return path


def account(path: Path, flash: bool) -> int:
    """Bytes of weights and graph on the CPU, for the image that llama.cpp warms up with."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.projectors", str(path), "1" if flash else "0"],
        capture_output=True, text=True, timeout=120, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return int(done.stdout.rpartition("bytes ")[2])


class _Params(c.Structure):
    """mtmd_context_params."""

    _fields_ = [
        ("use_gpu", c.c_bool), ("device", c.c_void_p), ("print_timings", c.c_bool), ("n_threads", c.c_int),
        ("image_marker", c.c_char_p), ("media_marker", c.c_char_p), ("flash_attn", c.c_int),
        ("warmup", c.c_bool), ("image_min_tokens", c.c_int), ("image_max_tokens", c.c_int),
        ("cb_eval", c.c_void_p), ("cb_eval_data", c.c_void_p), ("batch_max_tokens", c.c_int32),
        ("progress", c.c_void_p), ("progress_data", c.c_void_p),
    ]  # fmt: skip


def _child(path: str, flash: int) -> None:
    from localrun.engine import dryrun
    from localrun.engine.libllama import embedded_path

    lib = c.CDLL(embedded_path())
    lib.mtmd_context_params_default.restype = _Params
    ask = lib["_Z21mtmd_get_memory_usagePKc19mtmd_context_params"]
    ask.restype, ask.argtypes = dryrun._Map, [c.c_char_p, _Params]
    params = lib.mtmd_context_params_default()
    params.use_gpu, params.n_threads, params.flash_attn = False, 1, flash
    # A map of one device to a size; the entry's second word is the size.
    rows = list(dryrun._rows(ask(path.encode(), params)))
    print(f"\nbytes {sum(row[1] for row in rows)}", flush=True)


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]))
