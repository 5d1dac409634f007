"""A tiktoken file: one token a line in base64, and its rank. Neither pattern nor special tokens are in it: they
are those of the model that is known by the number of tokens."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from localrun.errors import ModelError
from localrun.native.tok import CONTROL, NORMAL
from localrun.tokenizer.vocabulary import Vocabulary, pack

# After meta-llama/llama-models, models/llama3/tokenizer.py and models/llama4/tokenizer.py.
_LLAMA3_SPECIALS = (
    "begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1", "finetune_right_pad_id",
    "step_id", "start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag", "image",
)  # fmt: skip
_LLAMA4_SPECIALS = (
    "begin_of_text", "end_of_text", "fim_prefix", "fim_middle", "fim_suffix",
    "header_start", "header_end", "eom", "eot", "step",
    *(f"text_post_train_reserved_special_token_{i}" for i in range(6)),
    "python_start", "python_end", "finetune_right_pad",
    *(f"text_post_train_reserved_special_token_{i}" for i in range(8, 69)),
    "image_start", "image_end", "vision_reserved_special_token_0", "vision_reserved_special_token_1",
    "tile_x_separator", "tile_y_separator",
    *(f"vision_reserved_special_token_{i}" for i in range(2, 6)),
    "image", "vision_reserved_special_token_6", "patch",
    *(f"vision_reserved_special_token_{i}" for i in range(7, 1048)),
    *(f"reasoning_reserved_special_token_{i}" for i in range(8)),
    "reasoning_thinking_start", "reasoning_thinking_end",
)  # fmt: skip


def _specials(first: tuple[str, ...], total: int, reserved_from: int) -> list[bytes]:
    rest = (f"reserved_special_token_{reserved_from + i}" for i in range(total - len(first)))
    return [f"<|{name}|>".encode() for name in (*first, *rest)]


def read_tiktoken(path: Path, data: bytes) -> Vocabulary:
    """Raises ModelError when the file is none of Llama 3's or Llama 4's form."""
    ranks = _ranks(path, data)
    if len(ranks) == 128000:
        pre, specials = "llama3", _specials(_LLAMA3_SPECIALS, 256, 2)
    elif len(ranks) == 200000:
        pre, specials = "gpt-4o", _specials(_LLAMA4_SPECIALS, 2048, 0)
    else:
        raise ModelError(
            f"{path}: {len(ranks)} tokens fit neither Llama 3 nor Llama 4",
            "a tiktoken file says nothing of its pattern: use the model's GGUF or tokenizer.json",
        )
    return Vocabulary(
        kind="ranks",
        tokens=pack((*ranks, *specials)),
        count=len(ranks) + len(specials),
        types=bytes((NORMAL,)) * len(ranks) + bytes((CONTROL,)) * len(specials),
        pre=pre,
        bos=len(ranks),
        eos=len(ranks) + 1,
        add_bos=True,
    )


def _ranks(path: Path, data: bytes) -> list[bytes]:
    """The tokens in the order of their ranks, which count from 0."""
    ranked: dict[int, bytes] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            token, rank = fields
            ranked[int(rank)] = base64.b64decode(token, validate=True)
        except (ValueError, binascii.Error):
            raise ModelError(
                f"{path} is no vocabulary that is handled: line {number} has no token and rank"
            ) from None
    if sorted(ranked) != list(range(len(ranked))):
        raise ModelError(f"{path}: the ranks do not count from 0 to {len(ranked) - 1}")
    return [ranked[i] for i in range(len(ranked))]
