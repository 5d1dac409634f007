#include "check.h"
#include "lr_gguf.h"
#include "writer.h"

#include <stdlib.h>

enum { ROOM = 64, SLOTS = 128 };

static lr_gguf_kv kvs[ROOM];
static lr_gguf_tensor tensors[ROOM];
static uint32_t slots[SLOTS];
static writer w;

static const char LONG_NAME[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static lr_status walk_part(lr_gguf *g, const uint8_t *data, uint64_t size, uint64_t file_size) {
    *g = (lr_gguf){.data = data, .size = size, .file_size = file_size, .seed = 7, .kvs = kvs, .kv_room = ROOM,
                   .tensors = tensors, .tensor_room = ROOM, .slots = slots, .slot_room = SLOTS};
    return lr_gguf_walk(g);
}

/* A copy of the exact size, so that ASan sees a read of one byte too many. */
static lr_status walk_exact(lr_gguf *g, uint64_t size, uint64_t file_size) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) abort();
    memcpy(copy, w.data, size);
    lr_status status = walk_part(g, copy, size, file_size);
    free(copy);
    return status;
}

/* The fault of what `w` holds, taken for a whole file. */
static uint32_t fault_of(void) {
    lr_gguf g;
    lr_status status = walk_exact(&g, w.size, w.size);
    CHECK(status == LR_E_FORMAT);
    CHECK(g.at <= w.size);
    return g.fault;
}

static void write_good(void) {
    put_head(&w, 3, 2, 5);
    put_u32(&w, "general.alignment", 64);
    put_text(&w, "a.text"); put32(&w, LR_GGUF_STRING); put_text(&w, "h\xC3\xA4llo");
    put_text(&w, "a.list"); put32(&w, LR_GGUF_ARRAY); put32(&w, LR_GGUF_STRING); put64(&w, 2);
    put_text(&w, "one"); put_text(&w, "");
    put_text(&w, "a.nest"); put32(&w, LR_GGUF_ARRAY); put32(&w, LR_GGUF_ARRAY); put64(&w, 2);
    put32(&w, LR_GGUF_UINT8); put64(&w, 3); put(&w, "abc", 3);
    put32(&w, LR_GGUF_STRING); put64(&w, 1); put_text(&w, "x");
    put_text(&w, "a.real"); put32(&w, LR_GGUF_FLOAT64); put64(&w, 0x3FF0000000000000u);
    put_tensor(&w, "t0", 256, 3, 12, 0);
    put_tensor(&w, "t1", 5, 1, 0, 448);
}

static void test_good(void) {
    lr_gguf g;
    write_good();
    uint64_t offset = (w.size + 63) / 64 * 64;
    CHECK(walk_exact(&g, w.size, offset + 448 + 20) == LR_OK);
    CHECK(g.version == 3 && g.n_kv == 5 && g.n_tensors == 2 && g.alignment == 64);
    CHECK(g.data_offset == offset && g.data_bytes == 448 + 64);
    CHECK(kvs[1].type == LR_GGUF_STRING && kvs[1].bytes == 6 && memcmp(w.data + kvs[1].at, "h\xC3\xA4llo", 6) == 0);
    CHECK(kvs[2].element == LR_GGUF_STRING && kvs[2].count == 2 && kvs[2].bytes == 8 + 3 + 8);
    CHECK(kvs[3].element == LR_GGUF_ARRAY && kvs[3].count == 2 && kvs[3].bytes == 12 + 3 + 12 + 9);
    CHECK(tensors[0].bytes == 3 * 144 && tensors[1].offset == 448 && tensors[1].bytes == 20);
    CHECK(tensors[0].dims[0] == 256 && tensors[0].dims[1] == 3 && tensors[0].dims[2] == 1);
    CHECK(walk_exact(&g, w.size, offset + 448 + 19) == LR_E_FORMAT && g.fault == LR_GGUF_OUTSIDE && g.index == 1);
    CHECK(g.detail == offset + 448 + 20);
    CHECK(walk_exact(&g, w.size, 0) == LR_OK);
    w.data[4] = 2;
    CHECK(walk_exact(&g, w.size, 0) == LR_OK && g.version == 2);
}

