"""llama.cpp's library, by ctypes: which one is here, and whether its structs are what we think they are.

Two packages bring it. llama-cpp-python's is taken first: someone built it for this machine, and its own ctypes
definitions say what the structs look like. xllamacpp's exports the same C API and defines nothing. Of either the
library itself is asked too: it fills poisoned memory, so that every byte that a struct has shows, and its documented
defaults must come out. The owner of these layouts, and the only importer of llama_cpp.
"""

from __future__ import annotations

import ctypes as c
import platform
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from localrun.errors import EngineError, EngineMissing
from localrun.native.loop import FUNCTIONS, batch_layout
from localrun.value import dataclass

#: llama-cpp-python's version whose layouts these are; the other is that of the pinned xllamacpp.
PINNED = "0.3.36"
#: llama.cpp's `ggml_type` numbers of the cache types.
KV_TYPES = {
    "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7
}  # fmt: skip
FLASH = {"auto": -1, "off": 0, "on": 1}


class ModelParams(c.Structure):
    _fields_ = [
        ("devices", c.c_void_p), ("tensor_buft_overrides", c.c_void_p),
        ("n_gpu_layers", c.c_int32), ("split_mode", c.c_int32), ("load_mode", c.c_int32),
        ("lazy_mode", c.c_int32), ("main_gpu", c.c_int32), ("tensor_split", c.c_void_p),
        ("progress_callback", c.c_void_p), ("progress_callback_user_data", c.c_void_p),
        ("kv_overrides", c.c_void_p), ("vocab_only", c.c_bool), ("check_tensors", c.c_bool),
        ("use_extra_bufts", c.c_bool), ("no_host", c.c_bool), ("no_alloc", c.c_bool), ("load_mtp", c.c_bool),
    ]  # fmt: skip


_Fields = list[tuple[str, Any]]
_CONTEXT_HEAD: _Fields = [
    ("n_ctx", c.c_uint32), ("n_batch", c.c_uint32), ("n_ubatch", c.c_uint32), ("n_seq_max", c.c_uint32),
    ("n_rs_seq", c.c_uint32), ("n_outputs_max", c.c_uint32), ("n_outputs_max_per_seq", c.c_uint32),
    ("n_threads", c.c_int32), ("n_threads_batch", c.c_int32), ("ctx_type", c.c_int32),
    ("rope_scaling_type", c.c_int32), ("pooling_type", c.c_int32), ("attention_type", c.c_int32),
    ("flash_attn_type", c.c_int32), ("rope_freq_base", c.c_float), ("rope_freq_scale", c.c_float),
    ("yarn_ext_factor", c.c_float), ("yarn_attn_factor", c.c_float), ("yarn_beta_fast", c.c_float),
    ("yarn_beta_slow", c.c_float), ("yarn_orig_ctx", c.c_uint32), ("defrag_thold", c.c_float),
    ("cb_eval", c.c_void_p), ("cb_eval_user_data", c.c_void_p), ("type_k", c.c_int32), ("type_v", c.c_int32),
    ("abort_callback", c.c_void_p), ("abort_callback_data", c.c_void_p),
]  # fmt: skip
_CONTEXT_TAIL: _Fields = [
    ("embeddings", c.c_bool), ("offload_kqv", c.c_bool), ("no_perf", c.c_bool), ("op_offload", c.c_bool),
    ("swa_full", c.c_bool), ("kv_unified", c.c_bool), ("samplers", c.c_void_p), ("n_samplers", c.c_size_t),
    ("ctx_other", c.c_void_p),
]  # fmt: skip


class ContextParams(c.Structure):
    """As llama.cpp 0.5 has it: llama-cpp-python 0.3.36."""

    _fields_ = [*_CONTEXT_HEAD, *_CONTEXT_TAIL]


class ContextParams06(c.Structure):
    """As llama.cpp 0.6 has it, with one pointer more: xllamacpp 2026.10.11549."""

    _fields_ = [*_CONTEXT_HEAD, ("reserved", c.c_void_p), *_CONTEXT_TAIL]


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", c.c_int32), ("token", c.c_void_p), ("embd", c.c_void_p), ("pos", c.c_void_p),
        ("n_seq_id", c.c_void_p), ("seq_id", c.c_void_p), ("logits", c.c_void_p),
    ]  # fmt: skip


class Override(c.Structure):
    """llama_model_tensor_buft_override."""

    _fields_ = [("pattern", c.c_char_p), ("buft", c.c_void_p)]


