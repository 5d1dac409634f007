/* Writes GGUF headers into a fixed buffer, right or wrong: nothing here checks anything. */
#ifndef LR_WRITER_H
#define LR_WRITER_H

#include <stdint.h>
#include <string.h>

typedef struct {
    uint8_t data[1 << 16];
    size_t size;
} writer;

static inline void put(writer *w, const void *bytes, size_t n) {
    memcpy(w->data + w->size, bytes, n);
    w->size += n;
}

static inline void put32(writer *w, uint32_t x) {
    for (int i = 0; i < 4; i++) w->data[w->size++] = (uint8_t)(x >> 8 * i);
}

static inline void put64(writer *w, uint64_t x) {
    for (int i = 0; i < 8; i++) w->data[w->size++] = (uint8_t)(x >> 8 * i);
}

static inline void put_text(writer *w, const char *text) {
    put64(w, strlen(text));
    put(w, text, strlen(text));
}

static inline void put_head(writer *w, uint32_t version, uint64_t tensors, uint64_t pairs) {
    w->size = 0;
    put(w, "GGUF", 4);
    put32(w, version);
    put64(w, tensors);
    put64(w, pairs);
}

static inline void put_u32(writer *w, const char *key, uint32_t value) {
    put_text(w, key);
    put32(w, 4);
    put32(w, value);
}

static inline void put_tensor(writer *w, const char *name, uint64_t d0, uint64_t d1, uint32_t type, uint64_t offset) {
    put_text(w, name);
    put32(w, 2);
    put64(w, d0);
    put64(w, d1);
    put32(w, type);
    put64(w, offset);
}

#endif
