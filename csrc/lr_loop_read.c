/* The loop's figures, for any thread. */
#include "lr_loop_private.h"

#include <stdlib.h>

enum { TRIES = 1000 };

static uint64_t get(const _Atomic uint64_t *word) {
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void set(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_relaxed);
}

/* A sequence lock, as in lr_meter. */
void lr_loop_publish(lr_loop *l) {
    const uint32_t n = l->setup.n_seq;
    const uint64_t turn = get(&l->turn);
    set(&l->turn, turn + 1);
    atomic_thread_fence(memory_order_release);
    for (uint32_t i = 0; i < n; i++) set(&l->held[i], l->used[i]);
    set(&l->held[n], l->ledger.high_water);
    atomic_store_explicit(&l->turn, turn + 2, memory_order_release);
}

/* Copies what was published; false: the writer was in the way. */
static bool copy(const lr_loop *l, uint64_t *held) {
    for (int i = 0; i < TRIES; i++) {
        const uint64_t turn = atomic_load_explicit(&l->turn, memory_order_acquire);
        if ((turn & 1) != 0) continue;
        for (uint32_t k = 0; k <= l->setup.n_seq; k++) held[k] = get(&l->held[k]);
        atomic_thread_fence(memory_order_acquire);
        if (get(&l->turn) == turn) return true;
    }
    return false;
}

lr_status lr_loop_ledger(const lr_loop *l, lr_ledger_reading *reading) {
    if (l == NULL || reading == NULL) return LR_E_ARGUMENT;
    const uint32_t n = l->setup.n_seq;
    uint64_t *held = calloc((size_t)n + 1, sizeof *held), *used = calloc(n, sizeof *used);
    lr_ledger copied;
    lr_status status = LR_E_MEMORY;
    if (held != NULL && used != NULL) {
        status = copy(l, held) ? LR_OK : LR_AGAIN;
        if (status == LR_OK) status = lr_ledger_init(&copied, l->groups, l->setup.n_groups, used, n, l->setup.unified);
        for (uint32_t i = 0; status == LR_OK && i < n; i++) status = lr_ledger_set(&copied, i, held[i]);
        if (status == LR_OK) {
            copied.high_water = held[n];
            status = lr_ledger_read(&copied, reading);
        }
    }
    free(held);
    free(used);
    return status;
}

uint64_t lr_loop_held(const lr_loop *l, uint32_t seq) {
    return l != NULL && seq < l->setup.n_seq ? get(&l->held[seq]) : 0;
}

lr_status lr_loop_meter(const lr_loop *l, uint32_t seq, uint64_t window, lr_meter_reading *reading) {
    if (l == NULL || (seq != UINT32_MAX && seq >= l->setup.n_seq)) return LR_E_ARGUMENT;
    return lr_meter_read(seq == UINT32_MAX ? l->meter : l->slots[seq].meter, lr_loop_now(l), window, reading);
}
