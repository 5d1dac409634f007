#include "lr_gguf.h"
#include "lr_name_private.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The fewest bytes that each can take: a pair is an empty key's length, a type and one byte. */
enum { KV_LEAST = 13, TENSOR_LEAST = 24, STRING_LEAST = 8, ARRAY_LEAST = 12 };

/* Where the walk is. `after` is what must follow at least whatever is being read now. */
typedef struct {
    lr_gguf *g;
    uint64_t at;
    uint64_t after;
} cursor;

static uint32_t read32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t read64(const uint8_t *p) {
    return (uint64_t)read32(p) | (uint64_t)read32(p + 4) << 32;
}

static lr_status fault(cursor *c, uint64_t at, lr_gguf_fault what, uint64_t detail) {
    c->g->fault = (uint32_t)what;
    c->g->at = at;
    c->g->detail = detail;
    return LR_E_FORMAT;
}

/* `bytes` from here are wanted: LR_OK when they are there. No sum can wrap: claims are at most 2^30. */
static lr_status want(cursor *c, uint64_t bytes) {
    lr_gguf *g = c->g;
    if (bytes <= g->size - c->at) return LR_OK;
    uint64_t need = c->at + bytes + c->after;
    if (g->file_size != 0 && need > g->file_size) return fault(c, c->at, LR_GGUF_TRUNCATED, need);
    if (need > LR_GGUF_CLAIM_MAX) return fault(c, c->at, LR_GGUF_TOO_LONG, need);
    g->need = need;
    return LR_MORE;
}

static lr_status take32(cursor *c, uint32_t *out) {
    lr_status status = want(c, 4);
    if (status != LR_OK) return status;
    *out = read32(c->g->data + c->at);
    c->at += 4;
    return LR_OK;
}

static lr_status take64(cursor *c, uint64_t *out) {
    lr_status status = want(c, 8);
    if (status != LR_OK) return status;
    *out = read64(c->g->data + c->at);
    c->at += 8;
    return LR_OK;
}

/* A length and its characters: their span, the cursor behind them. */
static lr_status take_string(cursor *c, uint64_t most, lr_gguf_fault longer, uint64_t *at, uint64_t *bytes) {
    uint64_t start = c->at;
    lr_status status = take64(c, bytes);
    if (status != LR_OK) return status;
    if (*bytes > most) return fault(c, start, longer, *bytes);
    status = want(c, *bytes);
    if (status != LR_OK) return status;
    *at = c->at;
    c->at += *bytes;
    return LR_OK;
}

/* The span of the i-th name, of a pair or of a tensor. */
static const uint8_t *name_of(const lr_gguf *g, bool tensors, uint64_t i, uint64_t *bytes) {
    *bytes = tensors ? g->tensors[i].name_bytes : g->kvs[i].key_bytes;
    return g->data + (tensors ? g->tensors[i].name_at : g->kvs[i].key_at);
}

/* Puts name i into the table; LR_E_FORMAT when it stands there already. A slot holds an index + 1. */
static lr_status remember(cursor *c, bool tensors, uint64_t i, uint64_t at) {
    lr_gguf *g = c->g;
    uint64_t bytes, other_bytes;
    const uint8_t *name = name_of(g, tensors, i, &bytes);
    uint64_t mask = g->n_slots - 1;
    for (uint64_t slot = lr_name_hash(g->seed, name, bytes) & mask;; slot = (slot + 1) & mask) {
        if (g->slots[slot] == 0) {
            g->slots[slot] = (uint32_t)(i + 1);
            return LR_OK;
        }
        uint64_t first = g->slots[slot] - 1;
        const uint8_t *other = name_of(g, tensors, first, &other_bytes);
        if (bytes == other_bytes && memcmp(name, other, (size_t)bytes) == 0)
            return fault(c, at, tensors ? LR_GGUF_NAME_TWICE : LR_GGUF_KEY_TWICE, first);
    }
}

static lr_status walk_strings(cursor *c, uint64_t count) {
    const uint8_t *data = c->g->data;
    uint64_t size = c->g->size, at = c->at;
    for (; count > 0; count--) {
        uint64_t left = size - at;
        uint64_t bytes = left < 8 ? 0 : read64(data + at);
        if (left < 8 || bytes > left - 8) break;
        at += 8 + bytes;
    }
    c->at = at;
    if (count == 0) return LR_OK;
    /* The one that does not fit, once more and slowly, for what is wrong with it. */
    uint64_t after = c->after, start, bytes;
    c->after += (count - 1) * STRING_LEAST;
    lr_status status = take_string(c, LR_GGUF_CLAIM_MAX, LR_GGUF_STRING_LONG, &start, &bytes);
    c->after = after;
    return status;
}

