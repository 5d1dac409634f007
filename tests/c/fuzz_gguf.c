/* Any bytes through the header walk: no read outside them, no fault that contradicts itself. The first byte says
 * whether the bytes are taken for a whole file, and how much room the walk gets at first. */
#include "lr_gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void must(int condition) {
    if (!condition) abort();
}

/* What a good header says must lie within its bytes. */
static void check_spans(const lr_gguf *g) {
    for (uint64_t i = 0; i < g->n_kv; i++) {
        const lr_gguf_kv *kv = &g->kvs[i];
        must(kv->key_at <= g->size && kv->key_bytes <= g->size - kv->key_at);
        must(kv->at <= g->size && kv->bytes <= g->size - kv->at && kv->type < LR_GGUF_TYPES);
        if (kv->type != LR_GGUF_ARRAY || kv->element != LR_GGUF_STRING) continue;
        uint64_t *starts = calloc(kv->count + 1, sizeof *starts);
        uint32_t *lengths = calloc(kv->count + 1, sizeof *lengths);
        if (starts != NULL && lengths != NULL) {
            must(lr_gguf_strings(g->data, g->size, kv->at, kv->count, starts, lengths) == LR_OK);
            if (kv->count > 0) must(starts[kv->count - 1] + lengths[kv->count - 1] == kv->at + kv->bytes);
        }
        free(starts);
        free(lengths);
    }
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const lr_gguf_tensor *t = &g->tensors[i];
        must(t->name_at <= g->size && t->name_bytes <= g->size - t->name_at);
        must(t->offset % g->alignment == 0 && lr_ggml_type_name(t->type) != NULL);
        if (g->file_size != 0) must(g->data_offset + t->offset + t->bytes <= g->file_size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    if (size == 0) return 0;
    size_t n = size - 1;
    uint8_t *copy = malloc(n > 0 ? n : 1); /* of the exact size, for ASan */
    if (copy == NULL) return 0;
    memcpy(copy, input + 1, n);
    lr_gguf g = {.data = copy, .size = n, .file_size = (input[0] & 1) != 0 ? n + (input[0] >> 1) : 0, .seed = input[0]};
    lr_status status = lr_gguf_walk(&g);
    if (status == LR_FULL) {
        must(g.n_kv <= n && g.n_tensors <= n && g.n_slots <= 4 * n + 16);
        g.kvs = calloc(g.n_kv + 1, sizeof *g.kvs);
        g.tensors = calloc(g.n_tensors + 1, sizeof *g.tensors);
        g.slots = calloc(g.n_slots, sizeof *g.slots);
        g.kv_room = g.n_kv;
        g.tensor_room = g.n_tensors;
        g.slot_room = g.n_slots;
        if (g.kvs != NULL && g.tensors != NULL && g.slots != NULL) {
            status = lr_gguf_walk(&g);
            must(status != LR_FULL);
        }
    }
    if (status == LR_OK) check_spans(&g);
    if (status == LR_MORE) must(g.need > n && g.need <= LR_GGUF_CLAIM_MAX && (g.file_size == 0 || g.need <= g.file_size));
    if (status == LR_E_FORMAT) must(g.fault != LR_GGUF_FINE && g.fault < LR_GGUF_FAULTS && g.at <= n);
    free(g.kvs);
    free(g.tensors);
    free(g.slots);
    free(copy);
    return 0;
}
