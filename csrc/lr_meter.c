#include "lr_meter.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { SUB_BITS = 4, SUB = 1 << SUB_BITS, TRIES = 1000 };

typedef _Atomic uint64_t word;

typedef struct {
    word at;    /* ns */
    word count; /* tokens of this request, this push included */
} push;

/* A sequence lock: `turn` is odd while the one writer is at work. Every word is atomic, so that a reader that
 * comes in between reads old or new values, never torn ones, and then finds that `turn` has moved. */
struct lr_meter {
    word turn;
    word requests, tokens_total;
    word prompt_tokens, prompt_at;
    word tokens, first_tokens, first_at, last_at, min_ns, max_ns;
    word pushes;
    push ring[LR_METER_RING];
    _Atomic uint32_t bucket[LR_METER_BUCKETS];
};

static uint64_t get(const word *w) {
    return atomic_load_explicit(w, memory_order_relaxed);
}

static void set(word *w, uint64_t value) {
    atomic_store_explicit(w, value, memory_order_relaxed);
}

static void begin(lr_meter *m) {
    set(&m->turn, get(&m->turn) + 1);
    atomic_thread_fence(memory_order_release);
}

static void end(lr_meter *m) {
    atomic_store_explicit(&m->turn, get(&m->turn) + 1, memory_order_release);
}

/* Below 16 each value has a bucket; above, its leading bit and the four bits behind it choose. */
static uint32_t bucket_of(uint64_t ns) {
    if (ns < SUB) return (uint32_t)ns;
    uint32_t high = 0;
    for (uint32_t step = 32; step > 0; step /= 2)
        if (ns >> (high + step) != 0) high += step;
    uint32_t i = (high - SUB_BITS + 1) * SUB + ((uint32_t)(ns >> (high - SUB_BITS)) & (SUB - 1));
    return i < LR_METER_BUCKETS ? i : LR_METER_BUCKETS - 1;
}

/* The middle of a bucket. */
static uint64_t bucket_middle(uint32_t i) {
    if (i < SUB) return i;
    uint32_t shift = i / SUB - 1;
    uint64_t low = (uint64_t)(SUB + i % SUB) << shift;
    return low + (((uint64_t)1 << shift) / 2);
}

size_t lr_meter_bytes(void) {
    return sizeof(lr_meter);
}

lr_status lr_meter_init(void *memory, size_t size, lr_meter **meter) {
    if (memory == NULL || meter == NULL || size < sizeof(lr_meter)) return LR_E_ARGUMENT;
    if ((uintptr_t)memory % _Alignof(lr_meter) != 0) return LR_E_ARGUMENT;
    lr_meter *m = memory;
    set(&m->turn, 0);
    set(&m->requests, 0);
    set(&m->tokens_total, 0);
    lr_meter_prompt(m, 0, 0);
    set(&m->requests, 0);
    *meter = m;
    return LR_OK;
}

void lr_meter_prompt(lr_meter *m, uint64_t now, uint64_t prompt_tokens) {
    begin(m);
    set(&m->requests, get(&m->requests) + 1);
    set(&m->prompt_tokens, prompt_tokens);
    set(&m->prompt_at, now);
    set(&m->tokens, 0);
    set(&m->first_tokens, 0);
    set(&m->first_at, now);
    set(&m->last_at, now);
    set(&m->min_ns, UINT64_MAX);
    set(&m->max_ns, 0);
    set(&m->pushes, 0);
    for (uint32_t i = 0; i < LR_METER_BUCKETS; i++)
        atomic_store_explicit(&m->bucket[i], 0, memory_order_relaxed);
    end(m);
}

static void count_interval(lr_meter *m, uint64_t ns, uint32_t n) {
    _Atomic uint32_t *bucket = &m->bucket[bucket_of(ns)];
    atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + n, memory_order_relaxed);
    if (ns < get(&m->min_ns)) set(&m->min_ns, ns);
    if (ns > get(&m->max_ns)) set(&m->max_ns, ns);
}

void lr_meter_tokens(lr_meter *m, uint64_t now, uint32_t n) {
    if (n == 0) return;
    uint64_t tokens = get(&m->tokens), last = get(&m->last_at), pushes = get(&m->pushes);
    if (now < last) now = last;
    begin(m);
    if (tokens == 0) {
        set(&m->first_at, now);
        set(&m->first_tokens, n);
    } else {
        count_interval(m, n == 1 ? now - last : (now - last) / n, n);
    }
    push *p = &m->ring[pushes % LR_METER_RING];
    set(&p->at, now);
    set(&p->count, tokens + n);
    set(&m->pushes, pushes + 1);
    set(&m->last_at, now);
    set(&m->tokens, tokens + n);
    set(&m->tokens_total, get(&m->tokens_total) + n);
    end(m);
}

