/* What a run does with pieces that it has not seen: it finds out what all those of a batch encode to, many at a time,
 * and remembers that; then it has seen them. */
#include "lr_learn_private.h"

typedef struct lr_learning {
    lr_tok_run *run;
    const lr_batch *batch;
    size_t next, count;
    uint16_t pieces[LR_BATCH_ROOM]; /* numbers of those to be merged */
    lr_word *words[LR_BATCH_ROOM];  /* the token that each is spelled like, or null */
} lr_learning;

static size_t size_of(const lr_batch *batch, size_t i) {
    return batch->ends[i] - lr_batch_start(batch, i);
}

/* Numbers of the new pieces from `first` on, each once, to out; their tokens' entries are on their way. */
static size_t collect(const lr_tok_run *run, const lr_batch *batch, size_t first, uint16_t *out) {
    const lr_words *words = &run->vocab->words;
    uint16_t places[256] = {0}; /* of pieces in out, plus one, by hash */
    size_t count = 0;
    for (size_t i = first; i < batch->count; i++) {
        const lr_key *key = &batch->keys[i];
        const size_t size = size_of(batch, i);
        if (size > LR_WORD_LONGEST) continue;
        if (lr_words_find(&run->cache, key, batch->text + lr_batch_start(batch, i), size) != NULL) continue;
        uint16_t *place = &places[key->hash & 255];
        if (*place) {
            const lr_key *other = &batch->keys[out[*place - 1]];
            if (other->word[0] == key->word[0] && other->word[1] == key->word[1]) continue;
        }
        __builtin_prefetch(&words->slots[key->hash & words->mask]);
        out[count++] = (uint16_t)i;
        *place = (uint16_t)count;
    }
    return count;
}

static void remember(lr_tok_run *run, const lr_batch *batch, size_t i, const int32_t *ids, size_t count) {
    const uint8_t *text = batch->text + lr_batch_start(batch, i);
    if (lr_words_find(&run->cache, &batch->keys[i], text, size_of(batch, i)) == NULL)
        lr_tok_remember(run, &batch->keys[i], text, size_of(batch, i), ids, count);
}

static int next_row(void *owner, lr_row *row) {
    lr_learning *l = owner;
    while (l->next < l->count) {
        const size_t i = l->pieces[row->tag = l->next++];
        const uint8_t *text = l->batch->text + lr_batch_start(l->batch, i);
        const size_t size = size_of(l->batch, i);
        if (l->run->vocab->kind == LR_VOCAB_SPM ? lr_spm_row(l->run->vocab, text, size, row)
                                                : lr_bpe_row(l->run->vocab, text, size, row))
            return 1;
    }
    return 0;
}

static void row_done(void *owner, const lr_row *row) {
    lr_learning *l = owner;
    const size_t i = l->pieces[row->tag];
    int32_t ids[LR_WORD_LONGEST];
    uint32_t symbols[LR_ROW_MAX];
    size_t count = 0;
    for (uint64_t left = lr_row_tokens(row); left; left &= left - 1)
        symbols[count++] = row->symbols[__builtin_ctzll(left)];
    if (l->run->vocab->kind == LR_VOCAB_SPM) {
        const uint8_t *text = l->batch->text + lr_batch_start(l->batch, i);
        count = lr_spm_spell(l->run->vocab, symbols, count, text, size_of(l->batch, i), ids);
    } else {
        memcpy(ids, symbols, count * sizeof *ids);
    }
    lr_word *word = l->words[row->tag];
    if (word != NULL && count == 1 && ids[0] == word->ids[0] && !l->run->vocab->borrowed)
        __atomic_fetch_and(&word->n, ~(uint32_t)LR_WORD_DOUBTED, __ATOMIC_RELAXED);
    remember(l->run, l->batch, i, ids, count);
}

/* The new pieces of the batch from `first` on: their encodings into the cache, but for those that are too long. */
static void learn(lr_tok_run *run, lr_batch *batch, size_t first) {
    lr_learning l;
    uint16_t news[LR_BATCH_ROOM];
    const size_t count = collect(run, batch, first, news);
    l.run = run, l.batch = batch, l.next = l.count = 0;
    for (size_t k = 0; k < count; k++) {
        const size_t i = news[k];
        const uint8_t *text = batch->text + lr_batch_start(batch, i);
        lr_word *word = lr_words_find(&run->vocab->words, &batch->keys[i], text, size_of(batch, i));
        if (word != NULL && !(__atomic_load_n(&word->n, __ATOMIC_RELAXED) & LR_WORD_DOUBTED)) {
            remember(run, batch, i, word->ids, 1);
        } else {
            l.words[l.count] = word;
            l.pieces[l.count++] = (uint16_t)i;
        }
    }
    batch->news += count;
    const lr_rows rows = {&l, next_row, row_done};
    lr_merge_rows(run->vocab, &rows);
}

