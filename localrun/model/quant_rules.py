"""Which type `llama-quantize` gives each tensor, retold from llama.cpp's `src/llama-quant.cpp` (0c1e57098).

The choice depends on the tensor's role, its block, and on how many value and down projections came
before it, so that the tensors must be asked in the order in which `llama-quantize` walks them.
"""

from __future__ import annotations

from collections.abc import Callable

from localrun.model.ggml_types import TYPES, is_quantized
from localrun.value import dataclass

#: quant -> the type that its tensors get when no rule says otherwise
DEFAULT_TYPE: dict[str, str] = {
    **{t: t for t in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q6_K")},
    **{t: t for t in ("TQ1_0", "TQ2_0", "Q1_0", "Q2_0", "IQ4_NL", "IQ4_XS")},
    **{t: t for t in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ3_S")},
    "Q2_K": "Q2_K",
    "Q2_K_S": "Q2_K",
    "Q3_K_S": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_L": "Q3_K",
    "Q4_K_S": "Q4_K",
    "Q4_K_M": "Q4_K",
    "Q5_K_S": "Q5_K",
    "Q5_K_M": "Q5_K",
    "IQ2_S": "IQ2_XS",
    "IQ2_M": "IQ2_S",
    "IQ3_XS": "IQ3_S",
    "IQ3_M": "IQ3_S",
    "MXFP4_MOE": "MXFP4",
}

#: The types that are garbage without an importance matrix, by quant: `llama-quantize` refuses to make them.
NEEDS_IMATRIX = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S"})

_LOW = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})
_IQ2_SM = frozenset({"IQ2_S", "IQ2_M"})
_IQ4 = frozenset({"IQ4_NL", "IQ4_XS"})

# Parts of a name that keep a tensor as it is: small, or sensitive.
_KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "attn_rel_b.weight",
)

# In this order: the first part that a name holds is its role.
_ROLES = (
    ("attn_qkv.weight", "attn_qkv"),
    ("attn_kv_b.weight", "attn_kv_b"),
    ("attn_v.weight", "attn_v"),
    ("attn_k.weight", "attn_k"),
    ("attn_q.weight", "attn_q"),
    ("attn_output.weight", "attn_output"),
    ("ffn_up", "ffn_up"),
    ("ffn_gate", "ffn_gate"),
    ("ffn_down", "ffn_down"),
)

VALUE_ROLES = frozenset({"attn_v", "attn_qkv", "attn_kv_b"})

# What a type becomes when a row is no multiple of its block.
_FALLBACK = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}


def role_of(name: str) -> str:
    """The rules' category of a tensor: `output`, `token_embd`, `attn_v` ... or `other`."""
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    return next((role for part, role in _ROLES if part in name), "other")


def may_quantize(name: str, dims: tuple[int, ...]) -> bool:
    """False for tensors that every quant leaves in their own type: norms, biases, routers, vectors."""
    flat = all(dim == 1 for dim in dims[1:])
    return not flat and name.endswith("weight") and not any(part in name for part in _KEPT)


@dataclass(frozen=True, slots=True)
class Mix:
    """What the rules need to know of a model and of the quant that it is to get."""

    quant: str
    n_layer: int  # block_count, next-token-prediction blocks included
    n_expert: int
    n_gqa: int  # query heads for each key head of the first layer
    n_value: int  # tensors with the role of a value projection, in the whole model
    tied: bool  # no output.weight: the embedding is the head
    big_llama: bool  # llama.cpp's LLM_TYPE_70B
    imatrix: bool  # an importance matrix is at hand


class Walk:
    """One pass over a model's tensors; it counts what the rules count."""

    __slots__ = ("downs", "mix", "values")

    def __init__(self, mix: Mix) -> None:
        self.mix = mix
        self.values = 0  # value projections met so far
        self.downs = 0  # down projections met so far

    def type_of(self, dims: tuple[int, ...], role: str, layer: int) -> str:
        """The type of the next tensor; one that may be quantized (`may_quantize`), in file order."""
        mix = self.mix
        default = DEFAULT_TYPE[mix.quant]
        if not is_quantized(default):
            return default
        return _fallback(self._wanted(dims, role, layer, default), dims[0])

    def counts(self, role: str) -> bool:
        """True where the type depends on the block or on the tensors before: no two may share an answer."""
        by_block = role in ("ffn_up", "ffn_gate") and self.mix.quant == "IQ3_XS"
        return role in VALUE_ROLES or role == "ffn_down" or by_block

    def _wanted(self, dims: tuple[int, ...], role: str, layer: int, default: str) -> str:
        mix = self.mix
        if role == "output" or (mix.tied and role == "token_embd"):
            return _head(mix, dims[0], default)
        if mix.quant == "MXFP4_MOE":
            return "MXFP4" if len(dims) > 2 and dims[2] > 1 else "Q8_0"
        if role == "token_embd":
            return _EMBEDDING.get(mix.quant, default)
        return (self._low if mix.quant in _LOW else self._usual)(role, layer, default)

    def _usual(self, role: str, layer: int, default: str) -> str:
        mix = self.mix
        if role in VALUE_ROLES:
            self.values += 1
            return _value(mix, self.values - 1, default)
        if role == "ffn_down":
            self.downs += 1
            # Blocks of a model with experts hold several down projections: there its number counts.
            return _down(mix, layer if mix.n_expert > 1 else self.downs - 1, default)
        rule = _RULES.get(role)
        return rule(mix, layer, default) if rule else default

    def _low(self, role: str, _layer: int, default: str) -> str:
        """The quants of 1 to 2.7 bits."""
        mix = self.mix
        better = "IQ3_S" if mix.quant in _IQ2_SM else "Q2_K"
        if role in VALUE_ROLES:
            self.values += 1
            return "Q4_K" if mix.n_gqa >= 4 or mix.n_expert >= 4 else better
        if role == "attn_k" and mix.n_expert == 8:
            return "Q4_K"
        if role == "ffn_down":
            self.downs += 1
            return better if self.downs - 1 < mix.n_layer // 8 else default
        if role == "attn_output":
            if mix.n_expert == 8:
                return "Q5_K"
            return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(
                mix.quant, default
            )
        return default


