/* What the worker does: requests in, a batch together, a decode, and what follows from its answer. */
#define _POSIX_C_SOURCE 200809L
#include "lr_loop_private.h"

#include <string.h>

/* ns between two announcements of text: waking a reader for every token of a quick model costs more than it is worth,
 * and nobody reads so fast. */
#define PACE ((uint64_t)20000000)

enum { SPURIOUS = 3 }; /* aborts in a row that nobody asked for: then it is a failure */

static int32_t number(const lr_loop *l, const slot *s) {
    return (int32_t)(s - l->slots);
}

/* Readers look again, those who wait for text alone only when there is some. */
static void tell(lr_loop *l, bool text_only) {
    if ((text_only ? l->listeners : l->readers) > 0) pthread_cond_broadcast(&l->news);
}

/* Afterwards the request is its owner's: it may be gone at once. */
static void finish(lr_loop *l, slot *s, lr_loop_finish why, int32_t code) {
    s->working = false;
    pthread_mutex_lock(&l->mutex);
    s->state.finish = (int32_t)why;
    s->state.code = code;
    if (s->text != NULL) lr_text_finish(s->text);
    s->phase = DONE;
    tell(l, false);
    pthread_mutex_unlock(&l->mutex);
}

/* ---- the cache ---- */

/* Leaves tokens[0 .. n) of the sequence in the cache, in the ledger and in our memory; none at all where the cache
 * cannot be cut there: a recurrent state, or a window that has slid on. */
static void cut(lr_loop *l, slot *s, uint32_t n) {
    const lr_loop_api *api = &l->setup.api;
    void *memory = api->get_memory(l->setup.context);
    const int32_t seq = number(l, s);
    bool whole = n > 0 && api->seq_rm(memory, seq, (int32_t)n, -1);
    if (whole && l->setup.n_swa > 0) {
        const int32_t needed = n > l->setup.n_swa ? (int32_t)(n - l->setup.n_swa) : 0;
        const int32_t first = api->seq_pos_min(memory, seq);
        whole = first >= 0 && first <= needed;
    }
    if (!whole) {
        api->seq_rm(memory, seq, -1, -1);
        n = 0;
    }
    s->n_cached = n;
    lr_ledger_set(&l->ledger, (uint32_t)seq, n);
    lr_loop_publish(l);
}

/* Takes the cache from a sequence that is at rest; false: there is none. */
static bool evict(lr_loop *l) {
    slot *found = NULL;
    pthread_mutex_lock(&l->mutex);
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++)
        if ((s->phase == IDLE || s->phase == DONE) && s->n_cached > 0) found = s;
    if (found != NULL) cut(l, found, 0);
    pthread_mutex_unlock(&l->mutex);
    return found != NULL;
}

/* ---- requests in ---- */

static void start(lr_loop *l, slot *s, bool alone) {
    const uint64_t now = lr_loop_now(l);
    /* Also what someone else may have left there. */
    if (s->n_cached > s->shared || s->shared == 0) cut(l, s, s->shared);
    pthread_mutex_lock(&l->mutex);
    s->state.began = now;
    s->state.n_kept = s->state.n_read = s->n_cached;
    pthread_mutex_unlock(&l->mutex);
    lr_meter_prompt(s->meter, now, s->n_tokens - s->n_cached);
    if (alone) lr_meter_prompt(l->meter, now, s->n_tokens - s->n_cached);
}

/* Takes in what was queued, ends what was cancelled; false: nothing is left to do. */
static bool admit(lr_loop *l) {
    bool any = false;
    pthread_mutex_lock(&l->mutex);
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) any = any || s->working;
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) {
        if (s->phase != QUEUED) continue;
        s->phase = ACTIVE;
        s->working = true;
        pthread_mutex_unlock(&l->mutex);
        start(l, s, !any);
        any = true;
        pthread_mutex_lock(&l->mutex);
    }
    /* Under the same lock as `cancelled`: whoever cancels later sets it again. */
    atomic_store(&l->abort, false);
    any = false;
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) {
        if (!s->working) continue;
        if (s->cancelled) {
            pthread_mutex_unlock(&l->mutex);
            finish(l, s, LR_LOOP_CANCELLED, 0);
            pthread_mutex_lock(&l->mutex);
        }
        any = true;
    }
    pthread_mutex_unlock(&l->mutex);
    return any;
}

