/* Byte-level BPE: pieces, found whole where they were seen before, merged where not.
 *
 * Pieces are taken in batches: first where they end, then their keys, with their entries on the way into the cache,
 * then the look-ups, which by then seldom wait. */
#include "lr_tok_private.h"

enum { BATCH = 192 };

typedef struct lr_batch {
    uint32_t ends[BATCH];
    lr_key keys[BATCH];
} lr_batch;

/* A piece that the run has not seen: a token, or else merged. Either way the run remembers it. */
static lr_status put_new(lr_tok_run *run, const lr_key *key, const uint8_t *text, size_t size, int32_t *ids,
                         size_t *count) {
    const lr_vocab *vocab = run->vocab;
    lr_word *word = size <= LR_WORD_LONGEST ? lr_words_find(&vocab->words, key, text, size) : NULL;
    const uint32_t n = word == NULL ? 0 : __atomic_load_n(&word->n, __ATOMIC_RELAXED);
    if (n && !(n & LR_WORD_DOUBTED)) {
        ids[0] = word->ids[0];
        *count = 1;
    } else {
        const lr_status status = lr_bpe_merge(run, text, size, ids, count);
        if (status != LR_OK) return status;
        if (n && *count == 1 && ids[0] == word->ids[0])
            __atomic_fetch_and(&word->n, ~(uint32_t)LR_WORD_DOUBTED, __ATOMIC_RELAXED);
    }
    lr_tok_remember(run, key, text, size, ids, *count);
    return LR_OK;
}

/* A piece that is not plainly a few tokens. */
static lr_status put(lr_tok_run *run, const lr_key *key, const uint8_t *text, size_t size, int32_t *ids, size_t *count) {
    const lr_word *seen = size <= LR_WORD_LONGEST ? lr_words_find(&run->cache, key, text, size) : NULL;
    if (seen == NULL) return put_new(run, key, text, size, ids, count);
    *count = seen->n & LR_WORD_COUNT;
    memcpy(ids, lr_word_ids(&run->cache, seen), *count * sizeof *ids);
    return LR_OK;
}

static void prepare(const lr_words *words, lr_batch *batch, size_t count, const uint8_t *text, size_t readable) {
    size_t start = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t size = batch->ends[i] - start;
        if (size <= LR_WORD_SHORT) batch->keys[i] = lr_key_short(text + start, size, readable - start);
        else if (size <= LR_WORD_LONGEST) batch->keys[i] = lr_key_long(text + start, size);
        else batch->keys[i] = (lr_key){{0, 0}, 0};
        __builtin_prefetch(&words->slots[batch->keys[i].hash & words->mask]);
        start = batch->ends[i];
    }
}

static inline int same_text(const lr_tok_run *run, const lr_word *word, const uint8_t *text) {
    if (word->key[1] < LR_WORD_LONG_KEY) return word->n != 0;
    const uint8_t *known = (const uint8_t *)(run->cache.arena + (uint32_t)word->ids[2]);
    return memcmp(known, text, word->key[1] & 0xffff) == 0;
}

static lr_status put_batch(lr_tok_run *run, const lr_batch *batch, size_t count, const uint8_t *text, size_t *at,
                           lr_sink *sink) {
    const size_t base = *at;
    int32_t *ids = sink->ids + sink->count, *const ids_end = sink->ids + sink->room;
    lr_status status = LR_OK;
    size_t start = 0;
    for (size_t i = 0; i < count; i++) {
        const lr_key *key = &batch->keys[i];
        const lr_word *word = lr_words_first(&run->cache, key);
        /* A free entry is all zeros, and no key is. A long text must be compared; a short one lies in its key. */
        if (word->key[0] == key->word[0] && word->key[1] == key->word[1] && word->n <= LR_WORD_INLINE &&
            ids_end - ids >= LR_WORD_INLINE && same_text(run, word, text + base + start)) {
            memcpy(ids, word->ids, sizeof word->ids);
            ids += word->n;
        } else {
            const size_t size = batch->ends[i] - start;
            size_t added = 0;
            if ((size_t)(ids_end - ids) < size) {
                sink->need = size;
                status = LR_FULL;
                break;
            }
            status = size > LR_TOK_PIECE_MAX ? LR_E_LIMIT : put(run, key, text + base + start, size, ids, &added);
            if (status != LR_OK) break;
            ids += added;
        }
        start = batch->ends[i];
    }
    *at = base + start;
    sink->count = (size_t)(ids - sink->ids);
    return status;
}

lr_status lr_bpe_encode(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink) {
    lr_batch batch;
    while (*at < end) {
        const lr_split_state before = run->split;
        const size_t count =
            lr_scan(&run->vocab->split, &run->split, run->tier, text, *at, end, batch.ends, BATCH);
        if (count == 0) return LR_E_LIMIT;
        prepare(&run->cache, &batch, count, text + *at, size - *at);
        const lr_status status = put_batch(run, &batch, count, text, at, sink);
        if (status != LR_OK) {
            /* The scan was ahead of what was put. */
            run->split = before;
            return status;
        }
    }
    return LR_OK;
}