_MODEL_DEFAULTS = {
    "n_gpu_layers": -1, "split_mode": 1, "use_extra_bufts": True, "no_alloc": False, "vocab_only": False
}  # fmt: skip
_CONTEXT_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "flash_attn_type": -1, "type_k": 1,
    "type_v": 1, "abort_callback": None, "embeddings": False, "offload_kqv": True, "op_offload": True,
    "kv_unified": False, "n_samplers": 0,
}  # fmt: skip
_RESULTS: dict[str, Any] = {
    "llama_model_load_from_file": c.c_void_p, "llama_init_from_model": c.c_void_p,
    "llama_model_get_vocab": c.c_void_p, "llama_get_memory": c.c_void_p, "llama_version": c.c_char_p,
    "llama_n_ctx_seq": c.c_uint32, "llama_n_batch": c.c_uint32, "llama_n_ubatch": c.c_uint32,
    "llama_n_seq_max": c.c_uint32, "llama_model_has_encoder": c.c_bool, "llama_model_is_diffusion": c.c_bool,
    "llama_model_n_swa": c.c_int32, "llama_vocab_n_tokens": c.c_int32,
    "ggml_backend_load": c.c_void_p, "ggml_backend_dev_count": c.c_size_t, "ggml_backend_dev_get": c.c_void_p,
    "ggml_backend_dev_buffer_type": c.c_void_p, "ggml_backend_buft_name": c.c_char_p,
    "llama_max_devices": c.c_size_t,
}  # fmt: skip
_LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
_LOGS: dict[str, tuple[list[str], Any]] = {}
_ERROR = 4  # GGML_LOG_LEVEL_ERROR; 5 continues a line
_POISON = (0xA5, 0x5A, 0x3C, 0xC3)  # so many, for a pointer's byte may be any of them
_ROOM = 512


@dataclass(frozen=True, slots=True)
class Found:
    """A library that is here."""

    package: str  # "llama-cpp-python" or "xllamacpp"
    path: str


def find() -> tuple[Found, ...]:
    """The libraries of installed packages, the preferred one first. Imports none of them."""
    found = []
    for package, module, pattern in (
        ("llama-cpp-python", "llama_cpp", "lib/libllama.*"), ("xllamacpp", "xllamacpp", "xllamacpp*.so")
    ):  # fmt: skip
        spec = find_spec(module)
        folders = (spec.submodule_search_locations or []) if spec else []
        files = [p for f in folders for p in sorted(Path(f).glob(pattern)) if p.suffix in (".so", ".dylib")]
        found += [Found(package, str(path)) for path in files[:1]]
    return tuple(found)


def embedded_path() -> str:
    """xllamacpp's library. Raises EngineMissing."""
    for found in find():
        if found.package == "xllamacpp":
            return found.path
    raise EngineMissing("xllamacpp is not installed", "pip install xllamacpp")


def _log() -> tuple[list[str], Any]:
    """A list, and the callback that keeps in it what a library complains of."""
    errors: list[str] = []

    def note(level: int, text: bytes, _data: int) -> None:
        if level >= _ERROR:
            del errors[:-20]
            errors.append(text.decode("utf-8", "replace").strip())

    return errors, _LOG(note)


class Library:
    """The C API of one library, its layouts checked. `errors` are the last lines that it complained in."""

    def __init__(self, found: Found, backends: Sequence[str] = ()) -> None:
        """`backends` are ggml backend libraries to load first. Raises EngineError."""
        self.found = found
        # The library calls it back for as long as it is loaded, whoever has it then.
        self.errors, log = _LOGS.setdefault(found.path, _log())
        try:
            # Backends resolve ggml's symbols in the engine.
            self.c: Any = c.CDLL(found.path, mode=c.RTLD_GLOBAL if backends else c.DEFAULT_MODE)
        except OSError as error:
            raise EngineError(f"the library of {found.package} cannot be loaded: {error}") from None
        if found.package == "llama-cpp-python":
            check_definitions(_definitions())  # whose import brings a log of its own
        self.c.llama_log_set(log, None)
        for name, result in _RESULTS.items():
            function = getattr(self.c, name, None)
            if function is not None:
                function.restype = result
        for path in backends:
            if not self.c.ggml_backend_load(path.encode()):
                raise EngineError(f"no ggml backend in {path}")
        self.context_params = check_layouts(self.c, found)
        self.c.llama_model_default_params.restype = ModelParams
        self.c.llama_context_default_params.restype = self.context_params

    def why(self, fallback: str) -> str:
        """What it complained of first since `errors` was cleared."""
        return next((line for line in self.errors if line), fallback)

    @property
    def version(self) -> str:
        return str((self.c.llama_version() or b"").decode("utf-8", "replace"))

    def loop_functions(self) -> dict[str, int]:
        """Addresses of what the decode loop calls. Raises EngineError for a library without them."""
        check_batch(self.c, self.found)
        try:
            return {key: c.cast(self.c[name], c.c_void_p).value or 0 for key, name in FUNCTIONS.items()}
        except AttributeError as missing:
            raise _refusal(self.found, f"it has no function {missing.args[0].split()[-1]}") from None


def _definitions() -> Any:
    try:
        import llama_cpp.llama_cpp as module
    except Exception as error:
        raise EngineError(
            f"llama-cpp-python cannot be imported: {error}",
            f"pip install --force-reinstall llama-cpp-python=={PINNED}",
        ) from None
    return module