/* Every prefix asks for more, never for less than it has nor for more than the whole; as a whole file it is cut. */
static void test_prefixes(void) {
    write_good();
    for (uint64_t size = 0; size < w.size; size++) {
        lr_gguf g;
        CHECK(walk_exact(&g, size, 0) == LR_MORE);
        CHECK(g.need > size && g.need <= w.size);
        CHECK(walk_exact(&g, size, w.size) == LR_MORE || size == 0);
        if (size == 0) continue;
        CHECK(walk_exact(&g, size, size) == LR_E_FORMAT && g.fault == LR_GGUF_TRUNCATED);
    }
}

/* What must follow at least is asked for at once: a header comes in few ranges. */
static void test_need(void) {
    lr_gguf g;
    put_head(&w, 3, 2, 3);
    put_text(&w, LONG_NAME); put32(&w, LR_GGUF_ARRAY); put32(&w, LR_GGUF_STRING); put64(&w, 1000);
    CHECK(walk_exact(&g, w.size, 0) == LR_MORE && g.need == w.size + 1000 * 8 + 2 * 13 + 2 * 24);
    put_text(&w, "0123456789");
    CHECK(walk_exact(&g, w.size - 1, 0) == LR_MORE && g.need == w.size + 999 * 8 + 2 * 13 + 2 * 24);
}

/* Asking again with just what was asked for must come to an end, and soon. */
static void test_rounds(void) {
    lr_gguf g;
    write_good();
    uint64_t size = 0, rounds = 0;
    while (walk_exact(&g, size, 0) == LR_MORE && rounds++ < 100) size = g.need;
    CHECK(size == w.size && rounds < 30);
}

static void test_head_faults(void) {
    lr_gguf g;
    write_good(); memcpy(w.data, "GGML", 4); CHECK(fault_of() == LR_GGUF_MAGIC);
    CHECK(walk_part(&g, (const uint8_t *)"PK", 2, 0) == LR_E_FORMAT && g.fault == LR_GGUF_MAGIC);
    write_good(); memcpy(w.data, "FUGG", 4); CHECK(fault_of() == LR_GGUF_BIG_ENDIAN);
    write_good(); memcpy(w.data + 4, "\0\0\0\3", 4); CHECK(fault_of() == LR_GGUF_BIG_ENDIAN);
    put_head(&w, 1, 0, 0); CHECK(fault_of() == LR_GGUF_VERSION_1);
    put_head(&w, 0, 0, 0); CHECK(fault_of() == LR_GGUF_VERSION);
    put_head(&w, 4, 0, 0); CHECK(fault_of() == LR_GGUF_VERSION);
    put_head(&w, 3, 0, UINT64_MAX); CHECK(fault_of() == LR_GGUF_TOO_LONG);
    put_head(&w, 3, (uint64_t)1 << 63, 0); CHECK(fault_of() == LR_GGUF_TOO_LONG);
    put_head(&w, 3, 0, 1000000); CHECK(fault_of() == LR_GGUF_TRUNCATED);
    put_head(&w, 3, 0, 0); CHECK(walk_exact(&g, w.size, w.size) == LR_OK && g.data_offset == 24);
}

static void start_pair(const char *key, uint32_t type) {
    put_head(&w, 3, 0, 1);
    put_text(&w, key);
    put32(&w, type);
}

