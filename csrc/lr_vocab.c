#include "lr_vocab_private.h"

#include <stdlib.h>

static const char *const faults[LR_VOCAB_FAULTS] = {
    "nothing wrong", "no tokens", "too many tokens or merges", "a token's bytes end early", "an empty token",
    "a token that is too long", "the same token twice", "no merges", "a merge's bytes end early",
    "a merge without two halves", "a merge that names an unknown token", "bytes that no token stands for",
};

const char *lr_vocab_fault_text(int fault) {
    return fault >= 0 && fault < LR_VOCAB_FAULTS ? faults[fault] : "an unknown fault";
}

lr_status lr_vocab_fail(lr_vocab_source *source, int fault, uint64_t index) {
    source->fault = fault;
    source->index = index;
    return LR_E_FORMAT;
}

lr_status lr_packed_next(const uint8_t *data, uint64_t size, uint64_t *at, const uint8_t **text, uint64_t *length) {
    if (size - *at < 8) return LR_E_FORMAT;
    const uint8_t *p = data + *at;
    const uint64_t claim = (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
                           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
    if (claim > size - *at - 8) return LR_E_FORMAT;
    *text = data + *at + 8;
    *length = claim;
    *at += 8 + claim;
    return LR_OK;
}

static lr_status check(const lr_vocab_source *s) {
    const int merges = s->kind == LR_VOCAB_MERGES;
    if (s->kind < LR_VOCAB_MERGES || s->kind > LR_VOCAB_SPM || s->rules < 0 || s->rules > LR_RULES_LLAMA_CPP)
        return LR_E_ARGUMENT;
    if ((s->tokens == NULL && s->tokens_size) || (merges && s->merges == NULL && s->merges_size)) return LR_E_ARGUMENT;
    return s->kind == LR_VOCAB_SPM && s->scores == NULL ? LR_E_ARGUMENT : LR_OK;
}

static lr_status fill(lr_vocab *vocab, lr_vocab_source *source) {
    lr_status status = LR_OK;
    if (source->kind != LR_VOCAB_SPM) status = lr_split_compile(&vocab->split, source->pre, source->rules);
    if (status == LR_OK) status = lr_vocab_read_tokens(vocab, source);
    if (status == LR_OK) status = lr_vocab_sort_specials(vocab);
    if (status != LR_OK) return status;
    if (source->kind == LR_VOCAB_MERGES) return lr_vocab_read_merges(vocab, source);
    if (source->kind == LR_VOCAB_RANKS) return lr_vocab_read_ranks(vocab);
    return lr_vocab_read_scores(vocab, source);
}

lr_status lr_vocab_new(lr_vocab_source *source, lr_vocab **out) {
    if (source == NULL || out == NULL || check(source) != LR_OK) return LR_E_ARGUMENT;
    source->fault = LR_VOCAB_FINE;
    if (source->count == 0) return lr_vocab_fail(source, LR_VOCAB_EMPTY, 0);
    if (source->count > LR_VOCAB_MAX) return lr_vocab_fail(source, LR_VOCAB_MANY, source->count);
    if (source->kind == LR_VOCAB_MERGES && source->merge_count > LR_VOCAB_MAX)
        return lr_vocab_fail(source, LR_VOCAB_MANY, source->merge_count);
    lr_vocab *vocab = calloc(1, sizeof *vocab);
    if (vocab == NULL) return LR_E_MEMORY;
    vocab->count = (uint32_t)source->count;
    vocab->kind = source->kind;
    vocab->rules = source->rules;
    vocab->ignore_merges = source->kind == LR_VOCAB_RANKS || (source->kind == LR_VOCAB_MERGES && source->ignore_merges);
    vocab->space_prefix = source->space_prefix;
    vocab->unknown = -1;
    vocab->all_spelled = 1;
    const lr_status status = fill(vocab, source);
    free(vocab->places);
    vocab->places = NULL;
    if (status == LR_OK) *out = vocab;
    else lr_vocab_free(vocab);
    return status;
}

void lr_vocab_free(lr_vocab *vocab) {
    if (vocab == NULL) return;
    if (vocab->borrowed) {
        free(vocab);
        return;
    }
    lr_words_drop(&vocab->words);
    lr_words_drop(&vocab->chars);
    free(vocab->char_symbols);
    free(vocab->joins);
    free(vocab->bytes);
    free(vocab->starts);
    free(vocab->types);
    free(vocab->byte_pairs);
    free(vocab->pairs);
    free(vocab->pair_filter);
    free(vocab->specials);
    free(vocab);
}

uint32_t lr_vocab_count(const lr_vocab *vocab) {
    return vocab->count;
}

lr_status lr_vocab_token(const lr_vocab *vocab, int32_t id, const uint8_t **bytes, size_t *size) {
    if (id < 0 || (uint32_t)id >= vocab->count) return LR_E_ARGUMENT;
    *bytes = vocab->bytes + vocab->starts[id];
    *size = vocab->starts[id + 1] - vocab->starts[id];
    return LR_OK;
}

lr_status lr_vocab_decode(const lr_vocab *vocab, const int32_t *ids, size_t count, int special, uint8_t *out,
                          size_t room, size_t *size) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *bytes;
        size_t length;
        if (lr_vocab_token(vocab, ids[i], &bytes, &length) != LR_OK) {
            *size = i;
            return LR_E_ARGUMENT;
        }
        const uint8_t type = vocab->types[ids[i]];
        if (!special && (type == LR_TOKEN_CONTROL || type == LR_TOKEN_UNKNOWN)) continue;
        if (used <= room && length <= room - used && length) memcpy(out + used, bytes, length);
        used += length;
    }
    *size = used;
    return used > room ? LR_FULL : LR_OK;
}
