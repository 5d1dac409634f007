/* No function of the core loses memory, whether it does its work, refuses, or gets no memory itself.
 *
 * Each exercise runs once as it is, and then once for each allocation that it makes, with that one failing; afterwards
 * as much must be allocated as before. EVERY lists all functions that headers offer, and what exercises each; a test
 * compares it with the headers, and holds "nothing" to files that never allocate. */
#define LR_COUNTED_SELF
#include "counted.h"

#include <stdlib.h>

#include "fake_llama.h"
#include "lr_image.h"
#include "lr_list.h"
#include "lr_membw.h"
#include "lr_text.h"
#include "lr_tok.h"
#include "lr_unicode.h"
#include "tok_vocab.h"

static long live, made, fail_at;

static int fails(void) {
    return ++made == fail_at;
}

static void *noted(void *memory) {
    live += memory != NULL;
    return memory;
}

void *counted_malloc(size_t size) {
    return fails() ? NULL : noted(malloc(size));
}

void *counted_calloc(size_t n, size_t size) {
    return fails() ? NULL : noted(calloc(n, size));
}

void *counted_aligned(size_t alignment, size_t size) {
    return fails() ? NULL : noted(aligned_alloc(alignment, size));
}

int counted_memalign(void **memory, size_t alignment, size_t size) {
    *memory = counted_aligned(alignment, (size + alignment - 1) / alignment * alignment);
    return *memory == NULL;
}

void *counted_realloc(void *old, size_t size) {
    if (fails()) return NULL;
    void *memory = realloc(old, size);
    live += old == NULL && memory != NULL;
    return memory;
}

void counted_free(void *memory) {
    live -= memory != NULL;
    free(memory);
}

static tok_vocab v;

static lr_vocab *small_vocab(int kind) {
    lr_vocab *vocab = NULL;
    static const char LONG_TOKEN[] = "a token that is longer than fifteen bytes";
    tok_begin(&v, kind, LR_PRE_GPT2, kind == LR_VOCAB_RANKS ? LR_RULES_LLAMA_CPP : LR_RULES_OWN);
    tok_token(&v, LONG_TOKEN, sizeof LONG_TOKEN - 1, LR_TOKEN_NORMAL);
    if (kind == LR_VOCAB_SPM) tok_token(&v, "\xC3\xA9\xC3\xA8", 4, LR_TOKEN_NORMAL);
    const lr_status status = lr_vocab_new(&v.source, &vocab);
    CHECK(status == LR_OK || status == LR_E_MEMORY);
    return vocab;
}

static void vocabularies(void) {
    for (int kind = LR_VOCAB_MERGES; kind <= LR_VOCAB_SPM; kind++) {
        lr_vocab *vocab = small_vocab(kind);
        lr_vocab_free(vocab);
        /* Refused at the last token, at the last merge, and where a count is false. */
        vocab = NULL;
        tok_begin(&v, kind, LR_PRE_GPT2, LR_RULES_OWN);
        tok_token(&v, "the", 3, LR_TOKEN_NORMAL);
        CHECK(lr_vocab_new(&v.source, &vocab) < LR_OK && vocab == NULL);
        tok_begin(&v, kind, LR_PRE_GPT2, LR_RULES_OWN);
        tok_merge(&v, "t zz");
        if (kind == LR_VOCAB_MERGES) CHECK(lr_vocab_new(&v.source, &vocab) < LR_OK && vocab == NULL);
        v.source.count++;
        CHECK(lr_vocab_new(&v.source, &vocab) < LR_OK && vocab == NULL);
    }
}

static void encode_all(lr_tok_run *run, const uint8_t *text, size_t size, int32_t *ids, size_t room) {
    size_t at = 0, count, need;
    lr_status status;
    do status = lr_tok_encode(run, text, size, 1, &at, ids, room, &count, &need);
    while (status == LR_FULL && count);
}

static void runs(void) {
    enum { SIZE = 6000 };
    static uint8_t text[SIZE];
    static int32_t ids[SIZE + 8];
    for (int kind = LR_VOCAB_MERGES; kind <= LR_VOCAB_SPM; kind++) {
        lr_vocab *vocab = small_vocab(kind);
        lr_tok_run *run = NULL;
        if (vocab != NULL && lr_tok_run_new(vocab, &run) == LR_OK) {
            memset(text, 'a', SIZE);
            encode_all(run, text, SIZE, ids, 100); /* one piece, and too small a room for it */
            encode_all(run, text, SIZE, ids, SIZE + 8);
            lr_tok_cancel(run);
            encode_all(run, text, SIZE, ids, SIZE + 8);
            for (int i = 0; i < SIZE; i++) text[i] = (uint8_t)"theing \n<|end|>\xC3\xA9\xC3\xA8"[i * i % 19];
            memcpy(text + 300, "a token that is longer than fifteen bytes \xE2\x96\x81 \xE4", 46);
            encode_all(run, text, SIZE, ids, SIZE + 8);
            (void)lr_tok_tier(run, "scalar");
            encode_all(run, text, SIZE, ids, SIZE + 8);
        }
        lr_tok_run_free(run);
        lr_vocab_free(vocab);
    }
    tok_begin(&v, LR_VOCAB_SPM, 0, LR_RULES_LLAMA_CPP);
    lr_vocab *vocab = NULL;
    lr_tok_run *run = NULL;
    if (lr_vocab_new(&v.source, &vocab) == LR_OK && lr_tok_run_new(vocab, &run) == LR_OK)
        encode_all(run, (const uint8_t *)"a \xE4 \xF0\x9F the", 10, ids, SIZE + 8);
    lr_tok_run_free(run);
    lr_vocab_free(vocab);
}

