#include "lr_merging_private.h"

enum {
    LANES = 16,
    NONE = LR_VOCAB_MAX << 6 /* a key of no pair is this or more */
};

typedef int32_t lr_four __attribute__((vector_size(16)));

static inline lr_four lesser(lr_four a, lr_four b) {
    const lr_four less = a < b;
    return (a & less) | (b & ~less);
}

static inline lr_four four(const int32_t *keys) {
    lr_four value;
    memcpy(&value, keys, sizeof value);
    return value;
}

static inline lr_four sixteen(const int32_t *keys) {
    return lesser(lesser(four(keys), four(keys + 4)), lesser(four(keys + 8), four(keys + 12)));
}

/* The least key, of keys[0, n] and more up to the next multiple of 16. */
static inline int32_t least(const int32_t *keys, size_t n) {
    lr_four best = sixteen(keys);
    for (size_t i = 16; i <= n; i += 16) best = lesser(best, sixteen(keys + i));
    best = lesser(best, (lr_four){best[2], best[3], best[2], best[3]});
    return best[0] < best[1] ? best[0] : best[1];
}

static inline uint64_t both(uint32_t low, uint32_t high) {
    return (uint64_t)high << 32 | low;
}

static inline void ask(const lr_vocab *vocab, lr_row *row, unsigned which, uint32_t at, uint32_t right) {
    const uint64_t hash = lr_pair_hash(row->symbols[at], row->symbols[right]);
    row->at[which] = at;
    row->pair[which] = both(row->symbols[at], row->symbols[right]);
    row->hash[which] = hash;
    __builtin_prefetch(&vocab->pair_filter[(hash & vocab->filter_mask) / 64]);
}

/* The next merge of a row: 0 when there is none. */
static inline int merge(const lr_vocab *vocab, lr_row *row) {
    const int32_t best = least(row->keys, row->n);
    if (best >= NONE) return 0;
    const uint32_t at = (uint32_t)best & 63;
    uint64_t above = row->live & ~(uint64_t)1 << at;
    const uint32_t gone = (uint32_t)__builtin_ctzll(above);
    above &= above - 1;
    const uint32_t next = (uint32_t)__builtin_ctzll(above);
    const uint32_t previous = 63 - (uint32_t)__builtin_clzll(row->live & (((uint64_t)1 << at) - 1));
    row->live ^= (uint64_t)1 << gone;
    row->symbols[at] = (uint32_t)row->ids[at];
    row->keys[gone] = INT32_MAX;
    ask(vocab, row, 0, at, next);
    ask(vocab, row, 1, previous, at);
    return 1;
}

/* What the filter stops is looked for here. */
static const lr_pair nothing[LR_PAIRS_LINE] = {
    {LR_NO_RANK, LR_NO_RANK, LR_NO_RANK, -1}, {LR_NO_RANK, LR_NO_RANK, LR_NO_RANK, -1},
    {LR_NO_RANK, LR_NO_RANK, LR_NO_RANK, -1}, {LR_NO_RANK, LR_NO_RANK, LR_NO_RANK, -1}};

static inline void pass_filter(const lr_vocab *vocab, lr_row *row) {
    for (unsigned which = 0; which < 2; which++) {
        const uint64_t hash = row->hash[which];
        const lr_pair *there = &vocab->pairs[lr_pairs_slot(vocab, hash)];
        row->entries[which] = lr_pairs_may_hold(vocab, hash) ? there : nothing;
        __builtin_prefetch(row->entries[which]);
    }
}

/* Of a table as it was made the last entry says it; not of one that was made to deceive. */
static int any_free(const lr_pair *entries) {
    int found = 0;
    for (unsigned k = 0; k < LR_PAIRS_LINE; k++) found |= entries[k].left == LR_NO_RANK;
    return found;
}

static inline void read_pair(const lr_vocab *vocab, lr_row *row, unsigned which) {
    const uint64_t pair = row->pair[which];
    const lr_pair *entries = row->entries[which];
    uint64_t value, known;
    for (;;) {
        value = known = 0;
        for (unsigned k = 0; k < LR_PAIRS_LINE; k++) {
            const uint64_t same = 0 - (uint64_t)(both(entries[k].left, entries[k].right) == pair);
            value |= both(entries[k].rank, (uint32_t)entries[k].id) & same;
            known |= same;
        }
        if (known || entries[LR_PAIRS_LINE - 1].left == LR_NO_RANK || any_free(entries)) break;
        entries = &vocab->pairs[((uint64_t)(entries - vocab->pairs) + LR_PAIRS_LINE) & vocab->pair_mask];
    }
    value |= ~known;
    lr_row_set(row, row->at[which], (lr_merge){(uint32_t)value, (int32_t)(value >> 32)});
}

void lr_row_look_up(const lr_vocab *vocab, lr_row *row) {
    uint64_t hashes[LR_ROW_ROOM];
    for (uint32_t i = 1; i < row->n; i++) {
        hashes[i] = lr_pair_hash(row->symbols[i], row->symbols[i + 1]);
        if (lr_pairs_may_hold(vocab, hashes[i])) __builtin_prefetch(&vocab->pairs[lr_pairs_slot(vocab, hashes[i])]);
    }
    for (uint32_t i = 1; i < row->n; i++)
        lr_row_set(row, i, lr_pairs_get(vocab, hashes[i], row->symbols[i], row->symbols[i + 1]));
}

static int begin(const lr_rows *rows, lr_row *row) {
    if (!rows->next(rows->owner, row)) return 0;
    const uint32_t n = row->n, end = (n + 16) / 16 * 16;
    row->live = n == LR_ROW_MAX ? ~(uint64_t)0 : ((uint64_t)4 << n) - 1;
    row->symbols[0] = row->symbols[n + 1] = LR_NO_RANK;
    row->keys[0] = INT32_MAX;
    for (uint32_t i = n; i < end; i++) row->keys[i] = INT32_MAX;
    return 1;
}

void lr_merge_rows(const lr_vocab *vocab, const lr_rows *rows) {
    lr_row lanes[LANES], *busy[LANES];
    unsigned count = 0;
    for (; count < LANES; count++) {
        busy[count] = &lanes[count];
        if (!begin(rows, busy[count])) break;
    }
    while (count) {
        for (unsigned i = 0; i < count; i++)
            while (!merge(vocab, busy[i])) {
                rows->done(rows->owner, busy[i]);
                if (begin(rows, busy[i])) continue;
                busy[i] = busy[--count];
                if (i == count) break;
            }
        for (unsigned i = 0; i < count; i++) pass_filter(vocab, busy[i]);
        for (unsigned i = 0; i < count; i++) {
            read_pair(vocab, busy[i], 0);
            read_pair(vocab, busy[i], 1);
        }
    }
}