/* ---- the batch ---- */

/* Tokens that the sequence can still take, when `taken` of this batch are other sequences'. */
static uint32_t room_of(const lr_loop *l, const slot *s, uint64_t taken) {
    uint64_t left = 0;
    lr_ledger_until_full(&l->ledger, (uint32_t)number(l, s), &left);
    if (l->setup.unified) left -= left < taken ? left : taken;
    const uint32_t most = l->setup.n_ctx_seq - s->n_cached;
    return left < most ? (uint32_t)left : most;
}

static void put(lr_loop *l, slot *s, uint32_t n) {
    lr_llama_batch *b = &l->batch;
    for (uint32_t i = 0; i < n; i++, b->n_tokens++) {
        b->token[b->n_tokens] = s->tokens[s->n_cached + i];
        b->pos[b->n_tokens] = (int32_t)(s->n_cached + i);
        b->n_seq_id[b->n_tokens] = 1;
        b->seq_id[b->n_tokens] = &l->ids[number(l, s)];
        b->logits[b->n_tokens] = 0;
    }
    s->in_batch = n;
    if (s->n_cached + n == s->n_tokens && s->max_tokens > 0) {
        s->logits_at = b->n_tokens - 1;
        b->logits[s->logits_at] = 1;
    }
}

/* Puts in what one sequence has to read; ends it where the cache has no room for a single token. */
static void add(lr_loop *l, slot *s) {
    const uint32_t todo = s->n_tokens - s->n_cached, left = l->setup.n_batch - (uint32_t)l->batch.n_tokens;
    if (left == 0) return;
    uint32_t n = room_of(l, s, (uint64_t)l->batch.n_tokens);
    while (n == 0 && s->n_cached < l->setup.n_ctx_seq && l->setup.unified && evict(l))
        n = room_of(l, s, (uint64_t)l->batch.n_tokens);
    if (n == 0) {
        finish(l, s, LR_LOOP_CONTEXT, 0);
        return;
    }
    if (n > todo) n = todo;
    put(l, s, n < left ? n : left);
}

/* First a token for each sequence that generates, then of the prompts what there is room for; who comes first goes
 * round. */
static void gather(lr_loop *l) {
    const uint32_t n = l->setup.n_seq;
    l->batch.n_tokens = 0;
    for (uint32_t i = 0; i < n; i++) {
        l->slots[i].in_batch = 0;
        l->slots[i].logits_at = -1;
    }
    for (int prompts = 0; prompts < 2; prompts++)
        for (uint32_t i = 0; i < n; i++) {
            slot *s = &l->slots[(l->steps + i) % n];
            if (s->working && s->in_batch == 0 && (s->n_tokens - s->n_cached > 1) == prompts) add(l, s);
        }
    l->steps++;
}

/* ---- what follows ---- */

/* The bytes of a token, if there is text to be made. */
static size_t spell(const lr_loop *l, const slot *s, int32_t id) {
    size_t size = 0;
    if (s->vocab == NULL) return 0;
    const lr_status status = lr_vocab_decode(s->vocab, &id, 1, s->special, l->piece, LR_PIECE, &size);
    return status == LR_OK ? size : 0;
}

static lr_loop_finish take_token(lr_loop *l, slot *s, int32_t id, uint64_t now) {
    const bool eog = !s->ignore_eog && l->setup.api.is_eog(l->setup.vocab, id);
    const size_t size = eog ? 0 : spell(l, s, id);
    lr_loop_finish why = eog ? LR_LOOP_EOG : LR_LOOP_RUNNING;
    pthread_mutex_lock(&l->mutex);
    s->tokens[s->n_tokens++] = id;
    if (s->state.n_made++ == 0) s->state.first_at = now;
    s->state.last_at = now;
    if (size > 0) {
        const lr_status status = lr_text_feed(s->text, l->piece, size);
        if (status != LR_OK) why = status == LR_END ? LR_LOOP_STOP : LR_LOOP_MEMORY;
    }
    if (why == LR_LOOP_RUNNING && s->state.n_made >= s->max_tokens) why = LR_LOOP_LENGTH;
    if (size > 0 && lr_text_ready(s->text) > 0 && (l->told == 0 || now - l->told >= PACE)) {
        l->told = now;
        tell(l, true);
    }
    pthread_mutex_unlock(&l->mutex);
    return why;
}

