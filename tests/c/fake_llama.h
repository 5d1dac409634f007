/* A libllama of a few lines for the loop's tests: a cache of cells by sequence and position, logits that follow from
 * the last two tokens, and failures by script. It checks what the real one would abort on. */
#ifndef LR_FAKE_LLAMA_H
#define LR_FAKE_LLAMA_H

#include "check.h"
#include "lr_loop.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_VOCAB = 300, FAKE_CELLS = 64, FAKE_SEQS = 4, FAKE_BATCH = 8, FAKE_EOG = 299 };

typedef struct {
    int32_t held[FAKE_SEQS][FAKE_CELLS]; /* the token at each position; -1: none */
    float logits[FAKE_BATCH][FAKE_VOCAB];
    int8_t has_logits[FAKE_BATCH];
    uint32_t cells;                      /* of each sequence, or of all with unified */
    bool unified;
    bool no_cut;                         /* as a recurrent model: a sequence goes whole or not at all */
    int32_t window;                      /* positions below the newest minus this are gone; 0: all stay */
    int32_t decodes, tokens;             /* so far */
    int32_t fail_at, fail_code;          /* the decode that fails, counted from 1, and with what */
    int32_t fail_times;
    int32_t stored;                      /* tokens of a failing batch that are in the cache all the same */
    int32_t bad_logits_at;               /* 1: null, 2: NaN, at decode fail_at */
    int32_t eog_at;                      /* the position whose logits end it; 0: none */
    void (*during)(void *);              /* called in each decode */
    void *during_data;
    bool (*abort)(void *);
    void *abort_data;
    _Atomic uint64_t clock;
} fake;

static inline int32_t fake_next(int32_t last, int32_t seen) {
    return (int32_t)((uint32_t)(last * 31 + seen * 7 + 11) % 256);
}

static inline bool fake_rm(void *memory, int32_t seq, int32_t from, int32_t to) {
    fake *f = memory;
    if (from < 0) from = 0;
    if (to < 0) to = FAKE_CELLS;
    if (f->no_cut && from > 0) {
        for (int32_t i = from; i < to; i++)
            if (f->held[seq][i] >= 0) return false;
    }
    for (int32_t i = from; i < to; i++) f->held[seq][i] = -1;
    return true;
}

static inline int32_t fake_min(void *memory, int32_t seq) {
    fake *f = memory;
    for (int32_t i = 0; i < FAKE_CELLS; i++)
        if (f->held[seq][i] >= 0) return i;
    return -1;
}

static inline int32_t fake_max(void *memory, int32_t seq) {
    fake *f = memory;
    for (int32_t i = FAKE_CELLS - 1; i >= 0; i--)
        if (f->held[seq][i] >= 0) return i;
    return -1;
}

static inline uint32_t fake_used(const fake *f, int32_t seq) {
    uint32_t n = 0;
    for (int32_t i = 0; i < FAKE_CELLS; i++) n += f->held[seq][i] >= 0;
    return n;
}

static inline bool fake_fits(const fake *f, const lr_llama_batch *b) {
    uint32_t need[FAKE_SEQS] = {0}, all = 0;
    for (int32_t i = 0; i < b->n_tokens; i++) need[b->seq_id[i][0]]++;
    for (int32_t s = 0; s < FAKE_SEQS; s++) {
        need[s] += fake_used(f, s);
        all += need[s];
        if (!f->unified && need[s] > f->cells) return false;
    }
    return !f->unified || all <= f->cells;
}

static inline void fake_store(fake *f, const lr_llama_batch *b, int32_t i) {
    const int32_t seq = b->seq_id[i][0], pos = b->pos[i];
    CHECK(b->n_seq_id[i] == 1 && seq >= 0 && seq < FAKE_SEQS && pos >= 0 && pos < FAKE_CELLS);
    CHECK(pos == fake_max(f, seq) + 1); /* as the real one demands */
    f->held[seq][pos] = b->token[i];
    for (int32_t k = 0; f->window > 0 && k <= pos - f->window; k++) f->held[seq][k] = -1;
    f->has_logits[i] = b->logits[i];
    if (!b->logits[i]) return;
    for (int32_t t = 0; t < FAKE_VOCAB; t++) f->logits[i][t] = (float)(t % 10) * 0.1f;
    const int32_t seen = pos > 0 ? f->held[seq][pos - 1] : 0;
    f->logits[i][f->eog_at > 0 && pos >= f->eog_at ? FAKE_EOG : fake_next(b->token[i], seen)] = 9;
}

static inline int32_t fake_decode(void *context, lr_llama_batch b) {
    fake *f = context;
    f->decodes++;
    f->clock += 1000000;
    CHECK(b.n_tokens > 0 && b.n_tokens <= FAKE_BATCH && b.embd == NULL); /* the real one aborts the process */
    if (f->during != NULL) f->during(f->during_data);
    const bool fails = f->fail_code != 0 && f->decodes >= f->fail_at && f->decodes < f->fail_at + f->fail_times;
    if (!fake_fits(f, &b)) return 1;
    for (int32_t i = 0; i < b.n_tokens && (!fails || i < f->stored); i++) fake_store(f, &b, i);
    if (f->abort != NULL && f->abort(f->abort_data)) return 2;
    if (fails) return f->fail_code;
    f->tokens += b.n_tokens;
    return 0;
}

static inline float *fake_logits(void *context, int32_t i) {
    fake *f = context;
    CHECK(i >= 0 && i < FAKE_BATCH && f->has_logits[i]);
    if (f->bad_logits_at > 0 && f->decodes == f->fail_at) {
        if (f->bad_logits_at == 1) return NULL;
        for (int32_t t = 0; t < FAKE_VOCAB; t++) f->logits[i][t] = NAN;
    }
    return f->logits[i];
}

static inline void *fake_memory(const void *context) {
    void *memory;
    memcpy(&memory, &context, sizeof memory); /* of a const pointer, as libllama hands it on */
    return memory;
}

static inline void fake_set_abort(void *context, bool (*callback)(void *), void *data) {
    fake *f = context;
    f->abort = callback;
    f->abort_data = data;
}

static inline bool fake_eog(const void *vocab, int32_t token) {
    (void)vocab;
    return token == FAKE_EOG;
}

static inline uint64_t fake_now(void *data) {
    return ((fake *)data)->clock;
}

static inline void fake_init(fake *f, uint32_t cells) {
    memset(f, 0, sizeof *f);
    memset(f->held, 0xFF, sizeof f->held);
    f->cells = cells;
    f->clock = 1000;
    f->fail_times = 1;
}

static inline lr_loop *fake_loop(fake *f, uint32_t n_seq) {
    const lr_ledger_group group = {.cells = f->cells, .row_bytes = 100, .kind = LR_LEDGER_FULL};
    const lr_loop_setup setup = {
        .api = {fake_decode, fake_logits, fake_memory, fake_rm, fake_min, fake_set_abort, fake_eog, fake_now, f},
        .context = f,
        .groups = &group,
        .n_groups = 1,
        .unified = f->unified,
        .n_seq = n_seq,
        .n_ctx_seq = f->cells,
        .n_batch = FAKE_BATCH,
        .n_vocab = FAKE_VOCAB,
        .n_swa = (uint32_t)f->window,
    };
    lr_loop *loop = NULL;
    CHECK(lr_loop_new(&setup, &loop) == LR_OK);
    if (loop == NULL) abort();
    return loop;
}

#endif
