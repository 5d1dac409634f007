#include "lr_tok_private.h"

#include <stdlib.h>

lr_status lr_tok_run_new(const lr_vocab *vocab, lr_tok_run **out) {
    if (vocab == NULL || out == NULL) return LR_E_ARGUMENT;
    lr_tok_run *run = calloc(1, sizeof *run);
    if (run == NULL || lr_words_make(&run->cache, 0) != 0) {
        free(run);
        return LR_E_MEMORY;
    }
    run->vocab = vocab;
    run->tier = lr_tier_choose(NULL);
    *out = run;
    return LR_OK;
}

void lr_tok_run_free(lr_tok_run *run) {
    if (run == NULL) return;
    lr_words_drop(&run->cache);
    free(run);
}

const char *lr_tok_tier(lr_tok_run *run, const char *name) {
    if (name != NULL) run->tier = lr_tier_choose(name);
    return run->tier->name;
}

void lr_tok_cancel(lr_tok_run *run) {
    __atomic_store_n(&run->cancelled, 1, __ATOMIC_RELAXED);
}

void lr_tok_remember(lr_tok_run *run, const lr_key *key, const uint8_t *text, size_t size, const int32_t *ids,
                     size_t count) {
    if (size > LR_WORD_LONGEST || count == 0) return;
    if (run->cache.used >= LR_TOK_CACHE || run->cache.arena_used >= LR_TOK_ARENA / sizeof *run->cache.arena) lr_words_clear(&run->cache);
    (void)lr_words_add(&run->cache, key, text, size, ids, count);
}

/* Finds out where the text from `at` on is broken by a special token. */
static void next_segment(lr_tok_run *run, const uint8_t *text, size_t size, size_t at, int special) {
    run->special_id = -1;
    run->segment_end = size;
    size_t start, end;
    int32_t id;
    if (lr_special_find(run->vocab, text, at, size, special, &start, &end, &id) == LR_OK) {
        run->segment_end = start;
        run->special_end = end;
        run->special_id = id;
    }
    lr_split_begin(&run->split, run->segment_end);
    const size_t length = run->segment_end - at;
    run->malformed = run->vocab->kind == LR_VOCAB_SPM && run->vocab->rules == LR_RULES_LLAMA_CPP &&
                     lr_utf8_valid(text + at, length) != length;
}

lr_status lr_tok_encode(lr_tok_run *run, const uint8_t *text, size_t size, int special, size_t *at, int32_t *ids,
                        size_t room, size_t *count, size_t *need) {
    if (run == NULL || at == NULL || ids == NULL || count == NULL || need == NULL || (text == NULL && size) ||
        *at > size || room < 1)
        return LR_E_ARGUMENT;
    lr_sink sink = {ids, room, 0, 1};
    lr_status status = LR_OK;
    if (*at == 0) {
        run->prefix = run->vocab->space_prefix;
        /* Natural text has a new piece in 30 to 100 bytes at first, and fewer and fewer. */
        lr_words_expect(&run->cache, size / 64 < LR_TOK_CACHE / 16 ? size / 64 : LR_TOK_CACHE / 16);
        next_segment(run, text, size, 0, special);
    }
    while (status == LR_OK && *at < size) {
        if (lr_cancelled(run)) {
            status = LR_END;
        } else if (*at < run->segment_end) {
            status = run->vocab->kind == LR_VOCAB_SPM ? lr_spm_encode(run, text, size, at, run->segment_end, &sink)
                                                      : lr_bpe_encode(run, text, size, at, run->segment_end, &sink);
        } else if (sink.count == sink.room) {
            status = LR_FULL;
        } else {
            ids[sink.count++] = run->special_id;
            *at = run->special_end;
            run->prefix = run->vocab->space_prefix;
            next_segment(run, text, size, *at, special);
        }
    }
    *count = sink.count;
    *need = sink.need;
    if (status == LR_END) __atomic_store_n(&run->cancelled, 0, __ATOMIC_RELAXED);
    return status;
}