/* Tells how far the prompt is. */
static void progress(lr_loop *l, slot *s) {
    const uint32_t n = s->n_cached < s->state.n_prompt ? s->n_cached : s->state.n_prompt;
    if (n == s->state.n_read) return;
    const uint64_t now = lr_loop_now(l);
    pthread_mutex_lock(&l->mutex);
    s->state.n_read = n;
    if (n == s->state.n_prompt && s->state.read_at == 0) s->state.read_at = now;
    tell(l, false);
    pthread_mutex_unlock(&l->mutex);
}

static bool sample(lr_loop *l, slot *s) {
    int32_t id = 0;
    const float *logits = l->setup.api.get_logits_ith(l->setup.context, s->logits_at);
    progress(l, s); /* only now is it sure that the prompt is in: a GPU may still have been at work */
    if (logits == NULL || lr_sample(&s->sample, &s->chance, logits, l->setup.n_vocab, l->scratch, &id) != LR_OK) {
        finish(l, s, LR_LOOP_LOGITS, 0);
        return false;
    }
    const uint64_t now = lr_loop_now(l);
    lr_meter_token(s->meter, now);
    const lr_loop_finish why = take_token(l, s, id, now);
    if (why != LR_LOOP_RUNNING) finish(l, s, why, 0);
    return true;
}

static void take(lr_loop *l) {
    uint32_t made = 0; /* requests that got a token */
    l->aborts = 0;
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) {
        if (s->in_batch == 0) continue;
        s->n_cached += s->in_batch;
        lr_ledger_add(&l->ledger, (uint32_t)number(l, s), s->in_batch);
    }
    lr_loop_publish(l); /* before a reader can learn that a request has ended */
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) {
        if (s->in_batch == 0) continue;
        if (s->logits_at >= 0) {
            made += sample(l, s);
            continue;
        }
        progress(l, s);
        if (s->n_cached == s->n_tokens) finish(l, s, LR_LOOP_LENGTH, 0);
    }
    if (made > 0) lr_meter_tokens(l->meter, lr_loop_now(l), made);
}

static void fail(lr_loop *l, int32_t code) {
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++)
        if (s->in_batch > 0) finish(l, s, LR_LOOP_DECODE, code);
}

/* No cells for this batch: a sequence at rest gives up its own, else the one that wanted most goes. */
static void relieve(lr_loop *l) {
    slot *last = NULL;
    if (evict(l)) return;
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++)
        if (s->in_batch > 0 && (last == NULL || s->in_batch >= last->in_batch)) last = s;
    if (last != NULL) finish(l, last, LR_LOOP_CONTEXT, 1);
}

/* A decode that failed may have stored a part: each sequence goes back to where it was. What was not cancelled is
 * decoded again in the next step. */
static void put_right(lr_loop *l, int32_t code) {
    for (slot *s = l->slots; s < l->slots + l->setup.n_seq; s++) {
        if (s->in_batch == 0) continue;
        cut(l, s, s->n_cached);
        progress(l, s);
    }
    if (code == 1) {
        relieve(l);
    } else if (code == 2) {
        l->aborts = atomic_load(&l->abort) ? 0 : l->aborts + 1;
        if (l->aborts >= SPURIOUS) fail(l, code);
    } else {
        fail(l, code);
    }
}

lr_status lr_loop_step(lr_loop *l) {
    if (l == NULL) return LR_E_ARGUMENT;
    if (!admit(l)) return LR_END;
    gather(l);
    if (l->batch.n_tokens == 0) return LR_OK;
    const int32_t code = l->setup.api.decode(l->setup.context, l->batch);
    if (code == 0)
        take(l);
    else
        put_right(l, code);
    return LR_OK;
}
