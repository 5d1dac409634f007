/* lr_ledger: what a KV cache holds: tokens of each sequence, bytes of each group of layers, the highest so far.
 *
 * The struct and the array of sequences are the caller's. One thread at a time. A token of a sequence takes one
 * cell in layers that keep everything; windowed layers keep the last `window` tokens, chunked ones those of the
 * newest token's chunk.
 */
#ifndef LR_LEDGER_H
#define LR_LEDGER_H

#include "lr_status.h"

#include <stdint.h>

enum { LR_LEDGER_GROUPS = 8 };

typedef enum lr_ledger_kind { LR_LEDGER_FULL, LR_LEDGER_WINDOW, LR_LEDGER_CHUNK } lr_ledger_kind;

/* Layers that keep the same tokens: all, or the windowed ones. MLA's rows and an indexer's keys are groups too. */
typedef struct lr_ledger_group {
    uint64_t cells;     /* of each stream */
    uint64_t row_bytes; /* one cell of all its layers */
    uint64_t window;    /* tokens; 0 for LR_LEDGER_FULL */
    uint32_t kind;
    uint32_t zero;
} lr_ledger_group;

typedef struct lr_ledger {
    lr_ledger_group groups[8];
    uint64_t *used;      /* borrowed: tokens of each sequence */
    uint64_t cells;      /* tokens that a stream can hold; 2^64 - 1 where all layers are windowed */
    uint64_t tokens;     /* of all sequences */
    uint64_t high_water; /* the most tokens so far */
    uint32_t n_groups;
    uint32_t n_seq;
    uint32_t unified;
    uint32_t zero;
} lr_ledger;

typedef struct lr_ledger_reading {
    uint64_t tokens;
    uint64_t high_water;
    uint64_t until_full;  /* tokens that the fullest stream can still take */
    uint64_t bytes;       /* in use */
    uint64_t bytes_capacity;
    uint64_t group_cells[8]; /* in use */
    uint64_t group_bytes[8]; /* in use */
} lr_ledger_reading;

typedef struct lr_ledger_freed {
    uint64_t tokens;
    uint64_t bytes;
    uint64_t recompute; /* tokens in front of the cut that windowed layers no longer hold and would need again */
} lr_ledger_freed;

/* `used` has room for n_seq. LR_E_ARGUMENT: null, a kind or count out of range, a window of 0 where one is due.
 * LR_E_OVERFLOW: a capacity over 2^63 - 1 bytes. */
lr_status lr_ledger_init(lr_ledger *ledger, const lr_ledger_group *groups, uint32_t n_groups, uint64_t *used,
                         uint32_t n_seq, uint32_t unified);

/* Tokens that `seq` can still take. LR_E_ARGUMENT: no such sequence. */
lr_status lr_ledger_until_full(const lr_ledger *ledger, uint32_t seq, uint64_t *tokens);

/* `n` tokens more in `seq`, or exactly `n`. LR_FULL: they do not fit, nothing has changed. */
lr_status lr_ledger_add(lr_ledger *ledger, uint32_t seq, uint64_t n);
lr_status lr_ledger_set(lr_ledger *ledger, uint32_t seq, uint64_t n);

/* Takes the tokens from..to-1 out of `seq` and closes the gap, as a removal with a shift does; `to` beyond the end
 * means the end. What it frees goes to `freed`, which may be null. LR_E_ARGUMENT: from > to, no such sequence. */
lr_status lr_ledger_remove(lr_ledger *ledger, uint32_t seq, uint64_t from, uint64_t to, lr_ledger_freed *freed);

/* LR_E_ARGUMENT: null. */
lr_status lr_ledger_read(const lr_ledger *ledger, lr_ledger_reading *reading);

#endif
