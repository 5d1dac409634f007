"""What the list of tensors says of a model: its quant, its parameters, whether it fits the Shape."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from localrun.errors import HeaderError
from localrun.model.facts import Shape, Tensor
from localrun.model.ggml_types import FILE_TYPES
from localrun.model.shape import MAX_EXACT
from localrun.model.tensors import block_tensors

_BLOCK = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(r"_exps\.|ffn_(?:up|gate|down)\.\d+\.")
_QUANT = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q\d_[0-9A-Z]+(?:_[A-Z]{1,3})?|TQ[12]_0|B?F16|F32|MXFP4(?:_MOE)?))"
    r"(?![A-Za-z0-9])"
)


def quant_of(file_name: str, file_type: object, tensors: Sequence[Tensor]) -> str:
    """The quant as published: a dynamic or extended name in the file's name wins over general.file_type.

    Dynamic quants carry the file type that llama-quantize was called with, which is not what they are.
    Without either, the type that holds most bytes.
    """
    match = _QUANT.search(file_name)
    declared = FILE_TYPES.get(file_type, "") if isinstance(file_type, int) else ""
    if match and (match[1].startswith("UD-") or match[1] not in FILE_TYPES.values()):
        return match[1]
    if declared or match:
        return declared or (match[1] if match else "")
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.type] += tensor.bytes
    return sizes.most_common(1)[0][0]


def parameters_of(tensors: Sequence[Tensor]) -> int:
    """Elements in all; `rope_freqs` holds a table and no parameter."""
    return sum(_elements(t.dims) for t in tensors if t.name != "rope_freqs.weight")


def active_of(shape: Shape, tensors: Sequence[Tensor]) -> int:
    """Parameters that one generated token touches.

    Of the routed experts the share that is used, of an embedding that is not also the head one row,
    of next-token-prediction blocks nothing. Meta counts the whole embedding in Scout's "17B".
    """
    used, total = shape.n_expert_used, shape.n_expert
    tied = all(t.name != "output.weight" for t in tensors)
    trunk = shape.n_layers - shape.n_nextn
    active = 0
    for tensor in tensors:
        n = _elements(tensor.dims)
        block = _BLOCK.match(tensor.name)
        if tensor.name == "rope_freqs.weight" or (block and int(block[1]) >= trunk):
            continue
        if tensor.name == "token_embd.weight" and not tied:
            n = tensor.dims[0]
        elif "_exps." in tensor.name and total:
            n = n * used // total
        active += n
    return active


def _elements(dims: tuple[int, ...]) -> int:
    n = 1
    for dim in dims:
        n *= dim
    return n


def check_tensors(shape: Shape, tensors: Sequence[Tensor]) -> None:
    """Raises HeaderError where the tensors belie the declared shape."""
    routed = False
    for tensor in tensors:
        if any(dim <= 0 for dim in tensor.dims):
            raise HeaderError(f"tensor {tensor.name} has a dimension of zero or less: {tensor.dims}")
        if tensor.bytes > MAX_EXACT or _elements(tensor.dims) > MAX_EXACT:
            raise HeaderError(f"tensor {tensor.name} is larger than any real one: {tensor.bytes} bytes")
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) >= shape.n_layers:
            raise HeaderError(f"tensor {tensor.name} is beyond the {shape.n_layers} layers of block_count")
        if _EXPERTS.search(tensor.name):
            routed = True
            _check_experts(shape, tensor)
        if tensor.name == "token_embd.weight" and tensor.dims[0] != shape.n_embd:
            raise HeaderError(
                f"token_embd.weight has rows of {tensor.dims[0]}, embedding_length is {shape.n_embd}"
            )
    if shape.n_expert and not routed:
        raise HeaderError(f"expert_count is {shape.n_expert}, but there are no expert tensors")
    if sum(t.bytes for t in tensors) > MAX_EXACT:
        raise HeaderError("the tensors add up to more than 2**53 bytes")


#: Of a block's tensors those that a file may lack.
_OPTIONAL = frozenset(("exp_probs_b.bias",))


def check_blocks(architecture: str, shape: Shape, tensors: Sequence[Tensor]) -> None:
    """Raises HeaderError where a block is empty or its tensors are not of the size that the keys give them.

    Sizes are known for the architectures of `tensors.py`; next-token blocks may be stripped.
    """
    blocks: dict[int, dict[str, tuple[int, ...]]] = {}
    for tensor in tensors:
        if match := _BLOCK.match(tensor.name):
            blocks.setdefault(int(match[1]), {})[tensor.name[match.end() :]] = tensor.dims
    if block_tensors(architecture, shape, 0) and all(t.name != "token_embd.weight" for t in tensors):
        raise HeaderError("tensor token_embd.weight is missing")
    for il in range(shape.n_layers - shape.n_nextn):
        if il not in blocks:
            raise HeaderError(f"block_count is {shape.n_layers}, but block {il} has no tensors")
        _check_block(architecture, shape, il, blocks[il])


def _check_block(architecture: str, shape: Shape, il: int, found: dict[str, tuple[int, ...]]) -> None:
    expected = dict(block_tensors(architecture, shape, il))
    for name, dims in expected.items():
        if name in found and _stripped(found[name]) != _stripped(dims):
            real, declared = (" x ".join(map(str, d)) for d in (found[name], dims))
            raise HeaderError(f"tensor blk.{il}.{name} is {real}, the header's keys make it {declared}")
    missing = expected.keys() - found.keys() - _OPTIONAL
    # A tensor of another name may stand for several: fused queries and keys, experts one by one.
    if missing and found.keys() <= expected.keys():
        raise HeaderError(f"tensor blk.{il}.{min(missing)} is missing")


def _stripped(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Without the ones at the end, which some writers add."""
    n = len(dims)
    while n > 1 and dims[n - 1] == 1:
        n -= 1
    return dims[:n]


def _check_experts(shape: Shape, tensor: Tensor) -> None:
    if not shape.n_expert:
        raise HeaderError(f"tensor {tensor.name} is of experts, but expert_count is zero or missing")
    if "_exps.weight" in tensor.name and len(tensor.dims) > 2 and tensor.dims[2] != shape.n_expert:
        raise HeaderError(
            f"tensor {tensor.name} holds {tensor.dims[2]} experts, expert_count is {shape.n_expert}"
        )