static void images(void) {
    lr_vocab *vocab = small_vocab(LR_VOCAB_MERGES), *opened = NULL;
    uint64_t size = 0;
    const lr_image_label label = {{1, 2}, {3, 4}, 5, 6, {7}};
    lr_image_label read;
    if (vocab != NULL && lr_image_size(vocab, &size) == LR_OK) {
        uint8_t *image = aligned_alloc(64, (size + 63) / 64 * 64);
        CHECK(lr_image_write(vocab, &label, image, 8) == LR_FULL && lr_image_write(vocab, &label, image, size) == LR_OK);
        CHECK(lr_image_read_label(image, size, &read) == LR_OK && lr_image_reseal(image, size) == LR_OK);
        if (lr_image_open(image, size, &opened) == LR_OK) lr_vocab_free(opened);
        image[size - 1] ^= 1;
        CHECK(lr_image_open(image, size, &opened) < LR_OK);
        const uint32_t wrong = 0xffffff;
        memcpy(image + size - 4, &wrong, 4); /* a special token that there is not */
        CHECK(lr_image_reseal(image, size) == LR_OK && lr_image_open(image, size, &opened) < LR_OK);
        free(image);
    }
    lr_vocab_free(vocab);
}

static void texts(void) {
    static const uint32_t sizes[2] = {3, 4};
    lr_text *text = NULL;
    uint8_t out[64];
    if (lr_text_new((const uint8_t *)"endstop", sizes, 2, &text) == LR_OK) {
        for (int i = 0; i < 200; i++) (void)lr_text_feed(text, (const uint8_t *)"some text \xE4\xB8", 12);
        (void)lr_text_feed(text, (const uint8_t *)"an end", 6);
        (void)lr_text_finish(text);
        while (lr_text_ready(text) && lr_text_take(text, out, sizeof out)) continue;
    }
    lr_text_free(text);
    text = NULL;
    CHECK(lr_text_new(NULL, NULL, LR_TEXT_STOPS + 1, &text) < LR_OK && text == NULL);
}

static fake f;

static lr_loop *new_loop(void) {
    const lr_ledger_group group = {.cells = f.cells, .row_bytes = 100, .kind = LR_LEDGER_FULL};
    lr_loop_setup setup = {
        .api = {fake_decode, fake_logits, fake_memory, fake_rm, fake_min, fake_set_abort, fake_eog, fake_now, &f},
        .context = &f, .groups = &group, .n_groups = 1, .n_seq = 2, .n_ctx_seq = f.cells, .n_batch = FAKE_BATCH,
        .n_vocab = FAKE_VOCAB,
    };
    lr_loop *loop = NULL;
    const lr_status status = lr_loop_new(&setup, &loop);
    CHECK(status == LR_OK || (status == LR_E_MEMORY && loop == NULL));
    return loop;
}

static void ask(lr_loop *loop, const lr_vocab *vocab) {
    static const int32_t prompt[3] = {5, 8, 11};
    static const uint32_t stop_size = 3;
    const lr_loop_request request = {.tokens = prompt, .n_tokens = 3, .max_tokens = 5, .sample = {.top_p = 1},
                                     .text = vocab, .stops = (const uint8_t *)"end", .stop_sizes = &stop_size,
                                     .n_stops = vocab != NULL};
    uint32_t seq;
    uint8_t out[64];
    int32_t ids[16];
    size_t n;
    lr_loop_state state;
    if (lr_loop_begin(loop, &request, &seq) != LR_OK) return;
    for (int i = 0; i < 20 && lr_loop_step(loop) == LR_OK; i++) continue;
    (void)lr_loop_read(loop, seq, out, sizeof out, 0, &n, &state);
    (void)lr_loop_ids(loop, seq, ids, 16, &n);
    lr_loop_cancel(loop, seq);
    (void)lr_loop_end(loop, seq);
}

