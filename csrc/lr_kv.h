/* lr_kv: the bytes of llama.cpp's KV cache, from the shape of the attention and the launch settings.
 *
 * Values in, values out; arrays are borrowed for the call. The formulas are those of llama.cpp at commit
 * 0c1e57098, compared byte for byte with its dry run.
 */
#ifndef LR_KV_H
#define LR_KV_H

#include "lr_ggml.h"
#include "lr_status.h"

#include <stdint.h>

enum { LR_KV_PAD = 256 }; /* cells come in multiples of this */

/* What one layer keeps of one token. `count` equal layers may share an entry.
 *   grouped heads   heads = n_head_kv, dim_k and dim_v the head's
 *   MLA             heads = 1, dim_k = kv_lora_rank + rope_dim, dim_v = 0: V is a view of K
 *   legacy MLA      heads = n_head, dim_k and dim_v the head's (192 and 128 for DeepSeek)
 *   sparse MLA      as MLA, and dim_index the indexer's key, kept in type_k too
 *   no attention    heads = 0 */
typedef struct lr_kv_layer {
    uint32_t count;
    uint32_t heads;
    uint32_t dim_k;
    uint32_t dim_v;
    uint32_t dim_index;
    uint32_t windowed;  /* 1: sliding window or attention chunks; keeps its own, smaller cells */
} lr_kv_layer;

typedef struct lr_kv_use {
    uint64_t n_ctx;     /* tokens, over all sequences; at most 2^40 */
    uint64_t window;    /* tokens; only read where a layer is windowed */
    uint32_t n_seq;     /* --parallel; 0 counts as 1 */
    uint32_t n_ubatch;
    uint32_t type_k;    /* ggml's numbers */
    uint32_t type_v;
    uint32_t unified;   /* 1: all sequences share the cells */
    uint32_t swa_full;  /* 1: windowed layers keep all cells too */
} lr_kv_use;

typedef struct lr_kv_size {
    uint64_t bytes;
    uint64_t cells;      /* of each stream, in layers that keep everything */
    uint64_t swa_cells;  /* of each stream, in windowed layers */
    uint64_t streams;
    uint64_t row_bytes;     /* one cell of all layers that keep everything */
    uint64_t swa_row_bytes; /* one cell of all windowed layers */
} lr_kv_size;

/* Fills cells, swa_cells and streams. LR_E_ARGUMENT: null, or n_ctx 0. LR_E_LIMIT: n_ctx over 2^40. */
lr_status lr_kv_cells(const lr_kv_use *use, lr_kv_size *size);

/* Fills all of `size`. LR_E_ARGUMENT: as lr_kv_cells, or layers null. LR_E_UNSUPPORTED: a type that cannot hold a
 * cache, or whose block does not divide a head, or two types under MLA. LR_E_OVERFLOW: over 2^63 - 1. */
lr_status lr_kv_bytes(const lr_kv_layer *layers, uint32_t n, const lr_kv_use *use, lr_kv_size *size);

#endif