/* A piece that is in no table and too long for a row. */
static lr_status put_merged(lr_tok_run *run, const lr_key *key, const uint8_t *text, size_t size, int32_t *ids,
                            size_t *count) {
    const lr_status status = run->vocab->kind == LR_VOCAB_SPM ? lr_spm_merge(run, text, size, ids, count)
                                                              : lr_bpe_merge(run, text, size, ids, count);
    if (status == LR_OK) lr_tok_remember(run, key, text, size, ids, *count);
    return status;
}

static void make_keys(const lr_tok_run *run, lr_batch *batch) {
    for (size_t i = 0, start = 0; i < batch->count; start = batch->ends[i++]) {
        const size_t size = batch->ends[i] - start;
        batch->keys[i] = size <= LR_WORD_LONGEST ? lr_key_of(batch->text + start, size, batch->readable - start)
                                                 : (lr_key){{0, 0}, 0};
        __builtin_prefetch(&run->cache.slots[batch->keys[i].hash & run->cache.mask]);
    }
}

/* Whether the entry of this key holds this text: a short text lies in its key, a long one must be compared. */
static int same_text(const lr_words *words, const lr_word *word, const uint8_t *text) {
    if (word->key[1] < LR_WORD_LONG_KEY) return 1;
    return memcmp(words->arena + (uint32_t)word->ids[2], text, word->key[1] & 0xffff) == 0;
}

/* A piece that is not plainly a few tokens. */
static lr_status put(lr_tok_run *run, lr_batch *batch, size_t i, int *learned, int32_t *ids, size_t *count) {
    const uint8_t *text = batch->text + lr_batch_start(batch, i);
    const size_t size = size_of(batch, i);
    const lr_key *key = &batch->keys[i];
    if (size > LR_WORD_LONGEST) return put_merged(run, key, text, size, ids, count);
    const lr_word *seen = lr_words_find(&run->cache, key, text, size);
    if (seen == NULL && !*learned) {
        *learned = 1;
        learn(run, batch, i);
        seen = lr_words_find(&run->cache, key, text, size);
    }
    if (seen == NULL) return put_merged(run, key, text, size, ids, count);
    *count = seen->n & LR_WORD_COUNT;
    memcpy(ids, lr_word_ids(&run->cache, seen), *count * sizeof *ids);
    return LR_OK;
}

lr_status lr_batch_put(lr_tok_run *run, lr_batch *batch, size_t *done, lr_sink *sink) {
    int32_t *ids = sink->ids + sink->count, *const ids_end = sink->ids + sink->room;
    lr_status status = LR_OK;
    int learned = 0;
    *done = batch->news = 0;
    make_keys(run, batch);
    for (size_t i = 0; i < batch->count && status == LR_OK; i++) {
        const lr_key *key = &batch->keys[i];
        const lr_word *word = &run->cache.slots[key->hash & run->cache.mask];
        word += word[1].key[0] == key->word[0] && word[1].key[1] == key->word[1];
        /* A free entry is all zeros, and no key is, but that of what is too long for the table. */
        if (word->key[0] == key->word[0] && word->key[1] == key->word[1] && word->n - 1 < LR_WORD_INLINE &&
            ids_end - ids >= LR_WORD_INLINE && same_text(&run->cache, word, batch->text + *done)) {
            memcpy(ids, word->ids, sizeof word->ids);
            ids += word->n;
        } else {
            const size_t size = size_of(batch, i);
            size_t added = 0;
            if (size > LR_TOK_PIECE_MAX) {
                status = LR_E_LIMIT; /* before anyone makes room for it */
            } else if ((size_t)(ids_end - ids) < size) {
                sink->need = size;
                status = LR_FULL;
            } else {
                status = put(run, batch, i, &learned, ids, &added);
            }
            ids += added;
        }
        if (status == LR_OK) *done = batch->ends[i];
    }
    sink->count = (size_t)(ids - sink->ids);
    return status;
}

lr_status lr_bpe_learn(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink) {
    lr_batch batch;
    lr_status status;
    do {
        const lr_split_state before = run->split;
        batch.text = text + *at;
        batch.readable = size - *at;
        batch.count = lr_scan(&run->vocab->split, &run->split, run->tier, text, *at, end, batch.ends, LR_BATCH);
        if (batch.count == 0) return LR_E_LIMIT;
        size_t done;
        status = lr_batch_put(run, &batch, &done, sink);
        *at += done;
        /* The scan was ahead of what was put. */
        if (status != LR_OK) run->split = before;
    } while (status == LR_OK && *at < end && batch.news * 8 >= batch.count);
    return status;
}
