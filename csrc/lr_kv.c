#include "lr_kv.h"

#include <stdbool.h>
#include <stddef.h>

static uint64_t pad(uint64_t n) {
    return (n + LR_KV_PAD - 1) / LR_KV_PAD * LR_KV_PAD;
}

/* *sum += a * b, unless it passes 2^63 - 1. */
static bool add_product(uint64_t *sum, uint64_t a, uint64_t b) {
    if (b != 0 && a > ((uint64_t)INT64_MAX - *sum) / b) return false;
    *sum += a * b;
    return true;
}

/* The types that --cache-type-k takes: f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1. */
static bool holds_cache(uint32_t type) {
    static const uint32_t types[] = {0, 1, 30, 8, 2, 3, 20, 6, 7};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i] == type) return true;
    return false;
}

lr_status lr_kv_cells(const lr_kv_use *use, lr_kv_size *size) {
    if (use == NULL || size == NULL || use->n_ctx == 0) return LR_E_ARGUMENT;
    if (use->n_ctx > (uint64_t)1 << 40) return LR_E_LIMIT;
    uint64_t seqs = use->n_seq > 0 ? use->n_seq : 1;
    uint64_t cells = pad(use->n_ctx);
    *size = (lr_kv_size){.streams = use->unified ? 1 : seqs};
    size->cells = use->unified ? cells : pad(cells / seqs);
    if (size->cells == 0) size->cells = LR_KV_PAD; /* more sequences than tokens */
    /* A window beyond the cells changes nothing, and cut to them the product cannot wrap. */
    uint64_t window = use->window < size->cells ? use->window : size->cells;
    uint64_t kept = window * (use->unified ? seqs : 1) + use->n_ubatch;
    size->swa_cells = use->swa_full || kept > size->cells ? size->cells : kept;
    size->swa_cells = pad(size->swa_cells);
    return LR_OK;
}

/* The bytes that one token takes in one such layer. */
static lr_status row_bytes(const lr_kv_layer *layer, const lr_kv_use *use, uint64_t *bytes) {
    *bytes = 0;
    if (layer->heads == 0) return LR_OK;
    const uint32_t dims[3] = {layer->dim_k, layer->dim_v, layer->dim_index};
    const uint32_t heads[3] = {layer->heads, layer->heads, 1};
    const uint32_t types[3] = {use->type_k, use->type_v, use->type_k};
    if (layer->dim_v == 0 && use->type_k != use->type_v) return LR_E_UNSUPPORTED;
    for (int i = 0; i < 3; i++) {
        uint64_t head;
        lr_status status = lr_ggml_row_bytes(types[i], dims[i], &head);
        if (status != LR_OK) return LR_E_UNSUPPORTED;
        if (!add_product(bytes, head, heads[i])) return LR_E_OVERFLOW;
    }
    return LR_OK;
}

lr_status lr_kv_bytes(const lr_kv_layer *layers, uint32_t n, const lr_kv_use *use, lr_kv_size *size) {
    lr_status status = lr_kv_cells(use, size);
    if (status != LR_OK) return status;
    if (layers == NULL && n > 0) return LR_E_ARGUMENT;
    if (!holds_cache(use->type_k) || !holds_cache(use->type_v)) return LR_E_UNSUPPORTED;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t row;
        status = row_bytes(&layers[i], use, &row);
        if (status != LR_OK) return status;
        uint64_t *sum = layers[i].windowed ? &size->swa_row_bytes : &size->row_bytes;
        if (!add_product(sum, row, layers[i].count)) return LR_E_OVERFLOW;
    }
    uint64_t stream = 0;
    if (!add_product(&stream, size->row_bytes, size->cells)) return LR_E_OVERFLOW;
    if (!add_product(&stream, size->swa_row_bytes, size->swa_cells)) return LR_E_OVERFLOW;
    return add_product(&size->bytes, stream, size->streams) ? LR_OK : LR_E_OVERFLOW;
}
