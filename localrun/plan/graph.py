"""The buffers of llama.cpp's compute graph, as closed forms of shape and settings.

A graph allocator keeps what is still needed: the peak is the largest of a few moments in a layer.
Each moment below is a sum of row lengths, counted in floats per token of the batch, found by
varying one hyperparameter at a time in the engine's dry run (bench/memory_truth.py shows the errors).
"""

from __future__ import annotations

from localrun.model.facts import Shape
from localrun.plan.kv import KV_TYPES, context, pad, windowed_cells
from localrun.plan.values import Settings
from localrun.units import MIB
from localrun.value import dataclass

#: Smallest batch whose CPU weights are copied to a GPU and multiplied there (GGML_OP_OFFLOAD_MIN_BATCH).
OFFLOAD_BATCH = 32
#: Architectures whose moments were compared with the engine.
FITTED = frozenset(("llama", "mistral3", "llama4", "deepseek2", "deepseek32"))


#: Cache types that attention reads as they are; others are converted one layer at a time.
CPU_PLAIN = frozenset(("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"))
GPU_PLAIN = frozenset(("f16",))


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes with a band."""

    low: int
    expected: int
    high: int

    @classmethod
    def within(cls, expected: float, share: float) -> Estimate:
        """A band of `share` either way, and of at least 3 MiB: small graphs fit their holes by luck."""
        slack = max(expected * share, 3 * MIB)
        return cls(max(int(expected - slack), 0), int(expected), int(expected + slack))

    @classmethod
    def between(cls, expected: float, low: float, high: float) -> Estimate:
        """A lopsided band, as shares of the expected bytes, at least 3 MiB wide on each side."""
        slack = 3 * MIB
        return cls(max(int(min(expected * low, expected - slack)), 0), int(expected),
                   int(max(expected * high, expected + slack)))  # fmt: skip


NOTHING = Estimate(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Graph:
    """One model's graph with one set of settings. All rows are floats per token of the micro-batch."""

    shape: Shape
    settings: Settings
    architecture: str
    batch: int  # tokens
    outputs: int  # rows of logits
    cells: int
    windowed: int  # cells of windowed layers, 0 where there are none
    flash: bool

    @classmethod
    def of(cls, shape: Shape, settings: Settings, architecture: str, flash: bool = True) -> Graph:
        """`flash`: whether attention is fused where the settings leave it open."""
        size = context(shape, settings)
        windowed = windowed_cells(shape, settings) if any(shape.swa_layers) else 0
        return cls(
            shape, settings, architecture, pad(size.ubatch, settings.parallel),
            min(size.ubatch, settings.parallel), size.cells, windowed,
            settings.flash_attn == "on" or (settings.flash_attn == "auto" and flash),
        )  # fmt: skip

    @property
    def band(self) -> float:
        if self.architecture not in FITTED:
            return 0.2
        if self.legacy:
            return 0.1
        # Sparse attention that is not fused: the scores of large contexts find no hole.
        return 0.15 if self.shape.indexer_heads and not self.flash else 0.01

    @property
    def legacy(self) -> bool:
        """A DeepSeek file from before its attention was stored compressed."""
        return self.shape.kv_lora_rank > 0 and not self.shape.mla_head_dim_k

    @property
    def trunk(self) -> int:
        """Blocks that run: next-token ones do not."""
        return self.shape.n_layers - self.shape.n_nextn

    def inputs(self, on_gpu: bool = False) -> float:
        """Masks, positions, cache indices: held through the whole graph. Token ids stay on the CPU."""
        s = self.shape
        masks = self.cells + self.windowed
        row = 3.0 if on_gpu else 5.0
        caches = 2 if self.windowed else 1
        if s.indexer_heads:
            # Two caches of keys; the indexer's mask is half precision in either case.
            return row + 4 + (masks if self.flash else masks * 1.5) + self._rotation()
        values = 0 if s.mla_head_dim_k else 2 if self.flash else 2 * max(s.n_head_kv) * s.head_dim_v
        scale = 1 if self.architecture == "llama4" else 0
        return row + scale + caches * (2 + values) + (masks / 2 if self.flash else masks) + self._rotation()

    def _rotation(self) -> float:
        """Hadamard matrices for a quantized cache, and always for the indexer's keys."""
        s, n = self.shape, 0
        caches = 2 if self.windowed else 1
        if KV_TYPES[self.settings.cache_type_k][0] > 1:
            n += caches * _hadamard(s.head_dim_k)
        if KV_TYPES[self.settings.cache_type_v][0] > 1 and not s.mla_head_dim_k and s.head_dim_v % 64 == 0:
            n += caches * 64 * 64
        if s.indexer_heads:
            n += _hadamard(s.indexer_head_dim)
        return n / self.batch

    def body(self, residual: int, layers: int, experts: bool = True) -> float:
        """The widest moment inside a layer; `residual`: rows of n_embd that live beside it.

        `layers` of them are on this device; not `experts`: without the routed experts' weights.
        """
        widest = max(self.attention(), self._feed_forward(), self._expert_moment() if experts else 0)
        return widest + residual * self.shape.n_embd + self._selected(layers)

    def expert_copy(self, layers: int) -> float:
        """Beside a copied expert weight: gate and up, or their product and the way down."""
        s = self.shape
        wide = s.n_expert_used * s.n_ff_expert
        return max(wide + (s.n_expert_used + 4) * s.n_embd, 2 * wide + 5 * s.n_embd) + self._selected(layers)

    def copied_bytes(self, plain: frozenset[str]) -> int:
        """One layer's cache in half precision, made for types other than the `plain` ones."""
        s = self.settings
        streams = 1 if s.kv_unified else s.parallel
        cells = max(self.cells, self.windowed) * streams
        heads = max(self.shape.n_head_kv, default=0)
        keys = self.shape.head_dim_k * heads if s.cache_type_k not in plain else 0
        values = self.shape.head_dim_v * heads if s.cache_type_v not in plain else 0
        values = 0 if self.shape.mla_head_dim_k else values
        return 2 * cells * (keys + values) if self.flash else 0

    def head_bytes(self, residual: int, on_gpu: bool) -> float:
        """Logits beside the last layer's rows."""
        rows = residual * self.shape.n_embd + self.inputs(on_gpu)
        return 4 * self.outputs * self.shape.n_vocab + 4 * self.batch * rows

    def attention_copy(self, plain: frozenset[str], layers: int) -> float:
        """Bytes of attention with a converted cache, on top of residual rows and inputs."""
        s, copies = self.shape, self.copied_bytes(plain)
        if not copies:
            return 0
        out = max(s.n_head) * (s.kv_lora_rank or s.head_dim_v)
        if not s.mla_head_dim_k:
            return 4 * self.batch * out + copies
        # What was freed before is used first: 576 + 192 of each head's row.
        fits = copies + 4 * self.batch * out <= 4 * self.batch * max(s.n_head) * (
            s.head_dim_k + s.mla_head_dim_k
        )
        row = self.attention() + self._selected(layers)
        if s.indexer_heads:
            return 4 * self.batch * (row + out / 2) + copies
        return 4 * self.batch * (row + (0 if fits else out)) + (0 if fits else copies)

    def attention(self) -> float:
        """Queries and, where attention is not fused, every head's scores."""
        s, heads = self.shape, max(self.shape.n_head, default=0)
        scores = 0 if self.flash else heads * max(self.cells, self.windowed)
        if s.mla_head_dim_k:
            # Qcur, the absorbed query, the query and its rotated part.
            return scores + heads * (2 * s.kv_lora_rank + 2 * s.rope_dim + s.mla_head_dim_k)
        return scores + heads * s.head_dim_k

    def _feed_forward(self) -> float:
        s = self.shape
        dense = not s.n_expert or s.n_dense_lead > 0 or s.moe_every > 1
        return 3 * max(s.n_ff, default=0) if dense else 0

    def _expert_moment(self) -> float:
        s = self.shape
        return s.n_expert_used * (3 * s.n_ff_expert + s.n_embd) if s.n_expert else 0

    def _selected(self, layers: int) -> float:
        """DeepSeek's sparse attention: each layer's chosen cells, and room for one layer's scores."""
        s = self.shape
        if not s.indexer_heads:
            return 0
        chosen = min(layers, self.trunk) * min(s.indexer_top_k, self.cells)
        if not self.flash:
            return chosen
        heads, cells = max(s.n_head), self.cells
        # The scores take a hole that an earlier row left, if one is large enough.
        if cells <= heads * s.mla_head_dim_k:
            scores = 0
        elif cells <= heads * (s.mla_head_dim_k + s.rope_dim):
            scores = s.n_expert_used * s.n_embd
        else:
            scores = max(cells, heads * s.kv_lora_rank)
        return chosen + scores


