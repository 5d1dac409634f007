"""ggml's tensor types: the elements and bytes of one block, their numbers in a file, and the file types.

From `ggml/include/ggml.h`, `ggml/src/ggml-common.h` and `include/llama.h` of llama.cpp (0c1e57098).
"""

from __future__ import annotations

from localrun.errors import HeaderError

#: type -> (number in the file, elements of a block, bytes of a block)
TYPES: dict[str, tuple[int, int, int]] = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34),
    "Q8_1": (9, 32, 36),
    "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
    "Q8_K": (15, 256, 292),
    "IQ2_XXS": (16, 256, 66),
    "IQ2_XS": (17, 256, 74),
    "IQ3_XXS": (18, 256, 98),
    "IQ1_S": (19, 256, 50),
    "IQ4_NL": (20, 32, 18),
    "IQ3_S": (21, 256, 110),
    "IQ2_S": (22, 256, 82),
    "IQ4_XS": (23, 256, 136),
    "I8": (24, 1, 1),
    "I16": (25, 1, 2),
    "I32": (26, 1, 4),
    "I64": (27, 1, 8),
    "F64": (28, 1, 8),
    "IQ1_M": (29, 256, 56),
    "BF16": (30, 1, 2),
    "TQ1_0": (34, 256, 54),
    "TQ2_0": (35, 256, 66),
    "MXFP4": (39, 32, 17),
    "NVFP4": (40, 64, 36),
    "Q1_0": (41, 128, 18),
    "Q2_0": (42, 64, 18),
}

_NAMES = {number: name for name, (number, _, _) in TYPES.items()}

#: `general.file_type` -> the name that `llama-quantize` gives it
FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}


def type_name(number: int) -> str:
    """ggml's name of a tensor type. Raises HeaderError for a number that no llama.cpp build knows here."""
    name = _NAMES.get(number)
    if name is None:
        raise HeaderError(f"tensor type {number} is unknown", "the file may be newer than this localrun")
    return name


def row_bytes(type_: str, n: int) -> int:
    """Bytes of a row of `n` elements, which must be a multiple of the type's block."""
    _, block, size = TYPES[type_]
    return n // block * size


def tensor_bytes(type_: str, dims: tuple[int, ...]) -> int:
    """Bytes of a tensor without padding."""
    total = row_bytes(type_, dims[0]) if dims else 0
    for dim in dims[1:]:
        total *= dim
    return total


def is_quantized(type_: str) -> bool:
    return type_ not in ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")
