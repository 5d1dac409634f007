"""The tensors of a model in a quantization of which no file was read: their types and exact bytes.

`sized_types` follows `llama-quantize`, so the sum equals what that would write, less the header and
the padding. Dynamic quants (`UD-...`) follow no published rule: `scaled` spreads their published size
over the tensors of the standard quant that comes nearest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from localrun.errors import ModelError
from localrun.model.facts import Shape, Tensor
from localrun.model.ggml_types import is_quantized, tensor_bytes
from localrun.model.quant_rules import DEFAULT_TYPE, VALUE_ROLES, Mix, Walk, may_quantize, role_of
from localrun.model.tensors import Named, file_order, tensor_list

#: Tensors of a GGUF file start at multiples of this, general.alignment's default.
ALIGNMENT = 32

#: Other spellings that llama-quantize and publishers use.
_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE", "FP16": "F16"}

# Floating-point files come from the converter, which keeps this one whole; llama-quantize would not.
_CONVERTER_KEEPS = "indexer.proj.weight"


def quant_name(text: str) -> str:
    """`q4_k_m`, `Q4-K-M` or `Q4_K` as publishers write it: `Q4_K_M`. Dynamic ones keep their `UD-`."""
    name = text.strip().upper().replace("-", "_")
    prefix = ""
    if name.startswith("UD_"):
        prefix, name = "UD-", name[3:]
    return prefix + (name if prefix else _ALIASES.get(name, name))


def is_standard(quant: str) -> bool:
    """True for a quant whose types are decided by llama.cpp's own rules."""
    return quant in DEFAULT_TYPE


#: name, dims, type, bytes
Sized = tuple[str, tuple[int, ...], str, int]


@lru_cache(maxsize=64)
def sized_types(
    architecture: str,
    shape: Shape,
    quant: str,
    *,
    imatrix: bool = False,
    tied: bool = False,
    rope_freqs: bool = False,
    gate_bias: bool = True,
) -> tuple[Sized, ...]:
    """Every tensor of the file that `llama-quantize MODEL QUANT` writes, in its order.

    imatrix: the quantizer had an importance matrix, which moves a few tensors of the IQ quants, Q4_0
    and Q5_0. The other flags: see `tensors.tensor_list`. Raises ModelError for an unknown quant.
    """
    named = _named(architecture, shape, tied, rope_freqs, gate_bias)
    return types_for(architecture, shape, named, quant, imatrix=imatrix)


def placed(sized: Iterable[Sized]) -> tuple[Tensor, ...]:
    """The tensors one behind the other, each padded to ALIGNMENT."""
    found = []
    offset = 0
    for name, dims, type_, size in sized:
        found.append(Tensor(name, dims, type_, size, offset))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    return tuple(found)


@lru_cache(maxsize=16)
def _named(
    architecture: str, shape: Shape, tied: bool, rope_freqs: bool, gate_bias: bool
) -> tuple[Named, ...]:
    return tensor_list(architecture, shape, tied=tied, rope_freqs=rope_freqs, gate_bias=gate_bias)


def types_for(
    architecture: str, shape: Shape, named: tuple[Named, ...], quant: str, *, imatrix: bool = False
) -> tuple[Sized, ...]:
    """As `sized_types`, for a given list of tensors in `llama-quantize`'s order."""
    if quant not in DEFAULT_TYPE:
        raise ModelError(f"no rule says how {quant} is made", "name a quant of llama.cpp's, such as Q4_K_M")
    slots = _slots(named)
    walk = Walk(_mix(architecture, shape, slots, quant, imatrix))
    floating = not is_quantized(DEFAULT_TYPE[quant])
    known: dict[tuple[str, tuple[int, ...]], tuple[str, int]] = {}
    found = []
    for name, dims, role, layer in slots:
        sized = known.get((role, dims))
        if sized is None:
            kept = role == "kept" or (floating and name.endswith(_CONVERTER_KEEPS))
            type_ = "F32" if kept else walk.type_of(dims, role, layer)
            sized = type_, tensor_bytes(type_, dims)
            if not kept and not walk.counts(role):
                known[role, dims] = sized
        found.append((name, dims, *sized))
    return tuple(found)


#: name, dims, role ("kept" where no quant touches it), block or -1
_Slot = tuple[str, tuple[int, ...], str, int]


@lru_cache(maxsize=16)
def _slots(named: tuple[Named, ...]) -> tuple[_Slot, ...]:
    """What of each tensor does not depend on the quant; a block's tensors are looked at once for all blocks."""
    roles: dict[Named, str] = {}
    found = []
    for name, dims in named:
        layer, _ = file_order((name, dims))
        part = name[name.index(".", 4) :] if layer >= 0 else name
        role = roles.get((part, dims))
        if role is None:
            role = roles[part, dims] = role_of(part) if may_quantize(part, dims) else "kept"
        found.append((name, dims, role, layer))
    return tuple(found)


def _mix(architecture: str, shape: Shape, slots: tuple[_Slot, ...], quant: str, imatrix: bool) -> Mix:
    head, kv = shape.n_head[0], shape.n_head_kv[0]
    # llama.cpp calls every llama of 80 blocks with grouped keys a 70B, and spends more on attn_v.
    big = architecture == "llama" and shape.n_layers - shape.n_nextn == 80 and head != kv
    return Mix(
        quant=quant,
        n_layer=shape.n_layers,
        n_expert=shape.n_expert,
        n_gqa=head // kv if kv else 0,
        n_value=sum(role in VALUE_ROLES for _, _, role, _ in slots),
        tied=all(role != "output" for _, _, role, _ in slots),
        big_llama=big and shape.n_expert != 8,
        imatrix=imatrix,
    )


def scaled(tensors: Sequence[Sized], weights_bytes: int) -> list[Sized]:
    """The same tensors, resized so that their sum is `weights_bytes`: an estimate for dynamic quants.

    What is not quantized keeps its size. The routed experts take up the difference, as in the files
    that are published: attention and shared experts stay near their standard type. Without experts,
    or where that would leave the experts less than a quarter, all quantized tensors share it.
    Raises ModelError where the tensors that keep their size need more.
    """
    total = sum(size for _, _, _, size in tensors)
    chosen = {name: size for name, _, _, size in tensors if "_exps." in name}
    part = sum(chosen.values())
    if not chosen or part + weights_bytes - total < part // 4:
        chosen = {name: size for name, _, type_, size in tensors if is_quantized(type_)}
        part = sum(chosen.values())
    wanted = part + weights_bytes - total
    if not chosen or wanted <= 0:
        raise ModelError(f"{weights_bytes} bytes are too few for this model's unquantized tensors")
    for name, size in chosen.items():
        chosen[name] = size * wanted // part
    # The remainders of the divisions go to the last one, so that the sum is exact.
    chosen[name] += wanted - sum(chosen.values())
    return [(name, dims, type_, chosen.get(name, size)) for name, dims, type_, size in tensors]
