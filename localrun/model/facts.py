"""What a model is, as values: the second stage's result. Nothing here opens a file."""

from __future__ import annotations

from typing import Literal

from localrun.value import dataclass

#: header: read from a GGUF header; rules: per-tensor types by llama.cpp's own rules, exact;
#: published: the size that the publisher states, no header read yet.
SizeSource = Literal["header", "rules", "published"]


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    dims: tuple[int, ...]  # ggml order: dims[0] is the length of a row
    type: str  # ggml's name, "Q4_K"
    bytes: int  # without padding
    offset: int = 0  # from the start of its file's data section
    shard: int = 0  # index into Model.files


@dataclass(frozen=True, slots=True)
class ModelFile:
    name: str  # absolute path of a local file, else the published file name
    bytes: int
    data_offset: int = 0  # where the tensors start


@dataclass(frozen=True, slots=True)
class Shape:
    """The hyperparameters that decide memory and speed. Per-layer tuples have `n_layers` entries."""

    n_layers: int  # block_count: next-token-prediction blocks included
    n_embd: int
    n_vocab: int
    n_ctx_train: int
    n_head: tuple[int, ...]
    n_head_kv: tuple[int, ...]
    head_dim_k: int
    head_dim_v: int
    n_ff: tuple[int, ...]
    n_nextn: int = 0  # next-token-prediction blocks at the end
    n_expert: int = 0
    n_expert_used: int = 0
    n_expert_shared: int = 0
    n_ff_expert: int = 0
    n_dense_lead: int = 0  # first layers without experts
    moe_every: int = 1  # llama4's interleave: every n-th layer has experts
    kv_lora_rank: int = 0  # MLA
    q_lora_rank: int = 0
    rope_dim: int = 0
    mla_head_dim_k: int = 0  # key_length_mla; 0 in legacy MLA files
    mla_head_dim_v: int = 0
    indexer_heads: int = 0  # DeepSeek sparse attention
    indexer_head_dim: int = 0
    indexer_top_k: int = 0
    swa_window: int = 0  # tokens; llama4's attention chunk
    swa_layers: tuple[bool, ...] = ()  # which layers are windowed or chunked; empty = none


@dataclass(frozen=True, slots=True)
class Projector:
    """What a model sees with, llama.cpp's mmproj: a vision encoder and the way into the model's embedding."""

    file: ModelFile
    kind: str  # clip.projector_type: "pixtral", "llama4" ...
    weights_bytes: int
    n_embd: int
    n_ff: int
    n_head: int
    gated: bool  # its feed-forward has a gate
    patch_size: int  # pixels
    patches: int  # the most that are encoded at once; 0 = not known
    size_source: SizeSource = "header"


@dataclass(frozen=True, slots=True)
class Model:
    """One model in one quantization: a file that was read, or a catalogue entry."""

    name: str
    architecture: str
    quant: str  # "Q4_K_M", as published or as general.file_type says
    shape: Shape
    tensors: tuple[Tensor, ...]
    files: tuple[ModelFile, ...]
    weights_bytes: int  # sum of the tensors, without padding
    parameters: int
    parameters_active: int  # touched for one token; = parameters for a dense model
    size_source: SizeSource = "header"
    license: str = ""
    vocab_type: str = ""  # tokenizer.ggml.model
    vocab_pre: str = ""  # tokenizer.ggml.pre
    chat_template: bool = False
    notes: tuple[str, ...] = ()
    projector: Projector | None = None  # served beside it, where the user wants vision
    draft: Model | None = None  # a smaller model that drafts for it
