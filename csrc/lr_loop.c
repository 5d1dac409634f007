#define _POSIX_C_SOURCE 200809L /* conditions and their clocks */
#include "lr_loop_private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- made and freed ---- */

static bool open_locks(lr_loop *l) {
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0) return false;
#ifndef __APPLE__ /* which waits for a span instead */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    const bool done = pthread_mutex_init(&l->mutex, NULL) == 0 && pthread_cond_init(&l->work, NULL) == 0 &&
                      pthread_cond_init(&l->news, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return done;
}

static lr_meter *new_meter(void) {
    lr_meter *meter = NULL;
    void *memory = malloc(lr_meter_bytes());
    if (memory == NULL || lr_meter_init(memory, lr_meter_bytes(), &meter) != LR_OK) free(memory);
    return meter;
}

static void free_batch(lr_llama_batch *b) {
    free(b->token);
    free(b->pos);
    free(b->n_seq_id);
    free(b->seq_id);
    free(b->logits);
}

static bool new_batch(lr_llama_batch *b, size_t n) {
    b->token = calloc(n, sizeof *b->token);
    b->pos = calloc(n, sizeof *b->pos);
    b->n_seq_id = calloc(n, sizeof *b->n_seq_id);
    b->seq_id = calloc(n, sizeof *b->seq_id);
    b->logits = calloc(n, sizeof *b->logits);
    return b->token != NULL && b->pos != NULL && b->n_seq_id != NULL && b->seq_id != NULL && b->logits != NULL;
}

static bool new_slots(lr_loop *l) {
    const uint32_t n = l->setup.n_seq;
    l->slots = calloc(n, sizeof *l->slots);
    l->ids = calloc(n, sizeof *l->ids);
    l->used = calloc(n, sizeof *l->used);
    l->held = calloc((size_t)n + 1, sizeof *l->held);
    if (l->slots == NULL || l->ids == NULL || l->used == NULL || l->held == NULL) return false;
    for (uint32_t i = 0; i < n; i++) {
        slot *s = &l->slots[i];
        l->ids[i] = (int32_t)i;
        s->meter = new_meter();
        s->tokens = malloc(((size_t)l->setup.n_ctx_seq + 1) * sizeof *s->tokens);
        if (s->meter == NULL || s->tokens == NULL) return false;
    }
    return true;
}

static bool complete(const lr_loop_setup *s) {
    const lr_loop_api *a = &s->api;
    return s->context != NULL && s->groups != NULL && s->n_groups > 0 && s->n_groups <= LR_LEDGER_GROUPS && s->n_seq > 0 && s->n_seq <= 1 << 16 && s->n_ctx_seq > 0 &&
           s->n_ctx_seq < INT32_MAX && s->n_batch > 0 && s->n_batch < INT32_MAX && s->n_vocab > 0 &&
           s->n_vocab < INT32_MAX && a->decode != NULL && a->get_logits_ith != NULL && a->get_memory != NULL &&
           a->seq_rm != NULL && a->seq_pos_min != NULL && a->set_abort_callback != NULL && a->is_eog != NULL;
}

static bool wanted_abort(void *data) {
    return atomic_load_explicit(&((lr_loop *)data)->abort, memory_order_relaxed);
}

lr_status lr_loop_new(const lr_loop_setup *setup, lr_loop **loop) {
    if (setup == NULL || loop == NULL || !complete(setup)) return LR_E_ARGUMENT;
    lr_loop *l = calloc(1, sizeof *l);
    if (l == NULL) return LR_E_MEMORY;
    l->setup = *setup;
    memcpy(l->groups, setup->groups, setup->n_groups * sizeof *l->groups);
    l->setup.groups = l->groups;
    if (!open_locks(l)) {
        free(l);
        return LR_E_MEMORY;
    }
    l->meter = new_meter();
    l->scratch = malloc((size_t)setup->n_vocab * sizeof *l->scratch);
    l->piece = malloc(LR_PIECE);
    lr_status status = LR_E_MEMORY;
    if (l->meter != NULL && l->scratch != NULL && l->piece != NULL && new_batch(&l->batch, setup->n_batch) && new_slots(l))
        status = lr_ledger_init(&l->ledger, l->groups, setup->n_groups, l->used, setup->n_seq, setup->unified);
    if (status != LR_OK) {
        lr_loop_free(l);
        return status;
    }
    setup->api.set_abort_callback(setup->context, wanted_abort, l);
    l->hooked = true;
    lr_loop_publish(l);
    *loop = l;
    return LR_OK;
}

void lr_loop_unhook(lr_loop *l) {
    if (l->hooked) l->setup.api.set_abort_callback(l->setup.context, NULL, NULL);
    l->hooked = false;
}