def _fallback(type_: str, row: int) -> str:
    if row % TYPES[type_][1] == 0:
        return type_
    type_ = _FALLBACK.get(type_, type_)
    return type_ if row % TYPES[type_][1] == 0 else "F16"


_EMBEDDING = {
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), "Q2_K"),
    **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
    **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "Q4_K"),
}


def _head(mix: Mix, row: int, default: str) -> str:
    if mix.quant == "MXFP4_MOE" or row % TYPES[default][1]:
        return "Q8_0"
    if mix.quant in _LOW or mix.quant == "IQ3_XXS":
        return "Q5_K"
    return default if default == "Q8_0" else "Q6_K"


def _more_bits(i: int, n: int) -> bool:
    """The first and the last eighth, and every third in between."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def _value(mix: Mix, i: int, default: str) -> str:
    if mix.n_expert == 8:
        return "Q8_0"
    type_ = _value_by_quant(mix, i, default)
    return "Q5_K" if mix.big_llama and type_ in ("Q3_K", "Q4_K") else type_


def _value_by_quant(mix: Mix, i: int, default: str) -> str:
    quant, grouped = mix.quant, mix.n_gqa >= 4
    if quant in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if _more_bits(i, mix.n_value) else default
    choice = {
        "Q2_K": "Q4_K" if grouped else "Q3_K",
        "IQ3_XXS": "Q4_K" if grouped else "IQ3_XXS" if mix.imatrix else "IQ3_S",
        "IQ3_M": "Q4_K",
        "Q3_K_M": "Q5_K" if i < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if i < 4 else default,
    }
    if grouped:
        choice |= {"Q2_K_S": "Q4_K", "IQ3_XS": "Q4_K", "IQ3_S": "Q4_K", "IQ4_NL": "Q5_K", "IQ4_XS": "Q5_K"}
    return choice.get(quant, default)


def _key(mix: Mix, _layer: int, default: str) -> str:
    if mix.n_expert == 8:
        return "Q8_0"
    return _query(mix, _layer, default)


def _query(mix: Mix, _layer: int, default: str) -> str:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix.quant, default)


def _down(mix: Mix, i: int, default: str) -> str:
    quant, n = mix.quant, mix.n_layer
    if quant in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if _more_bits(i, n) else default
    first = i < n // 8
    if quant == "IQ3_M" and not first:
        return "Q4_K" if mix.n_expert == 8 and _more_bits(i, n) else default
    choice = {"Q2_K": "Q3_K", "Q3_K_M": "Q5_K" if i < n // 16 else "Q4_K", "Q3_K_L": "Q5_K"}
    if first:
        choice |= {"Q2_K_S": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_S": "Q5_K"}
    if mix.imatrix:
        choice |= {"Q4_0": "Q4_1", "Q5_0": "Q5_1"} if first else {}
    elif quant == "IQ3_XXS":
        return "Q4_K" if first else "Q3_K"
    elif quant in _IQ4 and first:
        return "Q5_K"
    return choice.get(quant, default)


_OUTPUT_OF_EIGHT = frozenset(
    {
        "Q2_K",
        "IQ3_XS",
        "IQ3_XXS",
        "Q3_K_S",
        "Q3_K_M",
        "IQ4_NL",
        "Q4_K_S",
        "Q4_K_M",
        "IQ3_S",
        "IQ3_M",
        "IQ4_XS",
    }
)


def _attn_output(mix: Mix, _layer: int, default: str) -> str:
    if mix.n_expert == 8:
        return "Q5_K" if mix.quant in _OUTPUT_OF_EIGHT else default
    choice = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}
    return choice.get(mix.quant, default)


def _gate_up(mix: Mix, layer: int, default: str) -> str:
    n = mix.n_layer
    middle = n // 8 <= layer < 7 * n // 8
    return "IQ3_XXS" if mix.quant == "IQ3_XS" and middle else default


_RULES: dict[str, Callable[[Mix, int, str], str]] = {
    "attn_k": _key,
    "attn_q": _query,
    "attn_output": _attn_output,
    "ffn_gate": _gate_up,
    "ffn_up": _gate_up,
}
