/* The table of pairs that merge, and what fills it where the tokens themselves say what merges. */
#include "lr_vocab_private.h"

#include <stdlib.h>

lr_status lr_pairs_make(lr_vocab *vocab, size_t count) {
    uint64_t room = 16;
    while (room * 3 < count * 4) room *= 2;
    vocab->pairs = lr_table_alloc(room * sizeof *vocab->pairs);
    /* Of 8 to 16 bits a pair one is set. */
    vocab->filter_mask = room * 8 - 1;
    vocab->pair_filter = lr_table_alloc(room);
    vocab->pair_mask = room - 1;
    if (vocab->pairs == NULL || vocab->pair_filter == NULL) return LR_E_MEMORY;
    memset(vocab->pairs, 0xff, room * sizeof *vocab->pairs);
    return LR_OK;
}

void lr_pairs_add(lr_vocab *vocab, lr_pair pair, int keep_first) {
    uint64_t i = lr_pairs_slot(vocab, lr_pair_hash(pair.left, pair.right));
    for (; vocab->pairs[i].left != LR_NO_RANK; i = (i + 1) & vocab->pair_mask)
        if (vocab->pairs[i].left == pair.left && vocab->pairs[i].right == pair.right) {
            if (!keep_first) vocab->pairs[i] = pair;
            return;
        }
    vocab->pairs[i] = pair;
    const uint64_t bit = lr_pair_hash(pair.left, pair.right) & vocab->filter_mask;
    vocab->pair_filter[bit / 64] |= (uint64_t)1 << bit % 64;
}

/* Most pairs that are looked up are of single bytes: those get a table without hashing. */
lr_status lr_pairs_index_bytes(lr_vocab *vocab) {
    vocab->byte_pairs = malloc(65536 * sizeof *vocab->byte_pairs);
    if (vocab->byte_pairs == NULL) return LR_E_MEMORY;
    for (uint32_t i = 0; i < 65536; i++) {
        const int32_t left = vocab->byte_ids[i >> 8], right = vocab->byte_ids[i & 255];
        vocab->byte_pairs[i] = left < 0 || right < 0 ? (lr_merge){LR_NO_RANK, -1}
                                                     : lr_pairs_find(vocab, (uint32_t)left, (uint32_t)right);
    }
    return LR_OK;
}

/* Calls for each way to cut a token into two: adds it when `add`, counts it always. */
static size_t cuts(lr_vocab *vocab, uint32_t id, int add) {
    const uint8_t *text = vocab->bytes + vocab->starts[id];
    const size_t size = vocab->starts[id + 1] - vocab->starts[id], readable = size + 16;
    size_t count = 0;
    if (lr_vocab_find(vocab, text, size, readable) != (int32_t)id) return 0;
    for (size_t cut = 1; cut < size; cut++) {
        const int32_t a = lr_vocab_find(vocab, text, cut, readable);
        const int32_t b = a < 0 ? -1 : lr_vocab_find(vocab, text + cut, size - cut, readable - cut);
        if (b < 0) continue;
        count++;
        if (add) lr_pairs_add(vocab, (lr_pair){(uint32_t)a, (uint32_t)b, id, (int32_t)id}, 1);
    }
    return count;
}

lr_status lr_vocab_read_ranks(lr_vocab *vocab) {
    size_t count = 0;
    for (uint32_t i = 0; i < vocab->count; i++) count += cuts(vocab, i, 0);
    if (lr_pairs_make(vocab, count) != LR_OK) return LR_E_MEMORY;
    for (uint32_t i = 0; i < vocab->count; i++) (void)cuts(vocab, i, 1);
    return lr_pairs_index_bytes(vocab);
}
