/* lr_meter: how fast tokens come: rates, time to first token, the intervals between tokens.
 *
 * Lives in memory that the caller owns: lr_meter_bytes() of it, aligned to 8, none else. One thread writes; any
 * number may read at the same time, without locks. Time is the caller's: nanoseconds of any steady clock; a step
 * back counts as no time. Intervals are kept in buckets a sixteenth of a power of two wide.
 */
#ifndef LR_METER_H
#define LR_METER_H

#include "lr_status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    LR_METER_RING = 1024,   /* the newest pushes: what the rate over a window is made of; a power of two */
    LR_METER_BUCKETS = 640, /* intervals up to 2^43 ns = 2.4 h; longer ones count as that */
    LR_METER_ERROR_PPM = 31250 /* a percentile is off by at most 1/32 of itself */
};

typedef struct lr_meter lr_meter;

/* All of the newest request but the totals. Rates are tokens per second; 0 = nothing to tell yet. */
typedef struct lr_meter_reading {
    double rate_now;       /* over the window; falls while no token comes */
    double rate_average;   /* first to last token */
    double rate_prompt;    /* prompt tokens over time to first token */
    uint64_t first_ns;     /* time to first token; while it is awaited, the time so far */
    uint64_t p50_ns;       /* intervals between tokens */
    uint64_t p90_ns;
    uint64_t p99_ns;
    uint64_t min_ns;       /* exact */
    uint64_t max_ns;       /* exact */
    uint64_t tokens;
    uint64_t prompt_tokens;
    uint64_t tokens_total; /* of all requests */
    uint64_t requests;
    uint64_t waiting;      /* 1: the first token is awaited */
} lr_meter_reading;

/* Bytes that a meter takes. */
size_t lr_meter_bytes(void);

/* Makes `memory` a meter that has seen nothing. LR_E_ARGUMENT: null, too small or not aligned to 8. */
lr_status lr_meter_init(void *memory, size_t size, lr_meter **meter);

/* A request begins; all but the totals starts anew. */
void lr_meter_prompt(lr_meter *meter, uint64_t now, uint64_t prompt_tokens);

/* One token came, or `n` at once: they share the time since the last. */
void lr_meter_token(lr_meter *meter, uint64_t now);
void lr_meter_tokens(lr_meter *meter, uint64_t now, uint32_t n);

/* `n` tokens that came one by one, at the times in `at`. */
void lr_meter_push(lr_meter *meter, const uint64_t *at, size_t n);

/* What it says at `now`, the current rate over the last `window` ns. LR_AGAIN: a writer was in the way. */
lr_status lr_meter_read(const lr_meter *meter, uint64_t now, uint64_t window, lr_meter_reading *reading);

#endif