def _hadamard(dim: int) -> int:
    """Elements of the square matrix that rotates heads of `dim`."""
    if dim % 64:
        return 0
    n = 64
    while dim % (2 * n) == 0:
        n *= 2
    return n * n


def on_cpu(graph: Graph) -> Estimate:
    """The graph buffer when everything runs on the CPU."""
    unit, inputs = 4 * graph.batch, graph.inputs()
    need = unit * (graph.body(5, graph.trunk) + inputs) + pad(4 * graph.outputs, 32)
    need = max(need, graph.head_bytes(5, on_gpu=False))
    if copy := graph.attention_copy(CPU_PLAIN, graph.trunk):
        need = max(need, copy + unit * (5 * graph.shape.n_embd + inputs))
    return Estimate.within(need, 0.1 if copy else graph.band)


def beside_gpus(graph: Graph, layers_on_cpu: bool, pipelined: bool) -> Estimate:
    """The CPU's part of the graph when a GPU computes: the embedded tokens and the inputs."""
    if layers_on_cpu and graph.batch < OFFLOAD_BATCH:
        whole = on_cpu(graph)
        return Estimate.between(whole.expected, 0.5, 1.5)
    rows = 4 * graph.shape.n_embd + graph.inputs()
    if pipelined:
        rows = 10 * graph.shape.n_embd + 4 * graph.inputs()
    need = 4 * graph.batch * rows
    if graph.legacy:
        return Estimate.between(need, 0.9, 2.0)
    if graph.batch < OFFLOAD_BATCH:
        # Experts on the CPU are multiplied there.
        return Estimate(max(int(need) - 3 * MIB, 0), int(need), int(max(on_cpu(graph).high, need + 3 * MIB)))
    return Estimate.within(need, graph.band)


