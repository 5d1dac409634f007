"""llama.cpp itself, through the C API that xllamacpp exports, and GGUF files for vocabularies that come as JSON."""

from __future__ import annotations

import base64
import ctypes
import functools
import json
from pathlib import Path
from typing import Any

from tests import gguf_bytes
from tests.tokenizer.references import LLAMA, MISTRAL, TEKKEN, TIKTOKEN, tokenizer_json
from tests.tokenizer.wheels import cache_folder, wheel_files

# In llama_model_params, all before vocab_only are 4 or 8 bytes; the next two booleans are known by their defaults.
VOCAB_ONLY, PARAMS = 72, 256


class Params(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * PARAMS)]


@functools.cache
def library() -> Any:
    import xllamacpp

    folder = Path(xllamacpp.__file__).parent
    lib: Any = ctypes.CDLL(str(next(folder.glob("xllamacpp*.so"))))
    lib.llama_model_default_params.restype = Params
    lib.llama_model_load_from_file.restype = ctypes.c_void_p
    lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Params]
    lib.llama_model_get_vocab.restype = ctypes.c_void_p
    lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    lib.llama_tokenize.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32,
        ctypes.c_bool, ctypes.c_bool,
    ]  # fmt: skip
    silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    lib.llama_log_set(silence, None)
    lib.silence = silence  # llama.cpp keeps the pointer
    return lib


class LlamaCpp:
    """A vocabulary as llama.cpp loads it."""

    def __init__(self, path: Path) -> None:
        lib = library()
        params = lib.llama_model_default_params()
        assert bytes(params.bytes[VOCAB_ONLY : VOCAB_ONLY + 3]) == b"\0\0\1", "llama_model_params has changed"
        params.bytes[VOCAB_ONLY] = 1
        model = lib.llama_model_load_from_file(str(path).encode(), params)
        assert model, path
        self.vocab = lib.llama_model_get_vocab(model)

    def encode(self, text: str | bytes, special: bool = False) -> list[int]:
        raw = text.encode() if isinstance(text, str) else text
        room = len(raw) + 16
        ids = (ctypes.c_int32 * room)()
        count = library().llama_tokenize(self.vocab, raw, len(raw), ids, room, False, special)
        assert count >= 0, count
        return list(ids[:count])


def letters(raw: bytes) -> str:
    """GPT-2's printable letters for bytes."""
    return "".join(map(_LETTERS.__getitem__, raw))


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_LETTERS = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}


def merges(tokens: list[bytes]) -> list[str]:
    """Each way to cut a token into two, by the token's rank, as Hugging Face converts tiktoken files."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    out: list[str] = []
    for token in tokens:
        cuts = ((ranks.get(token[:i]), ranks.get(token[i:])) for i in range(1, len(token)))
        whole = sorted((a, b) for a, b in cuts if a is not None and b is not None)
        out += (f"{letters(tokens[a])} {letters(tokens[b])}" for a, b in whole)
    return out


def write_gguf(path: Path, pre: str, tokens: list[str], types: list[int], merge_list: list[str]) -> None:
    g = gguf_bytes
    numbers = {"context_length": 2048, "embedding_length": 64, "block_count": 1, "feed_forward_length": 64}
    pairs = [
        g.pair("general.architecture", "string", "llama"),
        *(g.pair(f"llama.{name}", "uint32", value) for name, value in numbers.items()),
        g.pair("llama.attention.head_count", "uint32", 1),
        g.pair("llama.attention.layer_norm_rms_epsilon", "float32", 1e-5),
        g.pair("tokenizer.ggml.model", "string", "gpt2"),
        g.pair("tokenizer.ggml.pre", "string", pre),
        g.pair("tokenizer.ggml.tokens", "array", ("string", tokens)),
        g.pair("tokenizer.ggml.token_type", "array", ("int32", types)),
        g.pair("tokenizer.ggml.merges", "array", ("string", merge_list)),
        g.pair("tokenizer.ggml.bos_token_id", "uint32", 0),
    ]
    part = path.with_suffix(".part")
    part.write_bytes(g.header(pairs))
    part.rename(path)


@functools.cache
def as_gguf(name: str) -> Path:
    """The vocabulary deepseek-v3, llama4 or tekken as a GGUF file, kept in the cache."""
    path = cache_folder() / f"{name}-1.gguf"
    if path.exists():
        return path
    if name == "deepseek-v3":
        write_gguf(path, name, *deepseek())
        return path
    if name == "llama4":
        lines = wheel_files(LLAMA, TIKTOKEN["llama4"])[0].read_bytes().splitlines()
        tokens = [base64.b64decode(line.split()[0]) for line in lines if line]
        before, after = 0, 2048
    else:
        root = json.loads(wheel_files(MISTRAL, TEKKEN["tekken"])[0].read_bytes())
        before, after = 1000, 0
        count = root["config"]["default_vocab_size"] - before
        tokens = [base64.b64decode(token["token_bytes"]) for token in root["vocab"][:count]]
    specials = [f"<|special_{i}|>" for i in range(before + after)]
    names = [*specials[:before], *map(letters, tokens), *specials[before:]]
    types = [3] * before + [1] * len(tokens) + [3] * after
    write_gguf(path, name, names, types, merges(tokens))
    return path


def deepseek() -> tuple[list[str], list[int], list[str]]:
    root = json.loads(tokenizer_json("deepseek-v3.2").read_bytes())
    names = {token: (text, 1) for text, token in root["model"]["vocab"].items()}
    names |= {entry["id"]: (entry["content"], 3 if entry["special"] else 4) for entry in root["added_tokens"]}
    row = [names.get(i, (f"[unused {i}]", 5)) for i in range(max(names) + 1)]
    return [text for text, _ in row], [kind for _, kind in row], root["model"]["merges"]
