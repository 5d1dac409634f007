"""A header's metadata as a Shape: which key says what, and the defaults that llama.cpp takes.

Follows `llama_model_base::load_hparams` and each `load_arch_hparams` of llama.cpp (0c1e57098). Keys
that contradict each other raise HeaderError here; what only the tensors can belie is `header`'s part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localrun.errors import HeaderError
from localrun.model.facts import Shape

#: llama.cpp's LLAMA_MAX_LAYERS.
MAX_LAYERS = 512

#: Larger figures lose bytes in JSON and in any float: nothing real comes near.
MAX_EXACT = 1 << 53

#: Architectures of which some layers see a window only: (period, whether the full layer comes first).
#: Without an entry or a pattern key llama.cpp does not use the window, whatever the key says.
_WINDOWED: dict[str, tuple[int, bool]] = {
    "llama4": (4, False),
    "gemma2": (2, False),
    "gemma3": (6, False),
    "gemma3n": (5, False),
    "gemma-embedding": (6, False),
    "gpt-oss": (2, False),
    "cohere2": (4, False),
    "cohere2moe": (4, True),
    "exaone4": (4, False),
    "exaone-moe": (4, False),
    "olmo2": (4, False),
    "plamo3": (8, False),
    "afmoe": (4, False),
    "smallthinker": (4, True),
    "modern-bert": (3, True),
}

#: llama4's attention chunk, which llama.cpp takes whatever the key says.
_CHUNK = 8192


class Keys:
    """A header's pairs, asked by architecture and checked: whole numbers that a size can be."""

    def __init__(self, pairs: Mapping[str, Any]) -> None:
        self.pairs = pairs
        self.architecture = self.text("general.architecture")

    def text(self, key: str) -> str:
        value = self.pairs.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str, default: int = 0) -> int:
        """`ARCHITECTURE.key`, 0 to 2**53; of an array its largest element."""
        value = self.pairs.get(f"{self.architecture}.{key}")
        if value is None:
            return default
        if isinstance(value, Sequence) and not isinstance(value, str):
            return max((_whole(key, value[i]) for i in range(len(value))), default=default)
        return _whole(key, value)

    def per_layer(self, key: str, n_layers: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """One number for all layers, or an array with one for each."""
        value = self.pairs.get(f"{self.architecture}.{key}")
        if value is None:
            return default
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) != n_layers:
                raise HeaderError(f"{key} has {len(value)} values for {n_layers} layers")
            return tuple(_whole(key, value[i]) for i in range(n_layers))
        return (_whole(key, value),) * n_layers


