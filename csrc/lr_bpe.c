/* Byte-level BPE: pieces, found whole where they were seen before.
 *
 * Pieces are taken in batches: first where they end, then their keys, with their entries on the way into the cache, then
 * the look-ups, which by then seldom wait. */
#include "lr_tok_private.h"

/* A piece that is not plainly a few tokens: 0 where the run does not remember it. */
static int put(const lr_tok_run *run, const lr_key *key, const uint8_t *text, size_t size, int32_t *ids, size_t *count) {
    const lr_word *seen = size <= LR_WORD_LONGEST ? lr_words_find(&run->cache, key, text, size) : NULL;
    if (seen == NULL) return 0;
    *count = seen->n & LR_WORD_COUNT;
    memcpy(ids, lr_word_ids(&run->cache, seen), *count * sizeof *ids);
    return 1;
}

enum { BATCH = 256 };

/* Pieces on their way, up to `put` done. */
typedef struct lr_pieces {
    unsigned count, put;
    int unseen; /* the run does not remember the next one to put */
    uint32_t ends[1 + BATCH]; /* behind a 0: where each begins */
    uint32_t places[BATCH];
    _Alignas(64) uint64_t keys[BATCH][2];
} lr_pieces;

/* One piece, with all that can happen to it but that it is new. LR_FULL with sink->need. */
static lr_status put_one(const lr_tok_run *run, lr_pieces *pieces, const uint8_t *text, lr_sink *sink) {
    const unsigned i = pieces->put;
    const size_t size = pieces->ends[i + 1] - pieces->ends[i];
    if (size > LR_TOK_PIECE_MAX) return LR_E_LIMIT;
    if (sink->room - sink->count < size) {
        sink->need = size;
        return LR_FULL;
    }
    const uint64_t a = pieces->keys[i][0], b = pieces->keys[i][1];
    const lr_key key = {{a, b}, lr_key_hash(a, b)};
    size_t added = 0;
    pieces->unseen = !put(run, &key, text + pieces->ends[i], size, sink->ids + sink->count, &added);
    if (!pieces->unseen) pieces->put++;
    sink->count += added;
    return LR_OK;
}

static lr_status put_all(const lr_tok_run *run, lr_pieces *pieces, const uint8_t *text, size_t readable, lr_sink *sink) {
    lr_status status = LR_OK;
    pieces->put = 0;
    pieces->unseen = 0;
    run->tier->key(&run->cache, text, readable, pieces->ends, pieces->count, pieces->keys, pieces->places);
    while (status == LR_OK && !pieces->unseen && pieces->put < pieces->count) {
        const unsigned i = pieces->put, rest = pieces->count - i;
        const size_t room = sink->room - sink->count;
        if (room >= rest * LR_WORD_INLINE) {
            lr_looks looks = {text, pieces->ends + i, (const uint64_t (*)[2])pieces->keys + i, pieces->places + i, rest,
                              sink->ids + sink->count, room - rest * LR_WORD_INLINE};
            pieces->put += run->tier->put(&run->cache, &looks);
            sink->count = (size_t)(looks.ids - sink->ids);
        }
        if (pieces->put < pieces->count) status = put_one(run, pieces, text, sink);
    }
    return status;
}

lr_status lr_bpe_encode(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink) {
    const lr_split *split = &run->vocab->split;
    lr_pieces pieces;
    pieces.ends[0] = 0;
    while (*at < end) {
        const lr_split_state before = run->split;
        pieces.count = lr_scan(split, &run->split, run->tier, text, *at, end, pieces.ends + 1, BATCH);
        if (pieces.count == 0) return LR_E_LIMIT;
        lr_status status = put_all(run, &pieces, text + *at, size - *at, sink);
        *at += pieces.ends[pieces.put];
        /* The scan was ahead of what was put. */
        if (status != LR_OK || pieces.unseen) run->split = before;
        if (status == LR_OK && pieces.unseen) status = lr_bpe_learn(run, text, size, at, end, sink);
        if (status != LR_OK) return status;
    }
    return LR_OK;
}