static void loops(void) {
    fake_init(&f, 64);
    lr_vocab *vocab = small_vocab(LR_VOCAB_RANKS);
    lr_loop *loop = new_loop();
    lr_ledger_reading ledger;
    lr_meter_reading meter;
    if (loop != NULL) {
        ask(loop, NULL);
        if (vocab != NULL) ask(loop, vocab);
        (void)lr_loop_ledger(loop, &ledger);
        (void)lr_loop_meter(loop, UINT32_MAX, 0, &meter);
        (void)lr_loop_held(loop, 0);
        lr_loop_close(loop);
        lr_loop_work(loop);
    }
    lr_loop_free(loop);
    lr_vocab_free(vocab);
    loop = NULL;
    CHECK(lr_loop_new(NULL, &loop) < LR_OK && loop == NULL);
}

static void bandwidth(void) {
    uint64_t rate;
    (void)lr_membw_read(2, 1 << 22, 1, 0, &rate);
    CHECK(lr_membw_read(1, UINT64_MAX, 1, 0, &rate) == LR_E_ARGUMENT);
}

static void nothing(void) {
}

#define EVERY(X)                                                                                                       \
    X(lr_ggml_block_bytes, nothing) X(lr_ggml_block_elements, nothing) X(lr_ggml_row_bytes, nothing)                   \
    X(lr_ggml_type_name, nothing) X(lr_gguf_fault_text, nothing) X(lr_gguf_strings, nothing)                           \
    X(lr_gguf_type_bytes, nothing) X(lr_gguf_type_name, nothing) X(lr_gguf_walk, nothing)                              \
    X(lr_image_build, images) X(lr_image_open, images) X(lr_image_read_label, images) X(lr_image_reseal, images)       \
    X(lr_image_size, images) X(lr_image_sum, images) X(lr_image_write, images)                                         \
    X(lr_kv_bytes, nothing) X(lr_kv_cells, nothing) X(lr_ledger_add, nothing) X(lr_ledger_init, nothing)               \
    X(lr_ledger_read, nothing) X(lr_ledger_remove, nothing) X(lr_ledger_set, nothing)                                  \
    X(lr_ledger_until_full, nothing) X(lr_list_make, nothing) X(lr_loop_begin, loops) X(lr_loop_cancel, loops)         \
    X(lr_loop_close, loops) X(lr_loop_end, loops) X(lr_loop_free, loops) X(lr_loop_held, loops)                        \
    X(lr_loop_ids, loops) X(lr_loop_ledger, loops) X(lr_loop_meter, loops) X(lr_loop_new, loops)                       \
    X(lr_loop_read, loops) X(lr_loop_step, loops) X(lr_loop_work, loops) X(lr_membw_read, bandwidth)                   \
    X(lr_meter_bytes, nothing) X(lr_meter_init, nothing) X(lr_meter_prompt, nothing) X(lr_meter_push, nothing)         \
    X(lr_meter_read, nothing) X(lr_meter_token, nothing) X(lr_meter_tokens, nothing) X(lr_sample, nothing)             \
    X(lr_sample_chance, nothing) X(lr_sample_check, nothing) X(lr_sample_keep, nothing) X(lr_special_at, vocabularies) \
    X(lr_special_find, runs) X(lr_split_all, nothing) X(lr_status_text, nothing) X(lr_text_feed, texts)                \
    X(lr_text_finish, texts) X(lr_text_free, texts) X(lr_text_new, texts) X(lr_text_ready, texts)                      \
    X(lr_text_take, texts) X(lr_tok_cancel, runs) X(lr_tok_encode, runs) X(lr_tok_run_free, runs)                      \
    X(lr_tok_run_new, runs) X(lr_tok_tier, runs) X(lr_unicode_class, nothing) X(lr_utf8_llama, nothing)                \
    X(lr_nfc_spans, nothing) X(lr_utf8_valid, nothing) X(lr_vocab_count, vocabularies)                                 \
    X(lr_vocab_decode, vocabularies) X(lr_vocab_fault_text, vocabularies) X(lr_vocab_free, vocabularies)               \
    X(lr_vocab_new, vocabularies) X(lr_vocab_token, vocabularies)

typedef void (*exercise)(void);

static const struct { const char *name; exercise run; } every[] = {
#define ROW(function, by) {#function, by},
    EVERY(ROW)
#undef ROW
};

static void hold_to(const char *name, exercise run) {
    fail_at = 0, made = 0;
    const long before = live;
    run();
    const long all = made;
    CHECK(live == before);
    for (fail_at = 1; fail_at <= all; fail_at++) {
        made = 0;
        run();
        CHECK(live == before);
        if (live == before) continue;
        fprintf(stderr, "%s: allocation %ld of %ld fails, %ld are left\n", name, fail_at, all, live - before);
        live = before;
    }
}

int main(void) {
    enum { COUNT = sizeof every / sizeof *every };
    for (int i = 0; i < COUNT; i++) {
        int done = every[i].run == nothing;
        for (int k = 0; k < i; k++) done |= every[k].run == every[i].run;
        if (!done) hold_to(every[i].name, every[i].run);
    }
    return lr_report("leaks");
}
