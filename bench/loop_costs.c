/* What bench/loop.py compiles: a libllama whose decode only writes logits, and the loop's counting on its own. */
#include "lr_loop_private.h"

#include <string.h>

enum { VOCAB = 128256 };

/* Filled by Python: what a model might have said. */
float bench_template[VOCAB];
static float logits[VOCAB];
static int memory;

int32_t bench_decode(void *context, lr_llama_batch batch) {
    (void)context;
    /* Fresh in the cache, as a real output layer leaves them. */
    memcpy(logits, bench_template, sizeof logits);
    logits[(uint32_t)batch.pos[0] * 7919u % VOCAB] += 30;
    return 0;
}

/* The same without anyone above it. */
void bench_bare(uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        int32_t token = 0, pos = (int32_t)i;
        const lr_llama_batch batch = {.n_tokens = 1, .token = &token, .pos = &pos};
        bench_decode(NULL, batch);
    }
}

float *bench_logits(void *context, int32_t i) {
    (void)context, (void)i;
    return logits;
}

void *bench_memory(const void *context) {
    (void)context;
    return &memory;
}

bool bench_rm(void *where, int32_t seq, int32_t from, int32_t to) {
    (void)where, (void)seq, (void)from, (void)to;
    return true;
}

int32_t bench_min(void *where, int32_t seq) {
    (void)where, (void)seq;
    return 0;
}

void bench_hook(void *context, bool (*callback)(void *), void *data) {
    (void)context, (void)callback, (void)data;
}

bool bench_eog(const void *vocab, int32_t token) {
    (void)vocab, (void)token;
    return false;
}

slot *lr_loop_slot(lr_loop *loop, uint32_t seq) {
    (void)loop, (void)seq;
    return NULL;
}

/* Clock, both meters, the ledger, and showing it to other threads: what the loop does for the figures, n times. */
uint64_t bench_count(uint32_t n) {
    static lr_loop l;
    static uint64_t used[1], first[4096], second[4096];
    static _Atomic uint64_t held[2];
    const lr_ledger_group group = {.cells = UINT32_MAX, .row_bytes = 1000};
    lr_meter *mine = NULL;
    l = (lr_loop){.setup.n_seq = 1, .held = held};
    if (lr_ledger_init(&l.ledger, &group, 1, used, 1, 0) != LR_OK) return 0;
    l.used = used;
    if (lr_meter_init(first, sizeof first, &l.meter) != LR_OK || lr_meter_init(second, sizeof second, &mine) != LR_OK) return 0;
    lr_meter_prompt(l.meter, lr_loop_now(&l), 1);
    lr_meter_prompt(mine, lr_loop_now(&l), 1);
    for (uint32_t i = 0; i < n; i++) {
        lr_ledger_add(&l.ledger, 0, 1);
        lr_loop_publish(&l);
        lr_meter_token(mine, lr_loop_now(&l));
        lr_meter_tokens(l.meter, lr_loop_now(&l), 1);
    }
    return l.ledger.tokens;
}
