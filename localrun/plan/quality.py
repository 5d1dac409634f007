"""How much a quantization costs in quality, on one scale, to weigh it against speed.

The unit: doubling the speed is worth 1 below 30 tokens a second. Figures follow the order and the
rough distances of published KL divergence and perplexity tables for llama.cpp's types on 8B to 70B
models; they are judgement, not measurement, and only rank.
"""

from __future__ import annotations

import re

_LOSS = {
    "F32": 0.0, "BF16": 0.0, "F16": 0.0, "Q8_0": 0.02, "Q6_K": 0.08, "Q5_K_M": 0.2, "Q5_K_S": 0.25,
    "Q5_1": 0.3, "Q5_0": 0.35, "Q4_K_XL": 0.45, "Q4_K_M": 0.5, "Q4_K_S": 0.6, "IQ4_NL": 0.6, "IQ4_XS": 0.65,
    "MXFP4": 0.6, "Q4_1": 0.7, "Q4_0": 0.8, "Q3_K_XL": 0.95, "Q3_K_L": 1.1, "Q3_K_M": 1.3, "IQ3_M": 1.3,
    "IQ3_S": 1.4, "IQ3_XS": 1.6, "Q3_K_S": 1.8, "IQ3_XXS": 1.9, "Q2_K_XL": 2.0, "Q2_K_L": 2.4, "Q2_K": 2.6,
    "IQ2_M": 2.6, "Q2_K_S": 3.0, "IQ2_S": 3.0, "IQ2_XS": 3.4, "IQ2_XXS": 3.9, "TQ2_0": 4.5, "IQ1_M": 4.6,
    "IQ1_S": 5.4, "TQ1_0": 6.0,
}  # fmt: skip
#: Loss at which a goal that only asks for speed or context stops: below it answers visibly degrade.
ACCEPTABLE = 1.4
#: What a q8_0 cache costs against f16; smaller types cost more.
_CACHE = {"f32": 0.0, "f16": 0.0, "bf16": 0.0, "q8_0": 0.05, "q5_1": 0.4, "q5_0": 0.5, "q4_1": 0.9}


def loss(quant: str) -> float:
    """0 for the original weights, growing; unknown names by their bits."""
    name = quant.upper()
    # Dynamic quants spend bits where they count: a third better than their name.
    dynamic = name.startswith("UD-")
    known = _LOSS.get(name.removeprefix("UD-"))
    if known is None:
        bits = re.search(r"Q(\d)", name)
        known = {1: 5.5, 2: 3.0, 3: 1.5, 4: 0.6, 5: 0.25, 6: 0.1, 8: 0.02}.get(
            int(bits[1]) if bits else 4, 0.6
        )
    return known * 0.7 if dynamic else known


def cache_loss(kind: str) -> float:
    return _CACHE.get(kind, 1.5)