void lr_meter_token(lr_meter *m, uint64_t now) {
    lr_meter_tokens(m, now, 1);
}

void lr_meter_push(lr_meter *m, const uint64_t *at, size_t n) {
    for (size_t i = 0; i < n; i++) lr_meter_tokens(m, at[i], 1);
}

static double per_second(uint64_t tokens, uint64_t ns) {
    return ns > 0 ? (double)tokens * 1e9 / (double)ns : 0;
}

/* From the newest push that is older than the window, or the oldest that is known: a slow stream has exact rates
 * too, its window just begins at a token. */
static double rate_over(const lr_meter *m, uint64_t now, uint64_t window) {
    uint64_t pushes = get(&m->pushes), low = pushes > LR_METER_RING ? pushes - LR_METER_RING : 0, high = pushes;
    if (pushes == 0) return 0;
    uint64_t since = now > window ? now - window : 0;
    uint64_t oldest = low;
    while (low < high) { /* the first push behind `since` */
        uint64_t middle = low + (high - low) / 2;
        if (get(&m->ring[middle % LR_METER_RING].at) <= since)
            low = middle + 1;
        else
            high = middle;
    }
    const push *from = &m->ring[(low > oldest ? low - 1 : oldest) % LR_METER_RING];
    uint64_t start = get(&from->at), last = get(&m->last_at), count = get(&m->tokens) - get(&from->count);
    if (count == 0) return 0;
    /* The wait for the next token counts only once it is longer than the usual one. */
    uint64_t span = last - start, quiet = now > last ? now - last : 0;
    return per_second(count, quiet > span / count ? span + quiet : span);
}

static void read_intervals(const lr_meter *m, lr_meter_reading *r) {
    uint64_t total = 0, seen = 0;
    for (uint32_t i = 0; i < LR_METER_BUCKETS; i++)
        total += atomic_load_explicit(&m->bucket[i], memory_order_relaxed);
    if (total == 0) return;
    r->min_ns = get(&m->min_ns);
    r->max_ns = get(&m->max_ns);
    uint64_t *const out[3] = {&r->p50_ns, &r->p90_ns, &r->p99_ns};
    static const uint64_t percent[3] = {50, 90, 99};
    for (uint32_t i = 0, k = 0; i < LR_METER_BUCKETS && k < 3; i++) {
        seen += atomic_load_explicit(&m->bucket[i], memory_order_relaxed);
        /* Rank by rounding up: of 10 intervals the 90th percentile is the ninth. */
        for (; k < 3 && seen * 100 >= total * percent[k]; k++) {
            uint64_t ns = bucket_middle(i);
            *out[k] = ns < r->min_ns ? r->min_ns : ns > r->max_ns ? r->max_ns : ns;
        }
    }
}

static void read_once(const lr_meter *m, uint64_t now, uint64_t window, lr_meter_reading *r) {
    *r = (lr_meter_reading){0};
    r->requests = get(&m->requests);
    r->tokens_total = get(&m->tokens_total);
    r->tokens = get(&m->tokens);
    r->prompt_tokens = get(&m->prompt_tokens);
    uint64_t asked = get(&m->prompt_at), first = get(&m->first_at), last = get(&m->last_at);
    r->waiting = r->tokens == 0 && r->requests > 0;
    if (r->tokens == 0) {
        r->first_ns = r->waiting && now > asked ? now - asked : 0;
        return;
    }
    r->first_ns = first - asked;
    r->rate_prompt = per_second(r->prompt_tokens, r->first_ns);
    r->rate_average = per_second(r->tokens - get(&m->first_tokens), last - first);
    r->rate_now = rate_over(m, now, window);
    read_intervals(m, r);
}

lr_status lr_meter_read(const lr_meter *m, uint64_t now, uint64_t window, lr_meter_reading *reading) {
    if (m == NULL || reading == NULL) return LR_E_ARGUMENT;
    for (int i = 0; i < TRIES; i++) {
        uint64_t turn = atomic_load_explicit(&m->turn, memory_order_acquire);
        if ((turn & 1) != 0) continue;
        read_once(m, now, window, reading);
        atomic_thread_fence(memory_order_acquire);
        if (get(&m->turn) == turn) return LR_OK;
    }
    return LR_AGAIN;
}