/* The elements of an array that is neither of arrays nor of an unknown type. */
static lr_status walk_flat(cursor *c, uint32_t element, uint64_t count) {
    if (element == LR_GGUF_STRING) return walk_strings(c, count);
    uint64_t bytes = count * lr_gguf_type_bytes(element);
    lr_status status = want(c, bytes);
    if (status == LR_OK) c->at += bytes;
    return status;
}

static lr_status take_array_head(cursor *c, uint32_t *element, uint64_t *count) {
    uint64_t start = c->at;
    lr_status status = take32(c, element);
    if (status != LR_OK) return status;
    if (*element >= LR_GGUF_TYPES) return fault(c, start, LR_GGUF_VALUE_TYPE, *element);
    status = take64(c, count);
    if (status != LR_OK) return status;
    if (*count > LR_GGUF_CLAIM_MAX) return fault(c, start + 4, LR_GGUF_ARRAY_LONG, *count);
    return LR_OK;
}

/* All elements of an array, arrays within it by a stack of what is left on each level. */
static lr_status walk_array(cursor *c, uint32_t element, uint64_t count) {
    if (element != LR_GGUF_ARRAY) return walk_flat(c, element, count);
    uint64_t left[LR_GGUF_NEST] = {count};
    uint64_t after = c->after;
    lr_status status = LR_OK;
    for (int depth = 0; depth >= 0 && status == LR_OK;) {
        if (left[depth] == 0) {
            depth--;
            continue;
        }
        left[depth]--;
        c->after = after;
        for (int i = 0; i <= depth; i++) c->after += left[i] * ARRAY_LEAST;
        uint64_t start = c->at;
        status = take_array_head(c, &element, &count);
        if (status != LR_OK) break;
        if (element != LR_GGUF_ARRAY)
            status = walk_flat(c, element, count);
        else if (depth + 1 == LR_GGUF_NEST)
            status = fault(c, start, LR_GGUF_ARRAY_DEEP, 0);
        else
            left[++depth] = count;
    }
    c->after = after;
    return status;
}

static lr_status take_value(cursor *c, lr_gguf_kv *kv) {
    uint64_t start = c->at;
    lr_status status = take32(c, &kv->type);
    if (status != LR_OK) return status;
    if (kv->type >= LR_GGUF_TYPES) return fault(c, start, LR_GGUF_VALUE_TYPE, kv->type);
    kv->element = kv->type;
    kv->count = 1;
    if (kv->type == LR_GGUF_STRING) {
        status = take_string(c, LR_GGUF_CLAIM_MAX, LR_GGUF_STRING_LONG, &kv->at, &kv->bytes);
        if (status == LR_OK && !lr_name_utf8(c->g->data + kv->at, kv->bytes))
            return fault(c, kv->at, LR_GGUF_STRING_UTF8, 0);
        return status;
    }
    if (kv->type == LR_GGUF_ARRAY) {
        status = take_array_head(c, &kv->element, &kv->count);
        if (status != LR_OK) return status;
    }
    kv->at = c->at;
    status = kv->type == LR_GGUF_ARRAY ? walk_array(c, kv->element, kv->count) : walk_flat(c, kv->type, 1);
    kv->bytes = c->at - kv->at;
    return status;
}

/* general.alignment, when this pair is it. */
static lr_status note_alignment(cursor *c, const lr_gguf_kv *kv) {
    static const char key[] = "general.alignment";
    const uint8_t *data = c->g->data;
    if (kv->key_bytes != sizeof key - 1 || memcmp(data + kv->key_at, key, sizeof key - 1) != 0) return LR_OK;
    if (kv->type != LR_GGUF_UINT32) return fault(c, kv->at, LR_GGUF_ALIGNMENT, 0);
    uint64_t value = read32(data + kv->at);
    if (value == 0 || (value & (value - 1)) != 0) return fault(c, kv->at, LR_GGUF_ALIGNMENT, value);
    c->g->alignment = value;
    return LR_OK;
}

static lr_status take_kv(cursor *c, uint64_t i) {
    lr_gguf_kv kv = {0};
    uint64_t start = c->at, bytes;
    lr_status status = take_string(c, LR_GGUF_KEY_MAX, LR_GGUF_KEY_LONG, &kv.key_at, &bytes);
    if (status != LR_OK) return status;
    kv.key_bytes = (uint32_t)bytes;
    if (bytes == 0) return fault(c, start, LR_GGUF_KEY_EMPTY, 0);
    if (!lr_name_utf8(c->g->data + kv.key_at, bytes)) return fault(c, kv.key_at, LR_GGUF_KEY_UTF8, 0);
    c->g->kvs[i] = kv;
    status = remember(c, false, i, kv.key_at);
    if (status == LR_OK) status = take_value(c, &kv);
    if (status == LR_OK) status = note_alignment(c, &kv);
    c->g->kvs[i] = kv;
    return status;
}

