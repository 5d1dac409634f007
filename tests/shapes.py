"""The shapes of the real models, as their publishers' config.json files give them, for sparse files."""

from __future__ import annotations

from dataclasses import dataclass, replace

from localrun.model.facts import Shape


@dataclass(frozen=True, slots=True)
class Named:
    """One model without its weights: what the tensor generator and a GGUF header need."""

    architecture: str
    shape: Shape
    tied: bool = False
    rope_freqs: bool = False
    gate_bias: bool = True


def _dense(layers: int, embd: int, heads: int, kv: int, ff: int, vocab: int, ctx: int = 131072) -> Shape:
    return Shape(
        n_layers=layers,
        n_embd=embd,
        n_vocab=vocab,
        n_ctx_train=ctx,
        n_head=(heads,) * layers,
        n_head_kv=(kv,) * layers,
        head_dim_k=128,
        head_dim_v=128,
        n_ff=(ff,) * layers,
        rope_dim=128,
    )


def _llama4(experts: int, every: int, ctx: int) -> Shape:
    return replace(
        _dense(48, 5120, 40, 8, 16384, 202048, ctx),
        n_expert=experts,
        n_expert_used=1,
        n_expert_shared=1,
        n_ff_expert=8192,
        moe_every=every,
        swa_window=8192,
        swa_layers=tuple(il % 4 < 3 for il in range(48)),
    )


V3 = Shape(
    n_layers=61,
    n_embd=7168,
    n_vocab=129280,
    n_ctx_train=163840,
    n_head=(128,) * 61,
    n_head_kv=(1,) * 61,
    head_dim_k=576,
    head_dim_v=512,
    n_ff=(18432,) * 61,
    n_expert=256,
    n_expert_used=8,
    n_expert_shared=1,
    n_ff_expert=2048,
    n_dense_lead=3,
    kv_lora_rank=512,
    q_lora_rank=1536,
    rope_dim=64,
    mla_head_dim_k=192,
    mla_head_dim_v=128,
)
V32 = replace(V3, indexer_heads=64, indexer_head_dim=128, indexer_top_k=2048)
V32_MTP = replace(V32, n_layers=62, n_nextn=1, n_head=(128,) * 62, n_head_kv=(1,) * 62, n_ff=(18432,) * 62)
V3_LEGACY = replace(
    V3, n_head_kv=(128,) * 61, head_dim_k=192, head_dim_v=128, mla_head_dim_k=0, mla_head_dim_v=0
)
LARGE_3 = replace(
    V3,
    n_vocab=131072,
    n_ctx_train=262144,
    n_ff=(16384,) * 61,
    n_expert=128,
    n_expert_used=4,
    n_ff_expert=4096,
)
SMOLLM2 = replace(_dense(30, 576, 9, 3, 1536, 49152, 8192), head_dim_k=64, head_dim_v=64, rope_dim=64)

MODELS: dict[str, Named] = {
    "v3.2": Named("deepseek32", V32),
    "v3.2-mtp": Named("deepseek32", V32_MTP),
    "v3.2-stripped": Named("deepseek2", V3),
    "v3-legacy": Named("deepseek2", V3_LEGACY),
    "large-3": Named("deepseek2", LARGE_3, gate_bias=False),
    "scout": Named("llama4", _llama4(16, 1, 10485760), rope_freqs=True),
    "maverick": Named("llama4", _llama4(128, 2, 1048576)),
    "llama-8b": Named("llama", _dense(32, 4096, 32, 8, 14336, 128256), rope_freqs=True),
    "llama-70b": Named("llama", _dense(80, 8192, 64, 8, 28672, 128256), rope_freqs=True),
    "llama-405b": Named("llama", _dense(126, 16384, 128, 8, 53248, 128256), rope_freqs=True),
    "mistral-small": Named("mistral3", _dense(40, 5120, 32, 8, 32768, 131072)),
    "smollm2": Named("llama", SMOLLM2, tied=True),
}
