/* What the loop has to tell, for any thread: text as it comes, and figures. */
#define _POSIX_C_SOURCE 200809L /* clocks and conditions */
#define _DARWIN_C_SOURCE 1      /* and a wait for a span, where conditions know no steady clock */
#include "lr_loop_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND ((uint64_t)1000000000)

enum { TRIES = 1000 };

static uint64_t steady(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

uint64_t lr_loop_now(const lr_loop *l) {
    return l->setup.api.now != NULL ? l->setup.api.now(l->setup.api.now_data) : steady();
}

/* Waits for news until `deadline`; false: it is over. */
static bool await(lr_loop *l, uint64_t deadline) {
    const uint64_t now = steady();
    if (now >= deadline) return false;
#ifdef __APPLE__
    const uint64_t span = deadline - now;
    const struct timespec until = {.tv_sec = (time_t)(span / SECOND), .tv_nsec = (long)(span % SECOND)};
    return pthread_cond_timedwait_relative_np(&l->news, &l->mutex, &until) != ETIMEDOUT;
#else
    const struct timespec until = {.tv_sec = (time_t)(deadline / SECOND), .tv_nsec = (long)(deadline % SECOND)};
    return pthread_cond_timedwait(&l->news, &l->mutex, &until) != ETIMEDOUT;
#endif
}

static bool has_news(const slot *s, size_t room, uint32_t n_read) {
    return s->phase == DONE || s->state.n_read > n_read || (room > 0 && lr_text_ready(s->text) > 0);
}

lr_status lr_loop_read(lr_loop *l, uint32_t seq, uint8_t *out, size_t room, uint64_t patience, size_t *n,
                       lr_loop_state *state) {
    slot *s = lr_loop_slot(l, seq);
    if (s == NULL || n == NULL || state == NULL || (room > 0 && out == NULL)) return LR_E_ARGUMENT;
    lr_status status = LR_OK;
    pthread_mutex_lock(&l->mutex);
    if (s->phase == IDLE) {
        status = LR_E_ARGUMENT;
    } else {
        /* Beyond some years a deadline is none. */
        const uint64_t deadline = steady() + (patience < INT64_MAX / 4 ? patience : INT64_MAX / 4);
        l->readers++;
        l->listeners += room > 0;
        while (!has_news(s, room, state->n_read) && patience > 0 && await(l, deadline)) {}
        l->readers--;
        l->listeners -= room > 0;
        *n = room > 0 ? lr_text_take(s->text, out, room) : 0;
        *state = s->state;
    }
    pthread_mutex_unlock(&l->mutex);
    return status;
}

lr_status lr_loop_ids(lr_loop *l, uint32_t seq, int32_t *ids, size_t room, size_t *n) {
    slot *s = lr_loop_slot(l, seq);
    if (s == NULL || n == NULL || (room > 0 && ids == NULL)) return LR_E_ARGUMENT;
    lr_status status = LR_E_ARGUMENT;
    pthread_mutex_lock(&l->mutex);
    if (s->phase != IDLE) {
        status = LR_OK;
        *n = s->n_tokens - s->state.n_prompt;
        const size_t copied = *n < room ? *n : room;
        if (copied > 0) memcpy(ids, s->tokens + s->state.n_prompt, copied * sizeof *ids);
    }
    pthread_mutex_unlock(&l->mutex);
    return status;
}

/* ---- figures ---- */

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