static lr_status take_dims(cursor *c, lr_gguf_tensor *t, uint64_t *elements) {
    uint64_t start = c->at;
    lr_status status = take32(c, &t->n_dims);
    if (status != LR_OK) return status;
    if (t->n_dims > LR_GGUF_DIMS) return fault(c, start, LR_GGUF_DIMENSIONS, t->n_dims);
    *elements = 1;
    for (uint32_t d = 0; d < LR_GGUF_DIMS; d++) {
        t->dims[d] = 1;
        if (d >= t->n_dims) continue;
        start = c->at;
        status = take64(c, &t->dims[d]);
        if (status != LR_OK) return status;
        uint64_t most = (uint64_t)INT64_MAX / (*elements > 0 ? *elements : 1);
        if (t->dims[d] > most) return fault(c, start, LR_GGUF_SHAPE, t->dims[d]);
        *elements *= t->dims[d];
    }
    return LR_OK;
}

static lr_status size_tensor(cursor *c, lr_gguf_tensor *t, uint64_t elements) {
    uint64_t start = c->at;
    lr_status status = take32(c, &t->type);
    if (status != LR_OK) return status;
    if (lr_ggml_type_name(t->type) == NULL) return fault(c, start, LR_GGUF_TENSOR_TYPE, t->type);
    if (t->dims[0] % lr_ggml_block_elements(t->type) != 0) return fault(c, start, LR_GGUF_ROW, t->dims[0]);
    if (lr_ggml_row_bytes(t->type, elements, &t->bytes) != LR_OK) return fault(c, start, LR_GGUF_SHAPE, elements);
    return LR_OK;
}

/* The offset must be where the tensor before ended, padded: llama.cpp takes no other. */
static lr_status place_tensor(cursor *c, lr_gguf_tensor *t) {
    lr_gguf *g = c->g;
    uint64_t start = c->at, expected = g->data_bytes;
    lr_status status = take64(c, &t->offset);
    if (status != LR_OK) return status;
    if ((t->offset & (g->alignment - 1)) != 0) return fault(c, start, LR_GGUF_UNALIGNED, t->offset);
    if (t->offset < expected) return fault(c, start, LR_GGUF_OVERLAP, expected);
    if (t->offset > expected) return fault(c, start, LR_GGUF_GAP, expected);
    if (t->bytes > (uint64_t)INT64_MAX - g->alignment - expected) return fault(c, start, LR_GGUF_SHAPE, t->bytes);
    g->data_bytes = expected + ((t->bytes + g->alignment - 1) & ~(g->alignment - 1));
    return LR_OK;
}

static lr_status take_tensor(cursor *c, uint64_t i) {
    lr_gguf_tensor t = {0};
    uint64_t bytes, elements;
    lr_status status = take_string(c, LR_GGUF_NAME_MAX, LR_GGUF_NAME_LONG, &t.name_at, &bytes);
    if (status != LR_OK) return status;
    t.name_bytes = (uint32_t)bytes;
    if (!lr_name_utf8(c->g->data + t.name_at, bytes)) return fault(c, t.name_at, LR_GGUF_NAME_UTF8, 0);
    c->g->tensors[i] = t;
    status = remember(c, true, i, t.name_at);
    if (status == LR_OK) status = take_dims(c, &t, &elements);
    if (status == LR_OK) status = size_tensor(c, &t, elements);
    if (status == LR_OK) status = place_tensor(c, &t);
    c->g->tensors[i] = t;
    return status;
}