static void test_pair_faults(void) {
    put_head(&w, 3, 0, 1); put64(&w, (uint64_t)1 << 63); put64(&w, 0); CHECK(fault_of() == LR_GGUF_KEY_LONG);
    put_head(&w, 3, 0, 1); put_u32(&w, "", 1); CHECK(fault_of() == LR_GGUF_KEY_EMPTY);
    put_head(&w, 3, 0, 1); put_u32(&w, "k\xFFk", 1); CHECK(fault_of() == LR_GGUF_KEY_UTF8);
    put_head(&w, 3, 0, 1); put_u32(&w, "\xED\xA0\x80", 1); CHECK(fault_of() == LR_GGUF_KEY_UTF8);
    put_head(&w, 3, 0, 1); put_u32(&w, "\xC0\x80", 1); CHECK(fault_of() == LR_GGUF_KEY_UTF8);
    put_head(&w, 3, 0, 1); put_u32(&w, "\xF4\x90\x80\x80", 1); CHECK(fault_of() == LR_GGUF_KEY_UTF8);
    put_head(&w, 3, 0, 2); put_u32(&w, "k", 1); put_u32(&w, "k", 2); CHECK(fault_of() == LR_GGUF_KEY_TWICE);
    start_pair("k", 13); put64(&w, 0); CHECK(fault_of() == LR_GGUF_VALUE_TYPE);
    start_pair("k", LR_GGUF_STRING); put64(&w, (uint64_t)1 << 63); CHECK(fault_of() == LR_GGUF_STRING_LONG);
    start_pair("k", LR_GGUF_STRING); put_text(&w, "\xE2\x82"); CHECK(fault_of() == LR_GGUF_STRING_UTF8);
    start_pair("k", LR_GGUF_ARRAY); put32(&w, 99); put64(&w, 0); CHECK(fault_of() == LR_GGUF_VALUE_TYPE);
    start_pair("k", LR_GGUF_ARRAY); put32(&w, 0); put64(&w, UINT64_MAX); CHECK(fault_of() == LR_GGUF_ARRAY_LONG);
    start_pair("k", LR_GGUF_ARRAY); put32(&w, LR_GGUF_STRING); put64(&w, 2); put_text(&w, "a");
    put64(&w, UINT64_MAX - 7); CHECK(fault_of() == LR_GGUF_STRING_LONG);
    start_pair("k", LR_GGUF_ARRAY); put32(&w, LR_GGUF_FLOAT64); put64(&w, 1 << 30);
    CHECK(fault_of() == LR_GGUF_TRUNCATED);
    start_pair("general.alignment", 4); put32(&w, 0); CHECK(fault_of() == LR_GGUF_ALIGNMENT);
    start_pair("general.alignment", 4); put32(&w, 48); CHECK(fault_of() == LR_GGUF_ALIGNMENT);
    start_pair("general.alignment", 10); put64(&w, 32); CHECK(fault_of() == LR_GGUF_ALIGNMENT);
}

static void test_nesting(void) {
    lr_gguf g;
    for (int levels = 1; levels <= 12; levels++) {
        start_pair("k", LR_GGUF_ARRAY);
        for (int i = 1; i < levels; i++) { put32(&w, LR_GGUF_ARRAY); put64(&w, 1); }
        put32(&w, LR_GGUF_UINT8); put64(&w, 1); put(&w, "z", 1);
        if (levels <= LR_GGUF_NEST + 1)
            CHECK(walk_exact(&g, w.size, w.size) == LR_OK);
        else
            CHECK(fault_of() == LR_GGUF_ARRAY_DEEP);
    }
    start_pair("k", LR_GGUF_ARRAY); put32(&w, LR_GGUF_ARRAY); put64(&w, 1 << 30);
    CHECK(walk_exact(&g, w.size, 0) == LR_E_FORMAT && g.fault == LR_GGUF_TOO_LONG);
}

