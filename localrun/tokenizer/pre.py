"""Pre-tokenizers: the names that files have for them, and the patterns that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localrun.errors import ModelError


@dataclass(frozen=True, slots=True)
class Pre:
    pattern: str  # a name in localrun.native.tok.PRES
    ignore_merges: bool = False
    ignore_merges_llama_cpp: bool = False
    nfc: bool = False
    add_bos: bool = False  # unless the file says otherwise


_LLAMA3 = Pre("llama3", ignore_merges=True, ignore_merges_llama_cpp=True, add_bos=True)
_DIGITS = Pre("digits")
_GPT2 = Pre("gpt-2")
_QWEN2 = Pre("qwen2", nfc=True)
_GPT4O = Pre("gpt-4o", ignore_merges=True)

#: `tokenizer.ggml.pre`, after llama.cpp's list. Normalizers are not in the file: these are the models' own.
BY_NAME = {
    **dict.fromkeys(
        ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"), _LLAMA3
    ),
    **dict.fromkeys(("dbrx", "smaug-bpe"), Pre("llama3")),
    "chatglm-bpe": Pre("llama3"),
    **dict.fromkeys(("glm4", "glm5"), Pre("llama3", ignore_merges=True, ignore_merges_llama_cpp=True)),
    **dict.fromkeys(
        ("gpt-2", "phi-2", "olmo", "jais", "trillion", "granite-docling", "exaone4", "gigachat"), _GPT2
    ),
    **dict.fromkeys(
        ("a.x-4.0", "mellum", "modern-bert", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de"), _GPT2
    ),
    "mpt": Pre("gpt-2", nfc=True),
    **dict.fromkeys(
        ("starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"), _DIGITS
    ),
    "command-r": Pre("digits", nfc=True),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2"), _QWEN2),
    **dict.fromkeys(("megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"), Pre("qwen2")),
    "qwen35": Pre("qwen35", nfc=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _GPT4O),
    "tekken": Pre("tekken", ignore_merges=True, ignore_merges_llama_cpp=True, add_bos=True),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), Pre("deepseek-v3")),
    "deepseek-llm": Pre("deepseek-llm"),
    "deepseek-coder": Pre("deepseek-coder"),
}


def by_name(name: str) -> Pre:
    """Raises ModelError for a pre-tokenizer that is not handled."""
    if name not in BY_NAME:
        raise ModelError(
            f"the pre-tokenizer {name[:64]!r} is not handled",
            "the engine has it: the model can be run, but its tokens not be counted here",
        )
    return BY_NAME[name]


_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
)
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_SLASH = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

#: Regular expressions that tokenizer.json, tekken.json and tiktoken's users spell out.
BY_REGEX = {
    _SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST: "llama3",
    _SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST: "qwen2",
    _SHORT + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}" + _REST.replace(r"\p{N}", r"\p{M}\p{N}"): "qwen35",
    _CASED % (_SHORT + "?", _SHORT + "?") + r"|\p{N}{1,3}" + _REST_SLASH: "gpt-4o",
    _CASED % ("", "") + r"|\p{N}" + _REST_SLASH: "tekken",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt-2",
}


def by_regex(pattern: str) -> str:
    """The pattern's name. Raises ModelError for one that is not handled."""
    if pattern not in BY_REGEX:
        raise ModelError(f"the pre-tokenizer's pattern is not handled: {pattern[:200]}")
    return BY_REGEX[pattern]


def by_steps(steps: list[dict[str, Any]]) -> str:
    """The name of a tokenizer.json's row of pre-tokenizers. Raises ModelError for one that is not handled."""
    row: list[str] = []
    for step in steps:
        kind = step.get("type")
        if kind == "ByteLevel":
            if step.get("add_prefix_space"):
                raise ModelError("a tokenizer that puts a space before its text is not handled")
            if step.get("use_regex", True):
                row.append("gpt-2")
        elif kind == "Split":
            pattern = step.get("pattern", {})
            row.append(str(pattern.get("Regex", pattern.get("String"))))
        elif kind == "Digits":
            row.append("digit" if step.get("individual_digits") else "digits+")
        else:
            raise ModelError(f"the pre-tokenizer step {kind!r} is not handled")
    return _row_name(row)


_DEEPSEEK3_LAST = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^"""
    "\r\n"
    r"""\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+["""
    "\r\n"
    r"""]*|\s*["""
    "\r\n"
    r"""]+|\s+(?!\S)|\s+"""
)
_EAST = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"


def _row_name(row: list[str]) -> str:
    if row == ["digit", "gpt-2"]:
        return "digits"
    if row == ["gpt-2"]:
        return "gpt-2"
    if len(row) == 1:
        return by_regex(row[0])
    if row == [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", _DEEPSEEK3_LAST]:
        return "deepseek-v3"
    if row == ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _EAST, "digit"]:
        return "deepseek-coder"
    if row[0] == "[\r\n]" and row[1].startswith(r"\s?[A-Za-z") and row[3:] == [r"\s+$", _EAST, "digit"]:
        return "deepseek-llm"
    raise ModelError(f"this row of pre-tokenizers is not handled: {row}"[:300])
