/* Byte-level BPE: pieces, found whole where they were seen before, merged where not. */
#include "lr_tok_private.h"

static lr_status put(lr_tok_run *run, const uint8_t *text, size_t size, size_t readable, int32_t *ids, size_t *count) {
    const lr_vocab *vocab = run->vocab;
    const lr_key key = lr_key_of(text, size, readable);
    lr_word *word = lr_words_find(&vocab->words, &key, text, size);
    const uint32_t n = word == NULL ? 0 : __atomic_load_n(&word->n, __ATOMIC_RELAXED);
    if (n && !(n & LR_WORD_DOUBTED)) {
        ids[0] = word->ids[0];
        *count = 1;
        return LR_OK;
    }
    if (size <= LR_WORD_LONGEST) {
        const lr_word *seen = lr_words_find(&run->cache, &key, text, size);
        if (seen != NULL) {
            *count = seen->n & LR_WORD_COUNT;
            memcpy(ids, lr_word_ids(&run->cache, seen), *count * sizeof *ids);
            return LR_OK;
        }
    }
    const lr_status status = lr_bpe_merge(run, text, size, ids, count);
    if (status != LR_OK) return status;
    if (n && *count == 1 && ids[0] == word->ids[0]) __atomic_fetch_and(&word->n, ~(uint32_t)LR_WORD_DOUBTED, __ATOMIC_RELAXED);
    else lr_tok_remember(run, &key, text, size, ids, *count);
    return LR_OK;
}

lr_status lr_bpe_encode(lr_tok_run *run, const uint8_t *text, size_t size, size_t *at, size_t end, lr_sink *sink) {
    while (*at < end) {
        const size_t next = lr_split_next(&run->vocab->split, &run->split, text, *at), length = next - *at;
        if (length > LR_TOK_PIECE_MAX) return LR_E_LIMIT;
        if (sink->room - sink->count < length) {
            sink->need = length;
            return LR_FULL;
        }
        size_t added = 0;
        const lr_status status = put(run, text + *at, length, size - *at, sink->ids + sink->count, &added);
        if (status != LR_OK) return status;
        sink->count += added;
        *at = next;
    }
    return LR_OK;
}
