"""Vocabularies in JSON: Hugging Face's tokenizer.json and Mistral's tekken.json."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from localrun.errors import ModelError
from localrun.native.tok import CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from localrun.tokenizer.pre import by_regex, by_steps
from localrun.tokenizer.vocabulary import Vocabulary, pack


def read_json(path: Path, data: bytes) -> Vocabulary:
    """Raises ModelError for JSON that is neither, or of a kind that is not handled."""
    try:
        root = json.loads(data)
        if "vocab" in root and "config" in root:
            return _tekken(root)
        if isinstance(root.get("model"), dict):
            return _hugging_face(root)
    except json.JSONDecodeError as e:
        raise ModelError(f"{path} is not whole JSON: {e}") from None
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as e:
        raise ModelError(f"{path} does not have the form of a vocabulary: {type(e).__name__} {e}") from None
    raise ModelError(f"{path} is neither a tokenizer.json nor a tekken.json")


def _tekken(root: dict[str, Any]) -> Vocabulary:
    config = root["config"]
    specials = int(config["default_num_special_tokens"])
    inner = int(config["default_vocab_size"]) - specials
    names = [b"<SPECIAL_%d>" % i for i in range(specials)]
    types = bytearray((CONTROL,)) * specials + bytearray((NORMAL,)) * inner
    listed: list[dict[str, Any]] = root.get("special_tokens") or _TEKKEN_V3
    for token in listed:
        names[token["rank"]] = token["token_str"].encode()
    ranked = root["vocab"][:inner]
    if [token["rank"] for token in ranked] != list(range(inner)):
        raise ModelError(f"the ranks do not count from 0 to {inner - 1}")
    return Vocabulary(
        kind="ranks",
        tokens=pack((*names, *(base64.b64decode(token["token_bytes"]) for token in ranked))),
        count=specials + inner,
        types=bytes(types),
        pre=by_regex(config["pattern"]),
        bos=1,
        eos=2,
        add_bos=True,
    )


# The first tekken.json files list none; their names are in mistral-common.
_TEKKEN_V3: list[dict[str, Any]] = [
    {"rank": rank, "token_str": name}
    for rank, name in enumerate(
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
         "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
         "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]")
    )
]  # fmt: skip


def _hugging_face(root: dict[str, Any]) -> Vocabulary:
    model = root["model"]
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback") or model.get("dropout"):
        raise ModelError("this kind of tokenizer.json is not handled", "handled is byte-level BPE")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise ModelError("a tokenizer with marks inside words is not handled")
    nfc = _nfc(root.get("normalizer"))
    step = root["pre_tokenizer"]
    steps = step["pretokenizers"] if step["type"] == "Sequence" else [step]
    names, types = _tokens(model["vocab"], root.get("added_tokens") or [])
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return Vocabulary(
        kind="merges",
        tokens=pack(names),
        count=len(names),
        types=types,
        merges=pack(m.encode() for m in merges),
        merge_count=len(merges),
        pre=by_steps(steps),
        letters=True,
        ignore_merges=bool(model.get("ignore_merges")),
        ignore_merges_llama_cpp=bool(model.get("ignore_merges")),
        nfc=nfc,
        **_ends(root, names),
    )


def _tokens(vocab: dict[str, int], added: list[dict[str, Any]]) -> tuple[list[bytes], bytes]:
    """Text and type of each id; ids that no token has become control tokens that no text can name."""
    count = 1 + max((*vocab.values(), *(token["id"] for token in added)), default=-1)
    if count > 2 * (len(vocab) + len(added)) + 4096:
        raise ModelError(f"ids go up to {count - 1}, but there are only {len(vocab) + len(added)} tokens")
    names = [b""] * count
    types = bytearray((CONTROL,)) * count
    for text, token in vocab.items():
        if token < 0 or names[token]:
            raise ModelError(f"the id {token} is out of range or used twice")
        names[token], types[token] = text.encode(), NORMAL
    for entry in added:
        if entry.get("lstrip") or entry.get("rstrip") or entry.get("single_word"):
            raise ModelError(
                f"an added token that takes its surroundings is not handled: {entry['content']!r}"
            )
        names[entry["id"]] = entry["content"].encode()
        types[entry["id"]] = CONTROL if entry["special"] else USER_DEFINED
    for token, name in enumerate(names):
        if not name:
            names[token], types[token] = b"\0unused %d" % token, UNKNOWN
    return names, bytes(types)


def _nfc(normalizer: dict[str, Any] | None) -> bool:
    if normalizer is None or normalizer == {"type": "Sequence", "normalizers": []}:
        return False
    if normalizer.get("type") == "NFC":
        return True
    raise ModelError(f"the normalizer {normalizer.get('type')!r} is not handled")


def _ends(root: dict[str, Any], names: list[bytes]) -> dict[str, Any]:
    """bos, where the post-processor puts one first."""
    processor = root.get("post_processor") or {}
    for step in processor.get("processors", [processor]):
        first = (
            (step.get("single") or [{}])[0].get("SpecialToken", {}).get("id")
            if isinstance(step, dict)
            else None
        )
        if first and first.encode() in names:
            return {"bos": names.index(first.encode()), "add_bos": True}
    return {}