static void test_tensor_faults(void) {
    put_head(&w, 3, 1, 0); put_text(&w, LONG_NAME); CHECK(fault_of() == LR_GGUF_NAME_LONG);
    put_head(&w, 3, 1, 0); put_tensor(&w, "\x80", 1, 1, 0, 0); CHECK(fault_of() == LR_GGUF_NAME_UTF8);
    put_head(&w, 3, 2, 0); put_tensor(&w, "t", 8, 1, 0, 0); put_tensor(&w, "t", 8, 1, 0, 32);
    CHECK(fault_of() == LR_GGUF_NAME_TWICE);
    put_head(&w, 3, 1, 0); put_text(&w, "t"); put32(&w, 5); put64(&w, 1); put64(&w, 1);
    CHECK(fault_of() == LR_GGUF_DIMENSIONS);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", (uint64_t)1 << 63, 1, 0, 0); CHECK(fault_of() == LR_GGUF_SHAPE);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", (uint64_t)1 << 32, (uint64_t)1 << 31, 0, 0);
    CHECK(fault_of() == LR_GGUF_SHAPE);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", (uint64_t)1 << 62, 1, 0, 0); CHECK(fault_of() == LR_GGUF_SHAPE);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", 0, UINT64_MAX, 0, 0); CHECK(fault_of() == LR_GGUF_SHAPE);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", 256, 1, 4, 0); CHECK(fault_of() == LR_GGUF_TENSOR_TYPE);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", 256, 1, 43, 0); CHECK(fault_of() == LR_GGUF_TENSOR_TYPE);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", 31, 32, 8, 0); CHECK(fault_of() == LR_GGUF_ROW);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", 8, 1, 0, 4); CHECK(fault_of() == LR_GGUF_UNALIGNED);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", 8, 1, 0, 32); CHECK(fault_of() == LR_GGUF_GAP);
    put_head(&w, 3, 2, 0); put_tensor(&w, "t", 9, 1, 0, 0); put_tensor(&w, "u", 8, 1, 0, 32);
    CHECK(fault_of() == LR_GGUF_OVERLAP);
    put_head(&w, 3, 1, 0); put_tensor(&w, "t", 8, 1, 0, 0); CHECK(fault_of() == LR_GGUF_OUTSIDE);
}

static void test_room(void) {
    lr_gguf g = {0};
    write_good();
    g.data = w.data;
    g.size = w.size;
    CHECK(lr_gguf_walk(&g) == LR_FULL && g.n_kv == 5 && g.n_tensors == 2 && g.n_slots == 16);
    g.kv_room = g.tensor_room = g.slot_room = 100;
    CHECK(lr_gguf_walk(&g) == LR_E_ARGUMENT);
    g.file_size = 3;
    CHECK(lr_gguf_walk(&g) == LR_E_ARGUMENT);
    CHECK(lr_gguf_walk(NULL) == LR_E_ARGUMENT);
    g.data = NULL;
    CHECK(lr_gguf_walk(&g) == LR_E_ARGUMENT);
    /* A count that the bytes cannot hold asks for bytes, not for room. */
    put_head(&w, 3, 0, 1000);
    CHECK(walk_exact(&g, w.size, 0) == LR_MORE && g.need == 24 + 13 * 1000);
}

static void test_strings(void) {
    uint64_t starts[2];
    uint32_t lengths[2];
    w.size = 0;
    put_text(&w, "one"); put_text(&w, "");
    CHECK(lr_gguf_strings(w.data, w.size, 0, 2, starts, lengths) == LR_OK);
    CHECK(starts[0] == 8 && lengths[0] == 3 && starts[1] == 19 && lengths[1] == 0);
    CHECK(lr_gguf_strings(w.data, w.size - 1, 0, 2, starts, lengths) == LR_E_FORMAT);
    CHECK(lr_gguf_strings(w.data, w.size, w.size + 1, 1, starts, lengths) == LR_E_ARGUMENT);
    CHECK(lr_gguf_strings(w.data, w.size, 0, 2, NULL, lengths) == LR_E_ARGUMENT);
    CHECK(lr_gguf_strings(NULL, 0, 0, 0, NULL, NULL) == LR_OK);
}

static void test_texts(void) {
    for (uint32_t i = 0; i <= LR_GGUF_FAULTS; i++) CHECK(lr_gguf_fault_text(i) != NULL);
    CHECK(strcmp(lr_gguf_type_name(LR_GGUF_FLOAT64), "float64") == 0 && lr_gguf_type_name(13) == NULL);
    CHECK(lr_gguf_type_bytes(LR_GGUF_BOOL) == 1 && lr_gguf_type_bytes(LR_GGUF_STRING) == 0);
    CHECK(lr_gguf_type_bytes(13) == 0);
}

int main(void) {
    test_good();
    test_prefixes();
    test_need();
    test_rounds();
    test_head_faults();
    test_pair_faults();
    test_nesting();
    test_tensor_faults();
    test_room();
    test_strings();
    test_texts();
    return lr_report("lr_gguf");
}