void lr_loop_free(lr_loop *l) {
    if (l == NULL) return;
    lr_loop_unhook(l);
    for (uint32_t i = 0; l->slots != NULL && i < l->setup.n_seq; i++) {
        lr_text_free(l->slots[i].text);
        free(l->slots[i].tokens);
        free(l->slots[i].meter);
    }
    free_batch(&l->batch);
    free(l->slots);
    free(l->ids);
    free(l->used);
    free(l->held);
    free(l->meter);
    free(l->scratch);
    free(l->piece);
    pthread_cond_destroy(&l->news);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

/* ---- requests ---- */

static lr_status check(const lr_loop *l, const lr_loop_request *r) {
    if (r->tokens == NULL || r->n_tokens == 0) return LR_E_ARGUMENT;
    if (r->n_stops > 0 && r->text == NULL) return LR_E_ARGUMENT;
    if (r->n_tokens > l->setup.n_ctx_seq) return LR_FULL;
    for (uint32_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= l->setup.n_vocab) return LR_E_ARGUMENT;
    return lr_sample_check(&r->sample);
}

/* How much of the prompt the sequence's cache begins with; its last token is read again, for its logits. */
static uint32_t shared(const slot *s, const lr_loop_request *r) {
    uint32_t most = s->n_cached < r->keep ? s->n_cached : r->keep, n = 0;
    if (most > r->n_tokens - 1) most = r->n_tokens - 1;
    while (n < most && s->tokens[n] == r->tokens[n]) n++;
    return n;
}

/* The idle sequence that shares most; of those alike the one with the least to lose. */
static slot *choose(lr_loop *l, const lr_loop_request *r, uint32_t *most) {
    slot *best = NULL;
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) {
        if (s->phase != IDLE) continue;
        const uint32_t n = shared(s, r);
        if (best != NULL && (n < *most || (n == *most && s->n_cached >= best->n_cached))) continue;
        best = s;
        *most = n;
    }
    return best;
}

static void queue(slot *s, const lr_loop_request *r, lr_text *text) {
    memcpy(s->tokens, r->tokens, r->n_tokens * sizeof *s->tokens);
    s->n_tokens = r->n_tokens;
    s->max_tokens = r->max_tokens;
    s->ignore_eog = r->ignore_eog;
    s->special = r->special;
    s->vocab = r->text;
    s->sample = r->sample;
    s->chance = r->seed;
    s->cancelled = false;
    s->text = text;
    s->state = (lr_loop_state){.n_prompt = r->n_tokens};
    s->phase = QUEUED;
}

lr_status lr_loop_begin(lr_loop *l, const lr_loop_request *r, uint32_t *seq) {
    if (l == NULL || r == NULL || seq == NULL) return LR_E_ARGUMENT;
    lr_status status = check(l, r);
    lr_text *text = NULL;
    if (status == LR_OK && r->text != NULL) status = lr_text_new(r->stops, r->stop_sizes, r->n_stops, &text);
    if (status != LR_OK) return status;
    uint32_t most = 0;
    pthread_mutex_lock(&l->mutex);
    slot *s = choose(l, r, &most);
    if (l->closed || s == NULL) {
        status = l->closed ? LR_END : LR_AGAIN;
    } else {
        s->shared = most;
        queue(s, r, text);
        *seq = (uint32_t)(s - l->slots);
        pthread_cond_signal(&l->work);
    }
    pthread_mutex_unlock(&l->mutex);
    if (status != LR_OK) lr_text_free(text);
    return status;
}

slot *lr_loop_slot(lr_loop *l, uint32_t seq) {
    return l != NULL && seq < l->setup.n_seq ? &l->slots[seq] : NULL;
}

static void cancel(lr_loop *l, slot *s) {
    if (s->phase != QUEUED && s->phase != ACTIVE) return;
    s->cancelled = true;
    atomic_store(&l->abort, true);
}

void lr_loop_cancel(lr_loop *l, uint32_t seq) {
    slot *s = lr_loop_slot(l, seq);
    if (s == NULL) return;
    pthread_mutex_lock(&l->mutex);
    cancel(l, s);
    pthread_mutex_unlock(&l->mutex);
}

lr_status lr_loop_end(lr_loop *l, uint32_t seq) {
    slot *s = lr_loop_slot(l, seq);
    if (s == NULL) return LR_E_ARGUMENT;
    pthread_mutex_lock(&l->mutex);
    const lr_status status = s->phase == DONE ? LR_OK : s->phase == IDLE ? LR_E_ARGUMENT : LR_AGAIN;
    if (status == LR_OK) {
        lr_text_free(s->text);
        s->text = NULL;
        s->phase = IDLE;
    }
    pthread_mutex_unlock(&l->mutex);
    return status;
}

void lr_loop_close(lr_loop *l) {
    if (l == NULL) return;
    pthread_mutex_lock(&l->mutex);
    l->closed = true;
    for (uint32_t i = 0; i < l->setup.n_seq; i++) cancel(l, &l->slots[i]);
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->mutex);
}

void lr_loop_work(lr_loop *l) {
    if (l == NULL) return;
    bool queued = true;
    while (queued) {
        while (lr_loop_step(l) == LR_OK) {}
        queued = false;
        pthread_mutex_lock(&l->mutex);
        for (;;) {
            for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) queued = queued || s->phase == QUEUED;
            if (queued || l->closed) break;
            pthread_cond_wait(&l->work, &l->mutex);
        }
        pthread_mutex_unlock(&l->mutex);
    }
    lr_loop_unhook(l);
}
