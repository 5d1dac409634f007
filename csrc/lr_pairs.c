/* The table of pairs that merge, out of a file's list of merges or out of the tokens themselves. */
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
    uint64_t i = lr_pair_hash(pair.left, pair.right) >> 16 & vocab->pair_mask;
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
static lr_status index_byte_pairs(lr_vocab *vocab) {
    vocab->byte_pairs = malloc(65536 * sizeof *vocab->byte_pairs);
    if (vocab->byte_pairs == NULL) return LR_E_MEMORY;
    for (uint32_t i = 0; i < 65536; i++) {
        const int32_t left = vocab->byte_ids[i >> 8], right = vocab->byte_ids[i & 255];
        vocab->byte_pairs[i] = left < 0 || right < 0 ? (lr_merge){LR_NO_RANK, -1}
                                                     : lr_pairs_find(vocab, (uint32_t)left, (uint32_t)right);
    }
    return LR_OK;
}

/* Merges are read a few at a time: while one waits for memory, the others' look-ups are on their way. */
enum { MERGE_BATCH = 32, MERGE_SHORT = 48 };

typedef struct lr_reading {
    lr_key left, right, both;
    size_t left_size, right_size;
    uint8_t *text;               /* both halves' bytes: near[], or a part of far where they are many */
    uint8_t near[MERGE_SHORT + 16];
} lr_reading;

/* Takes one merge, "left right" in letters or in plain text, apart. The space at 0 belongs to the left half. */
static lr_status read_merge(const lr_vocab *vocab, lr_vocab_source *source, uint64_t index, const uint8_t *text,
                            size_t size, lr_reading *out, uint8_t *far) {
    const uint8_t *space = size > 1 ? memchr(text + 1, ' ', size - 1) : NULL;
    if (space == NULL || space + 1 == text + size) return lr_vocab_fail(source, LR_VOCAB_MERGE_HALF, index);
    if (size > 2 * LR_VOCAB_TOKEN_MAX) return lr_vocab_fail(source, LR_VOCAB_TOKEN_LONG, index);
    size_t left = (size_t)(space - text), right = size - left - 1;
    out->text = size <= MERGE_SHORT ? out->near : far;
    if (source->letters) {
        left = lr_letters_to_bytes(text, left, out->text);
        right = left == SIZE_MAX ? left : lr_letters_to_bytes(space + 1, right, out->text + left);
        if (right == SIZE_MAX) return lr_vocab_fail(source, LR_VOCAB_MERGE_UNKNOWN, index);
    } else {
        memcpy(out->text, text, left);
        memcpy(out->text + left, space + 1, right);
    }
    out->left_size = left;
    out->right_size = right;
    out->left = lr_key_of(out->text, left, left + right + 16);
    out->right = lr_key_of(out->text + left, right, right + 16);
    out->both = lr_key_of(out->text, left + right, left + right + 16);
    __builtin_prefetch(&vocab->words.slots[out->left.hash & vocab->words.mask]);
    __builtin_prefetch(&vocab->words.slots[out->right.hash & vocab->words.mask]);
    __builtin_prefetch(&vocab->words.slots[out->both.hash & vocab->words.mask]);
    return LR_OK;
}

static int32_t found(const lr_vocab *vocab, const lr_key *key, const uint8_t *text, size_t size) {
    const lr_word *word = lr_words_find(&vocab->words, key, text, size);
    return word == NULL ? -1 : word->ids[0];
}

/* The merges that were read, `count` of them from number `first` on, into the table. */
static lr_status add_merges(lr_vocab *vocab, lr_vocab_source *source, const lr_reading *read, size_t count,
                            uint64_t first) {
    lr_pair pairs[MERGE_BATCH];
    for (size_t i = 0; i < count; i++) {
        const lr_reading *r = &read[i];
        const int32_t a = found(vocab, &r->left, r->text, r->left_size);
        const int32_t b = found(vocab, &r->right, r->text + r->left_size, r->right_size);
        const int32_t both = found(vocab, &r->both, r->text, r->left_size + r->right_size);
        if (a < 0 || b < 0 || both < 0) return lr_vocab_fail(source, LR_VOCAB_MERGE_UNKNOWN, first + i);
        pairs[i] = (lr_pair){(uint32_t)a, (uint32_t)b, (uint32_t)(first + i), both};
        __builtin_prefetch(&vocab->pairs[lr_pair_hash(pairs[i].left, pairs[i].right) >> 16 & vocab->pair_mask], 1);
    }
    /* Of a merge that stands twice llama.cpp takes the first, Hugging Face the last. */
    for (size_t i = 0; i < count; i++) lr_pairs_add(vocab, pairs[i], vocab->rules == LR_RULES_LLAMA_CPP);
    return LR_OK;
}

static lr_status read_all_merges(lr_vocab *vocab, lr_vocab_source *source, lr_reading *read, uint8_t *far) {
    uint64_t at = 0, first = 0;
    size_t count = 0;
    for (uint64_t i = 0; i < source->merge_count; i++) {
        const uint8_t *text;
        uint64_t size;
        if (lr_packed_next(source->merges, source->merges_size, &at, &text, &size) != LR_OK)
            return lr_vocab_fail(source, LR_VOCAB_MERGE_CUT, i);
        lr_status status = read_merge(vocab, source, i, text, size, &read[count++], far);
        /* There is one place for long texts: what lies there is done with before the next. */
        const int full = count == MERGE_BATCH || size > MERGE_SHORT || i + 1 == source->merge_count;
        if (status == LR_OK && full) {
            status = add_merges(vocab, source, read, count, first);
            count = 0;
            first = i + 1;
        }
        if (status != LR_OK) return status;
    }
    return LR_OK;
}

lr_status lr_vocab_read_merges(lr_vocab *vocab, lr_vocab_source *source) {
    if (source->merge_count == 0) return lr_vocab_fail(source, LR_VOCAB_NO_MERGES, 0);
    if (source->merges_size / 8 < source->merge_count)
        return lr_vocab_fail(source, LR_VOCAB_MERGE_CUT, source->merges_size / 8);
    if (lr_pairs_make(vocab, source->merge_count) != LR_OK) return LR_E_MEMORY;
    lr_reading *read = calloc(MERGE_BATCH, sizeof *read);
    uint8_t *far = calloc(1, 2 * LR_VOCAB_TOKEN_MAX + 16);
    const lr_status status = read == NULL || far == NULL ? LR_E_MEMORY : read_all_merges(vocab, source, read, far);
    free(read);
    free(far);
    return status == LR_OK ? index_byte_pairs(vocab) : status;
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
    return index_byte_pairs(vocab);
}