def _refusal(found: Found, what: str) -> EngineError:
    hint = f"pip install llama-cpp-python=={PINNED}, or pip uninstall llama-cpp-python"
    if found.package == "xllamacpp":
        hint = "pip install the xllamacpp that localrun asks for"
    return EngineError(
        f"{found.package}'s library is of another version than this localrun knows: {what}", hint
    )


def check_definitions(module: Any) -> None:
    """Holds llama-cpp-python's own definitions against ours: names, sizes, offsets. Raises EngineError."""
    found = Found("llama-cpp-python", "")
    for name, ours in (
        ("llama_model_params", _layout(ModelParams)), ("llama_context_params", _layout(ContextParams)),
        ("llama_batch", _layout(Batch)), ("llama_batch", batch_layout()),
    ):  # fmt: skip
        theirs = getattr(module, name, None)
        if theirs is None:
            raise _refusal(found, f"it does not define {name}")
        layout = _layout(theirs)
        wrong = [field for field in (*ours, *layout) if layout.get(field) != ours.get(field)]
        if wrong:
            raise _refusal(
                found,
                f"{name}.{wrong[-1] or 'size'} is not where it was" if any(wrong) else f"the size of {name}",
            )


def _layout(struct: Any) -> dict[str, tuple[int, int]]:
    """Offset and bytes of each field; "" is the whole."""
    fields = {
        name: (getattr(struct, name).offset, getattr(struct, name).size) for name, *_ in struct._fields_
    }
    return {"": (0, c.sizeof(struct)), **fields}


def fits(struct: type[c.Structure], seen: set[int] | None) -> bool:
    """Whether the bytes that were written are those of the struct's fields, with all padding between or with none."""
    fields = {b for name, (at, size) in _layout(struct).items() if name for b in range(at, at + size)}
    return seen is None or seen in (fields, set(range(c.sizeof(struct))))


def written(function: Any, *args: Any) -> set[int] | None:
    """Which bytes a function writes that returns a big struct by value; None where no one can tell.

    In the calling convention of x86-64 Unix the caller's memory for the result is a hidden first argument.
    """
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() == "Windows":
        return None
    kept = function.restype, function.argtypes
    function.restype = function.argtypes = None
    seen = []
    try:
        for poison in _POISON:
            buffer = (c.c_ubyte * _ROOM)(*([poison] * _ROOM))
            function(c.byref(buffer), *args)
            seen.append(bytes(buffer))
    finally:
        function.restype, function.argtypes = kept
    return {i for i, values in enumerate(zip(*seen, strict=True)) if values != _POISON}


def check_layouts(lib: Any, found: Found) -> type[c.Structure]:
    """Which layout of llama_context_params this library has. Raises EngineError where it is none that we know."""
    checks: tuple[tuple[str, tuple[type[c.Structure], ...], Mapping[str, Any]], ...] = (
        ("llama_model_default_params", (ModelParams,), _MODEL_DEFAULTS),
        ("llama_context_default_params", (ContextParams, ContextParams06), _CONTEXT_DEFAULTS),
    )
    known: type[c.Structure] = ModelParams
    for name, layouts, defaults in checks:
        try:
            function = lib[name]
        except AttributeError:
            raise _refusal(found, f"it has no function {name}") from None
        bytes_written = written(function)
        fitting = [k for k in layouts if fits(k, bytes_written) and _defaults(function, k, defaults)]
        if not fitting:
            raise _refusal(
                found, f"the parameters of {name.replace('_default_params', '')} are laid out in another way"
            )
        known = fitting[0]
    return known


def _defaults(function: Any, struct: type[c.Structure], wanted: Mapping[str, Any]) -> bool:
    function.restype = struct
    params = function()
    return all(getattr(params, name) == value for name, value in wanted.items())


def check_batch(lib: Any, found: Found) -> None:
    """Holds llama_batch, as llama_batch_init makes it, against the C core's layout. Raises EngineError."""
    ours = batch_layout()
    if _layout(Batch) != ours:
        raise _refusal(found, "this build of localrun lays llama_batch out in another way")
    init, free = lib.llama_batch_init, lib.llama_batch_free
    bytes_written = written(
        init, c.c_int32(3), c.c_int32(0), c.c_int32(1)
    )  # leaves four small batches allocated
    init.restype, init.argtypes = Batch, (c.c_int32, c.c_int32, c.c_int32)
    free.restype, free.argtypes = None, (Batch,)
    batch = init(3, 0, 1)
    pointers = {batch.token, batch.pos, batch.n_seq_id, batch.seq_id, batch.logits}
    fine = batch.n_tokens == 0 and batch.embd is None and None not in pointers and len(pointers) == 5
    # The pointers to sequences end with a null, and no other array does.
    fine = fine and (c.c_void_p * 4).from_address(batch.seq_id)[3] is None
    if not fine or not fits(Batch, bytes_written):
        raise _refusal(found, "llama_batch is laid out in another way")
    free(batch)
