/* lr_merging: short rows of symbols on their way to tokens, many at a time.
 *
 * The table of pairs is larger than a CPU's caches, so a merge is mostly waiting for memory. Rows therefore take
 * turns. Each turn has three rounds over all rows: merge one pair and ask for the filter of the two that arise; ask
 * for the entries that it lets through; read them. Hardly anything in a round hangs on what a CPU would have to guess.
 */
#ifndef LR_MERGING_PRIVATE_H
#define LR_MERGING_PRIVATE_H

#include "lr_vocab_private.h"

enum {
    LR_ROW_MAX = 62, /* symbols */
    LR_ROW_ROOM = 64 /* places: the one before the first symbol and the one behind the last hold none */
};

typedef struct lr_row {
    int32_t keys[LR_ROW_ROOM];     /* of the pair that begins here: its rank << 6 | the place; no pair: more than that */
    uint32_t symbols[LR_ROW_ROOM]; /* at live places; a token reaches up to the next live one */
    int32_t ids[LR_ROW_ROOM];      /* what the pair becomes */
    uint64_t live;                 /* a bit for each symbol that did not merge into the one before it */
    uint32_t n;                    /* symbols at first, at places 1 to n */
    uint32_t at[2];                /* where the two pairs begin that are being looked up */
    uint64_t pair[2], hash[2];
    const lr_pair *entries[2];     /* a cache line of the table */
    size_t tag;                    /* the owner's */
} lr_row;

/* Who has rows to merge. */
typedef struct lr_rows {
    void *owner;
    /* Sets n, 1 to LR_ROW_MAX, symbols[1..n], and the pairs at 1 to n - 1. 0: there are no more rows. */
    int (*next)(void *owner, lr_row *row);
    /* Nothing merges any more: see lr_row_tokens. */
    void (*done)(void *owner, const lr_row *row);
} lr_rows;

void lr_merge_rows(const lr_vocab *vocab, const lr_rows *rows);

/* A bit for each place where a token begins. */
static inline uint64_t lr_row_tokens(const lr_row *row) {
    return row->live & (((uint64_t)2 << row->n) - 2);
}

static inline void lr_row_set(lr_row *row, uint32_t at, lr_merge pair) {
    row->ids[at] = pair.id;
    /* Signed: the plainest CPUs find the least of signed numbers. */
    row->keys[at] = (int32_t)((pair.rank << 6 | at) & (uint32_t)INT32_MAX);
}

/* Sets the pairs out of the vocabulary, where the owner does not know them. */
void lr_row_look_up(const lr_vocab *vocab, lr_row *row);

#endif