/* Magic, version and the two counts, and whether the file can hold so many. */
static lr_status take_head(cursor *c) {
    lr_gguf *g = c->g;
    /* What is there of the magic is judged at once: two bytes tell a zip from a GGUF. */
    uint64_t seen = g->size < 4 ? g->size : 4;
    if (seen == 4 && memcmp(g->data, "FUGG", 4) == 0) return fault(c, 0, LR_GGUF_BIG_ENDIAN, 0);
    if (seen > 0 && memcmp(g->data, "GGUF", (size_t)seen) != 0) return fault(c, 0, LR_GGUF_MAGIC, 0);
    if (g->size >= 8) {
        uint32_t version = read32(g->data + 4);
        if ((version & 0xFFFF) == 0 && version != 0) return fault(c, 4, LR_GGUF_BIG_ENDIAN, version);
        if (version == 1) return fault(c, 4, LR_GGUF_VERSION_1, 1);
        if (version != 2 && version != 3) return fault(c, 4, LR_GGUF_VERSION, version);
        g->version = version;
    }
    lr_status status = want(c, LR_GGUF_HEAD_BYTES);
    if (status != LR_OK) return status;
    c->at = LR_GGUF_HEAD_BYTES;
    g->n_tensors = read64(g->data + 8);
    g->n_kv = read64(g->data + 16);
    if (g->n_tensors > LR_GGUF_CLAIM_MAX / TENSOR_LEAST) return fault(c, 8, LR_GGUF_TOO_LONG, g->n_tensors);
    if (g->n_kv > LR_GGUF_CLAIM_MAX / KV_LEAST) return fault(c, 16, LR_GGUF_TOO_LONG, g->n_kv);
    return want(c, g->n_kv * KV_LEAST + g->n_tensors * TENSOR_LEAST);
}

static lr_status check_room(lr_gguf *g) {
    uint64_t names = g->n_kv > g->n_tensors ? g->n_kv : g->n_tensors;
    g->n_slots = 16;
    while (g->n_slots < 2 * names) g->n_slots *= 2;
    if (g->kv_room < g->n_kv || g->tensor_room < g->n_tensors || g->slot_room < g->n_slots) return LR_FULL;
    if ((g->n_kv > 0 && g->kvs == NULL) || (g->n_tensors > 0 && g->tensors == NULL) || g->slots == NULL)
        return LR_E_ARGUMENT;
    return LR_OK;
}

static lr_status close_walk(cursor *c) {
    lr_gguf *g = c->g;
    g->data_offset = c->at;
    if (g->n_tensors == 0) return LR_OK;
    g->data_offset = (c->at + g->alignment - 1) & ~(g->alignment - 1);
    if (g->file_size == 0) return LR_OK;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const lr_gguf_tensor *t = &g->tensors[i];
        uint64_t end = g->data_offset + t->offset + t->bytes; /* both below 2^63, the offset below 2^31 */
        if (end > g->file_size) {
            g->index = i;
            return fault(c, t->name_at, LR_GGUF_OUTSIDE, end);
        }
    }
    return LR_OK;
}

lr_status lr_gguf_walk(lr_gguf *g) {
    if (g == NULL || (g->data == NULL && g->size > 0)) return LR_E_ARGUMENT;
    if (g->file_size != 0 && g->file_size < g->size) return LR_E_ARGUMENT;
    cursor c = {g, 0, 0};
    g->n_kv = g->n_tensors = g->n_slots = g->need = g->data_offset = g->data_bytes = 0;
    g->at = g->detail = g->index = g->fault = g->version = 0;
    g->alignment = 32;
    lr_status status = take_head(&c);
    if (status == LR_OK) status = check_room(g);
    if (status != LR_OK) return status;
    memset(g->slots, 0, (size_t)g->n_slots * sizeof *g->slots);
    for (uint64_t i = 0; i < g->n_kv && status == LR_OK; i++) {
        g->index = i;
        c.after = (g->n_kv - i - 1) * KV_LEAST + g->n_tensors * TENSOR_LEAST;
        status = take_kv(&c, i);
    }
    if (status != LR_OK) return status;
    memset(g->slots, 0, (size_t)g->n_slots * sizeof *g->slots);
    for (uint64_t i = 0; i < g->n_tensors && status == LR_OK; i++) {
        g->index = i;
        c.after = (g->n_tensors - i - 1) * TENSOR_LEAST;
        status = take_tensor(&c, i);
    }
    return status == LR_OK ? close_walk(&c) : status;
}

lr_status lr_gguf_strings(const uint8_t *data, uint64_t size, uint64_t at, uint64_t count, uint64_t *starts,
                          uint32_t *lengths) {
    if (at > size || (count > 0 && (data == NULL || starts == NULL || lengths == NULL))) return LR_E_ARGUMENT;
    for (uint64_t i = 0; i < count; i++) {
        if (size - at < 8) return LR_E_FORMAT;
        uint64_t bytes = read64(data + at);
        at += 8;
        if (bytes > size - at || bytes > LR_GGUF_CLAIM_MAX) return LR_E_FORMAT;
        starts[i] = at;
        lengths[i] = (uint32_t)bytes;
        at += bytes;
    }
    return LR_OK;
}