def _whole(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise HeaderError(f"{key} is not a whole number: {value!r}")
    if value < 0:
        raise HeaderError(f"{key} is negative: {value}")
    if value > MAX_EXACT:
        raise HeaderError(f"{key} is beyond any real model: {value}")
    return value


def shape_of(pairs: Mapping[str, Any], n_vocab: int, shared_experts: bool) -> Shape:
    """The Shape that a header declares.

    n_vocab: rows of the embedding, where a tensor tells; 0 = ask the keys. shared_experts: the file
    has tensors of a shared expert (llama4 has one and no key that says so). Raises HeaderError.
    """
    keys = Keys(pairs)
    n = keys.number("block_count")
    if not 0 < n <= MAX_LAYERS:
        raise HeaderError(f"block_count is {n}: a model has 1 to {MAX_LAYERS} layers")
    n_embd = keys.number("embedding_length")
    if n_embd == 0:
        raise HeaderError("embedding_length is missing or zero")
    if keys.number("context_length") == 0:
        raise HeaderError("context_length is missing or zero")
    n_ff = keys.per_layer("feed_forward_length", n, (0,) * n)
    n_nextn = keys.number("nextn_predict_layers")
    window, windowed = _window(keys, n, n_nextn)
    shape = Shape(
        n_layers=n,
        n_embd=n_embd,
        n_vocab=n_vocab or keys.number("vocab_size"),
        n_ctx_train=keys.number("context_length"),
        n_ff=n_ff,
        n_nextn=n_nextn,
        **_attention(keys, n, n_embd),
        **_experts(keys, max(n_ff), shared_experts),
        swa_window=window,
        swa_layers=windowed,
    )
    _check(shape)
    return shape


def _attention(keys: Keys, n: int, n_embd: int) -> dict[str, Any]:
    heads = keys.per_layer("attention.head_count", n, (0,) * n)
    head_dim = n_embd // max(heads) if max(heads) else 0
    head_dim_k = keys.number("attention.key_length", head_dim)
    return {
        "n_head": heads,
        "n_head_kv": keys.per_layer("attention.head_count_kv", n, heads),
        "head_dim_k": head_dim_k,
        "head_dim_v": keys.number("attention.value_length", head_dim),
        "rope_dim": keys.number("rope.dimension_count", head_dim_k),
        "kv_lora_rank": keys.number("attention.kv_lora_rank"),
        "q_lora_rank": keys.number("attention.q_lora_rank"),
        "mla_head_dim_k": keys.number("attention.key_length_mla"),
        "mla_head_dim_v": keys.number("attention.value_length_mla"),
        "indexer_heads": keys.number("attention.indexer.head_count"),
        "indexer_head_dim": keys.number("attention.indexer.key_length"),
        "indexer_top_k": keys.number("attention.indexer.top_k"),
    }


def _experts(keys: Keys, n_ff: int, shared: bool) -> dict[str, Any]:
    n_expert = keys.number("expert_count")
    return {
        "n_expert": n_expert,
        "n_expert_used": keys.number("expert_used_count"),
        "n_expert_shared": keys.number("expert_shared_count", int(shared)),
        "n_ff_expert": keys.number("expert_feed_forward_length", n_ff if n_expert else 0),
        "n_dense_lead": keys.number("leading_dense_block_count"),
        "moe_every": max(keys.number("interleave_moe_layer_step", 1), 1),
    }


def _window(keys: Keys, n: int, n_nextn: int) -> tuple[int, tuple[bool, ...]]:
    """The attention window in tokens and the layers that keep to it; (0, ()) where none does."""
    window = keys.number("attention.sliding_window", _CHUNK if keys.architecture == "llama4" else 0)
    if window == 0:
        return 0, ()
    if keys.architecture == "llama4":
        window = _CHUNK
    pattern = keys.pairs.get(f"{keys.architecture}.attention.sliding_window_pattern")
    layers: Iterable[bool] = ()
    if isinstance(pattern, Sequence) and not isinstance(pattern, str):
        if len(pattern) != n:
            raise HeaderError(f"attention.sliding_window_pattern has {len(pattern)} values for {n} layers")
        layers = (bool(pattern[il]) for il in range(n))
    elif keys.architecture in _WINDOWED:
        period, full_first = _WINDOWED[keys.architecture]
        period = keys.number("attention.sliding_window_pattern", period)
        full = 0 if full_first else period - 1
        layers = (period == 0 or (il % period != full and il < n - n_nextn) for il in range(n))
    found = tuple(layers)
    return (window, found) if any(found) else (0, ())


def _check(s: Shape) -> None:
    for il, (heads, kv) in enumerate(zip(s.n_head, s.n_head_kv, strict=True)):
        if kv > heads:
            raise HeaderError(f"layer {il} has {kv} key-value heads but only {heads} heads")
    if any(s.n_head) and not (s.head_dim_k and s.head_dim_v):
        raise HeaderError("attention.key_length or attention.value_length is zero")
    if s.n_nextn >= s.n_layers:
        raise HeaderError(f"nextn_predict_layers is {s.n_nextn} of {s.n_layers} layers")
    if s.n_dense_lead > s.n_layers:
        raise HeaderError(f"leading_dense_block_count is {s.n_dense_lead} of {s.n_layers} layers")
    if s.n_expert_used > s.n_expert:
        raise HeaderError(f"expert_used_count is {s.n_expert_used} of {s.n_expert} experts")
    if s.n_expert and not s.n_expert_used:
        raise HeaderError(
            f"{s.n_expert} experts, of which none is used: expert_used_count is missing or zero"
        )
    if s.mla_head_dim_k and s.rope_dim >= s.mla_head_dim_k:
        raise HeaderError(f"rope.dimension_count {s.rope_dim} leaves nothing of key_length_mla")
