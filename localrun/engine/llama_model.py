"""A model and a context of llama.cpp, out of a file and settings."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable
from typing import Any

from localrun.engine.libllama import FLASH, KV_TYPES, Library, ModelParams, Override
from localrun.errors import EngineError
from localrun.plan.values import Settings

_EXPERTS = r"blk\.{}\.ffn_(up|down|gate|gate_up)_(ch|)exps"
_LOAD_NONE, _LOAD_MMAP = 0, 1
_PROGRESS = c.CFUNCTYPE(c.c_bool, c.c_float, c.c_void_p)
#: Keys of a GGUF file that llama-server heeds too, and the greatest value that makes sense.
_RECOMMENDED = (
    (b"general.sampling.temp", "temperature", 100.0), (b"general.sampling.top_k", "top_k", 2.0**31 - 1),
    (b"general.sampling.top_p", "top_p", 1.0), (b"general.sampling.min_p", "min_p", 1.0),
)  # fmt: skip
#: Called with 0 to 1 while a model loads.
Progress = Callable[[float], None]


def model_params(library: Library, settings: Settings) -> tuple[ModelParams, list[Any]]:
    """llama_model_params for `settings`, and what must be kept alive with them. Raises EngineError."""
    params = library.c.llama_model_default_params()
    params.n_gpu_layers = settings.n_gpu_layers
    params.load_mode = _LOAD_MMAP if settings.mmap else _LOAD_NONE
    params.use_extra_bufts = settings.repack
    overrides = _overrides(library, settings)
    params.tensor_buft_overrides = c.cast(overrides, c.c_void_p) if overrides is not None else None
    split = (c.c_float * library.c.llama_max_devices())(*settings.tensor_split)
    params.tensor_split = c.cast(split, c.c_void_p) if settings.tensor_split else None
    return params, [overrides, split]


def _overrides(library: Library, settings: Settings) -> Any:
    pairs = [tuple(text.partition("=")[::2]) for text in settings.override_tensor]
    pairs += [(_EXPERTS.format(il), "CPU") for il in range(settings.n_cpu_moe)]
    if not pairs:
        return None
    lib, named = library.c, {}
    for i in range(lib.ggml_backend_dev_count()):
        buft = lib.ggml_backend_dev_buffer_type(c.c_void_p(lib.ggml_backend_dev_get(c.c_size_t(i))))
        named[lib.ggml_backend_buft_name(c.c_void_p(buft)).decode()] = buft
    for _, buffer in pairs:
        if buffer not in named:
            raise EngineError(f"the engine has no buffer {buffer!r}, only {', '.join(sorted(named))}")
    rows = [Override(pattern.encode(), named[buffer]) for pattern, buffer in pairs]
    return (Override * (len(rows) + 1))(*rows, Override(None, None))


def context_params(library: Library, settings: Settings) -> Any:
    """llama_context_params for `settings`."""
    params = library.c.llama_context_default_params()
    params.n_ctx, params.n_batch = settings.ctx_size, settings.batch_size
    params.n_ubatch, params.n_seq_max = settings.ubatch_size, settings.parallel
    params.n_outputs_max = settings.parallel  # as llama-server sets it
    params.n_threads = params.n_threads_batch = settings.threads
    params.flash_attn_type = FLASH[settings.flash_attn]
    params.type_k, params.type_v = KV_TYPES[settings.cache_type_k], KV_TYPES[settings.cache_type_v]
    params.swa_full, params.kv_unified = settings.swa_full, settings.kv_unified
    return params


def load_model(library: Library, path: str, params: ModelParams, on_progress: Progress | None = None) -> int:
    """The model's address. Raises EngineError in llama.cpp's words, and whatever `on_progress` raises."""
    raised: list[BaseException] = []

    def step(part: float, _data: int) -> bool:
        # Also where a Ctrl-C arrives: it ends the load instead of being lost in a callback.
        try:
            if on_progress is not None:
                on_progress(part)
        except BaseException as wrong:
            raised.append(wrong)
            return False
        return True

    callback = _PROGRESS(step)
    params.progress_callback = c.cast(callback, c.c_void_p)
    library.errors.clear()
    model = library.c.llama_model_load_from_file(path.encode(), params)
    if raised:
        if model:
            library.c.llama_model_free(c.c_void_p(model))
        raise raised[0]
    if not model:
        raise EngineError(library.why("the model could not be loaded"))
    return int(model)


def new_context(library: Library, model: int, params: Any) -> int:
    """The context's address. Raises EngineError in llama.cpp's words."""
    library.errors.clear()
    context = library.c.llama_init_from_model(c.c_void_p(model), params)
    if not context:
        raise EngineError(library.why("the context could not be created"))
    return int(context)


def recommended(lib: Any, model: int) -> dict[str, float]:
    """How the model's makers want it sampled, where its file says so: fields of Sampling. Nonsense is left out."""
    found: dict[str, float] = {}
    for key, field, most in _RECOMMENDED:
        buffer = c.create_string_buffer(64)
        if lib.llama_model_meta_val_str(c.c_void_p(model), key, buffer, c.c_size_t(len(buffer))) < 0:
            continue
        try:
            value = float(buffer.value)
        except ValueError:
            continue
        if 0 <= value <= most:
            found[field] = int(value) if field == "top_k" else value
    return found
