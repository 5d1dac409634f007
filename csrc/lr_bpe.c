/* Byte-level BPE: pieces, found whole where they were seen before.
 *
 * While the pieces of one window are looked up, those of the next are being found: neither waits for the other, so a CPU
 * does both at once. */
#include "lr_tok_private.h"

/* A piece that is not plainly a few tokens: 0 where the run does not remember it. */
static int put(const lr_tok_run *run, const lr_key *key, const uint8_t *text, size_t size, int32_t *ids, size_t *count) {
    const lr_word *seen = size <= LR_WORD_LONGEST ? lr_words_find(&run->cache, key, text, size) : NULL;
    if (seen == NULL) return 0;
    *count = seen->n & LR_WORD_COUNT;
    memcpy(ids, lr_word_ids(&run->cache, seen), *count * sizeof *ids);
    return 1;
}

enum { STEP = 16, BATCH = 512 };

/* Pieces on their way: found up to `found`, keyed up to `keyed`, put up to `put`. */
typedef struct lr_batch {
    size_t base;
    unsigned found, keyed, put;
    int unseen; /* the run does not remember the next one to put */
    uint32_t ends[1 + BATCH + LR_WINDOW]; /* behind a 0: where each begins */
    uint64_t hashes[BATCH + LR_WINDOW];
    uint64_t keys[BATCH + LR_WINDOW][2];
} lr_batch;

/* Keys of pieces [keyed, to), whose entries are sent for. */
static void key_some(const lr_words *words, lr_batch *batch, unsigned to, const uint8_t *text, size_t readable) {
    const lr_word *const slots = words->slots;
    const size_t mask = words->mask;
    unsigned i = batch->keyed, start = batch->ends[i];
    for (; i < to; i++) {
        const unsigned end = batch->ends[i + 1], size = end - start;
        lr_key key;
        if (size <= LR_WORD_SHORT) key = lr_key_short(text + start, size, readable - start);
        else if (size <= LR_WORD_LONGEST) key = lr_key_long(text + start, size);
        else key = (lr_key){{0, LR_WORD_LONG_KEY}, 0}; /* no entry's, not even a free one's */
        batch->keys[i][0] = key.word[0];
        batch->keys[i][1] = key.word[1];
        batch->hashes[i] = key.hash;
        __builtin_prefetch(&slots[key.hash & mask]);
        start = end;
    }
    batch->keyed = to;
}

/* Puts pieces [put, to) as far as they are plainly a few tokens. There is room for all. */
static void put_plain(const lr_words *words, lr_batch *batch, unsigned to, lr_sink *sink) {
    const lr_word *const slots = words->slots;
    const size_t mask = words->mask;
    int32_t *ids = sink->ids + sink->count;
    unsigned i = batch->put;
    for (; i < to; i++) {
        const uint64_t *key = batch->keys[i];
        const lr_word *word = &slots[batch->hashes[i] & mask];
        /* Which of the two it is cannot be foreseen: no branch. */
        const uint64_t other = (word[1].key[0] ^ key[0]) | (word[1].key[1] ^ key[1]);
        word += (~other & (other - 1)) >> 63;
        if (((word->key[0] ^ key[0]) | (word->key[1] ^ key[1])) != 0 || word->n > LR_WORD_INLINE ||
            key[1] >= LR_WORD_LONG_KEY)
            break;
        memcpy(ids, word->ids, sizeof word->ids);
        ids += word->n;
    }
    batch->put = i;
    sink->count = (size_t)(ids - sink->ids);
}

/* One piece, with all that can happen to it. LR_FULL with sink->need. */
static lr_status put_one(lr_tok_run *run, lr_batch *batch, const uint8_t *text, lr_sink *sink) {
    const unsigned i = batch->put;
    const size_t size = batch->ends[i + 1] - batch->ends[i];
    if (sink->room - sink->count < size) {
        sink->need = size;
        return LR_FULL;
    }
    const lr_key key = {{batch->keys[i][0], batch->keys[i][1]}, batch->hashes[i]};
    size_t added = 0;
    batch->unseen = !put(run, &key, text + batch->ends[i], size, sink->ids + sink->count, &added);
    if (!batch->unseen) batch->put++;
    sink->count += added;
    return LR_OK;
}

static lr_status put_some(lr_tok_run *run, lr_batch *batch, unsigned to, const uint8_t *text, lr_sink *sink) {
    lr_status status = LR_OK;
    while (status == LR_OK && !batch->unseen && batch->put < to) {
        if (sink->room - sink->count >= (to - batch->put) * LR_WORD_INLINE) put_plain(&run->cache, batch, to, sink);
        if (batch->put < to) status = put_one(run, batch, text, sink);
    }
    return status;
}

static lr_status encode_batch(lr_tok_run *run, lr_batch *batch, const uint8_t *text, size_t size, size_t end, lr_sink *sink) {
    const lr_split *split = &run->vocab->split;
    const size_t base = batch->base;
    lr_status status = LR_OK;
    batch->found = batch->keyed = batch->put = 0;
    batch->unseen = 0;
    batch->ends[0] = 0;
    for (size_t p = base; status == LR_OK && !batch->unseen && p < end && batch->found < BATCH && p - base < (1u << 20); ) {
        const unsigned more = lr_scan(split, &run->split, run->tier, text, base, &p, end, batch->ends + 1 + batch->found);
        if (more == 0) break;
        batch->found += more;
        while (status == LR_OK && !batch->unseen && batch->found - batch->keyed >= STEP) {
            const unsigned put = batch->keyed;
            key_some(&run->cache, batch, put + STEP, text + base, size - base);
            status = put_some(run, batch, put, text + base, sink);
        }
    }
    if (batch->found == 0) return LR_E_LIMIT;
    if (status != LR_OK || batch->unseen) return status;
    key_some(&run->cache, batch, batch->found, text + base, size - base);
    return put_some(run, batch, batch->found, text + base, sink);
}

lr_status lr_bpe_encode(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink) {
    lr_batch batch;
    while (*at < end) {
        const lr_split_state before = run->split;
        batch.base = *at;
        lr_status status = encode_batch(run, &batch, text, size, end, sink);
        *at += batch.ends[batch.put];
        /* The scan was ahead of what was put. */
        if (status != LR_OK || batch.unseen) run->split = before;
        if (status == LR_OK && batch.unseen) status = lr_bpe_learn(run, text, size, at, end, sink);
        if (status != LR_OK) return status;
    }
    return LR_OK;
}