@dataclass(frozen=True, slots=True)
class Share:
    """What one GPU has to do with a graph."""

    first: bool  # of several: the one that multiplies CPU weights in large batches
    layers: int  # blocks that it holds; 0: the head alone, or nothing
    copied: int  # the largest of those CPU weights, bytes
    layers_on_cpu: bool  # whole blocks, whose cache is then copied for attention
    pipelined: bool  # several batches in flight over several GPUs
    compared: bool = True  # a backend whose buffers were compared: CUDA's; others add room of their own


def on_gpu(graph: Graph, share: Share) -> Estimate:
    """One GPU's graph buffer."""
    estimate = _on_gpu(graph, share)
    if share.compared:
        return estimate
    return Estimate(estimate.low * 3 // 4, estimate.expected, estimate.high * 5 // 4)


def _on_gpu(graph: Graph, share: Share) -> Estimate:
    shape, unit = graph.shape, 4 * graph.batch
    rows, residual = graph.inputs(on_gpu=True), 4 if share.first else 3
    if share.pipelined:
        # Four batches are in flight: inputs and the rows that enter are kept four times.
        rows, residual = 4 * rows, 16 if share.first else 11
    offloads = share.first and share.copied > 0 and graph.batch >= OFFLOAD_BATCH
    need = 4.0 * graph.outputs * (shape.n_vocab + 2 * shape.n_embd)
    if share.layers:
        apart = share.copied > 0 and shape.n_expert > 0
        body = graph.body(residual, share.layers, experts=not apart)
        need = max(unit * (body + rows), graph.head_bytes(residual, on_gpu=True))
        if copy := graph.attention_copy(GPU_PLAIN, share.layers):
            need = max(need, copy + unit * (residual * shape.n_embd + rows))
    if offloads:
        return _with_copies(graph, share, need, unit * rows)
    if graph.legacy or graph.batch < OFFLOAD_BATCH:
        return Estimate.between(need, 0.5, 1.5)
    if share.pipelined:
        return _in_flight(graph, need)
    if not share.first:
        # Rows that came from the GPU before may be reused or not; the last layer computes few rows.
        converted = shape.mla_head_dim_k > 0 and graph.copied_bytes(GPU_PLAIN) > 0
        return Estimate.between(need, 0.2, 1.5 if converted else 1.08)
    if graph.shape.indexer_heads:
        # Sparse attention leaves holes that follow no simple rule.
        return Estimate.between(need, 0.7, 1.08)
    return Estimate.within(need, graph.band)


def _in_flight(graph: Graph, need: float) -> Estimate:
    """Four batches at once: what enters a GPU lies apart from the rest, so little of it finds a hole."""
    if graph.shape.mla_head_dim_k and graph.copied_bytes(GPU_PLAIN):
        return Estimate.between(need, 0.7, 1.4)
    if graph.shape.indexer_heads:
        return Estimate.between(need, 0.75, 1.06)
    return Estimate.within(need, max(graph.band, 0.05))


def _with_copies(graph: Graph, share: Share, need: float, inputs: float) -> Estimate:
    """With CPU weights passing through: one at a time, beside what multiplies it."""
    shape, unit = graph.shape, 4 * graph.batch
    stage = graph.expert_copy(share.layers) if shape.n_expert else 2 * max(shape.n_ff) + 4 * shape.n_embd
    weights = share.copied + unit * stage
    # Where earlier rows leave too small a hole for what follows (the experts' rows, a mask longer than
    # the window's), that lies behind the weight, and the next weight may find its place taken.
    room = unit * graph.body(4, share.layers, experts=False)
    behind = unit * stage > room or inputs > room or 0 < graph.windowed < graph.cells or not graph.flash
    spare = share.copied if shape.n_expert and behind else 0
    if not share.layers_on_cpu:
        need = max(need, weights + inputs)
        low, high = (0.7, 1.08) if graph.flash else (0.6, 1.5)
        return Estimate.between(need, low, high + spare / need)
    # A layer's cache is copied too; what the two leave free fits the other only in part.
    cache = (
        layer_cache_bytes(graph)
        + graph.copied_bytes(GPU_PLAIN)
        + unit * (graph.attention() + 5 * shape.n_embd)
    )
    copying = max(weights, cache) + 0.2 * min(weights, cache) + inputs
    if graph.flash and not shape.n_expert:
        most = _most_with_layers(graph, share, inputs)
        return Estimate(int(copying * 0.6), int(copying), int(max(most, copying + 3 * MIB)))
    need = max(need, copying) if shape.n_expert else copying
    return Estimate.between(need, 0.6, (1.4 if graph.flash else 2.1) + spare / need)


def _most_with_layers(graph: Graph, share: Share, inputs: float) -> float:
    """The most that dense layers on the CPU take of the GPU that multiplies them.

    Of the moments that can be the largest: a weight beside the cache that is still held, the widest rows
    beside a weight, and the cache, of which half may lie there twice. What is left between them is
    a matter of the order in which blocks come free; no case in 600 was 7 % above.
    """
    row, wide = 4 * graph.batch * graph.shape.n_embd, 4 * graph.batch * max(graph.shape.n_ff)
    stored, converted = layer_cache_bytes(graph), graph.copied_bytes(GPU_PLAIN)
    cache = stored + converted
    moments = (
        share.copied + cache + 2 * wide + 6 * row,
        share.copied + 3 * wide + 6 * row,
        (cache if converted else 1.5 * stored) + 5 * row,
    )
    return 1.07 * (inputs + max(moments)) + 3 * MIB


def layer_cache_bytes(graph: Graph) -> int:
    """One layer's cache as stored, copied when its attention runs on the GPU."""
    s, shape = graph.settings, graph.shape
    heads = max(shape.n_head_kv, default=0)
    cells = graph.cells * (1 if s.kv_unified else s.parallel)
    rows = ((s.cache_type_k, shape.head_dim_k * heads),
            (s.cache_type_v, 0 if shape.mla_head_dim_k else shape.head_dim_v * heads))  # fmt: skip
    return sum(n * KV_TYPES[kind][1] // KV_TYPES[kind][0] for kind, n in rows) * cells


def cuda_flash(shape: Shape) -> bool:
    """Whether CUDA's fused attention has a kernel for these heads (fattn.cu)."""
    group = max(shape.n_head, default=1) // max(max(shape.n_head_kv, default=1), 1)
    keys, values = shape.head_dim_k, shape.head_dim_v
    if keys in (40, 64, 72, 80, 96, 112, 128, 256):
        return values == keys
    if keys == 192:
        return values == 128 and group % 8 == 0
    if keys in (512, 576):
        return values == 512 and group >= 2
    return keys == 320 and values == 256 and group % 32 == 0
